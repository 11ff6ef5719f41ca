"""Where the files of this package lie."""

from pathlib import Path

PACKAGE = Path(__file__).parents[1]
DATA = PACKAGE / "data"
"""Embedded models, SAEs, texts, and what the paper's figures say."""
STUDIES = PACKAGE / "studies"
"""A YAML file a study."""
STATIC = PACKAGE / "static"
"""What pages load."""
