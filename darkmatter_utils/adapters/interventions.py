"""Run a language model on from a site whose activation was replaced, and say what that costs it."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from unittest import mock

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from .models import LanguageModel


def boundary(site: str) -> int | None:
    """The last block that a site's activation is the output of; None where it lies inside a block or before
    the first. All after it follows from that activation alone, so the blocks up to it need not run again."""
    _, layer, name = site.split(".", 2)
    if name == "hook_resid_post":
        return int(layer)
    return int(layer) - 1 if name == "hook_resid_pre" and int(layer) > 0 else None


@contextlib.contextmanager
def continued(
    model: LanguageModel, site: str, value: Float[Tensor, "context position d_model"]
) -> Iterator[None]:
    """Inside the ``with``, whatever the model computes after ``site`` follows from ``value``.

    At a boundary between blocks the blocks before it pass their input on, which is exact: the blocks after it
    are given the same numbers as by `LanguageModel.replaced`. At any other site the whole model runs, by
    `replaced`. Raises BadInput for a site that the model does not have.
    """
    model.check_site(site)
    if (last := boundary(site)) is None:
        with model.replaced(site, lambda old: value.view_as(old)):
            yield
        return
    passes = [lambda hidden_states, *args, **kwargs: hidden_states] * last
    with contextlib.ExitStack() as patched:
        for layer, forward in enumerate([*passes, lambda *args, **kwargs: value]):
            block = model.bridge.blocks[layer].original_component
            patched.enter_context(mock.patch.object(block, "forward", forward))
        yield


def logits_after(
    model: LanguageModel,
    site: str,
    tokens: Int[Tensor, "context position"],
    value: Float[Tensor, "context position d_model"],
    positions: Int[Tensor, "kept"],
) -> Float[Tensor, "context kept vocabulary"]:
    """The logits at ``positions`` when the activation at ``site`` is ``value``; differentiable in ``value``.
    Cost: the blocks after the site, by the kernel that reading the model takes, and the unembedding of those
    positions only where the model can do so."""
    forward = inspect.signature(type(model.bridge.original_model).forward).parameters
    some = {"logits_to_keep": positions} if "logits_to_keep" in forward else {}
    with continued(model, site, value), model._one_kernel(tokens.shape[1]):
        logits = model.bridge(tokens, use_cache=False, **some)
    return logits if some else logits[:, positions]


def cross_entropy(
    logits: Float[Tensor, "context kept vocabulary"], tokens: Int[Tensor, "context kept"]
) -> Float[Tensor, "context kept"]:
    """Nats of each next token: −log of the probability that the model gave it."""
    return -F.log_softmax(logits, dim=-1).gather(-1, tokens[..., None])[..., 0]


AT_ONCE = 2**20
"""Logits that are reduced to a number a token at a time: they stay in a processor's cache."""


def _by_rows(
    function: Callable[..., Tensor], logits: Tensor, *others: Tensor
) -> Float[Tensor, "context kept"]:
    """function(logits, *others), `AT_ONCE` logits at a time: a quarter of the time where there are 49,152."""
    rows = max(1, AT_ONCE // logits.shape[-1])
    contexts = zip(*(tensor.split(1) for tensor in (logits, *others)))
    pieces = (zip(*(tensor.split(rows, dim=1) for tensor in one)) for one in contexts)
    return torch.cat([torch.cat([function(*piece) for piece in one], dim=1) for one in pieces])


class Intervention:
    """Loss, and divergence from the clean model, for some contexts, whatever replaces the activation at a
    site.

    At each of ``positions`` the loss is that of the *next* token, so positions must end before the last one.
    loss: (logits [context, kept, vocabulary], next tokens [context, kept]) -> [context, kept]; it is given a
    few tokens at a time.
    """

    def __init__(
        self,
        model: LanguageModel,
        site: str,
        tokens: Int[Tensor, "context position"],
        x: Float[Tensor, "context position d_model"],
        positions: Int[Tensor, "kept"],
        *,
        loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy,
    ):
        self.model, self.site, self.tokens, self.positions = model, site, tokens, positions
        self.x, self.loss = x, loss
        self.target = tokens[:, positions + 1]
        with torch.no_grad():
            logits = logits_after(model, site, tokens, x, positions)
            self.of_clean = _by_rows(loss, logits, self.target)
            """The loss [context, kept] when the site holds x itself."""
            clean = F.log_softmax(logits, dim=-1)
            self.probability = clean.exp()
            self.entropy = (self.probability * clean).sum(dim=-1)

    @torch.no_grad()
    def logits(self, patch: Float[Tensor, "context kept d_model"]) -> Tensor:
        """[context, kept, vocabulary] when the site holds ``patch`` at the positions, and x at all others."""
        value = self.x.clone()
        value[:, self.positions] = patch.to(value)
        return logits_after(self.model, self.site, self.tokens, value, self.positions)

    @torch.no_grad()
    def of(self, patch: Float[Tensor, "context kept d_model"]) -> tuple[Tensor, Tensor]:
        """(loss, KL) [context, kept] when the site holds ``patch`` at the positions, and x at all others. KL
        = Σ p (log p − log q) over the vocabulary, p of the clean model, q of the patched, in nats."""
        logits = self.logits(patch)
        same = lambda logits, p: (p * F.log_softmax(logits, dim=-1)).sum(dim=-1)
        kl = self.entropy - _by_rows(same, logits, self.probability)
        return _by_rows(self.loss, logits, self.target), kl
