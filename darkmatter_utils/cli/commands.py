"""What each command does: the chapters (run, build, publish ...), studies, training."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import yaml
from rich.table import Table

from ..base.cache import listed, versions
from ..base.errors import BadInput
from ..base.values import write_atomic
from ..book import agreement, pages, running, staleness
from ..book.chapters import chapters as all_chapters
from ..book.chapters import pick, project_root, run_order
from ..book.where import where as places_of
from ..experiments import calibration, coverage
from ..experiments.coverage import FOLDER
from ..measurement import prepare as preparing
from ..studies import portable, recipes
from ..studies.study import Study
from ..training import embedded, nano, suite, suite_training, trained_suites
from . import show
from .show import say

HOW = (coverage.calibrate, calibration.calibrate, trained_suites.calibrate)
CALIBRATIONS = dict(zip(("coverage", "rules", "trained"), HOW))
"""What `calibrate` makes, by name."""
SHIPPED = {"tiny": embedded.train, "nano": nano.make}
"""What makes each study of `arguments.TRAINABLE`."""
FROM_ONE = ("contexts", "latents", "beyond")
"""Parameters of chapters of which there is at least one; of the others none may do."""


def run(options) -> int:
    """Run chapters by papermill; 1 where numbers of shipped SAEs are not the published ones."""
    root, study = project_root(), _named(options.study)
    if options.all == bool(options.chapters):
        there = ", ".join(chapter.name for chapter in all_chapters(root))
        raise BadInput(f"name the chapters to run, or --all; there are: {there}")
    chosen = run_order(root) if options.all else [pick(root, name) for name in options.chapters]
    parameters = {name: _value(name, value) for name, value in options.p}
    if "study" in parameters:
        study = _named(str(parameters.pop("study")))
    _fitting(parameters, study)
    taking, apart = running.results(recompute=options.recompute, only=options.only), 0
    for chapter in chosen:
        running.run(chapter, study=study, parameters=parameters, taking=taking, log=say)
        apart += _told(agreement.of_saes(chapter, study)) if options.only == "shipped" else 0
    return min(apart, 1)


def _value(name: str, said: str):
    try:
        return yaml.safe_load(said)
    except yaml.YAMLError:
        raise BadInput(f"-p {name}: '{said}' is no value; give a number, a name or a list: [a, b]") from None


def _fitting(parameters: dict, study: str) -> None:
    """BadInput for a number that none of a chapter's can be, and for SAEs that the study has not."""
    for name, value in parameters.items():
        least = int(name in FROM_ONE)
        if isinstance(value, int | float) and not least <= value < math.inf:
            raise BadInput(f"-p {name}: {value} cannot be; give a number from {least} on")
    named = {"sae": [parameters.get("sae")], "pair": parameters.get("pair")}
    for name, given in named.items():
        if parameters.get(name) is None:
            continue
        if name == "pair" and not (isinstance(given, list) and len(given) == 2 and given[0] != given[1]):
            raise BadInput(f"-p pair: {given!r} cannot be; give two SAEs, as [w16, w64]")
        for one in given:
            try:
                Study.load(study).sae(str(one))
            except BadInput as error:
                raise BadInput(f"-p {name}: {error}") from None


def build(options) -> int:
    """Run what is stale, render, compare with what is published; 1 where the numbers are apart."""
    root, study = project_root(), _named(options.study)
    taking = running.results(recompute=options.recompute, only=options.only)
    running.build(root, study=study, every=options.all, taking=taking, log=say)
    others = running.redraw(root, besides=study, log=say)
    say(str(pages.render(root, study=study, log=say)))
    return min(sum(_told(agreement.compare(root, name)) for name in (study, *others)), 1)


def _told(found: agreement.Agreement) -> int:
    """Say what came of a comparison; how many numbers are apart."""
    for line in found.lines():
        say(line)
    return len(found.apart())


def publish(options) -> None:
    """Make the last builds of one or several studies the published edition."""
    root, studies = project_root(), [_named(name) for name in options.study or ["tiny"]]
    for study in studies:
        _told(agreement.compare(root, study))
    written = pages.publish(root, *studies, log=say)
    say(f"{len(written)} files written to book/; look at git diff, then commit")


def render(options) -> None:
    """Build the pages of the chapters as they were last run."""
    say(str(pages.render(project_root(), study=_named(options.study), log=say)))


