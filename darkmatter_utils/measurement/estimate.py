"""Time and memory of a measurement, from sizes alone: before anything is loaded, or downloaded."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ..adapters.dictionary import rows_at_once
from ..adapters.files import Fault, opened
from ..adapters.models import DTYPES
from ..base.errors import BadInput
from ..base.words import readable, time_of

PASSES = 30
"""Multiplications per token and d_model² of a decomposition, the paper's protocol and the nulls."""
NULL_WORK = 2e12
"""Multiplications that an untrained dictionary may cost; beyond, fewer documents are taken."""
ROOM = 1 << 24
"""Its latents made at a time (tokens × width): 64 MB."""
ROWS = 64
"""Tokens that it is given at a time, at least."""
ARRAYS = 3
"""Arrays [token, latent] that are there at once."""
TOUCHED, NULL_TOUCHED = 6, 4
"""Times that encoding goes over each latent beside its product with x (bias, threshold, which are active);
and that an untrained dictionary does."""
LIBRARIES, STARTED = 0.55e9, 8.0
"""Bytes and seconds of Python with its libraries."""
READ = 4e8
"""Bytes of weights read and checked a second."""
SUMS, MORE_SUMS = 55, 10
"""Float64 matrices [d_model, d_model] of a decomposition of one SAE, and of each further one."""
RUN = 64
"""Numbers per position and dimension of x while a model runs."""
CONTEXT_LOGITS = 3
"""Copies of a context's logits where the model's loss is wanted."""
GPU = {"float64": 5e12, "float32": 1e13, "bfloat16": 1e14, "float16": 1e14}
"""Operations a second, by type, of a GPU that is not at hand: about what one of a data centre does."""
GPU_PACE = 1e-11
"""Seconds that it takes over one number of an array."""
CONTEXTS = 16
"""Of a batch of a study."""
CHAPTERS, START = 5, 120
"""All chapters take so many times as long as the measurement, and so many seconds to start."""


