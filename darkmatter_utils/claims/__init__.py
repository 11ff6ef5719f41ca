"""What the paper says, the rule that judges it, and what would falsify it."""
