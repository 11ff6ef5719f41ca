"""``darkmatter measure``: a study, or one SAE of one model, or arrays that are already on disk."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ..base import listing
from ..base.errors import BadInput

ABOUT = """The decomposition of an SAE's error, with 95% intervals and null SAEs beside it.

  darkmatter measure tiny                                  every SAE of a study
  darkmatter measure --model FOLDER --sae FOLDER           one SAE of one model; names on the hub do as well
  darkmatter measure --x x.npy --reconstruction hat.npy    arrays [token, d_model] (npy, FILE.safetensors:X)
  darkmatter measure --x x.npy --sae FOLDER                activations on disk, an SAE to reconstruct them
"""
PROBE = ("model", "site", "text", "documents", "positions", "dtype")
ARRAYS = ("x", "reconstruction", "document")
OUTPUTS = ("json", "html", "saebench")
DEFAULTS = {"device": "cpu", "folds": 5, "bootstrap": 1000, "seed": 0, "sae_dtype": "float32"}
"""Of what a study says itself."""


def add(commands, command) -> None:
    """Add the command to the parser; ``command`` is the command line's own way of doing so."""
    import argparse

    measure = command(
        commands,
        "measure",
        _measure,
        "the decomposition of a study's SAEs, of any SAE, or of arrays",
        study=False,
    )
    known = "\n".join(f"  {line}" for line in listing.about("darkmatter_utils.adapters.formats").values())
    measure.description = f"{ABOUT}\nAn SAE's folder is recognised by its files:\n\n{known}"
    measure.formatter_class = argparse.RawDescriptionHelpFormatter
    measure.add_argument("study", nargs="?", help="name of a study, or the path of its YAML file")
    measure.add_argument("--model", help="transformers folder, or a name on the hub (owner/name@REVISION)")
    measure.add_argument(
        "--sae",
        action="append",
        default=[],
        metavar="SAE",
        help="SAE folder of any published format, "
        "or SAELens' release/id; of a study: only this id (may be repeated)",
    )
    measure.add_argument(
        "--site", help="where the SAE reads, e.g. blocks.8.hook_resid_pre (what the SAE says)"
    )
    measure.add_argument(
        "--text",
        help='.jsonl (a line with "text" is a document), .parquet (column text) or .txt '
        "(one document) file, a folder of them, a dataset on the hub (owner/name), or embedded (embedded)",
    )
    measure.add_argument("--documents", type=int, help="at most so many (300)")
    measure.add_argument(
        "--positions",
        metavar="FIRST:END",
        help="positions that count, e.g. 200:1023 (from an eighth of "
        "the context, at most 200, to its end, at most 1024)",
    )
    measure.add_argument(
        "--packed",
        action="store_true",
        help="short documents share a context, which then stands for a "
        "document in folds and intervals (one context each)",
    )
    measure.add_argument("--dtype", help="of the model: float32 (default), bfloat16, float16, float64")
    measure.add_argument("--sae-dtype", help="of the SAE; its thresholds are never below float32 (float32)")
    measure.add_argument("--device", help="cpu, cuda, cuda:1 ... (cpu)")
    measure.add_argument("--folds", type=int, help="of documents (5)")
    measure.add_argument("--bootstrap", type=int, help="resamples of documents for an interval (1000)")
    measure.add_argument("--seed", type=int, help="of folds, resamples and nulls (0)")
    measure.add_argument("--x", metavar="FILE", help="activations [token, d_model] on disk")
    measure.add_argument("--reconstruction", metavar="FILE", help="the SAE's reconstruction of --x, on disk")
    measure.add_argument(
        "--document", metavar="FILE", help="document of each row of --x, whole numbers [token]"
    )
    measure.add_argument("--json", metavar="FILE", help="write the numbers to FILE as well")
    measure.add_argument("--html", metavar="FILE", help="write a page that opens offline to FILE as well")
    measure.add_argument(
        "--saebench", metavar="FILE", help="write the result in SAEBench's shape to FILE as well"
    )
    measure.add_argument(
        "--dry-run", action="store_true", help="say what would be downloaded, computed and stored"
    )
    measure.add_argument("--strict", action="store_true", help="a warning is an error (exit status 2)")


def _measure(options) -> None:
    given = [name for name in PROBE + ARRAYS if getattr(options, name) is not None]
    if options.study is not None:
        own = [
            *given,
            *(
                name
                for name in ("html", "saebench", "dry_run", "packed", *DEFAULTS)
                if getattr(options, name) not in (None, False)
            ),
        ]
        if own:
            raise BadInput(
                f"a study says its model, text and window itself: leave out "
                f"--{own[0].replace('_', '-')}, or the study"
            )
        return _study(options)
    for name, value in DEFAULTS.items():
        setattr(options, name, value if getattr(options, name) is None else getattr(options, name))
    if any(name in ARRAYS for name in given):
        _arrays(options, given)
    elif options.model is None and not options.sae:
        raise BadInput(
            "give a study (darkmatter measure tiny), or --model and --sae, or --x; see: darkmatter "
            "measure --help"
        )
    else:
        _probe(options)


