"""What the paper needs beyond a measurement, one protocol a module; returns frames, draws nothing."""