@dataclass(frozen=True)
class Work:
    """What is to be measured, in numbers."""

    parameters: int
    d_model: int
    """Of the activation that is decomposed."""
    widths: tuple[int, ...]
    """Latents of each SAE."""
    passed: int
    """Tokens that the model reads."""
    counted: int
    """Those that count."""
    context: int
    device: str
    dtype: str
    """Of the model."""
    sae_dtype: str
    folds: int = 5
    documents: int = 2

    def seconds(self, *, nulls: bool) -> float:
        """About how long it takes. nulls: with those of a single SAE, and what reading the files takes."""
        fast, pace = speed(self.device, self.sae_dtype), pace_of(self.device)
        taken = 2.0 * self.passed * self.parameters / speed(self.device, self.dtype)
        read = self.counted if nulls else self.passed  # of a study's contexts every token is encoded
        taken += sum(read * width * (2 * self.d_model / fast + TOUCHED * pace) for width in self.widths)
        sums = PASSES * self.counted * self.d_model**2 / speed("cpu" if nulls else self.device, "float64")
        taken += sums * len(self.widths)
        if nulls:
            for width in filter(None, self.widths):
                few = 2 * self.folds * self.counted / self.documents
                rows = min(self.counted, max(NULL_WORK / (self.d_model * width), few))
                taken += rows * width * (2 * self.d_model / speed("cpu", "float32"))
                taken += rows * width * NULL_TOUCHED * pace_of("cpu")
            taken += STARTED + (self.model_bytes + self.sae_bytes) / READ
        return taken

    @property
    def model_bytes(self) -> int:
        """Of the model's weights."""
        return self.parameters * DTYPES[self.dtype].itemsize

    @property
    def sae_bytes(self) -> int:
        """Of the weights of all SAEs: W_enc, W_dec, two numbers a latent, b_dec."""
        numbers = sum(width * (2 * self.d_model + 2) + self.d_model for width in self.widths)
        return numbers * DTYPES[self.sae_dtype].itemsize

    @property
    def on_disk(self) -> int:
        """Bytes of activations at two sites that are kept on disk, at most 10 GB."""
        return min(10**10, 2 * 4 * self.passed * self.d_model)

    @property
    def encoding(self) -> int:
        """Bytes that encoding takes at a time."""
        size = DTYPES[self.sae_dtype].itemsize
        return ARRAYS * size * max(rows_at_once(width) * width for width in self.widths)

    @property
    def running(self) -> int:
        """Bytes that the model takes for one context, without its logits."""
        return RUN * self.context * self.d_model * max(4, DTYPES[self.dtype].itemsize)

    @property
    def sums(self) -> int:
        """Bytes of the decomposition."""
        return (SUMS + MORE_SUMS * (len(self.widths) - 1)) * self.d_model**2 * 8

    @property
    def null(self) -> int:
        """Bytes of an untrained dictionary, and of its latents at a time."""
        width = max(self.widths)
        return 4 * (width * self.d_model + ARRAYS * max(ROWS * width, ROOM))

    @property
    def reading(self) -> int:
        """Bytes of the model's file, mapped while its weights are taken out: at most as many again."""
        return self.model_bytes

    @property
    def checking(self) -> int:
        """Bytes for a moment while an SAE's weights are checked: its larger matrix and a mask of it."""
        return 5 * max(self.widths) * self.d_model

    def memory(self) -> dict[str, int]:
        """Bytes at the most, of one SAE beside its nulls: {"host": ..., the device: ...}."""
        weights = self.model_bytes + self.sae_bytes
        if self.device == "cpu":
            most = max(self.reading, self.checking, self.encoding, self.running, self.sums, self.null)
            return {"host": int(LIBRARIES) + weights + most}
        stored = max(self.model_bytes + self.reading, self.sae_bytes)
        host = int(LIBRARIES) + max(stored, self.sums, self.null)
        return {"host": host, self.device: weights + max(self.checking, self.encoding, self.running)}

    def study_memory(self, vocabulary: int, kept: int) -> dict[str, int]:
        """The same of a study, whose SAEs are all there at once. kept: bytes of activations and codes."""
        logits = CONTEXT_LOGITS * 4 * self.context * vocabulary
        batch = 2 * 4 * CONTEXTS * self.context * self.d_model * (1 + len(self.widths))
        work = max(self.checking, self.encoding + batch, self.running + logits)
        on = self.model_bytes + self.sae_bytes + self.sums + kept + work
        if self.device == "cpu":
            return {"host": int(LIBRARIES) + on}
        widest = replace(self, widths=(max(self.widths),)).sae_bytes  # one comes after the other
        return {"host": int(LIBRARIES) + max(self.model_bytes + self.reading, widest), self.device: on}


def in_words(needs: dict[str, int]) -> str:
    """ "2.3 GB" of the host; with a device "30 GB on cuda, 4 GB beside it"."""
    host, *device = [readable(needs["host"])] + [
        f"{readable(size)} on {name}" for name, size in needs.items() if name != "host"
    ]
    return f"{device[0]}, {host} beside it" if device else host


def duration(seconds: float, device: str) -> str:
    """A time, and what of it is assumed."""
    assumed = "" if here(device) else f" of {GPU['float32']:.0e} operations a second".replace("e+", "e")
    return f"{time_of(seconds)} on {device}{assumed}"


def here(device: str) -> bool:
    """Whether this machine has the device."""
    return device == "cpu" or torch.device(device).type == "cuda" and torch.cuda.is_available()


@functools.cache
def speed(device: str, dtype: str) -> float:
    """Operations a second of a matrix product on a device, measured in a moment; `GPU` of one elsewhere."""
    if not here(device):
        return GPU[dtype]
    made = torch.ones(512, 512, dtype=DTYPES.get(dtype, torch.float32), device=device)
    return 2 * 512**3 / _best(lambda: float((made @ made)[0, 0]))


