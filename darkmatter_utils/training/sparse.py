"""A step of (Batch)TopK training that works on active latents alone: SAELens' numbers in less time.

SAELens multiplies whole matrices of tokens × latents five times a step, of whose entries few are not zero;
here only the encoder's product is dense. Selection, losses, gradients, clipping and Adam are theirs.
"""

from __future__ import annotations

import warnings

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

warnings.filterwarnings("ignore", message="Sparse CSR tensor support")
DEAD_AFTER = 200
"""Batches without firing after which a latent is dead."""


class SparseStep:
    """The weights of an SAE in training and their optimiser; `step` takes a batch."""

    def __init__(self, sae, *, lr: float, kind: str, precision: torch.dtype):
        if kind not in ("batchtopk", "topk"):
            raise ValueError(f"no sparse step for '{kind}'")
        self.k, self.each = float(sae.cfg.k), kind == "topk"
        self.aux = float(sae.cfg.aux_loss_coefficient)
        self.precision = precision
        own = (sae.W_enc.T, sae.b_enc, sae.W_dec, sae.b_dec)
        self.weights = [one.detach().clone().contiguous().requires_grad_() for one in own]
        self.optimizer = torch.optim.Adam(self.weights, lr=lr, fused=True)
        self.silent = torch.zeros(sae.cfg.d_sae, dtype=torch.int64, device=sae.W_dec.device)
        self.cut = 0.0

    def state(self) -> dict:
        """All that a run goes on from."""
        weights = [one.detach() for one in self.weights]
        return dict(weights=weights, optimizer=self.optimizer.state_dict(), silent=self.silent, cut=self.cut)

    def load(self, state: dict) -> None:
        """Go on from a `state`."""
        with torch.no_grad():
            for own, saved in zip(self.weights, state["weights"]):
                own.copy_(saved)
        self.optimizer.load_state_dict(state["optimizer"])
        self.silent, self.cut = state["silent"], state["cut"]

    @torch.no_grad()
    def write(self, sae) -> None:
        """Put the weights into the SAE that they came from."""
        encoder, b_enc, decoder, b_dec = self.weights
        pairs = zip((sae.W_enc, sae.b_enc, sae.W_dec, sae.b_dec), (encoder.T, b_enc, decoder, b_dec))
        for own, value in pairs:
            own.copy_(value)

    @torch.no_grad()
    def encode(self, x: Float[Tensor, "token d"]) -> tuple[Tensor, Tensor, Tensor]:
        """(token, latent and value of what is active, by token); values are exact float32, chosen among
        products in ``precision``."""
        pre = self._pre(x)
        index = self._largest(pre)
        token, latent = index // pre.shape[1], index % pre.shape[1]
        return token, latent, self._values(x, token, latent)

    def _pre(self, x: Tensor) -> Float[Tensor, "token latent"]:
        """Pre-activations times the norms of the decoder's rows: what latents are chosen by."""
        encoder, b_enc, decoder, b_dec = self.weights
        norm = decoder.norm(dim=1)
        scaled = (encoder * norm[:, None]).to(self.precision)
        return torch.addmm((b_enc * norm).to(self.precision), (x - b_dec).to(self.precision), scaled.T)

    def _largest(self, pre: Tensor) -> Int[Tensor, "active"]:
        """Flat indices of the largest positive pre-activations, ascending: k a token on average or each."""
        if self.each:
            top = pre.topk(int(self.k), dim=1)
            rows = torch.arange(len(pre), device=pre.device)[:, None] * pre.shape[1]
            return (rows + top.indices)[top.values > 0].sort().values
        wanted, flat = int(self.k * len(pre)), pre.flatten()
        found = (flat > 0.9 * self.cut).nonzero().squeeze(1) if self.cut > 0 else flat[:0]
        if len(found) < wanted:  # the last batch's cut is no bound here: look at all
            found = (flat > 0).nonzero().squeeze(1)
        top = flat[found].float().topk(min(wanted, len(found)), sorted=False)
        self.cut = float(top.values.min()) if len(top.values) else 0.0
        return found[top.indices].sort().values

    def _values(self, x: Tensor, token: Tensor, latent: Tensor) -> Float[Tensor, "active"]:
        encoder, b_enc, _, b_dec = self.weights
        return products(token, latent, x - b_dec, encoder) + b_enc[latent]

    @torch.no_grad()
    def decode(self, tokens: int, token: Tensor, latent: Tensor, value: Tensor) -> Float[Tensor, "token d"]:
        """Sums of decoder rows by token, and b_dec."""
        _, _, decoder, b_dec = self.weights
        return sums(tokens, token, latent, value, decoder) + b_dec

    @torch.no_grad()
    def step(self, x: Float[Tensor, "token d"], rate: float) -> tuple[float, float]:
        """One step of Adam at ``rate``; (squared error, active latents a token) of the batch before it.

        The loss is Σ‖x − x̂‖² / tokens and, for dead latents, SAELens' auxiliary loss; gradients are clipped
        to a norm of 1.
        """
        encoder, b_enc, decoder, b_dec = self.weights
        dead = (self.silent > DEAD_AFTER).nonzero().squeeze(1)
        pre, count = self._pre(x), len(x)
        index = self._largest(pre)
        token, latent = index // pre.shape[1], index % pre.shape[1]
        centred, value = x - b_dec, self._values(x, token, latent)
        residual = x - self.decode(count, token, latent, value)
        out = residual * (-2 / count)  # the loss's gradient at x̂
        inside = products(token, latent, out, decoder)  # and at the values
        order = latent.sort(stable=True).indices
        by = (len(decoder), latent[order], token[order])
        decoder.grad = sums(*by, value[order], out)
        encoder.grad = sums(*by, inside[order], centred)
        b_enc.grad = torch.zeros_like(b_enc).index_add_(0, latent, inside)
        b_dec.grad = out.sum(0)
        self.silent += 1
        self.silent[latent] = 0
        if len(dead):
            self._revive(dead, pre, centred, residual)
        b_dec.grad -= b_enc.grad @ encoder  # b_dec is taken from the encoder's input, too
        torch.nn.utils.clip_grad_norm_(self.weights, 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        return float(residual.pow(2).sum()), len(index) / count

    def _revive(self, dead: Tensor, pre: Tensor, centred: Tensor, residual: Tensor) -> None:
        """Add the gradients of the auxiliary loss: of the dead latents the d/2 largest of each token
        reconstruct what the living ones leave."""
        encoder, b_enc, decoder, _ = self.weights
        most = centred.shape[1] // 2
        scale = self.aux * min(len(dead) / most, 1.0)
        own, norm = pre[:, dead].float(), decoder[dead].norm(dim=1)
        top = own.topk(min(most, len(dead)), dim=1, sorted=False).indices
        chosen = torch.zeros_like(own).scatter_(1, top, 1.0)
        acts = own / norm * chosen
        out = (acts @ decoder[dead] - residual) * (2 * scale / len(own))
        inside = out @ decoder[dead].T * chosen
        decoder.grad[dead] += acts.T @ out
        encoder.grad[dead] += inside.T @ centred
        b_enc.grad[dead] += inside.sum(0)


def sums(
    groups: int, group: Int[Tensor, "n"], row: Int[Tensor, "n"], value: Float[Tensor, "n"], rows: Tensor
) -> Float[Tensor, "group d"]:
    """Σ value · rows[row] over the entries of each group; ``group`` ascends."""
    start = torch.searchsorted(group, torch.arange(groups, device=group.device))
    return F.embedding_bag(row, rows.detach(), start, mode="sum", per_sample_weights=value)


def products(
    a: Int[Tensor, "n"], b: Int[Tensor, "n"], left: Float[Tensor, "p d"], right: Float[Tensor, "q d"]
) -> Float[Tensor, "n"]:
    """left[a] · right[b], entry by entry; ``a`` ascends, and b within equal a."""
    if left.device.type != "cpu":
        return torch.linalg.vecdot(left.detach()[a], right.detach()[b])
    start = torch.searchsorted(a, torch.arange(len(left) + 1, device=a.device))
    empty = torch.zeros(len(a), dtype=left.dtype, device=a.device)
    pattern = torch.sparse_csr_tensor(start, b, empty, (len(left), len(right)), check_invariants=False)
    return torch.sparse.sampled_addmm(pattern, left.detach(), right.detach().T, beta=0.0).values()
