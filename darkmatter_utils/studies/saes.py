"""The SAEs of a study, loaded: trained ones from its data, null ones made on the spot."""

from __future__ import annotations

import torch

from ..adapters.saes import load_sae
from ..base.errors import BadInput, nearest
from ..worlds.null_saes import KINDS, null_sae
from .streams import Source
from .study import Study


def load_saes(study: Study, source: Source) -> list:
    """The study's SAEs, trained and null ones; BadInput for an unknown kind or a site that is not the
    study's."""
    loaded = []
    for entry in study.selected():
        if entry.path is not None:
            folder = study.data_folder() / entry.path
            loaded.append(
                load_sae(entry.id, folder, d_model=source.d_model, dtype=study.dtype, device=study.device)
            )
        elif entry.kind in KINDS:
            mean = None if source.world is not None else _mean(source)
            loaded.append(
                null_sae(
                    entry.kind, id=entry.id, width=entry.width, world=source.world, mean=mean, **entry.dials
                )
            )
        else:
            raise BadInput(
                f"SAE {entry.id}: kind '{entry.kind}' needs a path to weights; {nearest(entry.kind, KINDS)}"
            )
    if not loaded:
        raise BadInput(
            f"study {study.name}: none of its SAEs of suite '{study.suite}' is at the site '{study.site}'"
        )
    return loaded


def _mean(source: Source) -> torch.Tensor:
    total, count = 0.0, 0
    for batch in source.batches():
        total, count = total + batch.x[batch.scored].double().sum(dim=0), count + int(batch.scored.sum())
    return total / count
