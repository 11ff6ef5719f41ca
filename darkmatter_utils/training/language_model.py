"""Train the embedded language model: tokenizer, token files, a small Llama, and the n-gram models beside it.

Everything is saved as ordinary transformers folders, so that the embedded model is loaded by the code that
loads any other model.
"""

from __future__ import annotations

import json
import math
import random
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from ..base.values import whole

BOS = 0
CONTEXT = 256
VOCABULARY = 4096
SHAPE = dict(hidden_size=128, intermediate_size=384, num_hidden_layers=4, num_attention_heads=4)


def train_tokenizer(texts, folder: Path, *, vocabulary: int = VOCABULARY):
    """Byte-level BPE on an iterable of strings, saved as a transformers tokenizer with <bos> as id 0."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(
        texts, vocab_size=vocabulary, min_frequency=2, special_tokens=["<bos>"], show_progress=False
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer, bos_token="<bos>", eos_token="<bos>", pad_token="<bos>"
    )
    fast.model_max_length = CONTEXT
    fast.save_pretrained(folder)
    return fast


def encode(tokenizer, texts: list[str], *, chunk: int = 256) -> list[np.ndarray]:
    """Token ids of each text as uint16, without special tokens."""
    ids = []
    for start in range(0, len(texts), chunk):
        batch = tokenizer.backend_tokenizer.encode_batch_fast(
            texts[start : start + chunk], add_special_tokens=False
        )
        ids += [np.array(e.ids, dtype=np.uint16) for e in batch]
    return ids


def pack(documents: list[np.ndarray], *, seed: int, context: int = CONTEXT) -> np.ndarray:
    """Training contexts [n, context]: documents in random order, each after a <bos>, cut; a <bos> opens each
    row."""
    order = random.Random(seed).sample(range(len(documents)), len(documents))
    bos = np.array([BOS], dtype=np.uint16)
    stream = np.concatenate([part for i in order for part in (bos, documents[i])])
    rows = stream[: len(stream) // (context - 1) * (context - 1)].reshape(-1, context - 1)
    return np.concatenate([np.full((len(rows), 1), BOS, dtype=np.uint16), rows], axis=1)


def build(*, vocabulary: int = VOCABULARY, seed: int = 0, **shape):
    """A fresh Llama of the embedded shape."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    size = SHAPE | shape
    config = LlamaConfig(
        vocab_size=vocabulary,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=BOS,
        eos_token_id=BOS,
        num_key_value_heads=size["num_attention_heads"],
        **size,
    )
    model = LlamaForCausalLM(config)
    model.set_attn_implementation("eager")  # at 256 positions faster on a CPU than the fused kernel
    return model


def backward(model, ids: torch.Tensor, *, scale: float = 1.0, chunk: int = 512) -> float:
    """Accumulate the gradient of the mean next-token loss; the logits are made chunk by chunk to stay in
    cache."""
    device = ids.device.type
    with torch.autocast(device, dtype=torch.bfloat16):
        hidden = model.model(ids, use_cache=False).last_hidden_state[:, :-1].flatten(0, 1)
        targets = ids[:, 1:].flatten()
        leaf = hidden.detach().requires_grad_(True)
        total = 0.0
        for part, target in zip(leaf.split(chunk), targets.split(chunk)):
            logits = (part @ model.lm_head.weight.T).float()
            loss = F.cross_entropy(logits, target, reduction="sum") * (scale / len(targets))
            loss.backward()
            total += loss.item()
        hidden.backward(leaf.grad)
    return total / scale


