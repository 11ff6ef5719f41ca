"""The ``darkmatter`` command.

Exit status: 0 done; 1 a build whose numbers are not the published ones, or a fault of this program; 2 input
that cannot be used or a full disk; 130 interrupted. Each but the first two is one line on stderr.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from ..base.errors import BadInput, nearest
from ..book.running import NO_ROOM
from . import measure_command, study_command

TRAINABLE = ("tiny",)
"""Studies that ``darkmatter train`` makes from seed."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit status."""
    try:
        options = parser().parse_args(arguments)
        return options.command(options) or 0
    except BadInput as error:
        return _stop(2, " ".join(str(error).split()))
    except KeyboardInterrupt:
        return _stop(130, INTERRUPTED)
    except BrokenPipeError:  # whoever reads has left; what was asked for as a file was written first
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001  a traceback is no user interface
        return _failed(error)


INTERRUPTED = "interrupted; what was finished is kept, the same command goes on from there"


def _failed(error: Exception) -> int:
    """What to say of an error that no one foresaw, or of a disk, a folder or Ctrl-C that some library made
    one of."""
    number = getattr(error, "errno", None)
    if number in NO_ROOM or any(os.strerror(code) in str(error) for code in NO_ROOM):
        return _stop(
            2, f"the disk is full ({_where(error)}); free some space and give the same command again"
        )
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        from ..base.cache import cache_folder

        path = Path(os.fsdecode(error.filename))
        what = (
            "; results are kept there: set DARKMATTER_CACHE to a folder that can be written"
            if path.is_relative_to(cache_folder())
            else ""
        )
        return _stop(2, f"{path}: {error.strerror}{what}")
    chain: BaseException | None = error
    while chain is not None:  # an import that is interrupted may turn Ctrl-C into an error of its own
        if isinstance(chain, KeyboardInterrupt):
            return _stop(130, INTERRUPTED)
        chain = chain.__context__
    return _fault(error)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = _Parser(prog="darkmatter", description="Run, check and render the chapters; measure a study.")
    commands = top.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    run = _command(commands, "run", _run, "run chapters by papermill, whether stale or not")
    run.add_argument("chapters", nargs="*", metavar="NN", help="number or name of a chapter")
    run.add_argument("--all", action="store_true", help="every chapter")
    run.add_argument(
        "-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="a chapter's parameter"
    )
    build = _command(commands, "build", _build, "run what is stale, render, compare with what is published")
    build.add_argument("--all", action="store_true", help="run every chapter, stale or not")
    _command(commands, "render", _render, "build the pages from the chapters as they were last run")
    _command(commands, "status", _status, "say which chapters are stale, and why")
    where = _command(
        commands, "where", _places, "where a figure's cell, its numbers and its rule are", study=False
    )
    where.add_argument("figure", help="its name, as prose refers to it: fig-flat")
    _command(commands, "publish", _publish, "make the last build the published edition, in book/")
    train = _command(
        commands,
        "train",
        _train,
        "make an embedded study from seed; goes on where it was cut off",
        study=False,
    )
    train.add_argument("study", help=f"one of: {', '.join(TRAINABLE)}")
    measure_command.add(commands, _command)
    study_command.add(commands, _command)
    return top


class _Parser(argparse.ArgumentParser):
    """Complains in one line."""

    def error(self, message: str):
        raise BadInput(f"{message}; see: {self.prog} --help")


def _command(commands, name: str, function, about: str, *, study: bool = True) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=about, description=about)
    command.set_defaults(command=function)
    if study:
        command.add_argument(
            "--study", default="tiny", help="name of a study or the path of its YAML file (tiny)"
        )
    return command


