"""``darkmatter measure``: a study, or one SAE of one model, or arrays that are already on disk."""

from __future__ import annotations

import sys
from pathlib import Path

from .errors import BadInput

ABOUT = """The decomposition of an SAE's error, with 95% intervals and null SAEs beside it.

  darkmatter measure tiny                                        every SAE of a study
  darkmatter measure --model FOLDER --sae FOLDER                 one SAE of one model; names on the hub do as well
  darkmatter measure --x x.npy --reconstruction hat.npy          arrays [token, d_model] (npy, or FILE.safetensors:NAME)
  darkmatter measure --x x.npy --sae FOLDER                      activations on disk, an SAE to reconstruct them
"""
PROBE = ("model", "site", "text", "documents", "positions", "dtype")
ARRAYS = ("x", "reconstruction", "document")


def add(commands, command) -> None:
    """Add the command to the parser; ``command`` is the command line's own way of doing so."""
    import argparse

    measure = command(commands, "measure", _measure, "the decomposition of a study's SAEs, of any SAE, or of arrays", study=False)
    measure.description, measure.formatter_class = ABOUT, argparse.RawDescriptionHelpFormatter
    measure.add_argument("study", nargs="?", help="name of a study, or the path of its YAML file")
    measure.add_argument("--model", help="transformers folder, or a name on the hub (owner/name@REVISION)")
    measure.add_argument("--sae", action="append", default=[], metavar="SAE", help="SAE folder of any published format, "
                         "or SAELens' release/id; of a study: only this id (may be repeated)")  # fmt: skip
    measure.add_argument("--site", help="where the SAE reads, e.g. blocks.8.hook_resid_pre (what the SAE says)")
    measure.add_argument("--text", help=".txt, .jsonl or .parquet file, a folder of them, a dataset on the hub "
                         "(owner/name), or embedded (embedded)")  # fmt: skip
    measure.add_argument("--documents", type=int, help="at most so many (300)")
    measure.add_argument("--positions", metavar="FIRST:END", help="positions that count, e.g. 200:1023 (from an eighth of "
                         "the context, at most 200, to its end, at most 1024)")  # fmt: skip
    measure.add_argument("--packed", action="store_true", help="short documents share a context, which then stands for a "
                         "document in folds and intervals (one context each)")  # fmt: skip
    measure.add_argument("--dtype", help="of the model: float32 (default), bfloat16, float16, float64")
    measure.add_argument("--sae-dtype", help="of the SAE; its thresholds are never below float32 (float32)")
    measure.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 ... (cpu)")
    measure.add_argument("--folds", type=int, default=5, help="of documents (5)")
    measure.add_argument("--bootstrap", type=int, default=1000, help="resamples of documents for an interval (1000)")
    measure.add_argument("--seed", type=int, default=0, help="of folds, resamples and nulls (0)")
    measure.add_argument("--x", metavar="FILE", help="activations [token, d_model] on disk")
    measure.add_argument("--reconstruction", metavar="FILE", help="the SAE's reconstruction of --x, on disk")
    measure.add_argument("--document", metavar="FILE", help="document of each row of --x, whole numbers [token]")
    measure.add_argument("--json", metavar="FILE", help="write the numbers to FILE as well")
    measure.add_argument("--html", metavar="FILE", help="write a page that opens offline to FILE as well")
    measure.add_argument("--saebench", metavar="FILE", help="write the result in SAEBench's shape to FILE as well")
    measure.add_argument("--dry-run", action="store_true", help="say what would be downloaded, computed and stored")
    measure.add_argument("--strict", action="store_true", help="a warning is an error (exit status 2)")


def _measure(options) -> None:
    given = [name for name in PROBE + ARRAYS if getattr(options, name) is not None]
    if options.study is not None:
        if given or options.html or options.saebench or options.dry_run or options.sae_dtype or options.packed:
            extra = (given + [n for n in ("html", "saebench", "dry_run", "sae_dtype", "packed") if getattr(options, n)])[0]
            raise BadInput(f"a study says its model, text and window itself: leave out --{extra.replace('_', '-')}, or the study")
        _study(options)
    elif any(name in ARRAYS for name in given):
        _arrays(options, given)
    elif options.model is None and not options.sae:
        raise BadInput("give a study (darkmatter measure tiny), or --model and --sae, or --x; see: darkmatter measure --help")
    else:
        _probe(options)


