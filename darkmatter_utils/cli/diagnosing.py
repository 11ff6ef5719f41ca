"""What `doctor` does: what people get wrong about an SAE, tried; a table, and what is wrong most likely."""

from __future__ import annotations

from ..base.errors import BadInput
from ..measurement.doctor import diagnose
from . import show
from .arguments import CASES
from .measuring import delivered, request, room_for


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
