"""Run a language model on from a site whose activation was replaced, and say what that costs it."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from .models import LanguageModel


def boundary(site: str) -> int | None:
    """The last block that a site's activation is the output of; None where it lies inside a block or before
    the first.

    What follows a boundary follows from its activation alone, so the blocks up to it need not run again.
    """
    _, layer, name = site.split(".", 2)
    if name == "hook_resid_post":
        return int(layer)
    return int(layer) - 1 if name == "hook_resid_pre" and int(layer) > 0 else None


@contextlib.contextmanager
def continued(
    model: LanguageModel, site: str, value: Float[Tensor, "context position d_model"]
) -> Iterator[None]:
    """Inside the ``with``, whatever the model computes after ``site`` follows from ``value``; afterwards all
    is as it was.

    At a boundary between blocks the blocks before it pass their input on, which is exact: the blocks after it
    are given the same numbers as by `LanguageModel.replaced`. At any other site the whole model runs, by
    `replaced`. Raises BadInput for a site that the model does not have.
    """
    model.check_site(site)
    last = boundary(site)
    if last is None:
        with model.replaced(site, lambda old: value.view_as(old)):
            yield
        return
    blocks = [model.bridge.blocks[layer].original_component for layer in range(last + 1)]
    before = [block.__dict__.get("forward") for block in blocks]
    try:
        for block in blocks:
            block.forward = lambda hidden_states, *args, **kwargs: hidden_states
        blocks[-1].forward = lambda *args, **kwargs: value
        yield
    finally:
        for block, forward in zip(blocks, before):
            if forward is None:
                block.__dict__.pop("forward", None)
            else:
                block.forward = forward


def logits_after(
    model: LanguageModel,
    site: str,
    tokens: Int[Tensor, "context position"],
    value: Float[Tensor, "context position d_model"],
    positions: Int[Tensor, "kept"],
) -> Float[Tensor, "context kept vocabulary"]:
    """The logits at ``positions`` when the activation at ``site`` is ``value``; differentiable in ``value``.

    Cost: the blocks after the site, and the unembedding of those positions only where the model can do so.
    """
    forward = inspect.signature(type(model.bridge.original_model).forward).parameters
    some = {"logits_to_keep": positions} if "logits_to_keep" in forward else {}
    with continued(model, site, value):
        logits = model.bridge(tokens, use_cache=False, **some)
    return logits if some else logits[:, positions]


class Intervention:
    """Cross-entropy and divergence from the clean model for some contexts, whatever replaces the activation
    at a site.

    At each of ``positions`` the loss is that of the *next* token, so positions must end before the last one.
    """

    def __init__(
        self,
        model: LanguageModel,
        site: str,
        tokens: Int[Tensor, "context position"],
        x: Float[Tensor, "context position d_model"],
        positions: Int[Tensor, "kept"],
    ):
        self.model, self.site, self.tokens, self.positions = model, site, tokens, positions
        self.x = x
        self.target = tokens[:, positions + 1][..., None]
        with torch.no_grad():
            self.clean = F.log_softmax(logits_after(model, site, tokens, x, positions), dim=-1)
            self.probability = self.clean.exp()
            self.entropy = (self.probability * self.clean).sum(dim=-1)

    def of_clean(self) -> Float[Tensor, "context kept"]:
        """Nats of each next token when the site holds x itself."""
        return -self.clean.gather(-1, self.target)[..., 0]

    @torch.no_grad()
    def of(self, patch: Float[Tensor, "context kept d_model"]) -> tuple[Tensor, Tensor]:
        """(CE, KL) [context, kept] in nats when the site holds ``patch`` at the positions, and x at all
        others.

        CE = −log q(next token); KL = Σ p (log p − log q) over the vocabulary, p of the clean model, q of the
        patched.
        """
        value = self.x.clone()
        value[:, self.positions] = patch.to(value)
        log_q = F.log_softmax(logits_after(self.model, self.site, self.tokens, value, self.positions), dim=-1)
        kl = self.entropy - (self.probability * log_q).sum(dim=-1)
        return -log_q.gather(-1, self.target)[..., 0], kl
