"""Activations of a large model, kept on disk by the first pass over a text for all that come after it."""

from __future__ import annotations

import os
import shutil
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ..adapters import gguf
from ..adapters.models import LanguageModel, load_model
from ..base import cache, provenance
from ..base.config import cache_folder
from ..base.errors import BadInput

LARGE = 20_000_000
"""Parameters of a model from which on a pass costs more than reading what it gave."""
GIGABYTES = "DARKMATTER_ACTIVATIONS"
"""Environment variable: what the activations of one text may take on disk (4), 0 for none."""


class Stored:
    """Activations [context, position, d] at some sites, a context is there or not; all of them, bit for bit,
    are what the model gives of that context alone. Whatever was cut off or altered counts as not there."""

    def __init__(self, folder: Path, shape: tuple[int, int], widths: dict[str, int], dtype: torch.dtype):
        self.folder, self.dtype = folder, dtype
        self.arrays, self.sums = {}, {}
        folder.mkdir(parents=True, exist_ok=True)
        kind = torch.empty(0, dtype=dtype).numpy().dtype
        for site, width in widths.items():
            self.arrays[site] = _map(folder / f"{site}.activations", kind, (*shape, width))
            self.sums[site] = _map(folder / f"{site}.sums", np.dtype(np.uint32), shape[:1])

    def read(self, rows: Sequence[int]) -> dict[str, torch.Tensor] | None:
        """{site: activations} of contexts, if all of them are there."""
        for site, array in self.arrays.items():
            if any(self.sums[site][row] != _sum(array[row]) for row in rows):
                return None
        return {site: torch.from_numpy(np.array(array[rows])) for site, array in self.arrays.items()}

    def write(self, rows: Sequence[int], found: dict[str, torch.Tensor]) -> None:
        """Keep those of contexts."""
        for site, array in self.arrays.items():
            for row, x in zip(rows, found[site].numpy(force=True)):
                array[row] = x
                self.sums[site][row] = _sum(array[row])


def stored(study, model: LanguageModel, tokens: np.ndarray, sites: Sequence[str]) -> Stored | None:
    """What is kept of ``tokens`` [context, position] at ``sites``; None of a small model, of one whose files
    are elsewhere, and where it would take more than `GIGABYTES` says. What another text or model of the
    study's name left there goes."""
    files, widths = _files(study), {site: model.width(site) for site in sites}
    dtype = torch.float64 if (study.model_dtype or study.dtype) == "float64" else torch.float32
    size = tokens.size * sum(widths.values()) * dtype.itemsize
    if not files or model.parameters < LARGE or size > _room():
        return None
    code = provenance.key(provenance.of(load_model, LanguageModel))
    how = dict(dtype=study.model_dtype or study.dtype, random=study.random_weights, device=study.device)
    text = [list(tokens.shape), zlib.crc32(np.ascontiguousarray(tokens).tobytes())]
    key = cache.key_of(files=files, code=code, versions=cache.versions(), how=how, text=text)
    twin = "" if study.random_weights is None else f"-random{study.random_weights}"
    name = f"activations-{study.name}-{study.text}{twin}"
    folder = cache_folder() / f"{name}-{key}"
    if not folder.exists():
        for other in cache_folder().glob(f"{name}-{'?' * 32}"):
            shutil.rmtree(other, ignore_errors=True)
    return Stored(folder, tokens.shape, widths, dtype)


def _files(study) -> list:
    """What tells of a change of the model; nothing where it is not on this machine's disk by name."""
    source = study.model_source()
    path = gguf.find(source) or Path(source)
    return cache.stamps(path) if path.exists() else []


def _room() -> float:
    said = os.environ.get(GIGABYTES, "4")
    try:
        return float(said) * 1e9
    except ValueError:
        raise BadInput(f"{GIGABYTES} is '{said}'; give gigabytes, e.g. 4, or 0") from None


def _map(path: Path, dtype: np.dtype, shape: tuple[int, ...]) -> np.memmap:
    """A file of zeros, or what was there; it takes disk as it is filled."""
    size = int(np.prod(shape)) * dtype.itemsize
    if not path.exists() or path.stat().st_size != size:
        with path.open("ab") as file:  # "wb" would empty what another process is filling
            file.truncate(size)
    return np.memmap(path, dtype, "r+", shape=shape)


def _sum(x: np.ndarray) -> int:
    """Of a context's numbers; never 0, which is a context that is not there."""
    return zlib.crc32(x.tobytes()) | 1
