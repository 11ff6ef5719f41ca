"""SAE folders as they are published: one file a format, found by listing.

A format's module says ``FILES``, which every such folder has; ``MORE``, which one may have; ``RELEASES``, the
kinds of release of SAELens that are in it; and ``read(folder)``, which turns a folder into SAELens'
configuration and weights (`Found`). Its name is the format's; the first line of it, what ``--help``
says. SAELens does the arithmetic; it has no reader of local Gemma Scope and Llama Scope folders.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from unittest import mock

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ...base.config import modules
from ...base.errors import BadInput


def known() -> dict[str, ModuleType]:
    """Every format by its name."""
    return {name_of(module): module for module in modules(__name__)}


def recognise(path: str | Path) -> tuple[Path, ModuleType]:
    """The SAE's folder, where ``path`` is one or a file in one, and its format. Raises BadInput for a path
    that is not there, a folder of no format, and one that lacks one of a format's files, naming what there
    is."""
    path, formats = Path(path).absolute(), known()
    valid = "; ".join(f"{name} ({', '.join(format.FILES)})" for name, format in formats.items())
    if not path.exists():
        raise BadInput(f"no SAE at {path}: there is no such file or folder")
    if path.is_file():
        names = {Path(file).name: file for format in formats.values() for file in format.FILES}
        if path.name not in names:
            raise BadInput(f"{path.name} is no file of an SAE; give a folder of one of the formats: {valid}")
        home = path.parents[len(Path(names[path.name]).parts) - 1]
        for format in formats.values():
            asked = home / names[path.name] == path and names[path.name] in format.FILES
            if asked and all((home / file).is_file() for file in format.FILES):
                return home, format
        path = home
    whole = {n: f for n, f in formats.items() if all((path / file).is_file() for file in f.FILES)}
    first = next(iter(whole.values()), None)
    if len(whole) > 1:
        what = f"{path.name} holds an SAE in {len(whole)} formats ({', '.join(whole)})"
        raise BadInput(f"{what}; give the file of one, e.g. {path.name}/{first.FILES[0]}")
    if whole:
        return path, first
    for name, format in formats.items():
        if any(
            (path / file).exists() for file in format.FILES if file != "config.json"
        ):  # every model has one
            lacks = ", ".join(file for file in format.FILES if not (path / file).is_file())
            raise BadInput(f"{path.name} looks like {name}, but lacks {lacks}")
    firsts = [file for format in formats.values() for file in path.rglob(format.FILES[0])]
    if inside := sorted({str(file.parent.relative_to(path)) for file in firsts}):
        some = f"give one, e.g. {', '.join(inside[:3])}"
        raise BadInput(f"{path.name} is not an SAE but has {len(inside)} inside; {some}")
    raise BadInput(f"{path.name} holds no SAE of a known format; known: {valid}")


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
    """A JSON file's object."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise Fault(f"{path.name} is not JSON ({error}); copy it again") from None
    if not isinstance(found, dict):
        raise Fault(f"{path.name} must hold a JSON object, got {type(found).__name__}")
    return found


@dataclass(frozen=True)
class Found:
    """What a reader found in a folder."""

    cfg: dict
    """SAELens' configuration."""
    state: dict[str, Tensor]
    """Weights by SAELens' names, in the types they were stored in."""
    about: str
    """The file that the configuration comes from."""
    file: str
    facts: dict = field(default_factory=dict)
    """Further entries of the card."""


@dataclass(frozen=True)
class Card:
    """What a folder says about its SAE."""

    format: str
    architecture: str
    d_in: int
    d_sae: int
    d_out: int
    site: str | None = None
    """Where it reads, e.g. ``blocks.20.hook_resid_post``; None: the folder does not say."""
    target: str | None = None
    """Where it writes, if elsewhere (transcoders)."""
    layer: int | None = None
    model: str | None = None
    l0: float | None = None
    """Active latents a token, as published."""
    normalisation: str = "none"
    """What is done to an activation first; "folded": by a constant that is now in the weights."""
    prepend_bos: bool | None = None
    stored: str = "float32"
    """Type of the weights in the file."""
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict:
        """Plain facts, for JSON."""
        return asdict(self) | {"warnings": list(self.warnings)}