@functools.cache
def pace_of(device: str) -> float:
    """Seconds a number that going over an array takes, measured in a moment; `GPU_PACE` of one elsewhere."""
    if not here(device):
        return GPU_PACE
    made = torch.ones(ROWS, 1 << 17, device=device)
    return _best(lambda: float(made.clamp(min=0)[0, 0])) / made.numel()


def _best(work: Callable[[], float], tries: int = 8) -> float:
    """Seconds of the shortest of some tries: others' work on the machine only lengthens one."""
    taken = []
    for _ in range(tries):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return min(taken)


def has(device: str) -> int:
    """Bytes of memory that a device of this machine has; of the host, and of one that shares its memory, with
    what it may swap to."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_properties(device).total_memory
    lines = Path("/proc/meminfo").read_text().splitlines() if Path("/proc/meminfo").is_file() else []
    sizes = {line.split(":")[0]: 1024 * int(line.split()[1]) for line in lines}
    plain = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return sizes.get("MemTotal", plain) + sizes.get("SwapTotal", 0)


def doubts(needs: dict[str, int]) -> list[str]:
    """What of the machine may not do, as warnings."""
    found = []
    for place, size in needs.items():
        if (place == "host" or here(place)) and size > (there := has(place)):
            name = "this machine" if place == "host" else place
            found.append(f"it takes about {readable(size)} of memory, but {name} has {readable(there)}")
    return found


def weights(path: str | Path, dtype: str) -> list[int]:
    """Bytes that each file of weights takes in memory as ``dtype``, largest first: of safetensors by their
    headers, of others what they hold as it is stored. Nothing is read."""
    path, found = Path(path), []
    for file in [path] if path.is_file() else path.rglob("*"):
        if file.suffix == ".safetensors":
            with contextlib.suppress(Fault), opened(file) as held:  # a damaged one is told when it is read
                shapes = [held.get_slice(name).get_shape() for name in held.keys()]
                found.append(DTYPES[dtype].itemsize * sum(math.prod(shape) for shape in shapes))
        elif file.suffix in (".npz", ".pt", ".pth", ".gguf"):
            found.append(file.stat().st_size)
    return sorted(found, reverse=True) or [0]


def refuse(model: str, sae: str, *, dtype: str, sae_dtype: str, device: str) -> None:
    """BadInput, before anything is loaded, where the largest file of each has more than there is memory for:
    a folder may hold the same weights twice, or other SAEs."""
    if not {dtype, sae_dtype} <= DTYPES.keys():
        return  # loading names the valid ones
    place = "host" if device == "cpu" else device
    mine, theirs = weights(model, dtype)[0], weights(sae, sae_dtype)[0]
    if mine + theirs > (there := has(place)):
        name = "this machine" if place == "host" else device
        what = f"the model's weights take {readable(mine)}, the SAE's {readable(theirs)}"
        raise BadInput(f"{what}, but {name} has {readable(there)} of memory; give another device or dtype")


def of_plan(plan) -> Work:
    """The work of a `one_sae.Plan`."""
    request, card = plan.request, plan.sae.card
    return Work(
        parameters=plan.model.parameters,
        d_model=card.d_out,
        widths=(card.d_sae,),
        passed=int(plan.reading.length.clip(max=plan.reading.window[1]).sum()),
        counted=plan.tokens,
        context=plan.reading.window[1],
        device=request.device,
        dtype=request.dtype,
        sae_dtype=request.sae_dtype,
        folds=request.folds,
        documents=len(plan.reading.length),
    )


def of_recipe(recipe, size, widths: Sequence[int]) -> Work:
    """The work of a study that has not been prepared: ``size`` of its model, ``widths`` of its SAEs."""
    start, stop = recipe.window
    return Work(
        parameters=size.parameters,
        d_model=size.d_model,
        widths=tuple(widths),
        passed=recipe.documents * stop,
        counted=recipe.documents * (stop - start),
        context=stop,
        device=recipe.device,
        dtype=recipe.model_dtype or recipe.dtype,
        sae_dtype=recipe.dtype,
        folds=recipe.folds,
        documents=recipe.documents,
    )
