"""The ``darkmatter`` command.

Exit status: 0 done; 1 a build whose numbers are not the published ones, or a fault of this program; 2 input
that cannot be used or a full disk; 130 interrupted. Each but the first two is one line on stderr.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

from ..base.config import cache_folder
from ..base.errors import NO_ROOM, BadInput
from .arguments import parser

EXTRAS = {
    "models": ("transformers", "transformer_lens", "sae_lens", "tokenizers", "gguf"),
    "book": ("papermill", "jupytext", "nbformat", "jupyter_book", "sphinx", "ipykernel"),
}
"""What an installation without extras lacks, by the extra that brings it."""
INTERRUPTED = "interrupted; what was finished is kept, the same command goes on from there"


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit status."""
    _streams()
    try:
        options = parser().parse_args(arguments)
        try:
            cache_folder()
        except RuntimeError:  # no home folder
            known = "no home folder is known, where results would be kept"
            raise BadInput(f"{known}; set DARKMATTER_CACHE to a folder that can be written") from None
        target = options.target if isinstance(options.target, str) else options.target(options)
        module, _, function = target.partition(":")
        run = getattr(importlib.import_module(f".{module}", __name__), function)
        status = run(options) or 0
        sys.stdout.flush()
        return status
    except BadInput as error:
        return _stop(2, " ".join(str(error).split()))
    except KeyboardInterrupt:
        return _stop(130, INTERRUPTED)
    except BrokenPipeError:  # whoever reads has left; what was asked for as a file was written first
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        needs = next((extra for extra, names in EXTRAS.items() if package in names), "")
        way = f"is not installed here: pip install 'darkmatter-utils[{needs}]'"
        return _stop(2, f"this needs {package}, which {way}") if needs else _failed(error)
    except Exception as error:  # noqa: BLE001  a traceback is no user interface
        return _failed(error)


def _streams() -> None:
    """What a stream cannot write is replaced; one that is closed writes to nowhere."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:  # what is opened takes the lowest number, before a file of ours does
            setattr(sys, name, open(os.devnull, "w" if number else "r", encoding="utf-8"))
        elif number and hasattr(stream := getattr(sys, name), "reconfigure"):
            stream.reconfigure(errors="replace")


def _failed(error: Exception) -> int:
    """What to say of an error not foreseen, or that a library made of a full disk, a folder or Ctrl-C."""
    number = getattr(error, "errno", None)
    if number in NO_ROOM or any(os.strerror(code) in str(error) for code in NO_ROOM):
        free = "free some space and give the same command again"
        return _stop(2, f"the disk is full ({_where(error)}); {free}")
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        path = Path(os.fsdecode(error.filename))
        kept = "; results are kept there: set DARKMATTER_CACHE to a folder that can be written"
        return _stop(2, f"{path}: {error.strerror}{kept if path.is_relative_to(cache_folder()) else ''}")
    chain: BaseException | None = error
    while chain is not None:  # an import that is interrupted may turn Ctrl-C into an error of its own
        if isinstance(chain, KeyboardInterrupt):
            return _stop(130, INTERRUPTED)
        chain = chain.__context__
    if os.environ.get("DARKMATTER_TRACE"):
        raise error
    line = " ".join(str(error).split())[:400]
    return _stop(1, f"fault: {type(error).__name__}: {line} (with DARKMATTER_TRACE=1 it says where)")


def _where(error: Exception) -> str:
    """The file that did not fit, or the folders here that have no room."""
    if getattr(error, "filename", None):
        return str(error.filename)
    used = map(Path.absolute, (cache_folder(), Path.cwd(), Path(tempfile.gettempdir())))
    places = [next(p for p in (path, *path.parents) if p.exists()) for path in used]
    full = [str(path) for path in dict.fromkeys(places) if shutil.disk_usage(path).free < 1 << 24]
    return ", ".join(full) or ", ".join(dict.fromkeys(map(str, places)))


def _stop(status: int, line: str) -> int:
    with contextlib.suppress(OSError):  # nobody reads it; the status is all that can be said
        print(f"darkmatter: {line}", file=sys.stderr)
    return status
