"""Where the files of this package lie, and where results are kept."""

import os
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
DATA = PACKAGE / "data"
"""Embedded models, SAEs, texts, and what the paper's figures say."""
STUDIES = PACKAGE / "studies"
"""A YAML file a study."""
STATIC = PACKAGE / "static"
"""What pages load."""


def cache_folder() -> Path:
    """``$DARKMATTER_CACHE``, or ``darkmatter`` in the user's cache folder."""
    named = os.environ.get("DARKMATTER_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "darkmatter"
