"""What people get wrong about an SAE: each mistake by a name in their words, and the setup without it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from torch import Tensor
from torch.nn import functional as F

from ..adapters.models import SITES, LanguageModel, place
from ..adapters.saes import Sae
from ..stats.metrics import fvu

NEAR = 2
"""Layers before and after the one given that are tried."""
Scale = Callable[[Tensor, Tensor], tuple[Tensor, Callable[[Tensor], Tensor]]]
"""From what an SAE reads and what it writes: the input that it is given, and what is done to its output."""


@dataclass(frozen=True)
class Setup:
    """An SAE and what it is applied to."""

    sae: Sae
    model: str
    bos: bool
    """Whether <bos> stands before each text."""
    reads: str
    writes: str
    activation: Callable[[Tensor], Tensor] = lambda x: x
    """What stands in the place of each activation, read or written."""
    scale: Scale = lambda x, y: (x, lambda out: out)

    @property
    def where(self) -> str:
        """The site, or the two of a transcoder."""
        return self.reads if self.reads == self.writes else f"{self.reads} → {self.writes}"

    def measured(self, x: Tensor, y: Tensor) -> tuple[float, float]:
        """(FVU, L0) on activations [token, d_in] that it reads and [token, d_out] that it writes; an infinite
        FVU where it cannot be had. Cost: the SAE once."""
        x, y = self.activation(x), self.activation(y)
        given, back = self.scale(x, y)
        out, l0 = self.sae.reconstruct(given)
        lost = fvu(y, back(out.to(y)))
        return (lost if math.isfinite(lost) else math.inf), float(l0.double().mean())


@dataclass(frozen=True)
class Tried:
    """A setup other than the one given, and the mistake that it is without."""

    kind: str
    name: str
    setup: Setup


def tried(setup: Setup, places: list[tuple[str, str]], *, bos: bool, l0: float | None, has: float):
    """Every setup that differs from one by one mistake, as `Tried`.

    places: sites (read, written) beside its own; bos: whether the tokenizer has one; l0: as stated; has: what
    the SAE has as given. Nothing is measured; a variant's weights are those of the SAE where they are alike.
    """
    for reads, writes in places:
        yield Tried("site", _told(reads, writes), replace(setup, reads=reads, writes=writes))
    if bos:
        word = "without" if setup.bos else "with"
        yield Tried("<bos>", f"{word} <bos> before each text", replace(setup, bos=not setup.bos))
    centred = replace(setup, activation=lambda x: x - x.mean(dim=1, keepdim=True))
    yield Tried("centred", "each activation less its mean over dimensions (centred writing weights)", centred)
    bare = replace(setup, sae=setup.sae.changed(normalize_activations="none"))
    for name, scale in SCALES.items():
        yield Tried("scale", name, replace(bare, scale=scale))
    for kind, name, sae in _variants(setup.sae, l0, has):
        yield Tried(kind, name, replace(setup, sae=sae))


def places(model: LanguageModel, reads: str, writes: str, has: Callable[[str], bool]):
    """Sites (read, written) of the widths of two given ones, in the layers around theirs: those of the same
    name first, then resid_post, so that the stream between two blocks goes by that name. has: whether the
    model's family has a site."""
    (layer, at), end = place(reads), place(writes)
    steps = [0, *(sign * step for step in range(1, NEAR + 1) for sign in (-1, 1))]
    for name in sorted(SITES, key=lambda name: (name != SITES[at], name != "hook_resid_post")):
        for step in steps:
            read = f"blocks.{layer + step}.{name}"
            pair = read, read if reads == writes else f"blocks.{end[0] + step}.{SITES[end[1]]}"
            if pair == (reads, writes) or any(site not in model.sites() or not has(site) for site in pair):
                continue
            if all(model.width(one) == model.width(given) for one, given in zip(pair, (reads, writes))):
                yield pair


