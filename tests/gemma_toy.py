"""A Gemma-2-shaped model of toy size with random weights, and a release of SAEs for it as Gemma Scope
publishes them."""

import numpy as np
import torch
import toys
import yaml
from published import gemma_scope

WIDTHS = tuple(32 * 2**k for k in range(7))
L0S = (4, 8, 16)
D, LAYERS, LENGTH = 32, 3, 64


def model(folder):
    """The model's folder, and the model."""
    from transformers import Gemma2Config, Gemma2ForCausalLM

    torch.manual_seed(0)
    made = Gemma2ForCausalLM(
        Gemma2Config(
            vocab_size=64,
            hidden_size=D,
            intermediate_size=64,
            num_hidden_layers=LAYERS,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=16,
            max_position_embeddings=2 * LENGTH,
            sliding_window=LENGTH,
            bos_token_id=0,
            eos_token_id=0,
            pad_token_id=0,
        )
    ).eval()
    with torch.no_grad():
        for name, weight in made.named_parameters():
            if weight.ndim == 2 and "layers" in name:
                weight.mul_(6)  # else every block adds next to nothing
    made.save_pretrained(folder)
    toys.tokenizer(folder)
    return made


def activations(made, documents=40):
    """{(site, layer): activations [token, d]} of random words."""
    ids = torch.randint(1, 62, (documents, LENGTH), generator=torch.Generator().manual_seed(1))
    ids[:, 0] = 0
    found, hooks = {}, []
    for layer, block in enumerate(made.model.layers):
        hooks.append(
            block.self_attn.o_proj.register_forward_pre_hook(
                lambda _, given, layer=layer: found.__setitem__(("att", layer), given[0])
            )
        )
        hooks.append(
            block.post_feedforward_layernorm.register_forward_hook(
                lambda _, __, out, layer=layer: found.__setitem__(("mlp", layer), out)
            )
        )
        hooks.append(
            block.register_forward_hook(
                lambda _, __, out, layer=layer: found.__setitem__(
                    ("res", layer), out[0] if isinstance(out, tuple) else out
                )
            )
        )
    with torch.no_grad():
        made(ids)
    for hook in hooks:
        hook.remove()
    return {where: x[:, 1:].reshape(-1, x.shape[-1]).numpy().astype(np.float64) for where, x in found.items()}


def sae(folder, x, width, l0):
    """A crude SAE that works: its directions are activations, its threshold lets ``l0`` of them fire on a
    token of ``x``."""
    rng, mean = np.random.default_rng(width), x.mean(axis=0)
    rows = (x - mean)[rng.choice(len(x), width, replace=width > len(x))]
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    pre = (x - mean) @ rows.T
    edge = max(float(np.quantile(pre, 1 - l0 / width)), 1e-3)
    made = np.where(pre > edge, pre, 0) @ rows
    centred = made - made.mean(axis=0)
    gain = float(((x - mean) * centred).sum() / (centred**2).sum())
    arrays = dict(
        W_enc=rows.T,
        W_dec=gain * rows,
        b_enc=-mean @ rows.T,
        b_dec=mean - gain * made.mean(axis=0),
        threshold=np.full(width, edge),
    )
    gemma_scope(
        folder,
        d_in=len(mean),
        d_sae=width,
        **{name: value.astype(np.float32) for name, value in arrays.items()},
    )


def study(folder, *, widths=WIDTHS, l0s=L0S, documents=40, **changes):
    """All of it in a folder, with mine.yaml, a study of layer 1 with SAEs at other layers and sites."""
    x = activations(model(folder / "model"))
    name = lambda site, layer, width, l0: (
        f"toy-scope-2b-pt-{site}/layer_{layer}/width_{width}/average_l0_{l0}"
    )
    main = [("res", 1, width, l0) for width in widths for l0 in l0s]
    depth = [("res", layer, width, l0s[1]) for layer in (0, 2) for width in (64, 256)]
    sites = [("att", 1, 64, l0s[1]), ("mlp", 1, 64, l0s[1])]
    for site, layer, width, l0 in (*main, *depth, *sites):
        sae(folder / name(site, layer, width, l0), x[site, layer], width, l0)
    toys.text(folder / "text.jsonl", documents=documents, length=LENGTH)
    settings = dict(
        name="gemtoy",
        model="model",
        text="text.jsonl",
        documents=documents,
        window=[8, LENGTH - 1],
        l0=l0s[1],
        bootstrap=100,
        saes=[name(*one) for one in main],
        suites={"depth": [name(*one) for one in depth], "sites": [name(*one) for one in sites]},
    )
    (folder / "mine.yaml").write_text(yaml.safe_dump(settings | changes))
    return folder / "mine.yaml"
