"""What the ``darkmatter`` command takes; nothing heavy is imported: help and a wrong argument answer at once.

Each command says which function runs it, as module:function of this folder; `cli.main` loads it by name.
"""

from __future__ import annotations

import argparse
from importlib.metadata import version

from ..base.config import first_lines
from ..base.errors import BadInput

COMING = "gpt2 pythia-70m gemma-3-270m qwen3-1.7b gemma-2-2b gemma-2-9b llama-3.1-8b".split()
"""Recipes in the package."""
TRAINABLE = ("tiny", "nano")
"""Studies that ``darkmatter train`` makes from seed."""
MEASURE = """The decomposition of an SAE's error, with 95% intervals and null SAEs beside it.

  darkmatter measure tiny                                  every SAE of a study
  darkmatter measure --model FOLDER --sae FOLDER           one SAE of one model; names on the hub do as well
  darkmatter measure --x x.npy --reconstruction hat.npy    arrays [token, d_model] (npy, FILE.safetensors:X)
  darkmatter measure --x x.npy --sae FOLDER                activations on disk, an SAE to reconstruct them

An SAE's folder is recognised by its files:

"""
PROBE = ("model", "site", "text", "documents", "positions", "dtype")
ARRAYS = ("x", "reconstruction", "document")
DEFAULTS = {"device": "cpu", "folds": 5, "bootstrap": 1000, "seed": 0, "sae_dtype": "float32"}
"""Of what a study says itself."""
CASES = 24
"""Documents that `doctor` reads: some 5,000 tokens."""


