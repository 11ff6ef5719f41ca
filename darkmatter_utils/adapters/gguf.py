"""Models in llama.cpp's GGUF: one file with weights, tokenizer and configuration, mostly quantised.

A model is a ``.gguf`` file, a folder with one (and no config.json), or ``package:NAME``, an installed Python
package that carries one. transformers dequantises it: what is measured is the quantised model, computing in
floating point.
"""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path
from unittest import mock

import torch
from filelock import FileLock

from ..base import cache
from ..base.config import cache_folder
from ..base.errors import BadInput
from ..base.values import whole

SUFFIX, PACKAGE = ".gguf", "package:"


def find(name: str) -> Path | None:
    """The GGUF file that a model's name stands for; None for a name of another kind. Raises BadInput for a
    package that is not installed or has no such file, a folder with several, and one part of several."""
    if name.startswith(PACKAGE):
        found = _in_package(name.removeprefix(PACKAGE))
    else:
        path = Path(name).expanduser()
        found = sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path] * path.is_file()
        found = [file for file in found if file.suffix.lower() == SUFFIX]
        if not found or path.is_dir() and (path / "config.json").is_file():
            return None
    if len(found) > 1:
        raise BadInput(f"{name} has {len(found)} GGUF files; give one: {', '.join(map(str, found))}")
    if re.search(r"-\d{5}-of-\d{5}$", found[0].stem):
        raise BadInput(f"{found[0].name} is one part of several; join them with llama-gguf-split --merge")
    return found[0]


def _in_package(name: str) -> list[Path]:
    try:
        listed = importlib.metadata.files(name) or []
    except (importlib.metadata.PackageNotFoundError, ValueError):  # the latter of an empty name
        todo = f"pip install --no-deps {name}"
        raise BadInput(f"there is no installed package '{name}': {todo}") from None
    found = [Path(file.locate()) for file in listed if file.suffix.lower() == SUFFIX]
    if not found:
        raise BadInput(f"the package '{name}' has no {SUFFIX} file")
    return found


def version(name: str) -> str:
    """A package's name with its version, ``package:NAME@VERSION``; any other name as it is."""
    if not name.startswith(PACKAGE):
        return name
    return f"{name}@{importlib.metadata.version(name.removeprefix(PACKAGE))}"


def load(path: Path) -> tuple[torch.nn.Module, object]:
    """(transformers' model in float32, its tokenizer) of a GGUF file. Raises BadInput where the package
    ``gguf`` is not installed, for a file that is none or is cut off, and for an architecture that
    transformers cannot dequantise. Cost: the weights in float32, and some seconds; those of a file of more
    than `BIG` bytes are kept in the cache as transformers saves them, since taking the file apart takes half
    a minute for a vocabulary of 49,152 words."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import is_gguf_available

    if not is_gguf_available():
        raise BadInput(f"{path.name} is a GGUF file: reading it needs a package, pip install gguf")
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise BadInput(f"{path} is no GGUF file")
    if path.stat().st_size <= BIG:
        return _taken_apart(path)
    folder = _kept(path)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not cache.sealed(folder):
            with whole(folder) as part:
                for each in _taken_apart(path):
                    each.save_pretrained(part)
                (part / KIND).write_text(_most_common(path))
                cache.seal(part)
    how = {"dtype": torch.float32, "attn_implementation": "eager"}
    model = AutoModelForCausalLM.from_pretrained(str(folder), **how)
    return model, AutoTokenizer.from_pretrained(str(folder))


BIG, KIND = 20_000_000, "quantisation.txt"
"""Bytes of a file from which on what it holds is kept, and the file that says how it was rounded."""


def _kept(path: Path) -> Path:
    made = {"file": cache.stamps(path), "versions": cache.versions(("torch", "transformers", "gguf"))}
    return cache_folder() / f"gguf-{path.stem}-{cache.key_of(**made)}"


def _taken_apart(path: Path) -> tuple[torch.nn.Module, object]:
    from transformers import AutoModelForCausalLM, AutoTokenizer, modeling_gguf_pytorch_utils

    how = {"gguf_file": path.name}
    try:
        asked = {"dtype": torch.float32, "attn_implementation": "eager", "output_loading_info": True}
        with mock.patch.object(modeling_gguf_pytorch_utils, "tqdm", lambda parts, **_: parts):  # its bar
            model, info = AutoModelForCausalLM.from_pretrained(str(path.parent), **how, **asked)
        tokenizer = AutoTokenizer.from_pretrained(str(path.parent), **how)
    except Exception as error:  # transformers and gguf raise many kinds for what they cannot read
        raise BadInput(f"{path.name} cannot be read: {_said(error)}") from None
    if lacks := sorted(info["missing_keys"]):
        raise BadInput(f"{path.name} lacks {len(lacks)} weight(s) ({', '.join(lacks[:2])})")
    del model.config.quantization_config  # its weights are plain numbers now, and can be saved as such
    model.hf_quantizer, model.is_quantized = None, False
    return model, tokenizer


def _said(error: Exception) -> str:
    from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES

    why = " ".join(str(error).split())[:160]
    if "architecture" in why:
        return f"{why}; transformers dequantises {', '.join(sorted(GGUF_SUPPORTED_ARCHITECTURES))}"
    return f"{why or type(error).__name__}; is it whole?"


def quantisation(path: Path) -> str:
    """The name of the type that most of a file's weights have, such as Q4_1 or F16. Cost: its header, where
    `load` has not noted it."""
    if (said := _kept(path) / KIND).is_file():
        return said.read_text()
    return _most_common(path)


def _most_common(path: Path) -> str:
    from gguf import GGUFReader

    sizes: dict[str, int] = {}
    for tensor in GGUFReader(path).tensors:
        name = tensor.tensor_type.name
        sizes[name] = sizes.get(name, 0) + int(tensor.n_elements)
    return max(sizes, key=sizes.get)
