"""A toy model with a tokenizer, a text for it and SAEs, as folders: what a user of ``darkmatter measure``
has."""

import json
import shutil
from dataclasses import replace

import numpy as np

from darkmatter_utils.base.cache import listed
from darkmatter_utils.base.config import STUDIES
from darkmatter_utils.studies.study import Study

SITE = "blocks.0.hook_resid_post"


def nano():
    """The folder of the nano study: model, saes, tokens.npz."""
    return Study.load("nano").data_folder()


def tokenizer(folder, *, first=0, words=63):
    """A tokenizer that splits at spaces and gives word i the id first + i, saved into a model's folder."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    ids = {"<bos>": 0, "<unk>": words + first} | {f"w{i}": first + i for i in range(1, words)}
    made = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<bos>", unk_token="<unk>").save_pretrained(
        folder
    )
    return folder


def model(folder, **settings):
    """The nano model with such a tokenizer."""
    shutil.copytree(nano() / "model", folder)
    return tokenizer(folder, **settings)


def family(folder, kind, *, layers=2, **settings):
    """A random model of one of transformers' types, 16 dimensions wide, with such a tokenizer; (folder,
    transformers' model)."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    shape = dict(vocab_size=64, hidden_size=16, num_hidden_layers=layers, num_attention_heads=2)
    config = AutoConfig.for_model(kind, **shape | settings)
    made = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for weight in made.parameters():  # livelier than they are drawn: every norm and half counts
            weight.mul_(3) if weight.ndim > 1 else weight.add_(0.3 * torch.randn_like(weight))
    made.save_pretrained(folder)
    return tokenizer(folder), made


def seen(made, module, tokens, *, given=False):
    """What a module of transformers' model gives out, or is given first, for tokens [context, position]."""
    found = []
    keep = lambda value: found.append(value[0] if isinstance(value, tuple) else value)
    inside = made.get_submodule(module)
    if given:
        hook = inside.register_forward_pre_hook(lambda _, values: keep(values))
    else:
        hook = inside.register_forward_hook(lambda _, __, value: keep(value))
    made(tokens)
    hook.remove()
    return found[0].detach()


def sae(folder, id="w32"):
    """One of the nano study's SAEs, which do not say where they read: give `SITE`."""
    return shutil.copytree(nano() / "saes" / id, folder)


def text(path, *, documents=160, length=31, seed=0):
    """A jsonl file of random words of `model`."""
    rng = np.random.default_rng(seed)
    lines = [" ".join(f"w{i}" for i in rng.integers(1, 62, length)) for _ in range(documents)]
    path.write_text("\n".join(json.dumps({"text": line}) for line in lines))
    return path


def bare():
    """The nano study with three SAEs of one kind: nothing that a role is needed for."""
    study = Study.load("nano")
    return replace(study, saes=tuple(study.sae(id) for id in ("w16", "w32", "w64")))


def bare_file(path):
    """The same as a study's file."""
    saes = "".join(
        f"\n- {{id: {e.id}, width: {e.width}, l0: 4, main: true, path: {e.path}}}" for e in bare().saes
    )
    path.write_text((STUDIES / "nano.yaml").read_text().replace("saes: manifest", f"saes:{saes}"))
    return str(path)


LOUD = 54
"""The token that `loud` makes loud: 17 stand inside nano's window."""


def loud(folder, *, token=LOUD, times=1000, special=()):
    """The nano study with the embedding of one token so many times as long; the words of the tokens
    ``special`` are special tokens."""
    from safetensors.numpy import load_file, save_file

    shutil.copytree(nano(), folder)
    model = folder / "model"
    weights = load_file(model / "model.safetensors")
    weights["model.embed_tokens.weight"][token] *= times
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    words = json.loads((model / "tokenizer.json").read_text())
    words["added_tokens"] += [words["added_tokens"][0] | {"id": id, "content": f"w{id}"} for id in special]
    (model / "tokenizer.json").write_text(json.dumps(words))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"] = {n: f for n, f in listed(folder).items() if n != "manifest.json"}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return replace(Study.load("nano"), data=str(folder))
