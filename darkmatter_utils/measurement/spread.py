"""Contexts spread evenly over a study's text, one site or several at once: for results that need not see
every token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..base.errors import BadInput
from ..studies.streams import MICRO, Batch, Source
from .measure import Measurement


def spread_rows(measurement: Measurement, contexts: int) -> np.ndarray:
    """Which contexts (in a world: documents) of a study are read: ``contexts`` of them, evenly spaced, each
    one once.

    Raises BadInput for fewer than the study has folds.
    """
    if contexts < measurement.study.folds:
        raise BadInput(
            f"contexts is {contexts}; give at least {measurement.study.folds}, the number of folds"
        )
    have = np.sort(measurement.tokens["context"].unique())
    return have[np.unique(np.linspace(0, len(have) - 1, contexts).round().astype(int))]


def spread_batches(
    measurement: Measurement,
    contexts: int,
    sites: Sequence[str] | None = None,
) -> Iterator[tuple[Batch, dict[str, Float[Tensor, "token d"]]]]:
    """(batch, {site: its activations}) of those contexts, in stream order, scored tokens and others.

    ``batch.x`` is the activation at the study's own site, which is always among the sites; ``batch.loss`` is
    NaN. Raises BadInput for another site in a simulated world. Cost: one pass of the model, as far as the
    last site.
    """
    study, source = measurement.study, Source(measurement.study)
    rows = spread_rows(measurement, contexts)
    others = [site for site in sites or () if site != study.site]
    if source.world is not None:
        if others:
            raise BadInput(f"study {study.name} is simulated: it has no site '{others[0]}'")
        for row in rows.tolist():
            made = source.world.documents(row, row + 1)
            yield from ((_world(one, study), {study.site: one.x}) for one in made)
        return
    all_tokens, document = source.contexts.tokens, source.contexts.document
    length = all_tokens.shape[1]
    position = np.arange(1, length)
    start, stop = study.window
    for some in np.array_split(rows, -(-len(rows) // MICRO)):
        tokens = torch.from_numpy(all_tokens[some].astype(np.int64)).to(study.device)
        if others:
            found = source.model.run(tokens, [study.site, *others])[0]
        else:
            found = {study.site: source.model.activations(tokens, study.site)}
        found = {site: x[:, 1:].flatten(0, 1) for site, x in found.items()}
        places = np.tile(position, len(some))
        x = found[study.site]
        yield (
            Batch(
                x=x,
                context=np.repeat(some, length - 1),
                document=np.repeat(document[some], length - 1),
                position=places,
                token=all_tokens[some][:, 1:].ravel().astype(np.int64),
                loss=np.full(len(x), np.nan),
                scored=(places >= start) & (places < stop),
                source=x,
            ),
            found,
        )


def _world(made, study) -> Batch:
    position, document = made.position.numpy(), made.document.numpy()
    scored = (position >= study.window[0]) & (position < study.window[1])
    return Batch(
        made.x, document, document, position, made.token.numpy(), np.full(len(made.x), np.nan), scored, made
    )