def optimizers(model, *, muon_lr: float, adam_lr: float):
    """Muon for the matrices inside the blocks, AdamW for the embedding and the norms."""
    inside = [p for n, p in model.named_parameters() if p.ndim == 2 and "layers" in n]
    outside = [p for n, p in model.named_parameters() if not (p.ndim == 2 and "layers" in n)]
    return [
        torch.optim.Muon(inside, lr=muon_lr, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(outside, lr=adam_lr, betas=(0.9, 0.97), weight_decay=0.0),
    ]


def schedule(step: int, steps: int, *, warm: int = 100, decay: float = 0.25) -> float:
    """Share of the peak learning rate: linear warm-up, flat, linear to zero over the last ``decay``."""
    return min((step + 1) / warm, 1.0, (steps - step) / (decay * steps))


def train(
    contexts: np.ndarray,
    folder: Path,
    *,
    steps: int,
    batch: int = 32,
    micro: int = 16,
    seed: int = 0,
    muon_lr: float = 4e-3,
    adam_lr: float = 4e-3,
    device: str = "cpu",
    every: int = 250,
    log=print,
    evaluate=None,
):
    """Train from ``folder/checkpoint.pt`` if there is one, else from seed; returns (model, curve).

    contexts: uint16 [n, context]; a pass in random order, and further passes if ``steps`` asks for them. The
    curve has a row every ``every`` steps: tokens seen, mean training loss since the last row, held-out loss
    if ``evaluate(model)`` is given, seconds spent. A checkpoint follows every row, so a stop loses no more
    than that.
    """
    model = build(seed=seed).to(device)
    optimisers = optimizers(model, muon_lr=muon_lr, adam_lr=adam_lr)
    checkpoint = folder / "checkpoint.pt"
    start, curve, spent = 0, [], 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        for optimiser, saved in zip(optimisers, state["optimisers"]):
            optimiser.load_state_dict(saved)
        start, curve, spent = state["step"], json.loads(state["curve"]), state["spent"]
        log(f"model: resumed at step {start}")
    peaks = [muon_lr, adam_lr]
    clock, losses = time.perf_counter(), []
    passes = math.ceil(steps * batch / len(contexts))
    rng = np.random.default_rng(seed)
    order = np.concatenate([rng.permutation(len(contexts)) for _ in range(passes)])
    for step in range(start, steps):
        rows = contexts[order[step * batch : (step + 1) * batch]].astype(np.int64)
        losses.append(
            sum(
                backward(model, torch.from_numpy(rows[i : i + micro]).to(device), scale=micro / batch)
                * micro
                / batch
                for i in range(0, batch, micro)
            )
        )
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimiser, peak in zip(optimisers, peaks):
            for group in optimiser.param_groups:
                group["lr"] = peak * schedule(step, steps)
            optimiser.step()
            optimiser.zero_grad()
        if (step + 1) % every == 0 or step + 1 == steps:
            spent += time.perf_counter() - clock
            row = dict(
                tokens=(step + 1) * batch * contexts.shape[1],
                loss=float(np.mean(losses)),
                seconds=round(spent),
            )
            if evaluate is not None:
                row["held_out"] = evaluate(model)
            curve.append(row)
            log(f"model: step {step + 1}/{steps} " + " ".join(f"{k} {v:.4g}" for k, v in row.items()))
            _save(checkpoint, model, optimisers, step + 1, curve, spent)
            clock, losses = time.perf_counter(), []
    return model, curve


def save(model, tokenizer, folder: Path) -> None:
    """A transformers folder with the weights in float16 (the buffers are made anew on loading)."""
    folder.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        for weight in model.parameters():
            weight.data = weight.data.half()
    model.config.dtype = torch.float16
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _save(path: Path, model, optimisers, step, curve, spent):
    path.parent.mkdir(parents=True, exist_ok=True)
    state = dict(
        model=model.state_dict(),
        optimisers=[o.state_dict() for o in optimisers],
        step=step,
        curve=json.dumps(curve),
        spent=spent,
    )
    with whole(path) as part:
        torch.save(state, part)


@torch.no_grad()
def token_losses(model, contexts: np.ndarray, *, batch: int = 16) -> np.ndarray:
    """Nats of each next token, [n, context - 1], in float32."""
    device = next(model.parameters()).device
    rows = []
    for start in range(0, len(contexts), batch):
        ids = torch.from_numpy(contexts[start : start + batch].astype(np.int64)).to(device)
        logits = model(ids, use_cache=False).logits[:, :-1].float()
        rows.append(F.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none").cpu().numpy())
    return np.concatenate(rows)


class NGrams:
    """Unigram, bigram and trigram models with Witten-Bell interpolation, from the model's own training
    contexts.

    p_n(w | h) = (c(h w) + T(h) p_{n-1}(w | h')) / (c(h) + T(h)),  T(h): distinct tokens seen after h.
    The lowest order is interpolated with the uniform distribution. Counts are sorted integer keys: memory is
    16 bytes a distinct n-gram, time one sort of the training tokens an order.
    """

    def __init__(self, contexts: np.ndarray, *, vocabulary: int = VOCABULARY):
        self.vocabulary = vocabulary
        self.tables = []
        for order in (1, 2, 3):
            keys, counts = np.unique(self._keys(contexts, order), return_counts=True)
            histories, first = np.unique(keys // vocabulary, return_index=True)
            totals = np.add.reduceat(counts, first)
            types = np.diff(np.append(first, len(keys)))
            self.tables.append((keys, counts, histories, totals, types))

    def _keys(self, contexts, order):
        rows = contexts.astype(np.int64)
        width = rows.shape[1] - order + 1
        keys = np.zeros((len(rows), width), dtype=np.int64)
        for offset in range(order):
            keys = keys * self.vocabulary + rows[:, offset : offset + width]
        return (keys[:, 1:] if order == 1 else keys).ravel()  # position 0 is the <bos> nobody predicts

    def losses(self, contexts: np.ndarray) -> dict[str, float]:
        """Mean nats per token of each order, on the tokens that all of them predict (positions 2 and on)."""
        probability = np.full(contexts[:, 2:].size, 1 / self.vocabulary)
        result = {}
        for order, name in enumerate(("unigram", "bigram", "trigram"), start=1):
            keys, counts, histories, totals, types = self.tables[order - 1]
            asked = self._keys(contexts, 3) % self.vocabulary**order
            count = _look_up(keys, counts, asked)
            total = _look_up(histories, totals, asked // self.vocabulary)
            kinds = _look_up(histories, types, asked // self.vocabulary)
            seen = total > 0
            probability = np.where(
                seen, (count + kinds * probability) / np.where(seen, total + kinds, 1), probability
            )
            result[name] = float(-np.log(probability).mean())
        return result


def _look_up(keys, values, asked):
    place = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
    return np.where(keys[place] == asked, values[place], 0)
