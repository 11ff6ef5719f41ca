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

BOS, CONTEXT, VOCABULARY = 0, 256, 4096
SHAPE = dict(hidden_size=128, intermediate_size=384, num_hidden_layers=4, num_attention_heads=4)
MUON_LR, ADAM_LR = 1e-2, 4e-3
"""Peaks of the learning rates: of the matrices inside the blocks, and of the rest."""


def train_tokenizer(texts, folder: Path):
    """Byte-level BPE on an iterable of strings, saved as a transformers tokenizer with <bos> as id 0."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    bpe = ByteLevelBPETokenizer()
    settings = dict(vocab_size=VOCABULARY, min_frequency=2, special_tokens=["<bos>"], show_progress=False)
    bpe.train_from_iterator(texts, **settings)
    words = dict.fromkeys(("bos_token", "eos_token", "pad_token"), "<bos>")
    fast = PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, **words)
    fast.model_max_length = CONTEXT
    fast.save_pretrained(folder)
    return fast


def encode(tokenizer, texts: list[str], *, chunk: int = 256) -> list[np.ndarray]:
    """Token ids of each text as uint16, without special tokens."""
    ids = []
    for start in range(0, len(texts), chunk):
        some = texts[start : start + chunk]
        batch = tokenizer.backend_tokenizer.encode_batch_fast(some, add_special_tokens=False)
        ids += [np.array(e.ids, dtype=np.uint16) for e in batch]
    return ids


def pack(documents: list[np.ndarray], *, seed: int) -> np.ndarray:
    """Contexts [n, context]: documents in random order, each after a <bos>, cut; <bos> opens each."""
    order = random.Random(seed).sample(range(len(documents)), len(documents))
    bos, body = np.array([BOS], dtype=np.uint16), CONTEXT - 1
    stream = np.concatenate([part for i in order for part in (bos, documents[i])])
    rows = stream[: len(stream) // body * body].reshape(-1, body)
    return np.concatenate([np.full((len(rows), 1), BOS, dtype=np.uint16), rows], axis=1)


def build(*, vocabulary: int = VOCABULARY, seed: int = 0, **shape):
    """A fresh Llama of the embedded shape."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    size = SHAPE | shape
    size |= dict(vocab_size=vocabulary, max_position_embeddings=CONTEXT, bos_token_id=BOS, eos_token_id=BOS)
    heads = size["num_attention_heads"]
    model = LlamaForCausalLM(LlamaConfig(tie_word_embeddings=True, num_key_value_heads=heads, **size))
    model.set_attn_implementation("eager")  # at 256 positions faster on a CPU than the fused kernel
    return model


