"""``darkmatter run``, ``build``, ``render``, ``status``, ``publish``, ``where``, ``study`` and ``train``."""

from __future__ import annotations

import sys
from pathlib import Path

import yaml
from rich.table import Table

from ..base.cache import versions
from ..base.errors import BadInput
from ..book import agreement, pages, running, staleness
from ..book.chapters import chapters as all_chapters
from ..book.chapters import pick, project_root, run_order
from ..book.where import where as places_of
from ..measurement import prepare as preparing
from ..studies import portable, recipes
from ..studies.study import Study
from ..training import embedded
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
    say(str(pages.render(root, study=study, log=say)))
    found = agreement.compare(root, study)
    for line in found.lines():
        say(line)
    return 1 if found.apart() else 0


def publish(options) -> None:
    """Make the last build the published edition."""
    root, study = project_root(), _study(options.study)
    for line in agreement.compare(root, study).lines():
        say(line)
    say(f"{len(pages.publish(root, study=study))} files written to book/; look at git diff, then commit")


def render(options) -> None:
    """Build the pages of the chapters as they were last run."""
    say(str(pages.render(project_root(), study=_study(options.study), log=say)))


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


def new(options) -> None:
    print(recipes.new(Path(options.file), model=options.model, sae=options.sae, text=options.text), end="")


def check(options) -> None:
    if not recipes.is_recipe(options.study):
        study = Study.load(options.study)
        preparing.check_ready(study)
        print(
            f"study {study.name}: ready, {len(study.saes)} SAEs at {', '.join(study.sites()) or study.site}"
        )
        return
    for line in preparing.check(recipes.load(options.study)):
        print(line)


def prepare(options) -> None:
    recipe = recipes.load(options.study)
    path = preparing.prepare(recipe, progress=lambda line: print(line, file=sys.stderr, flush=True))
    print(f"study {recipe.name} is prepared: {path}")
    for name, source in sorted(preparing.sources(path).items()):
        if "@" in source:
            print(f"pinned: {name}: {source}")
    print(f"now: darkmatter build --study {options.study}")


def export(options) -> None:
    path = Path(options.file)
    if not path.absolute().parent.is_dir() or path.is_dir():
        raise BadInput(f"{path} cannot be written: give a file in a folder that is there")
    study = Study.load(options.study)
    found = portable.export(study, path)
    print(f"study {study.name}: {len(found)} result(s) in {path}")


def bring_in(options) -> None:
    about, new = portable.bring_in(Path(options.file))
    print(f"study {about['study']['name']}: {len(new)} new result(s), the others were here")
    _differences(about)


def verify(options) -> None:
    about = portable.verify(Path(options.file))
    print(f"study {about['study']['name']}: {len(about['files'])} files, each as it was written")
    _differences(about)


def _differences(about: dict) -> None:
    for name, version in versions().items():
        if about["versions"].get(name) != version:
            print(
                f"note: made with {name} {about['versions'].get(name)}, here is {version}: results "
                f"will be made anew"
            )


def train_tiny(options) -> None:
    """Goes on where it was cut off."""
    embedded.train(log=say)
