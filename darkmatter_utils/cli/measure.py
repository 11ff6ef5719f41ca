"""``darkmatter measure``: a study, or one SAE of one model, or arrays that are already on disk."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ..adapters import contexts, hub
from ..base.errors import BadInput
from ..base.values import write_atomic
from ..measurement import about, arrays
from ..measurement.measure import measure
from ..measurement.one_sae import plan, probe
from ..studies.request import Request
from ..studies.study import Study
from . import show

OUTPUTS = {"json": "numbers", "html": "page", "saebench": "saebench"}
"""Files that may be asked for, and what they are called."""


def study(options) -> None:
    """Every SAE of a study, or some."""
    study = Study.load(options.study)
    _room_for(options)
    chosen = [study.sae(name).id for name in options.sae]
    measured = measure(study, progress=show.progress)
    saes = measured.saes[measured.saes["id"].isin(chosen)] if chosen else measured.saes
    warnings = about.of_study(measured)
    said = _write(options, json=lambda: show.study_json(study, saes, warnings))
    show.show(show.study_table(saes, title=f"{study.title} · {study.site}"))
    for line in [*(f"warning: {line}" for line in warnings), *said]:
        show.say(line)
    if options.strict and warnings:
        raise BadInput(f"strict: {'; '.join(warnings)}")


def one_sae(options) -> None:
    """One SAE of one model, on a text."""
    names = (
        "model",
        "site",
        "text",
        "documents",
        "dtype",
        "sae_dtype",
        "device",
        "packed",
        "folds",
        "bootstrap",
        "seed",
    )
    asked = {name: getattr(options, name) for name in names} | {"sae": options.sae[0]}
    asked["positions"] = contexts.window(options.positions) if options.positions else None
    request = Request(**{name: value for name, value in asked.items() if value is not None})
    _room_for(options)
    if options.dry_run:
        missing = hub.downloads(request.model, request.sae)
        for line in about.before_download(request, missing) if missing else about.cost_lines(plan(request)):
            show.say(line)
        return
    probe(
        request, strict=options.strict, progress=show.progress, deliver=lambda done: _deliver(options, done)
    )


def of_arrays(options) -> None:
    """Activations on disk, and what an SAE makes of them."""
    _room_for(options)
    if options.dry_run:
        for line in arrays.facts(options.x, options.reconstruction):
            show.say(line)
        return
    names = ("document", "folds", "bootstrap", "seed", "device", "sae_dtype", "strict")
    done = arrays.measure(
        options.x,
        options.reconstruction or None,
        sae=options.sae[0] if options.sae else None,
        progress=show.progress,
        **{name: getattr(options, name) for name in names},
    )
    _deliver(options, done)
    if options.strict and done.warnings:
        raise BadInput(f"strict: {'; '.join(done.warnings)}")


def _room_for(options) -> None:
    """BadInput now, not after an hour, where an answer could not be written or would take the place of what
    it is about."""
    names = ("x", "reconstruction", "document", "text", "model", "study")
    inputs = [given for given in (*(getattr(options, name) for name in names), *options.sae) if given]
    taken = {Path(given.partition(":")[0]).absolute(): "is an input" for given in inputs}
    for name in OUTPUTS:
        if not (given := getattr(options, name)):
            continue
        path = Path(given)
        if path.is_dir():
            raise BadInput(f"--{name} {path} is a folder; give a file")
        if not path.absolute().parent.is_dir():
            raise BadInput(f"--{name} {path}: there is no folder {path.parent}")
        if path.absolute() in taken:
            raise BadInput(f"--{name} {path}: that file {taken[path.absolute()]}; give another")
        taken[path.absolute()] = f"is --{name}'s"
        try:
            if path.exists() and not path.is_file():  # a pipe, a terminal
                path.open("a").close()
            else:
                tempfile.TemporaryFile(dir=path.absolute().parent).close()
        except OSError as error:
            raise BadInput(f"--{name} {path} cannot be written ({error.strerror})") from None


def _write(options, **makers) -> list[str]:
    """Write what was asked for, each file in one step; what to say of it."""
    asked = {name: Path(getattr(options, name)) for name in makers if getattr(options, name)}
    for name, path in asked.items():
        write_atomic(path, makers[name]())
    return [f"{OUTPUTS[name]}: {path}" for name, path in asked.items()]


def _deliver(options, done) -> None:
    """Files first: a reader of the table who leaves early takes nothing with him."""
    said = _write(
        options,
        json=lambda: show.answer_json(done),
        html=lambda: show.page(done),
        saebench=lambda: show.saebench(done),
    )
    show.show(show.table(done))
    for line in [*done.reading(), *(f"warning: {line}" for line in done.warnings), *said]:
        show.say(line)
