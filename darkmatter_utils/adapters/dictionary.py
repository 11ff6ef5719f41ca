"""The arithmetic of SAEs and transcoders: every architecture that works token by token, on plain tensors."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from unittest import mock

import torch
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor, nn

from ..base.errors import BadInput

CHUNK = 1 << 19
"""Latents made at a time (tokens × d_sae): those of one chunk stay in the processor's cache."""
ARCHITECTURES = (
    "standard",
    "gated",
    "topk",
    "abstopk",
    "jumprelu",
    "matching_pursuit",
    "transcoder",
    "topk_transcoder",
    "abstopk_transcoder",
    "jumprelu_transcoder",
    "skip_transcoder",
    "topk_skip_transcoder",
    "abstopk_skip_transcoder",
    "jumprelu_skip_transcoder",
    "cross_layer_transcoder",
    "jumprelu_cross_layer_transcoder",
)
"""What there is, by SAELens' names and names made like them."""
EACH_TOKEN = ("layer_norm", "constant_norm_rescale")
"""What may be done to every token first, and undone at the end."""
NORMALISATIONS = ("none", "expected_average_only_in", "covariance_whitening", *EACH_TOKEN)
"""What SAELens' normalize_activations may say; the second and third are folded into the weights."""


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Inside the ``with``, SAELens is imported without the git that it would start, to ask for a commit."""

    def asked(*_, **__):
        raise OSError("no process is started")

    with mock.patch.object(subprocess, "run", asked):
        yield


class Dictionary(nn.Module):
    """Weights, and what is made with them: f = act((n(x) − b_in) W_enc + b_enc), Sae(x) = n⁻¹(f W_dec + b).

    b_in is b_dec where ``apply_b_dec_to_input`` says so, else 0; n what is done to each token first; a skip
    adds x W_skipᵀ. cfg: SAELens' settings. weights by SAELens' names: W_enc [d_in, d_sae], W_dec [d_sae,
    d_out]. A cross-layer transcoder reads the inputs of ``layers`` layers, side by side [token, layers ·
    d_in]; its latents are side by side too, and W_enc's columns of a layer meet that layer's input alone.
    """

    def __init__(self, cfg: dict, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.cfg = dict(cfg)
        self.kind = cfg["architecture"]
        self.layers = cfg.get("layers", 1)
        for name, weight in weights.items():
            self.register_parameter(name, nn.Parameter(weight, requires_grad=False))

    @property
    def d_sae(self) -> int:
        """Latents."""
        return len(self.W_dec)

    @property
    def takes_b_dec_off(self) -> bool:
        """Whether b_dec is taken off before the encoder."""
        return bool(self.cfg.get("apply_b_dec_to_input", True))

    @property
    def normalises(self) -> str:
        """What is done to each token first; "none"."""
        return self.cfg.get("normalize_activations") or "none"

    @property
    def needs_x(self) -> bool:
        """Whether Sae(x) is more than a sum of decoder rows and b_dec."""
        return (
            self.normalises != "none"
            or "skip" in self.kind
            or bool(self.cfg.get("rescale_acts_by_decoder_norm"))
            or (self.kind == "matching_pursuit" and not self.takes_b_dec_off)
        )

    def pre(self, x: Float[Tensor, "token d_in"]) -> Float[Tensor, "token d_sae"]:
        """What the activation function is given."""
        return self._pre(self._input(x)[0])

    def encode(self, x: Float[Tensor, "token d_in"]) -> Float[Tensor, "token d_sae"]:
        """The latents, those that are silent too."""
        return self._act(self._input(x)[0])

    def forward(self, x: Float[Tensor, "token d_in"]) -> Float[Tensor, "token d_out"]:
        """Sae(x)."""
        z, undone = self._input(x)
        f = self._act(z)
        if self.cfg.get("rescale_acts_by_decoder_norm"):
            f = f * (1 / self._row_norms)
        out = f @ self.W_dec
        if self.kind != "matching_pursuit" or self.takes_b_dec_off:
            out = out + self.b_dec
        if "transcoder" not in self.kind:
            return undone(out)
        return out + x.to(self.W_dec) @ self.W_skip.T if "skip" in self.kind else out

    def _input(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """What the encoder is given, and what undoes the normalisation."""
        x, undone = x.to(self.W_dec), lambda out: out
        if self.normalises == "constant_norm_rescale":
            scale = x.shape[1] ** 0.5 / x.norm(dim=-1, keepdim=True)
            x, undone = x * scale, lambda out: out / scale
        elif self.normalises == "layer_norm":
            mean = x.mean(dim=-1, keepdim=True)
            spread = (x - mean).std(dim=-1, keepdim=True)
            x, undone = (x - mean) / (spread + 1e-5), lambda out: out * spread + mean
        return (x - self.b_dec if self.takes_b_dec_off else x), undone

    def _pre(self, z: Tensor) -> Tensor:
        parts = zip(z.chunk(self.layers, dim=1), self.W_enc.chunk(self.layers, dim=1))
        made = [part @ encoder for part, encoder in parts]
        pre = (made[0] if len(made) == 1 else torch.cat(made, dim=1)).add_(self.b_enc)
        return pre.mul_(self._row_norms) if self.cfg.get("rescale_acts_by_decoder_norm") else pre

    def _act(self, z: Tensor) -> Tensor:
        if self.kind == "matching_pursuit":
            return self._pursuit(z)
        if self.kind == "gated":
            fires = z @ self.W_enc + self.b_gate > 0
            return fires * torch.relu(z @ (self.W_enc * self.r_mag.exp()) + self.b_mag)
        pre = self._pre(z)  # of 2²⁰ latents, each array that is not made counts
        if "topk" in self.kind:
            at = (
                (pre.abs() if "abs" in self.kind else pre)
                .topk(int(self.cfg["k"]), dim=1, sorted=False)
                .indices
            )
            value = pre.gather(1, at)
            return pre.zero_().scatter_(1, at, value if "abs" in self.kind else value.relu())
        if "jumprelu" in self.kind:
            fires = pre > self.threshold
            return pre.relu_().mul_(fires)
        return pre.relu_()

    def _pursuit(self, z: Tensor) -> Tensor:
        """By SAELens, whose greedy loop this is."""
        with quietly():
            from sae_lens.saes.matching_pursuit_sae import MatchingPursuitSAE, MatchingPursuitSAEConfig

        names = ("residual_threshold", "max_iterations", "stop_on_duplicate_support")
        said = {name: self.cfg[name] for name in names if name in self.cfg}
        cfg = MatchingPursuitSAEConfig(
            d_in=z.shape[1], d_sae=self.d_sae, apply_b_dec_to_input=False, device=str(z.device), **said
        )
        theirs = MatchingPursuitSAE(cfg).to(z.device, z.dtype)
        theirs.W_dec = self.W_dec
        return theirs.encode(z)

    @cached_property
    def _row_norms(self) -> Tensor:
        return self.W_dec.norm(dim=-1)

    def scale_input(self, factor: float) -> None:
        """Fold a factor on every activation into the weights, so that they take activations as they are."""
        self.W_enc.mul_(factor)
        self.W_dec.div_(factor)
        self.b_dec.div_(factor)
        self.cfg["normalize_activations"] = "none"

    def whiten_input(self, mean: Tensor, matrix: Tensor, inverse: Tensor) -> None:
        """Fold z = (x − mean) matrix, undone by ``inverse``, into the weights."""
        wide = torch.promote_types(self.W_enc.dtype, matrix.dtype)
        mean, matrix, inverse = (t.to(self.W_enc.device, wide) for t in (mean, matrix, inverse))
        self.W_enc.copy_(matrix @ self.W_enc.to(wide))
        if not self.takes_b_dec_off:  # else the new b_dec takes the mean off
            shift = (mean @ self.W_enc.to(wide)).to(self.W_enc)
            for name in ("b_enc", "b_gate", "b_mag"):
                if (bias := getattr(self, name, None)) is not None:
                    bias.sub_(shift * self.r_mag.exp() if name == "b_mag" else shift)
        self.W_dec.copy_(self.W_dec.to(wide) @ inverse)
        self.b_dec.copy_(self.b_dec.to(wide) @ inverse + mean)
        self.cfg["normalize_activations"] = "none"

    def save(self, folder: Path) -> None:
        """Write it as SAELens does."""
        folder.mkdir(parents=True, exist_ok=True)
        about = {"metadata": {}, "reshape_activations": "none"} | self.cfg
        about["metadata"] = {"sae_lens_version": "6.0.0"} | about["metadata"]
        about |= {"dtype": str(self.W_dec.dtype).removeprefix("torch."), "device": "cpu"}
        (folder / "cfg.json").write_text(json.dumps(about))
        held = {name: weight.contiguous() for name, weight in self.state_dict().items()}
        save_file(held, folder / "sae_weights.safetensors")


def rows_at_once(width: int) -> int:
    """Tokens that an SAE of so many latents encodes at a time."""
    return max(64, CHUNK // width)


@torch.no_grad()
def threshold_for(sae: Dictionary, x: Float[Tensor, "token d_model"], l0: float) -> Float[Tensor, "d_sae"]:
    """The one threshold at which a JumpReLU SAE's mean number of active latents on ``x`` is ``l0``.

    Just below the (l0 · tokens)-th largest pre-activation: a count decides, never an error. One pass; memory
    of about 2 · l0 · tokens numbers. Raises BadInput if too few pre-activations are positive.
    """
    wanted, rows = round(l0 * len(x)), rows_at_once(sae.d_sae)
    made = lambda x: torch.relu(sae.pre(x))
    first = made(x[:rows]).flatten()
    above = min(len(first) - 1, int(2 * l0 * min(rows, len(x))))
    floor = float(first.kthvalue(max(1, len(first) - above)).values)
    for low in (floor, 0.0):  # the first chunk may not speak for all
        values = torch.cat([pre[pre > low] for pre in map(made, x.split(rows))])
        if len(values) > wanted:
            # Halfway to the next one: on it, the last digit of a processor would decide whether it is active.
            below, above = (values.kthvalue(len(values) - wanted + more).values for more in (0, 1))
            return torch.full((sae.d_sae,), float((below + above) / 2), dtype=torch.float32)
    raise BadInput(f"no threshold gives an L0 of {l0}: only {len(values) / len(x):.3g} a token are positive")
