"""What `compare` does: two SAEs on the same tokens, a table, one line."""

from __future__ import annotations

from ..base.errors import BadInput
from ..measurement.two_saes import compare as compared
from . import show
from .measuring import delivered, request, room_for


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
