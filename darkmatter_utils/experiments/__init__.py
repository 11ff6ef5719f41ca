"""What the paper needs beyond a measurement, by protocol; returns frames, draws nothing."""