def _told(reads: str, writes: str) -> str:
    """A site in words; the stream between two blocks has two names."""
    if reads != writes:
        return f"site {reads} → {writes}"
    layer, at = place(reads)
    twice = layer > 0 and SITES[at] == "hook_resid_pre"
    return f"site {reads}" + f" (which is blocks.{layer - 1}.hook_resid_post)" * twice


def _norm(x: Tensor) -> float:
    return float(x.norm(dim=1).mean())


def _times(factor: Callable[[Tensor], float]) -> Scale:
    return lambda x, y: (x * factor(x), lambda out: out / factor(y))


def _each_token(x: Tensor, y: Tensor):
    scale = x.shape[1] ** 0.5 / x.norm(dim=1, keepdim=True)
    return x * scale, lambda out: out / scale


def _layer_norm(x: Tensor, y: Tensor):
    mean, spread = x.mean(dim=1, keepdim=True), x.std(dim=1, keepdim=True)
    return (x - mean) / (spread + 1e-5), lambda out: out * spread + mean


def _less_mean(x: Tensor, y: Tensor):
    return x - x.mean(dim=0), lambda out: out + y.mean(dim=0)


SCALES: dict[str, Scale] = {
    "activations as they are, each token unscaled": lambda x, y: (x, lambda out: out),
    "activations scaled to a mean norm of √d (expected_average_only_in)": _times(
        lambda x: x.shape[1] ** 0.5 / _norm(x)
    ),
    "each token scaled to a norm of √d (constant_norm_rescale)": _each_token,
    "each token less its mean, at a spread of 1 (layer_norm)": _layer_norm,
    "activations scaled to a mean norm of 1": _times(lambda x: 1 / _norm(x)),
    "activations × √d": _times(lambda x: x.shape[1] ** 0.5),
    "activations ÷ √d": _times(lambda x: x.shape[1] ** -0.5),
    "the scale to a mean norm of √d taken back: it is in the weights twice": _times(
        lambda x: _norm(x) / x.shape[1] ** 0.5
    ),
    "activations less their mean over the tokens": _less_mean,
}
"""What may be done to activations before an SAE is given them; it is undone at its output."""


def _variants(sae: Sae, l0: float | None, has: float) -> Iterator[tuple[str, str, Sae]]:
    """(kind, name, SAE) of the SAE read otherwise than its settings say."""
    if "transcoder" not in sae.kind:
        for off, word in ((True, "taken off"), (False, "left in")):
            yield "b_dec", f"b_dec {word} before the encoder", sae.changed(apply_b_dec_to_input=off)
    unit = {"W_dec": F.normalize(sae.dictionary, dim=1)}
    yield "decoder", "decoder rows at norm 1", sae.changed(weights=unit)
    if "jumprelu" in sae.kind:
        logarithms = {"threshold": lambda threshold: threshold.exp()}
        yield "latents", "thresholds read as logarithms", sae.changed(weights=logarithms)
    if sae.kind not in ("standard", "topk", "jumprelu"):
        return
    for k in _ks(sae, l0, has):
        cfg = {"architecture": "topk", "k": k, "rescale_acts_by_decoder_norm": False}
        how = "the stated L0" if l0 else "a power of 2, as no L0 is stated"
        name = f"only the {k} largest latents of a token (TopK; {how})"
        yield "latents", name, sae.changed(weights={"threshold": None}, **cfg)
    if sae.kind == "topk":
        relu = sae.changed(architecture="standard")
        yield "latents", "every positive latent (ReLU, not TopK)", relu
        for rescaled, word in ((True, "by"), (False, "without")):
            name = f"latents ranked {word} the norms of decoder rows (rescale_acts_by_decoder_norm)"
            yield "latents", name, sae.changed(rescale_acts_by_decoder_norm=rescaled)


def _ks(sae: Sae, l0: float | None, has: float) -> list[int]:
    """Numbers of latents to keep: as stated; else, of a ReLU, the powers of 2 below what it has."""
    if l0:
        return [min(max(1, round(l0)), sae.width)]
    return [2**n for n in range(2, int(math.log2(has)) + 1)] if sae.kind == "standard" and has >= 4 else []
