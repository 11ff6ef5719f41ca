"""What `doctor` does: what people get wrong about an SAE, tried; a table, and what is wrong most likely."""

from __future__ import annotations

import sys
from contextlib import nullcontext, redirect_stdout
from pathlib import Path

from ..base.errors import BadInput
from ..base.values import write_atomic
from ..measurement.doctor import diagnose
from . import show
from .arguments import CASES
from .measuring import STDOUT, request, room_for
from .show import say


def doctor(options) -> None:
    """A row a setting, by FVU, then the diagnosis; files first."""
    for name in ("model", "sae"):
        if getattr(options, name) is None:
            raise BadInput(f"--{name} is missing: give --model and --sae, each a folder or a name on the hub")
    options.documents = CASES if options.documents is None else options.documents
    others = [name.strip() for name in (options.models or "").split(",") if name.strip()]
    room_for(options, [options.model, options.text, options.sae, *others])
    done = diagnose(request(options, options.sae), models=others, l0=options.l0, progress=show.progress)
    if options.json and options.json != STDOUT:
        write_atomic(Path(options.json), show.diagnosis_json(done))
    with redirect_stdout(sys.stderr) if options.json == STDOUT else nullcontext():
        show.show(show.diagnosis(done))
        for line in [*done.reading(), *(f"warning: {line}" for line in done.warnings)]:
            say(line)
        if options.json and options.json != STDOUT:
            say(f"numbers: {options.json}")
    if options.json == STDOUT:
        say(show.diagnosis_json(done))
