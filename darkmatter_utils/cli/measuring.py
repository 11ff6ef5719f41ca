"""What `measure`, `compare` and `doctor` do: a study, one SAE or two on a text, arrays; where answers go."""

from __future__ import annotations

import sys
import tempfile
from contextlib import nullcontext, redirect_stdout
from pathlib import Path

from ..adapters import hub
from ..adapters.reading import window
from ..adapters.texts import SUFFIXES
from ..base.errors import BadInput
from ..base.values import write_atomic
from ..measurement import about, arrays
from ..measurement.doctor import diagnose
from ..measurement.measure import measure
from ..measurement.one_sae import plan, probe
from ..measurement.two_saes import compare as compared
from ..studies.recipes import Request
from ..studies.study import Study
from . import show
from .arguments import CASES
from .show import say

OUTPUTS = {"json": "numbers", "html": "page", "saebench": "saebench"}
"""Files that `measure` may be asked for, and what they are called."""
STDOUT = "-"
"""What ``--json`` takes for standard output."""


def every_sae(options) -> None:
    """Every SAE of a study, or some."""
    study = Study.load(options.study)
    _room_for(options)
    chosen = [study.sae(name).id for name in options.sae]
    measured = measure(study, progress=show.progress)
    saes = measured.saes[measured.saes["id"].isin(chosen)] if chosen else measured.saes
    warnings = about.of_study(measured)
    loud = about.loud_tokens(measured)
    said = _write(options, json=lambda: show.study_json(study, saes, warnings, loud))
    with _beside(options):
        show.show(show.study_table(saes, title=f"{study.title} · {study.site}"))
        say(about.precision(measured))
        for line in [*(f"warning: {line}" for line in warnings), *said]:
            say(line)
    if options.strict and warnings:
        raise BadInput(f"strict: {'; '.join(warnings)}")


def one_sae(options) -> None:
    """One SAE of one model, on a text."""
    asked = request(options, options.sae[0])
    _room_for(options)
    if options.dry_run:
        missing = hub.downloads(asked.model, asked.sae)
        for line in about.before_download(asked, missing) if missing else about.cost_lines(plan(asked)):
            say(line)
        return
    deliver = lambda done: _deliver(options, done)
    probe(asked, strict=options.strict, progress=show.progress, deliver=deliver)


def request(options, sae: str) -> Request:
    """What is asked of one SAE."""
    names = "model site text documents dtype sae_dtype device packed folds bootstrap seed".split()
    asked = {name: getattr(options, name) for name in names} | {"sae": sae}
    asked |= bare(options)
    asked["positions"] = window(options.positions) if options.positions else None
    return Request(**{name: value for name, value in asked.items() if value is not None})


def bare(options) -> dict:
    """What was said of weights that do not say how they are run."""
    return {name: getattr(options, name, None) for name in ("k", "threshold", "b_dec_in")}


def of_arrays(options) -> None:
    """Activations on disk, and what an SAE makes of them."""
    _room_for(options)
    if options.dry_run:
        for line in arrays.facts(options.x, options.reconstruction):
            say(line)
        return
    names = ("document", "folds", "bootstrap", "seed", "device", "sae_dtype", "strict")
    done = arrays.measure(
        options.x,
        options.reconstruction or None,
        sae=options.sae[0] if options.sae else None,
        said=bare(options),
        progress=show.progress,
        **{name: getattr(options, name) for name in names},
    )
    _deliver(options, done)
    if options.strict and done.warnings:
        raise BadInput(f"strict: {'; '.join(done.warnings)}")


def _room_for(options) -> None:
    named = (options.x, options.reconstruction, options.document, options.text, options.model, options.study)
    room_for(options, [*named, *options.sae])


