"""What `compare` does: two SAEs on the same tokens, a table, one line."""

from __future__ import annotations

import sys
from contextlib import nullcontext, redirect_stdout
from pathlib import Path

from ..base.errors import BadInput
from ..base.values import write_atomic
from ..measurement.two_saes import compare as compared
from . import show
from .measuring import STDOUT, request, room_for
from .show import say


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
    if options.json and options.json != STDOUT:
        write_atomic(Path(options.json), show.comparison_json(done))
    with redirect_stdout(sys.stderr) if options.json == STDOUT else nullcontext():
        show.show(show.comparison(done))
        for line in [*done.reading(), *(f"warning: {line}" for line in done.warnings)]:
            say(line)
        if options.json and options.json != STDOUT:
            say(f"numbers: {options.json}")
    if options.json == STDOUT:
        say(show.comparison_json(done))
