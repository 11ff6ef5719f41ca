"""Small random models of the recipes' families with a tokenizer each, and SAEs in the recipes' formats."""

import json

import numpy as np
import torch
import toys
import yaml

D, LAYERS, LENGTH = 32, 3, 64


def _model(folder, made):
    with torch.no_grad():
        for name, weight in made.named_parameters():
            if weight.ndim == 2 and "layers" in name:
                weight.mul_(6)  # else every block adds next to nothing
    made.eval().save_pretrained(folder)
    toys.tokenizer(folder)
    return made


SAME = dict(
    vocab_size=64, hidden_size=D, intermediate_size=64, num_hidden_layers=LAYERS, num_attention_heads=2
)
SAME |= dict(max_position_embeddings=2 * LENGTH, bos_token_id=0, eos_token_id=0)


def qwen3(folder):
    """The model, saved there."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    return _model(folder, Qwen3ForCausalLM(Qwen3Config(num_key_value_heads=1, head_dim=16, **SAME)))


def neox(folder):
    """The same of Pythia: attention and MLP side by side."""
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    torch.manual_seed(0)
    return _model(folder, GPTNeoXForCausalLM(GPTNeoXConfig(use_parallel_residual=True, **SAME)))


def gemma3(folder):
    """The same of Gemma 3: a norm before and after each part, sliding windows but for each third block."""
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    torch.manual_seed(0)
    how = dict(num_key_value_heads=1, head_dim=16, sliding_window=16, pad_token_id=0)
    how |= dict(layer_types=["sliding_attention", "sliding_attention", "full_attention"])
    return _model(folder, Gemma3ForCausalLM(Gemma3TextConfig(**how, **SAME)))


def activations(made, layer, documents=40):
    """resid-post of a block over random words [token, d], by transformers itself."""
    ids = torch.randint(1, 62, (documents, LENGTH), generator=torch.Generator().manual_seed(1))
    ids[:, 0] = 0
    return states(made, ids, layer)[:, 1:].reshape(-1, D).double().numpy()


def states(made, ids, layer):
    """resid-post of a block, by a hook of transformers' own model [context, position, d]."""
    body = getattr(made, "model", None) or made.gpt_neox
    seen = []
    hook = body.layers[layer].register_forward_hook(
        lambda _, __, out: seen.append(out[0] if isinstance(out, tuple) else out)
    )
    with torch.no_grad():
        made(ids)
    hook.remove()
    return seen[0]


def rows(x, width, seed=0):
    """Directions that some activations have [width, d], and their mean."""
    rng, mean = np.random.default_rng(seed), x.mean(axis=0)
    made = (x - mean)[rng.choice(len(x), width, replace=width > len(x))]
    made += 0.1 * made.std() * rng.standard_normal(made.shape)  # two of one token would tie
    return made / np.linalg.norm(made, axis=1, keepdims=True), mean


def dictionary_learning(home, x, width, k, *, layer, model):
    """A TopK SAE as that library saves it: its folder, and a function of x that is its formula."""
    folder = home / f"resid_post_layer_{layer}" / f"trainer_{width}_{k}"
    directions, mean = rows(x, width)
    state = {
        "encoder.weight": torch.tensor(directions).float(),
        "encoder.bias": torch.zeros(width),
        "decoder.weight": torch.tensor(directions.T).float().contiguous(),
        "b_dec": torch.tensor(mean).float(),
        "k": torch.tensor(k),
    }
    folder.mkdir(parents=True)
    torch.save(state, folder / "ae.pt")
    trainer = dict(dict_class="AutoEncoderTopK", trainer_class="TrainerTopK", k=k, layer=layer, lm_name=model)
    trainer |= dict(activation_dim=D, dict_size=width, submodule_name=f"resid_post_layer_{layer}")
    about = {"trainer": trainer, "buffer": {"ctx_len": 2 * LENGTH}}
    (folder / "config.json").write_text(json.dumps(about))
    return folder, lambda x: largest((x - mean) @ directions.T, k) @ directions + mean


def largest(pre, k):
    """The k largest of each row, where they are above 0; the others 0."""
    return np.where(pre >= np.sort(pre, axis=1)[:, -k][:, None], np.maximum(pre, 0), 0)


def qwen_scope(home, x, width, k, *, layer, model):
    """A TopK SAE as Qwen-Scope publishes it: its file, and its formula."""
    directions, mean = rows(x, width)
    state = {"W_enc": directions, "W_dec": directions.T, "b_enc": -directions @ mean, "b_dec": mean}
    folder = home / f"SAE-Res-{model.rpartition('/')[2]}-W{width // 1024}K-L0_{k}"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"layer{layer}.sae.pt"
    torch.save({name: torch.tensor(w).float().contiguous() for name, w in state.items()}, file)
    return file, lambda x: largest((x - mean) @ directions.T, k) @ directions + mean


def gemma_scope_2(home, x, width, l0, *, layer, model):
    """A JumpReLU SAE as Gemma Scope 2 publishes it: its folder, and its formula."""
    from safetensors.numpy import save_file

    folder = home / "resid_post" / f"layer_{layer}_width_{width}_l0_{l0}"
    directions, mean = rows(x, width)
    pre = (x - mean) @ directions.T
    edge = max(float(np.quantile(pre, 1 - l0 / width)), 1e-3)
    weights = dict(w_enc=np.ascontiguousarray(directions.T), w_dec=directions, b_enc=-mean @ directions.T)
    weights |= dict(b_dec=mean, threshold=np.full(width, edge))
    folder.mkdir(parents=True)
    save_file({name: w.astype(np.float32) for name, w in weights.items()}, folder / "params.safetensors")
    point = f"model.layers.{layer}.output"
    about = dict(hf_hook_point_in=point, hf_hook_point_out=point, type="sae", model_name=model, l0=l0)
    (folder / "config.json").write_text(json.dumps(about))

    def formula(x):
        pre = (x - mean) @ directions.T
        return np.where(pre > edge, pre, 0) @ directions + mean

    return folder, formula


def recipe(folder, name, saes, **changes):
    """A study of ``saes`` as a file, with a text."""
    toys.text(folder / "text.jsonl", documents=30, length=LENGTH)
    settings = dict(name=name, model="model", text="text.jsonl", documents=30, window=[8, LENGTH - 1])
    settings |= dict(bootstrap=100, saes=saes)
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(settings | changes))
    return folder / f"{name}.yaml"
