"""Least squares from running sums, scores, intervals, power laws, pursuit; numpy and torch only."""
