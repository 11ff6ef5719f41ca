"""Claim 8 for the controls: the share of an SAE's cross-entropy that its NonlinearError wins back, over its
due."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..adapters.interventions import logits_after
from ..base.values import Estimate
from ..stats.documents import sum_by
from ..stats.fits import CrossFit
from ..stats.intervals import bootstrap
from ..studies.activations import MICRO, Activations
from ..studies.saes import Collected
from ..studies.study import Study

CONTEXTS = 80
"""About so many contexts, spread over the text, are run on from a replaced activation."""


class Losses:
    """Cross-entropy of some contexts of a study when the activations of its scored tokens are replaced.

    Nats of the next token at each scored position, in float32. The same contexts and clean activations serve
    every reconstruction, so their losses are paired. Cost of a replacement: the blocks after the site.
    """

    def __init__(self, study: Study, held: Collected):
        self.study, self.held = study, held
        source = Activations(replace(study, dtype="float32", model_dtype=None))
        contexts = source.contexts
        start, stop = max(1, study.window[0]), min(study.window[1], contexts.tokens.shape[1] - 1)
        self.positions = torch.arange(start, stop)
        self.kept = len(self.positions)
        self.chosen = source.rows(every=max(1, len(contexts.tokens) // CONTEXTS))
        self.rows = torch.from_numpy((self.chosen[:, None] * self.kept + np.arange(self.kept)).ravel())
        self.document = contexts.document[self.chosen]
        self.model = source.model
        self.tokens, self.x = source.whole(self.chosen)
        self.clean = self.of(self.x[:, self.positions].flatten(0, 1))

    @torch.no_grad()
    def of(self, patch: Tensor) -> np.ndarray:
        """Summed loss of each context with ``patch`` [chosen token, d_model] at its scored positions
        [context]."""
        sums = []
        patches = patch.view(len(self.tokens), self.kept, -1)
        for tokens, x, mine in zip(self.tokens.split(MICRO), self.x.split(MICRO), patches.split(MICRO)):
            value = x.clone()
            value[:, self.positions] = mine.to(value)
            logits = logits_after(self.model, self.study.site, tokens, value, self.positions)
            losses = F.cross_entropy(
                logits.flatten(0, 1).float(), tokens[:, self.positions + 1].flatten(), reduction="none"
            )
            sums.append(losses.view(len(tokens), -1).double().sum(dim=1))
        return torch.cat(sums).numpy()

    def ratio(self, hat: Tensor, found) -> tuple[Estimate, np.ndarray]:
        """Share of the loss that NonlinearError wins back, over its share of Σ‖SaeError‖²; and its
        replicates.

        1 − (CE(Sae + nonlinear) − CE(x)) / (CE(Sae) − CE(x)), divided by Σ‖NonlinearError‖² / Σ‖SaeError‖² of
        the same tokens: 1 is "proportional". ``found``: the decomposition, whose out-of-fold maps split the
        error.
        """
        x, hat = self.held.x[self.rows].double(), hat[self.rows].double()
        folds = self.held.folds()[self.rows.numpy()]
        error = x - hat
        nonlinear = error - CrossFit(found.maps, found.linear_map).predict(x, folds)
        columns = {"clean": self.clean, "sae": self.of(hat), "with": self.of(hat + nonlinear)}
        columns |= {"nonlinear": self._context_sums(nonlinear), "error": self._context_sums(error)}
        sums = {name: sum_by(self.document, values) for name, values in columns.items()}
        return bootstrap(_over_due, sums, replicates=self.held.replicates, seed=self.held.seed)

    def _context_sums(self, part: Tensor) -> np.ndarray:
        return (part**2).sum(dim=1).view(len(self.tokens), -1).sum(dim=1).numpy()


def _over_due(s):
    won = (s["sae"] - s["with"]) / (s["sae"] - s["clean"])
    return won / (s["nonlinear"] / s["error"])
