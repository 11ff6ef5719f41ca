"""Figures and tables that have not yet gone home to their chapters."""