def status(options) -> None:
    """Which chapters are stale, and why."""
    root, study = project_root(), _named(options.study)
    due = dict(staleness.due(root, study))
    table = Table("chapter", "state", "why", "last run here", box=None, pad_edge=False)
    for chapter in all_chapters(root):
        stamped, elsewhere = staleness.read_stamp(chapter, study), staleness.not_run_here(chapter, study)
        why = due.get(chapter, "")
        state = "fresh" if not why else "fresh, run elsewhere" if why == elsewhere else "stale"
        table.add_row(chapter.name, state, why, f"{stamped['seconds']:.0f} s" if stamped else "")
    show.show(table)


def where(options) -> None:
    """Where a figure's cell, its numbers and its rule are."""
    places = places_of(project_root(), options.figure)
    columns = [max(len(place[i]) for place in places) for i in (0, 1)]
    for what, file, name in places:
        say(f"{what:<{columns[0]}}  {file:<{columns[1]}}  {name}".rstrip())


def _named(study: str) -> str:
    """A study's name as given, once it is known that it can be read."""
    Study.load(study)
    return str(recipes.prepared(recipes.load(study))) if recipes.is_recipe(study) else study


def new(options) -> None:
    """Write a study to start from."""
    print(recipes.new(Path(options.file), model=options.model, sae=options.sae, text=options.text), end="")


def check(options) -> None:
    """Validate a study and say what it costs."""
    if recipes.is_recipe(options.study):
        for line in preparing.check(recipes.load(options.study)):
            say(line)
        return
    study = Study.load(options.study)
    preparing.check_ready(study)
    say(f"study {study.name}: ready, {len(study.saes)} SAEs at {', '.join(study.sites()) or study.site}")


def prepare(options) -> None:
    """Bring a study's files here."""
    recipe = recipes.load(options.study)
    path = preparing.prepare(recipe, progress=show.progress)
    say(f"study {recipe.name} is prepared: {path}")
    for name, source in sorted(preparing.sources(path).items()):
        if "@" in source:
            say(f"pinned: {name}: {source}")
    say(f"now: darkmatter build --study {options.study}")


def export(options) -> None:
    """Write a study's results to a folder."""
    path = Path(options.folder)
    if not path.absolute().parent.is_dir():
        raise BadInput(f"{path} cannot be written: there is no folder {path.parent}")
    study = Study.load(options.study)
    say(f"study {study.name}: {len(portable.export(study, path))} result(s) in {path}")


def bring_in(options) -> None:
    """Put the results of such a folder into the cache."""
    told, new = portable.bring_in(Path(options.folder))
    say(f"study {told['study']}: {len(new)} new result(s), the others were here")
    _differences(told)


def verify(options) -> None:
    """Check such a folder against its digests."""
    told, found = portable.verify(Path(options.folder))
    say(f"study {told['study']}: {len(found)} result(s), each as it was written")
    _differences(told)


def _differences(told: dict) -> None:
    for name, version in versions().items():
        if (was := told["versions"].get(name)) != version:
            say(f"note: made with {name} {was}, here is {version}: results will be made anew")


def train(options) -> None:
    """A suite of SAEs; goes on where it was cut off."""
    found, path = suite.load(options.study)
    if options.workers < 1:
        raise BadInput(f"--workers is {options.workers}; give 1 or more")
    found = replace(found, text=options.text or found.text, device=options.device or found.device)
    here = Path(options.build or Path("build") / "train" / found.name)
    if options.dry_run:
        for line in suite_training.cost(found, here):
            say(line)
        return
    how = dict(workers=options.workers, only=options.only, keep=options.keep, log=say)
    made = suite_training.train(found, here, path.parent / (found.data or found.name), **how)
    say(f"made {made}; next: darkmatter build --study {made}")


def train_shipped(options) -> None:
    """A study that the package ships, anew from seed."""
    say(f"made {SHIPPED[options.study](log=say)}")


def calibrate(options) -> None:
    """Tables that are made by simulation, and the manifest of their digests."""
    for name in options.tables:
        if name not in CALIBRATIONS:
            raise BadInput(f"there is no table '{name}'; valid: {', '.join(CALIBRATIONS)}")
    for name in options.tables or CALIBRATIONS:
        CALIBRATIONS[name](log=say)
    files = {name: about for name, about in listed(FOLDER).items() if name != "manifest.json"}
    write_atomic(FOLDER / "manifest.json", json.dumps({"files": files}, indent=1) + "\n")
