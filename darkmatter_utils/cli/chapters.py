"""``darkmatter run``, ``build``, ``render``, ``status`` and ``publish``: the chapters and their pages."""

from __future__ import annotations

import yaml
from rich.table import Table

from ..base.errors import BadInput
from ..book import agreement, running, staleness
from ..book import publish as publishing
from ..book import render as rendering
from ..book.chapters import chapters as all_chapters
from ..book.chapters import pick, project_root, run_order
from ..book.where import where as places_of
from ..studies import recipes
from ..studies.study import Study
from .show import say, show


def run(options) -> None:
    """Run chapters by papermill."""
    root, study = project_root(), _study(options.study)
    if options.all == bool(options.chapters):
        there = ", ".join(chapter.name for chapter in all_chapters(root))
        raise BadInput(f"name the chapters to run, or --all; there are: {there}")
    chosen = run_order(root) if options.all else [pick(root, name) for name in options.chapters]
    parameters = {name: yaml.safe_load(value) for name, value in options.p}
    if "study" in parameters:
        study = _study(str(parameters.pop("study")))
    for chapter in chosen:
        running.run(chapter, study=study, parameters=parameters, log=say)


def build(options) -> int:
    """Run what is stale, render, compare with what is published; 1 where the numbers are apart."""
    root, study = project_root(), _study(options.study)
    running.build(root, study=study, every=options.all, log=say)
    say(str(rendering.render(root, study=study, log=say)))
    found = agreement.compare(root, study)
    for line in found.lines():
        say(line)
    return 1 if found.apart() else 0


def publish(options) -> None:
    """Make the last build the published edition."""
    root, study = project_root(), _study(options.study)
    for line in agreement.compare(root, study).lines():
        say(line)
    say(f"{len(publishing.publish(root, study=study))} files written to book/; look at git diff, then commit")


def render(options) -> None:
    """Build the pages of the chapters as they were last run."""
    say(str(rendering.render(project_root(), study=_study(options.study), log=say)))


def status(options) -> None:
    """Which chapters are stale, and why."""
    root, study = project_root(), _study(options.study)
    due = dict(staleness.due(root, study))
    table = Table("chapter", "state", "why", "last run here", box=None, pad_edge=False)
    for chapter in all_chapters(root):
        stamped, elsewhere = staleness.read_stamp(chapter, study), staleness.not_run_here(chapter, study)
        why = due.get(chapter, "")
        state = "fresh" if not why else "fresh, run elsewhere" if why == elsewhere else "stale"
        table.add_row(chapter.name, state, why, f"{stamped['seconds']:.0f} s" if stamped else "")
    show(table)


def where(options) -> None:
    """Where a figure's cell, its numbers and its rule are."""
    places = places_of(project_root(), options.figure)
    columns = [max(len(place[i]) for place in places) for i in (0, 1)]
    for what, file, name in places:
        say(f"{what:<{columns[0]}}  {file:<{columns[1]}}  {name}".rstrip())


def _study(name: str) -> str:
    """A study's name as given, once it is known that it can be read."""
    Study.load(name)
    return str(recipes.prepared(recipes.load(name))) if recipes.is_recipe(name) else name