def name_of(module: ModuleType) -> str:
    """A format's name: gemma_scope.py reads gemma-scope."""
    return module.__name__.rpartition(".")[2].replace("_", "-")


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Inside the ``with``, SAELens is imported without the git that it would start, to ask for a commit."""

    def asked(*_, **__):
        raise OSError("no process is started")

    with mock.patch.object(subprocess, "run", asked):
        yield


def layer_of(site: str) -> int | None:
    """The block that a site is in."""
    found = re.search(r"blocks\.(\d+)\.", site)
    return int(found.group(1)) if found else None


def canonical(site: str) -> str:
    """A site by its TransformerLens name: the bridge calls a block's ends hook_in and hook_out."""
    site = re.sub(r"^(blocks\.\d+)\.hook_in$", r"\1.hook_resid_pre", site)
    return re.sub(r"^(blocks\.\d+)\.hook_out$", r"\1.hook_resid_post", site)


def check(found: Found) -> dict[str, int]:
    """The SAE's d_in, d_sae and d_out; Fault unless its weights are the architecture's and finite."""
    cfg, architecture = found.cfg, found.cfg["architecture"]
    out = "d_out" if "transcoder" in architecture else "d_in"
    sizes = {name: cfg.get(name) for name in ("d_in", "d_sae")}
    sizes["d_out"] = cfg.get(out, sizes["d_in"])
    if bad := [name for name, size in sizes.items() if type(size) is not int or size < 1]:
        raise Fault(f"{found.about} gives no whole number for {', '.join(bad)}")
    expected = {"W_dec": ("d_sae", out), "b_dec": (out,)}
    if architecture != "matching_pursuit":  # whose encoder is its decoder
        biases = ("b_gate", "b_mag", "r_mag") if architecture == "gated" else ("b_enc",)
        biases += ("threshold",) * ("jumprelu" in architecture)
        expected |= {"W_enc": ("d_in", "d_sae")} | {name: ("d_sae",) for name in biases}
    if "skip" in architecture:
        expected["W_skip"] = ("d_out", "d_in")
    if missing := [name for name in expected if name not in found.state]:
        raise Fault(f"{found.file} lacks {', '.join(missing)}; {architecture} has {', '.join(expected)}")
    if extra := [name for name in found.state if name not in expected]:
        why = f"which {architecture} has no use for; is the architecture right?"
        raise Fault(f"{found.file} holds {', '.join(extra)}, {why}")
    for name, axes in expected.items():
        shape = tuple(sizes[axis] for axis in axes)
        if (got := tuple(found.state[name].shape)) != shape:
            other = "d_in or d_sae is wrong, or the file is another SAE's"
            hint = "it is transposed" if got == shape[::-1] else other
            needs = f"[{', '.join(axes)}] = {list(shape)}"
            raise Fault(f"{name} must be {needs}, but {found.file} has {list(got)}: {hint}")
    for name, weight in found.state.items():
        kind = type_name(weight.dtype)
        if not weight.dtype.is_floating_point or weight.dtype.itemsize < 2:
            raise Fault(f"{name} is stored as {kind}; weights are float16, bfloat16, float32 or float64")
        if torch.isnan(weight).any():
            raise Fault(f"{name} holds NaN; the file is damaged or the training diverged")
        if torch.isinf(weight).any():
            why = f"it overflowed when it was saved as {found.facts.get('stored', kind)}"
            raise Fault(f"{name} holds infinity: {why}; get the weights in float32")
    if "threshold" in expected and bool((found.state["threshold"] < 0).all()):
        raise Fault("all thresholds are below 0; a JumpReLU's are positive: are they logarithms, or negated?")
    if (k := cfg.get("k")) is not None and not (isinstance(k, int | float) and 1 <= k <= sizes["d_sae"]):
        raise Fault(f"{found.about} gives k {k!r}; it must be a number from 1 to d_sae, {sizes['d_sae']}")
    l0 = found.facts.get("l0")
    if l0 is not None and (isinstance(l0, bool) or not isinstance(l0, int | float) or l0 <= 0):
        raise Fault(f"{found.about} gives an L0 of {l0!r}; it must be a number above 0")
    return sizes
