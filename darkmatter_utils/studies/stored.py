"""Of a large model: activations, losses and SAEs' codes, kept on disk by the first pass over a text for all
others.

They are what model and SAE give, bit for bit: of each context alone, and of the very tokens that an SAE was
given at once. What was cut off or altered counts as not there.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ..adapters import gguf
from ..adapters.models import LanguageModel, load_model
from ..adapters.saes import Active, Sae
from ..base import cache, provenance, values
from ..base.config import cache_folder
from ..base.errors import BadInput

LARGE = 20_000_000
"""Parameters of a model from which on a pass costs more than reading what it gave."""
GIGABYTES = "DARKMATTER_ACTIVATIONS"
"""Environment variable: what activations and codes of one text may take on disk (10), 0 for none."""
LOSSES = "losses"
CODES = ("latent", "value", "l0")
"""What is kept of `adapters.saes.Active`."""


class Stored:
    """What is kept of contexts: activations [context, position, d] at sites, losses [context, position]."""

    def __init__(self, folder: Path, tokens: tuple[int, int], dtype: torch.dtype, width, room: float):
        """tokens: contexts and positions; width(site): d; room: bytes that all files may take."""
        self.folder, self.tokens, self.width, self.room = folder, tokens, width, room
        self.dtype = torch.empty(0, dtype=dtype).numpy().dtype
        self.arrays: dict[str, tuple[np.memmap, np.memmap]] = {}
        folder.mkdir(parents=True, exist_ok=True)
        self._codes = folder / f"codes-{provenance.key(provenance.of(Sae))}"
        for other in set(folder.glob("codes-*")) - {self._codes}:
            shutil.rmtree(other, ignore_errors=True)
        self.of_codes = sum(one.stat().st_size for one in self._codes.glob("*/*"))
        self.last: tuple = (None, "")

    def has(self, name: str) -> bool:
        """Whether a site, or `LOSSES`, has a file here, or room for one."""
        if name not in self.arrays:
            shape = self.tokens if name == LOSSES else (*self.tokens, self.width(name))
            path, size = self.folder / f"{name}.numbers", int(np.prod(shape)) * self.dtype.itemsize
            if not path.exists() and self._taken() + size > self.room:
                return False
            sums = _map(path.with_suffix(".sums"), np.dtype(np.uint32), self.tokens[:1])
            self.arrays[name] = _map(path, self.dtype, shape), sums
        return True

    def others(self, study, sites: Sequence[str]) -> list[str]:
        """Sites of the study's other SAEs, which a pass to the model's end goes by, while there is room."""
        mine = () if study.random_weights is not None else dict.fromkeys(e.site for e in study.saes if e.site)
        return [site for site in mine if site not in sites and self.has(site)]

    def read(self, rows: Sequence[int], names: Sequence[str]) -> dict[str, torch.Tensor] | None:
        """{name: numbers} of contexts, if all of them are there."""
        found = {}
        for name in names:
            if not self.has(name):
                return None
            array, sums = self.arrays[name]
            found[name] = np.array(array[rows])
            if any(sums[row] != _sum(x) for row, x in zip(rows, found[name])):
                return None
        return {name: torch.from_numpy(x) for name, x in found.items()}

    def write(self, rows: Sequence[int], found: dict[str, torch.Tensor]) -> None:
        """Keep those of contexts for which there is room."""
        for name in filter(self.has, found):
            array, sums = self.arrays[name]
            for row, x in zip(rows, found[name].numpy(force=True).astype(self.dtype)):
                array[row], sums[row] = x, _sum(x)

    def codes(self, sae: Sae, x: torch.Tensor) -> Active:
        """An SAE's active latents of tokens x [token, d]; kept while there is room."""
        if sae.needs_x:
            return sae.codes(x)
        path = self._codes / sae.digest / f"{self._digest(x)}.npz"
        with contextlib.suppress(OSError, ValueError, KeyError, zipfile.BadZipFile), np.load(path) as found:
            return Active(*(torch.from_numpy(found[name]).to(x.device) for name in CODES))
        made = sae.codes(x)
        if self._taken() + made.nbytes <= self.room:
            path.parent.mkdir(parents=True, exist_ok=True)
            with values.whole(path) as part, part.open("wb") as file:
                np.savez(file, **{name: getattr(made, name).numpy(force=True) for name in CODES})
            self.of_codes += made.nbytes
        return made

    def _digest(self, x: torch.Tensor) -> str:
        if x is not self.last[0]:  # the SAEs of a study are given the same tokens one after another
            said = f"{x.dtype} {x.device.type}".encode()
            self.last = x, hashlib.blake2b(x.numpy(force=True).tobytes() + said, digest_size=16).hexdigest()
        return self.last[1]

    def _taken(self) -> int:
        return self.of_codes + sum(one.stat().st_size for one in self.folder.glob("*.numbers"))


def stored(study, model: LanguageModel, tokens: np.ndarray) -> Stored | None:
    """What is kept of ``tokens`` [context, position]; None of a small model, of one whose files are not here,
    and where nothing may be. What another text or model of the study's name left there goes."""
    files, room = _files(study), _room()
    if not files or model.parameters < LARGE or not room:
        return None
    dtype = torch.float64 if (study.model_dtype or study.dtype) == "float64" else torch.float32
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
    return Stored(folder, tokens.shape, dtype, model.width, room)


def _files(study) -> list:
    """What tells of a change of the model; nothing where it is not on this machine's disk by name."""
    source = study.model_source()
    path = gguf.find(source) or Path(source)
    return cache.stamps(path) if path.exists() else []


def _room() -> float:
    said = os.environ.get(GIGABYTES, "10")
    try:
        return float(said) * 1e9
    except ValueError:
        raise BadInput(f"{GIGABYTES} is '{said}'; give gigabytes, e.g. 10, or 0") from None


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