def _run(options) -> None:
    import yaml

    from ..book import chapters, running

    root, study = _project(), _study(options.study)
    if options.all == bool(options.chapters):
        there = ", ".join(chapter.name for chapter in chapters.chapters(root))
        raise BadInput(f"name the chapters to run, or --all; there are: {there}")
    chosen = (
        chapters.run_order(root) if options.all else [chapters.pick(root, name) for name in options.chapters]
    )
    parameters = {name: yaml.safe_load(value) for name, value in options.p}
    if "study" in parameters:
        study = _study(str(parameters.pop("study")))
    for chapter in chosen:
        running.run(chapter, study=study, parameters=parameters, log=_say)


def _build(options) -> int:
    from ..book import agreement, running
    from ..book import render as book

    root, study = _project(), _study(options.study)
    running.build(root, study=study, every=options.all, log=_say)
    _say(str(book.render(root, study=study, log=_say)))
    found = agreement.compare(root, study)
    for line in found.lines():
        _say(line)
    return 1 if found.apart() else 0


def _publish(options) -> None:
    from ..book import agreement, publish

    root, study = _project(), _study(options.study)
    for line in agreement.compare(root, study).lines():
        _say(line)
    _say(f"{len(publish.publish(root, study=study))} files written to book/; look at git diff, then commit")


def _render(options) -> None:
    from ..book import render as book

    _say(str(book.render(_project(), study=_study(options.study), log=_say)))


def _status(options) -> None:
    from rich.table import Table

    from ..book import chapters, staleness

    root, study = _project(), _study(options.study)
    due = dict(staleness.due(root, study))
    table = Table("chapter", "state", "why", "last run here", box=None, pad_edge=False)
    for chapter in chapters.chapters(root):
        stamped, elsewhere = staleness.read_stamp(chapter, study), staleness.not_run_here(chapter, study)
        why = due.get(chapter, "")
        state = "fresh" if not why else "fresh, run elsewhere" if why == elsewhere else "stale"
        table.add_row(chapter.name, state, why, f"{stamped['seconds']:.0f} s" if stamped else "")
    _console().print(table)


def _places(options) -> None:
    from ..book.where import where

    places = where(_project(), options.figure)
    columns = [max(len(place[i]) for place in places) for i in (0, 1)]
    for what, file, name in places:
        _say(f"{what:<{columns[0]}}  {file:<{columns[1]}}  {name}".rstrip())


def _train(options) -> None:
    if options.study not in TRAINABLE:
        raise BadInput(f"'{options.study}' cannot be trained here; {nearest(options.study, TRAINABLE)}")
    from ..training import embedded_saes

    embedded_saes.train(log=_say)


def _project() -> Path:
    from ..book.chapters import project_root

    return project_root()


def _study(name: str) -> str:
    """A study's name as given, once it is known that it can be read."""
    from ..studies import recipes
    from ..studies.study import Study

    Study.load(name)
    return str(recipes.prepared(recipes.load(name))) if recipes.is_recipe(name) else name


def _console():
    from rich.console import Console

    # A table that is piped into a file is not folded at 80 columns.
    return Console(width=None if sys.stdout.isatty() else 160, highlight=False)


def _say(line: str) -> None:
    print(line, flush=True)


def _where(error: Exception) -> str:
    """The file that did not fit, or the folders here that have no room."""
    import shutil
    import tempfile

    from ..base.cache import cache_folder

    if getattr(error, "filename", None):
        return str(error.filename)
    places = [
        next(p for p in (path, *path.parents) if p.exists())
        for path in map(Path.absolute, (cache_folder(), Path.cwd(), Path(tempfile.gettempdir())))
    ]
    full = [str(path) for path in dict.fromkeys(places) if shutil.disk_usage(path).free < 1 << 24]
    return ", ".join(full) or ", ".join(dict.fromkeys(map(str, places)))


def _fault(error: Exception) -> int:
    if os.environ.get("DARKMATTER_TRACE"):
        raise error
    line = " ".join(str(error).split())[:400]
    return _stop(1, f"fault: {type(error).__name__}: {line} (with DARKMATTER_TRACE=1 it says where)")


def _stop(status: int, line: str) -> int:
    print(f"darkmatter: {line}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