class _Parser(argparse.ArgumentParser):
    """Complains in one line."""

    def error(self, message: str):
        raise BadInput(f"{message}; see: {self.prog} --help")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = _Parser(prog="darkmatter", description="Run, check and render the chapters; measure a study.")
    top.add_argument("--version", action="version", version=f"darkmatter {version('darkmatter-utils')}")
    commands = top.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    run = _of_study(commands, "run", "run chapters by papermill, whether stale or not")
    run.add_argument("chapters", nargs="*", metavar="NN", help="number or name of a chapter")
    run.add_argument("--all", action="store_true", help="every chapter")
    pair = dict(nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    run.add_argument("-p", help="a chapter's parameter", **pair)
    build = _of_study(commands, "build", "run what is stale, render, compare with what is published")
    build.add_argument("--all", action="store_true", help="run every chapter, stale or not")
    anew = "read no result that the repository stores (book/results), only those that were computed here"
    only = "stored: compute nothing, draw and judge from stored results"
    over = "carried: the same, where code alone has changed since they were computed, and no number"
    shipped = "shipped: only the SAEs whose weights are here, compared with their published numbers"
    without = {"stored": only, "carried": over}
    for one, choices in ((run, without | {"shipped": shipped}), (build, without)):
        one.add_argument("--recompute", action="store_true", help=anew)
        one.add_argument("--only", choices=list(choices), help="; ".join(choices.values()))
    _of_study(commands, "render", "build the pages from the chapters as they were last run")
    _of_study(commands, "status", "say which chapters are stale, and why")
    about = "where a figure's cell, its numbers and its rule are"
    where = _command(commands, "where", "commands:where", about)
    where.add_argument("figure", help="its name, as prose refers to it: fig-flat")
    publish = _command(commands, "publish", "commands:publish", "make the last builds the published edition")
    several = "as for build; several (--study tiny --study world) where the report of one reads the other"
    publish.add_argument("--study", action="append", help=several)
    about = "train a suite of SAEs, or an embedded study from seed; goes on where it was cut off"
    train = _command(commands, "train", _train, about)
    train.add_argument("study", help=f"a suite's .yaml file or name, or {', '.join(TRAINABLE)}")
    train.add_argument(
        "--only", action="append", default=[], metavar="SAE", help="only this one (repeatable)"
    )
    train.add_argument("--build", help="folder of activations and checkpoints (build/train/NAME)")
    train.add_argument("--text", help="in place of the suite's, as for measure")
    train.add_argument("--workers", type=int, default=2, help="SAEs at a time, a thread each (2)")
    train.add_argument("--keep", action="store_true", help="all sites' activations at once, none deleted")
    train.add_argument("--device", help="cpu or cuda, in place of the suite's")
    train.add_argument("--dry-run", action="store_true", help="only say what it takes")
    about = "make the tables of data/calibration anew by simulation: what intervals and rules are worth"
    calibrate = _command(commands, "calibrate", "commands:calibrate", about)
    calibrate.add_argument("tables", nargs="*", metavar="TABLE", help="coverage, rules or trained (all)")
    _measure_arguments(commands)
    _compare_arguments(commands)
    _doctor_arguments(commands)
    _study_arguments(commands)
    return top


def _command(commands, name: str, target, about: str) -> argparse.ArgumentParser:
    """target: module:function, or a function of the options that returns one."""
    command = commands.add_parser(name, help=about, description=about)
    command.set_defaults(target=target)
    return command


def _of_study(commands, name: str, about: str) -> argparse.ArgumentParser:
    command = _command(commands, name, f"commands:{name}", about)
    command.add_argument(
        "--study", default="tiny", help="name of a study or the path of its YAML file (tiny)"
    )
    return command


def _train(options) -> str:
    return "commands:train_shipped" if options.study in TRAINABLE else "commands:train"


def _measure_arguments(commands) -> None:
    about = "the decomposition of a study's SAEs, of any SAE, or of arrays"
    measure = _command(commands, "measure", _measure, about)
    formats = first_lines("darkmatter_utils.adapters.formats").values()
    measure.description = MEASURE + "\n".join(f"  {line}" for line in formats)
    measure.formatter_class = argparse.RawDescriptionHelpFormatter
    add = measure.add_argument
    add("study", nargs="?", help="name of a study, or the path of its YAML file")
    sae = "SAE folder of any format, or SAELens' release/id; of a study: only this id (may be repeated)"
    add("--sae", action="append", default=[], metavar="SAE", help=sae)
    _of_one_text(add)
    _of_bare_weights(add)
    add("--x", metavar="FILE", help="activations [token, d_model] on disk")
    add("--reconstruction", metavar="FILE", help="the SAE's reconstruction of --x, on disk")
    add("--document", metavar="FILE", help="document of each row of --x, whole numbers [token]")
    add(
        "--json",
        metavar="FILE",
        help="write the numbers to FILE as well (-: to standard output, all else beside it)",
    )
    add("--html", metavar="FILE", help="write a page that opens offline to FILE as well")
    add("--saebench", metavar="FILE", help="write the result in SAEBench's shape to FILE as well")
    add("--dry-run", action="store_true", help="say what would be downloaded, computed and stored")
    add("--strict", action="store_true", help="a warning is an error (exit status 2)")


def _measure(options) -> str:
    """Which of the three measurements is asked for; BadInput for options that do not go together."""
    given = [name for name in PROBE + ARRAYS if getattr(options, name) is not None]
    if options.study is not None:
        said = [n for n in ("html", "saebench", "dry_run", "packed", *DEFAULTS) if getattr(options, n)]
        if own := given + said:
            option = f"--{own[0].replace('_', '-')}"
            raise BadInput(
                f"a study says its model, text and window itself: leave out {option}, or the study"
            )
        return "measuring:every_sae"
    for name, value in DEFAULTS.items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    if any(name in ARRAYS for name in given):
        if wrong := [name for name in given if name not in ARRAYS]:
            other = "is about a model's text, but activations come from --x; leave one of them out"
            raise BadInput(f"--{wrong[0]} {other}")
        if options.x is None:
            raise BadInput(f"--{given[0]} needs --x, the activations [token, d_model]")
        if (options.reconstruction is None) == (len(options.sae) != 1):
            raise BadInput("with --x give either --reconstruction FILE or one --sae")
        return "measuring:of_arrays"
    if options.model is None and not options.sae:
        ways = "give a study (darkmatter measure tiny), or --model and --sae, or --x"
        raise BadInput(f"{ways}; see: darkmatter measure --help")
    if len(options.sae) > 1:
        several = "one SAE is measured at a time; a study holds several (darkmatter study new)"
        raise BadInput(f"--sae is given {len(options.sae)} times: {several}")
    if options.model is None or not options.sae:
        lacks = "--model" if options.model is None else "--sae"
        raise BadInput(f"{lacks} is missing: give --model and --sae, each a folder or a name on the hub")
    return "measuring:one_sae"


def _compare_arguments(commands) -> None:
    about = "two SAEs of one site on the same tokens: by how much they differ, paired by document"
    compare = _command(commands, "compare", "measuring:compare", about)
    add = compare.add_argument
    for name in ("a", "b"):
        add(name, metavar=name.upper(), help="SAE folder of any format, or SAELens' release/id")
    _of_one_text(add)
    add(
        "--no-loss",
        action="store_true",
        help="leave out the model's loss, which takes three whole runs of it",
    )
    others = "also FVU by the formulas that others print: saelens-6.18, saebench-legacy, sparsify"
    add("--formulas", metavar="NAME,...", help=others)
    add("--json", metavar="FILE", help="write the numbers to FILE as well (-: to standard output)")
    add("--strict", action="store_true", help="a warning is an error (exit status 2)")
    compare.set_defaults(**DEFAULTS)


def _of_bare_weights(add) -> None:
    """What the files of some SAEs do not say."""
    bare = "of weights that do not say how they are run: "
    add("--k", type=int, help=bare + "only the k largest latents of a token count")
    add("--threshold", type=float, help=bare + "only latents above it count")
    taken_off = bare + "b_dec is taken off before the encoder"
    add("--b-dec-in", action="store_true", default=None, help=taken_off)


def _of_one_text(add) -> None:
    """What a model reads for the SAEs of `measure` and `compare`, and what their intervals are made of."""
    _of_a_text(add)
    add("--folds", type=int, help="of documents (5)")
    add("--bootstrap", type=int, help="resamples of documents for an interval (1000)")
    add("--seed", type=int, help="of folds, resamples and nulls (0)")


def _of_a_text(add, documents: int = 300) -> None:
    """What a model reads, and how it runs."""
    where = "transformers folder, GGUF file, package:NAME or name on the hub"
    add("--model", help=f"{where} (owner/name@REVISION)")
    add("--site", help="where the SAE reads, e.g. blocks.8.hook_resid_pre (what the SAE says)")
    files = '.jsonl (a line with "text" is a document), .parquet (column text) or .txt (one document) file'
    folder = "a folder of them, a dataset on the hub (owner/name), or embedded (embedded)"
    add("--text", help=f"{files}, {folder}")
    add("--documents", type=int, help=f"at most so many ({documents})")
    count = "positions that count, e.g. 200:1023 (from an eighth, at most 200, of a context of at most 1024)"
    add("--positions", metavar="FIRST:END", help=count)
    packed = "short documents share a context, which folds and intervals take for a document (one each)"
    add("--packed", action="store_true", help=packed)
    add("--dtype", help="of the model: float32 (default), bfloat16, float16, float64")
    add("--sae-dtype", help="of the SAE; its thresholds are never below float32 (float32)")
    add("--device", help="cpu, cuda, cuda:1 ... (cpu)")


def _doctor_arguments(commands) -> None:
    about = "why an SAE fits a model badly: what people get wrong is tried, and named if FVU falls by a third"
    doctor = _command(commands, "doctor", "measuring:doctor", about)
    add = doctor.add_argument
    add("--sae", metavar="SAE", help="SAE folder of any format, or SAELens' release/id")
    _of_a_text(add, documents=CASES)
    _of_bare_weights(add)
    add("--l0", type=float, help="the SAE's L0 as published (what the SAE says)")
    add("--models", metavar="NAME,...", help="other models that it may be of, each as --model")
    add("--json", metavar="FILE", help="write the numbers to FILE as well (-: to standard output)")
    doctor.set_defaults(**DEFAULTS)


def _study_arguments(commands) -> None:
    about = "a study of your own: new, check, prepare; its results: export, import, verify"
    study = _command(commands, "study", None, about)
    actions = study.add_subparsers(required=True, metavar="ACTION", parser_class=_Parser)
    new = _command(actions, "new", "commands:new", "write a study of ten lines to start from")
    new.add_argument("file", help="the .yaml file to write")
    new.add_argument("--model", default="gpt2", help="as `measure --model` (gpt2)")
    new.add_argument("--sae", default="gpt2-small-res-jb/blocks.8.hook_resid_pre", help="SAE folder or name")
    new.add_argument("--text", default="embedded", help="text file, folder, dataset, or embedded")
    for name, about in {
        "check": "validate a study and say what it costs; nothing is downloaded",
        "prepare": "bring a study's files here and store its tokens and SAEs",
    }.items():
        action = _command(actions, name, f"commands:{name}", about)
        action.add_argument("study", help="a .yaml file, or one that comes along: " + ", ".join(COMING))
    about = "write a study's results to a folder, to be read on another machine"
    export = _command(actions, "export", "commands:export", about)
    export.add_argument("study", help="name of a study, or the path of its YAML file")
    export.add_argument("folder", help="the folder to write")
    bring_in = _command(
        actions, "import", "commands:bring_in", "put the results of such a folder into the cache here"
    )
    verify = _command(actions, "verify", "commands:verify", "check such a folder against its digests")
    for action in (bring_in, verify):
        action.add_argument("folder", help="of study export, or of book/results")
