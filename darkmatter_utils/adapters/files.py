"""Files of weights and settings, read with one clear line for each that is truncated or damaged."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from zipfile import is_zipfile

import numpy as np
import torch
import yaml
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..base.errors import BadInput

LFS = b"version https://git-lfs"


class Fault(BadInput):
    """What is wrong with a file, without the name of the SAE."""


def type_name(dtype: torch.dtype) -> str:
    """A torch type's plain name, e.g. bfloat16."""
    return str(dtype).removeprefix("torch.")


@contextlib.contextmanager
def opened(path: Path) -> Iterator:
    """A safetensors file, mapped: keys(), get_tensor(name). Raises Fault for a truncated or damaged one."""
    try:
        with safe_open(path, "pt") as file:
            yield file
    except SafetensorError as error:
        why = f"is not a complete safetensors file ({error}): it is truncated or damaged; copy it again"
        name = f"{path.name} ({path.stat().st_size} bytes)"
        if path.open("rb").read(len(LFS)) == LFS:
            name, why = path.name, "is a Git LFS pointer, not the weights; fetch them with: git lfs pull"
        raise Fault(f"{name} {why}") from None


def tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file."""
    with opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}


def arrays(path: Path) -> dict[str, Tensor]:
    """The arrays of an npz file; Fault for one that is truncated, damaged or no npz."""
    try:
        with np.load(path) as archive:
            found = {name: archive[name] for name in archive.files}
        if bad := [name for name, value in found.items() if value.dtype.kind != "f"]:
            what = f"{', '.join(bad)} of type {found[bad[0]].dtype}"
            raise Fault(f"{path.name} holds {what}; weights are floats")
        return {name: torch.from_numpy(value) for name, value in found.items()}
    except Fault:
        raise
    except Exception as error:  # a damaged zip raises many kinds
        lfs = path.read_bytes()[: len(LFS)] == LFS
        why = "a Git LFS pointer; git lfs pull" if lfs else " ".join(str(error).split())[:120]
        raise Fault(f"{path.name} ({path.stat().st_size} bytes) is not a complete npz file ({why})") from None


def settings(path: Path) -> dict:
    """A JSON or YAML file's mapping."""
    kind = "YAML" if path.suffix in (".yaml", ".yml") else "JSON"
    try:
        found = (yaml.safe_load if kind == "YAML" else json.loads)(path.read_text("utf-8-sig"))
    except (ValueError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise Fault(f"{path.name} is not {kind} ({' '.join(str(error).split())}); copy it again") from None
    if not isinstance(found, dict):
        raise Fault(f"{path.name} must hold a {kind} object, got {type(found).__name__}")
    return found


def torch_file(path: Path) -> dict:
    """What a file of torch holds by name: tensors, at most numbers and words beside; nothing in it is run."""
    if path.open("rb").read(len(LFS)) == LFS:
        raise Fault(f"{path.name} is a Git LFS pointer, not the weights; fetch them with: git lfs pull")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zipfile(path))
    except Exception as error:  # a damaged zip, and what is no tensor, raise many kinds
        why = " ".join(str(error).split())[:120]
        what = f"{path.name} is no file of tensors that can be read without running it ({why})"
        raise Fault(
            f"{what}; save its state_dict(), or give arrays: --x FILE --reconstruction FILE"
        ) from None
    if not isinstance(found, dict) or not any(isinstance(value, Tensor) for value in found.values()):
        raise Fault(f"{path.name} holds no named tensors; save its state_dict()")
    return found


def names(path: Path) -> set[str]:
    """What a file of tensors, of either kind, holds; no tensor is read."""
    if path.suffix != ".safetensors":
        return set(torch_file(path))
    with opened(path) as file:
        return set(file.keys())


def weights(path: Path) -> dict:
    """What a file of tensors holds, of either kind."""
    return tensors(path) if path.suffix == ".safetensors" else torch_file(path)
