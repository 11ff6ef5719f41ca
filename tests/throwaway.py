"""A project with one short chapter, for tests of running and rendering that need no measurement."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from darkmatter_utils.book import pages

ROOT = Path(__file__).resolve().parents[1]
HEADER = """# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A probe
# The value is {glue:text}`half`, with its interval {glue:text}`floor`; see {numref}`fig-probe` and $a^2 + b$.

# %% tags=["parameters"]
study = "world"
scale = 2

# %% tags=["hide-input"]
import sys

import pandas as pd

from darkmatter_utils import charts
from darkmatter_utils import open_chapter
from darkmatter_utils.base.values import Estimate

chapter = open_chapter(1, study, scale=scale)
print("progress that differs from run to run", file=sys.stderr)
"""
FIGURE = """
# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-probe", "caption": "A caption with $x^2$."}}
points = pd.DataFrame({"width": [128, 256, 512], "fvu": [0.3, 0.2, 0.1]})
charts.lines(points, "width", "fvu", title="A probe")
"""
FOOTER = """
# %%
chapter.glue("half", 0.123456789 * scale, ".3f")
chapter.estimate("floor", Estimate(-0.5, -0.6, 0.4))
chapter.headline("The floor", Estimate(-0.5, -0.6, 0.4), paper="none given")
chapter.record("missing", float("nan"))

# %% tags=["remove-input"]
chapter.close()
"""
STUDY = ["--study", "world"]


def project(folder: Path, *, extra: str = "") -> Path:
    """A project whose one chapter is the throwaway one, ``extra`` cells before its last."""
    for name in ("notebooks", "book/_static"):
        (folder / name).mkdir(parents=True)
    (folder / "notebooks" / "01_probe.py").write_text(HEADER + FIGURE + extra + FOOTER)
    (folder / "_toc.yml").write_text(
        "format: jb-book\nroot: book/index\nchapters:\n  - file: book/01_probe\n"
    )
    (folder / "book" / "index.md").write_text(
        "# Index\n\nThe value is {glue:text}`01_probe.ipynb::half:s`.\n"
    )
    (folder / "book" / "references.bib").write_text("")
    for name in ("_config.yml", "book/_static/book.css"):
        shutil.copyfile(ROOT / name, folder / name)
    return folder


def command(*arguments: str, folder: Path, **options) -> subprocess.CompletedProcess:
    """``darkmatter ...`` in a process of its own, in a folder."""
    return subprocess.run(
        [sys.executable, "-m", "darkmatter_utils.cli", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
        **options,
    )


def environment() -> dict[str, str]:
    """This process's environment without what would redirect the command."""
    return {name: value for name, value in os.environ.items() if not name.startswith("DARKMATTER_")}


def files(folder: Path) -> dict[str, bytes]:
    """Every file under a folder, by relative path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@functools.cache
def site() -> Path:
    """The folder of the built pages of what the repository publishes, built once for all tests."""
    root = Path(tempfile.mkdtemp(prefix="darkmatter-site-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    return rendered(root)


def rendered(root: Path) -> Path:
    """The folder of the built pages of what the repository publishes, built in ``root``."""
    shutil.copytree(ROOT / "book", root / "book")
    shutil.copytree(ROOT / "notebooks", root / "notebooks")
    for name in ("_config.yml", "_toc.yml"):
        shutil.copyfile(ROOT / name, root / name)
    return pages.render(root, log=str).parents[1]