def backward(model, ids: torch.Tensor, *, scale: float = 1.0, chunk: int = 512) -> float:
    """Accumulate the gradient of the mean next-token loss; logits are made by chunks, to stay in cache."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
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


def schedule(step: int, steps: int) -> float:
    """Share of the peak learning rate: linear warm-up, flat, linear to zero over the last quarter."""
    return min((step + 1) / 100, 1.0, (steps - step) / (0.25 * steps))


def train(
    contexts: np.ndarray,
    folder: Path,
    *,
    steps,
    batch=32,
    micro=16,
    seed=0,
    every=250,
    log=print,
    evaluate=None,
):
    """Train from ``folder/checkpoint.pt`` if there is one, else from seed; returns (model, curve).

    contexts: uint16 [n, context]; a pass in random order, and further passes if ``steps`` asks for them. Muon
    for the matrices inside the blocks, AdamW for the embedding and the norms. The curve has a row every
    ``every`` steps: tokens seen, mean training loss since the last row, held-out loss if ``evaluate(model)``
    is given, seconds spent. A checkpoint follows every row, so a stop loses no more than that.
    """
    model = build(seed=seed)
    named = [(p, p.ndim == 2 and "layers" in name) for name, p in model.named_parameters()]
    inside, outside = (
        [p for p, is_matrix in named if is_matrix],
        [p for p, is_matrix in named if not is_matrix],
    )
    optimisers = [
        torch.optim.Muon(inside, lr=MUON_LR, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(outside, lr=ADAM_LR, betas=(0.9, 0.97), weight_decay=0.0),
    ]
    checkpoint = folder / "checkpoint.pt"
    start, curve, spent = 0, [], 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        for optimiser, saved in zip(optimisers, state["optimisers"]):
            optimiser.load_state_dict(saved)
        start, curve, spent = state["step"], json.loads(state["curve"]), state["spent"]
        log(f"model: resumed at step {start}")
    clock, losses, share = time.perf_counter(), [], micro / batch
    rng = np.random.default_rng(seed)
    passes = math.ceil(steps * batch / len(contexts))
    order = np.concatenate([rng.permutation(len(contexts)) for _ in range(passes)])
    for step in range(start, steps):
        rows = torch.from_numpy(contexts[order[step * batch : (step + 1) * batch]].astype(np.int64))
        losses.append(sum(backward(model, part, scale=share) * micro / batch for part in rows.split(micro)))
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimiser, peak in zip(optimisers, (MUON_LR, ADAM_LR)):
            for group in optimiser.param_groups:
                group["lr"] = peak * schedule(step, steps)
            optimiser.step()
            optimiser.zero_grad()
        if (step + 1) % every == 0 or step + 1 == steps:
            spent += time.perf_counter() - clock
            row = {"tokens": (step + 1) * batch * contexts.shape[1], "loss": float(np.mean(losses))}
            row |= {"seconds": round(spent)} | ({"held_out": evaluate(model)} if evaluate else {})
            curve.append(row)
            log(f"model: step {step + 1}/{steps} " + " ".join(f"{k} {v:.4g}" for k, v in row.items()))
            state = dict(step=step + 1, curve=json.dumps(curve), spent=spent, model=model.state_dict())
            state["optimisers"] = [o.state_dict() for o in optimisers]
            folder.mkdir(parents=True, exist_ok=True)
            with whole(checkpoint) as part:
                torch.save(state, part)
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


@torch.no_grad()
def token_losses(model, contexts: np.ndarray, *, batch: int = 16) -> np.ndarray:
    """Nats of each next token, [n, context - 1], in float32."""
    rows = []
    for ids in torch.from_numpy(contexts.astype(np.int64)).split(batch):
        logits = model(ids, use_cache=False).logits[:, :-1].float()
        rows.append(F.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none").numpy())
    return np.concatenate(rows)


def ngram_losses(
    training: np.ndarray, contexts: np.ndarray, *, vocabulary: int = VOCABULARY
) -> dict[str, float]:
    """Mean nats a token of unigram, bigram and trigram models with Witten-Bell interpolation, counted on the
    training contexts, on the tokens that all of them predict (positions 2 and on).

    p_n(w | h) = (c(h w) + T(h) p_{n-1}(w | h')) / (c(h) + T(h)),  T(h): distinct tokens seen after h.
    The lowest order is interpolated with the uniform distribution. Counts are sorted integer keys: memory is
    16 bytes a distinct n-gram, time one sort of the training tokens an order.
    """

    def keys_of(contexts, order):
        rows = contexts.astype(np.int64)
        width = rows.shape[1] - order + 1
        keys = np.zeros((len(rows), width), dtype=np.int64)
        for offset in range(order):
            keys = keys * vocabulary + rows[:, offset : offset + width]
        return (keys[:, 1:] if order == 1 else keys).ravel()  # position 0 is the <bos> nobody predicts

    def look_up(keys, values, asked):
        place = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
        return np.where(keys[place] == asked, values[place], 0)

    probability = np.full(contexts[:, 2:].size, 1 / vocabulary)
    asked, result = keys_of(contexts, 3), {}
    for order, name in enumerate(("unigram", "bigram", "trigram"), start=1):
        keys, counts = np.unique(keys_of(training, order), return_counts=True)
        histories, first = np.unique(keys // vocabulary, return_index=True)
        totals, types = np.add.reduceat(counts, first), np.diff(np.append(first, len(keys)))
        key = asked % vocabulary**order
        count, history = look_up(keys, counts, key), key // vocabulary
        total, kinds = look_up(histories, totals, history), look_up(histories, types, history)
        better = (count + kinds * probability) / np.where(total > 0, total + kinds, 1)
        probability = np.where(total > 0, better, probability)
        result[name] = float(-np.log(probability).mean())
    return result