def _study(options) -> None:
    from . import listing, warning_signs
    from .measurement import measure
    from .study import Study

    study = Study.load(options.study)
    _room_for(options)
    chosen = [study.sae(name).id for name in options.sae]
    measured = measure(study, progress=_progress)
    saes = measured.saes[measured.saes["id"].isin(chosen)] if chosen else measured.saes
    _print(listing.table(saes, title=f"{study.title} · {study.site}"))
    warnings = warning_signs.of_study(measured)
    for line in warnings:
        print(f"warning: {line}")
    _write(options, json=lambda: listing.to_json(study, saes, warnings))
    if options.strict and warnings:
        raise BadInput(f"strict: {'; '.join(warnings)}")


def _probe(options) -> None:
    if options.model is None or len(options.sae) != 1:
        lacks = "--model" if options.model is None else "one --sae"
        raise BadInput(f"{lacks} is missing: give --model and one --sae, each a folder or a name on the hub")
    from . import forecast, locations, probe, probe_page, reading, saebench

    asked = dict(model=options.model, sae=options.sae[0], site=options.site, text=options.text,
                 documents=options.documents, dtype=options.dtype, sae_dtype=options.sae_dtype, device=options.device,
                 packed=options.packed, folds=options.folds, bootstrap=options.bootstrap, seed=options.seed,
                 positions=reading.window(options.positions) if options.positions else None)  # fmt: skip
    request = probe.Request(**{name: value for name, value in asked.items() if value is not None})
    if options.dry_run:
        missing = locations.downloads(request.model, request.sae)
        lines = forecast.before_download(request, missing) if missing else forecast.lines(probe.plan(request))
        for line in lines:
            print(line)
        return
    _room_for(options)

    def deliver(done) -> None:
        _print(probe_page.table(done))
        for line in probe_page.reading(done) + [f"warning: {line}" for line in done.warnings]:
            print(line)
        _write(options, json=lambda: probe_page.to_json(done), html=lambda: probe_page.to_html(done),
               saebench=lambda: saebench.to_json(done))

    probe.probe(request, strict=options.strict, progress=_progress, deliver=deliver)


def _arrays(options, given: list[str]) -> None:
    if wrong := [name for name in given if name not in ARRAYS]:
        raise BadInput(f"--{wrong[0]} is about a model's text, but activations come from --x; leave one of them out")
    if options.x is None:
        raise BadInput(f"--{given[0]} needs --x, the activations [token, d_model]")
    from . import arrays, probe_page, saebench

    if (options.reconstruction is None) == (len(options.sae) != 1):
        raise BadInput("with --x give either --reconstruction FILE or one --sae")
    if options.dry_run:
        for line in arrays.facts(options.x, options.reconstruction):
            print(line)
        return
    _room_for(options)
    done = arrays.measure(options.x, options.reconstruction or None, document=options.document,
                          sae=options.sae[0] if options.sae else None, folds=options.folds, bootstrap=options.bootstrap,
                          seed=options.seed, device=options.device, sae_dtype=options.sae_dtype or "float32",
                          strict=options.strict, progress=_progress)  # fmt: skip
    _print(probe_page.table(done))
    for line in probe_page.reading(done) + [f"warning: {line}" for line in done.warnings]:
        print(line)
    _write(options, json=lambda: probe_page.to_json(done), html=lambda: probe_page.to_html(done),
               saebench=lambda: saebench.to_json(done))
    if options.strict and done.warnings:
        raise BadInput(f"strict: {'; '.join(done.warnings)}")


def _room_for(options) -> None:
    """BadInput now, not after an hour, where an answer could not be written."""
    for name in ("json", "html", "saebench"):
        path = getattr(options, name)
        if path and not Path(path).absolute().parent.is_dir():
            raise BadInput(f"--{name} {path}: there is no folder {Path(path).parent}")
        if path and Path(path).is_dir():
            raise BadInput(f"--{name} {path} is a folder; give a file")


def _write(options, **makers) -> None:
    for name, make in makers.items():
        if path := getattr(options, name):
            Path(path).write_text(make(), encoding="utf-8")
            print(f"{dict(json='numbers', html='page').get(name, name)}: {path}")


def _print(shown) -> None:
    from rich.console import Console

    # A table that is piped into a file is not folded at 80 columns.
    Console(width=None if sys.stdout.isatty() else 160, highlight=False).print(shown)


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