def _study(options) -> None:
    from ..measurement import about
    from ..measurement.measure import measure
    from ..studies.study import Study
    from . import listing as study_listing

    study = Study.load(options.study)
    _room_for(options)
    chosen = [study.sae(name).id for name in options.sae]
    measured = measure(study, progress=_progress)
    saes = measured.saes[measured.saes["id"].isin(chosen)] if chosen else measured.saes
    warnings = about.of_study(measured)
    said = _write(options, json=lambda: study_listing.as_json(study, saes, warnings))
    _print(study_listing.table(saes, title=f"{study.title} · {study.site}"))
    for line in [*(f"warning: {line}" for line in warnings), *said]:
        print(line)
    if options.strict and warnings:
        raise BadInput(f"strict: {'; '.join(warnings)}")


def _probe(options) -> None:
    if len(options.sae) > 1:
        raise BadInput(
            f"--sae is given {len(options.sae)} times: one SAE is measured at a time; a study holds "
            f"several (darkmatter study new)"
        )
    if options.model is None or not options.sae:
        lacks = "--model" if options.model is None else "--sae"
        raise BadInput(f"{lacks} is missing: give --model and --sae, each a folder or a name on the hub")
    from ..adapters import contexts, hub
    from ..measurement import forecast
    from ..measurement import one_sae as probe

    asked = dict(
        model=options.model,
        sae=options.sae[0],
        site=options.site,
        text=options.text,
        documents=options.documents,
        dtype=options.dtype,
        sae_dtype=options.sae_dtype,
        device=options.device,
        packed=options.packed,
        folds=options.folds,
        bootstrap=options.bootstrap,
        seed=options.seed,
        positions=contexts.window(options.positions) if options.positions else None,
    )
    request = probe.Request(**{name: value for name, value in asked.items() if value is not None})
    _room_for(options)
    if options.dry_run:
        missing = hub.downloads(request.model, request.sae)
        lines = forecast.before_download(request, missing) if missing else forecast.lines(probe.plan(request))
        for line in lines:
            print(line)
        return
    probe.probe(
        request, strict=options.strict, progress=_progress, deliver=lambda done: _deliver(options, done)
    )


def _arrays(options, given: list[str]) -> None:
    if wrong := [name for name in given if name not in ARRAYS]:
        raise BadInput(
            f"--{wrong[0]} is about a model's text, but activations come from --x; leave one of them out"
        )
    if options.x is None:
        raise BadInput(f"--{given[0]} needs --x, the activations [token, d_model]")
    from ..measurement import arrays

    if (options.reconstruction is None) == (len(options.sae) != 1):
        raise BadInput("with --x give either --reconstruction FILE or one --sae")
    _room_for(options)
    if options.dry_run:
        for line in arrays.facts(options.x, options.reconstruction):
            print(line)
        return
    done = arrays.measure(
        options.x,
        options.reconstruction or None,
        document=options.document,
        sae=options.sae[0] if options.sae else None,
        folds=options.folds,
        bootstrap=options.bootstrap,
        seed=options.seed,
        device=options.device,
        sae_dtype=options.sae_dtype,
        strict=options.strict,
        progress=_progress,
    )
    _deliver(options, done)
    if options.strict and done.warnings:
        raise BadInput(f"strict: {'; '.join(done.warnings)}")


def _room_for(options) -> None:
    """BadInput now, not after an hour, where an answer could not be written or would take the place of what
    it is about."""
    inputs = [
        getattr(options, name) for name in ("x", "reconstruction", "document", "text", "model", "study")
    ] + list(options.sae)
    taken: dict[Path, str] = {
        Path(str(given).partition(":")[0]).absolute(): "is an input" for given in inputs if given
    }
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
            if path.exists() and not path.is_file():
                path.open("a").close()
            else:
                _part(path).open("w").close()
                _part(path).unlink()
        except OSError as error:
            raise BadInput(f"--{name} {path} cannot be written ({error.strerror})") from None


def _write(options, **makers) -> list[str]:
    """Write what was asked for, each file in one step; what to say of it."""
    said = []
    for name, make in makers.items():
        if given := getattr(options, name):
            path, text = Path(given), make()
            if path.exists() and not path.is_file():  # a pipe, a terminal
                path.write_text(text, encoding="utf-8")
            else:
                try:
                    _part(path).write_text(text, encoding="utf-8")
                    _part(path).replace(path)
                finally:
                    _part(path).unlink(missing_ok=True)
            said.append(f"{dict(json='numbers', html='page').get(name, name)}: {path}")
    return said


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name[:200]}.{os.getpid()}.part")


def _deliver(options, done) -> None:
    """Files first: a reader of the table who leaves early takes nothing with him."""
    from . import probe_page, saebench

    said = _write(
        options,
        json=lambda: probe_page.to_json(done),
        html=lambda: probe_page.to_html(done),
        saebench=lambda: saebench.to_json(done),
    )
    _print(probe_page.table(done))
    for line in [*probe_page.reading(done), *(f"warning: {line}" for line in done.warnings), *said]:
        print(line)


def _print(shown) -> None:
    from rich.console import Console

    # A table that is piped into a file is not folded at 80 columns.
    Console(width=None if sys.stdout.isatty() else 160, highlight=False).print(shown)


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
