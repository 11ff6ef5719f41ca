"""Least squares from running sums, scores, intervals, power laws, pursuit; no model, no study."""