def room_for(options, inputs) -> None:
    """BadInput now, not after an hour, where an answer could not be written or would replace an input."""
    taken = {Path(given.partition(":")[0]).absolute(): "is an input" for given in inputs if given}
    for name in OUTPUTS:
        if not (given := getattr(options, name, None)) or (name == "json" and given == STDOUT):
            continue
        path = Path(given)
        if path.is_dir():
            raise BadInput(f"--{name} {path} is a folder; give a file")
        if not path.absolute().parent.is_dir():
            raise BadInput(f"--{name} {path}: there is no folder {path.parent}")
        if path.absolute() in taken:
            raise BadInput(f"--{name} {path}: that file {taken[path.absolute()]}; give another")
        if (folder := _read_in(path, options, inputs)) is not None:
            raise BadInput(f"--{name} {path}: that file is in an input's folder, {folder}; give another")
        taken[path.absolute()] = f"is --{name}'s"
        try:
            if path.exists() and not path.is_file():  # a pipe, a terminal
                path.open("a").close()
            else:
                tempfile.TemporaryFile(dir=path.absolute().parent).close()
        except OSError as error:
            raise BadInput(f"--{name} {path} cannot be written ({error.strerror})") from None


def _read_in(path: Path, options, inputs) -> str | None:
    """The input's folder that a file which is there lies in; of a text's, only where it may be a text."""
    for given in (given for given in inputs if given and path.exists() and Path(given).is_dir()):
        a_text = given != options.text or path.suffix.lower() in SUFFIXES
        if a_text and path.resolve().is_relative_to(Path(given).resolve()):
            return given
    return None


def _write(options, **makers) -> list[str]:
    """Write what was asked for, each file in one step; what to say of it."""
    asked = {
        name: Path(given) for name in makers if (given := getattr(options, name)) not in (None, "", STDOUT)
    }
    for name, path in asked.items():
        text = makers[name]()
        write_atomic(path, text.encode(errors="replace").decode())  # half characters in the names of files
    if options.json == STDOUT:
        say(makers["json"]())
    return [f"{OUTPUTS[name]}: {path}" for name, path in asked.items()]


def delivered(options, done, table, numbers) -> None:
    """An answer's numbers where they were asked for, then its table, what it says and its warnings."""
    if options.json and options.json != STDOUT:
        write_atomic(Path(options.json), numbers(done))
    with _beside(options):
        show.show(table(done))
        for line in [*done.reading(), *(f"warning: {line}" for line in done.warnings)]:
            say(line)
        if options.json and options.json != STDOUT:
            say(f"numbers: {options.json}")
    if options.json == STDOUT:
        say(numbers(done))


def _beside(options):
    """Where the numbers go to standard output, all else goes beside it."""
    return redirect_stdout(sys.stderr) if options.json == STDOUT else nullcontext()


def _deliver(options, done) -> None:
    """Files first: a reader of the table who leaves early takes nothing with him."""
    makers = {"json": show.answer_json, "html": show.page, "saebench": show.saebench}
    said = _write(options, **{name: lambda make=make: make(done) for name, make in makers.items()})
    with _beside(options):
        show.show(show.table(done))
        for line in [*done.reading(), *(f"warning: {line}" for line in done.warnings), *said]:
            say(line)


def doctor(options) -> None:
    """A row a setting, by FVU, then the diagnosis; files first."""
    for name in ("model", "sae"):
        if getattr(options, name) is None:
            raise BadInput(f"--{name} is missing: give --model and --sae, each a folder or a name on the hub")
    options.documents = CASES if options.documents is None else options.documents
    others = [name.strip() for name in (options.models or "").split(",") if name.strip()]
    room_for(options, [options.model, options.text, options.sae, *others])
    done = diagnose(request(options, options.sae), models=others, l0=options.l0, progress=show.progress)
    delivered(options, done, show.diagnosis, show.diagnosis_json)


def compare(options) -> None:
    """A table of what each leaves and of the differences, then the verdict; files first."""
    if options.model is None:
        raise BadInput(
            "--model is missing: give the model that both SAEs are of, a folder or a name on the hub"
        )
    room_for(options, [options.model, options.text, options.a, options.b])
    done = compared(
        *(request(options, sae) for sae in (options.a, options.b)),
        loss=not options.no_loss,
        others=[name.strip() for name in (options.formulas or "").split(",") if name.strip()],
        strict=options.strict,
        progress=show.progress,
    )
    delivered(options, done, show.comparison, show.comparison_json)
