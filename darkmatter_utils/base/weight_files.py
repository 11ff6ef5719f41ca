"""Weights on disk: safetensors, npz and JSON files, read whole or refused with what was expected of them."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .errors import BadInput

LFS = b"version https://git-lfs"


class Fault(BadInput):
    """What is wrong with a file, without the name of the SAE."""


def type_name(dtype: torch.dtype) -> str:
    """A torch type's plain name, e.g. bfloat16."""
    return str(dtype).removeprefix("torch.")


def tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file; Fault names what was expected of a truncated or damaged one."""
    from safetensors.torch import load_file

    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(len(LFS))
        if start == LFS:
            raise Fault(f"{path.name} is a Git LFS pointer, not the weights; fetch them with: git lfs pull")
        length = struct.unpack("<Q", start[:8])[0] if len(start) >= 8 else 0
        try:
            file.seek(8)
            header = json.loads(file.read(length)) if 2 <= length < min(size, 1 << 27) else None
            ends = [about["data_offsets"][1] for name, about in header.items() if name != "__metadata__"]
        except (ValueError, TypeError, KeyError, AttributeError):
            raise Fault(
                f"{path.name} ({size} bytes) is not a complete safetensors file; copy it again"
            ) from None
    if size != (whole := 8 + length + max(ends, default=0)):
        raise Fault(
            (
                f"{path.name} has {size} bytes, but its header says {whole}: it is truncated or damaged; "
                f"copy it again"
            )
        )
    try:
        return load_file(path)
    except Exception as error:  # safetensors raises its own kinds
        raise Fault(f"{path.name} cannot be read ({' '.join(str(error).split())[:120]})") from None


def arrays(path: Path) -> dict[str, Tensor]:
    """The arrays of an npz file; Fault for one that is truncated, damaged or no npz."""
    try:
        with np.load(path) as archive:
            found = {name: archive[name] for name in archive.files}
        if bad := [name for name, value in found.items() if value.dtype.kind != "f"]:
            raise Fault(
                f"{path.name} holds {', '.join(bad)} of type {found[bad[0]].dtype}; weights are floats"
            )
        return {name: torch.from_numpy(value) for name, value in found.items()}
    except Fault:
        raise
    except Exception as error:  # a damaged zip raises many kinds
        lfs = path.read_bytes()[: len(LFS)] == LFS
        why = "a Git LFS pointer; git lfs pull" if lfs else " ".join(str(error).split())[:120]
        raise Fault(f"{path.name} ({path.stat().st_size} bytes) is not a complete npz file ({why})") from None


def settings(path: Path) -> dict:
    """A JSON file's object."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise Fault(f"{path.name} is not JSON ({error}); copy it again") from None
    if not isinstance(found, dict):
        raise Fault(f"{path.name} must hold a JSON object, got {type(found).__name__}")
    return found
