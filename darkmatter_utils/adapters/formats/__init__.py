"""SAEs as they are published: one file a format, found by listing.

A format's module says where an SAE's files are: ``FILES``, which every folder of it has, or, where one folder
holds many SAEs, ``EACH``, a pattern of the file that is one, and ``KEYS``, the names that such a file has.
``MORE``: files that may lie beside; ``TAKES``: settings that a user may have to give; ``RELEASES``: the
kinds of release of SAELens that are in it; and ``read(path, ...)``, which turns that folder or file into
SAELens' configuration and weights (`Found`). Its name is the format's; the first line of it, what ``--help``
says.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from ...base.config import modules
from ...base.errors import BadInput
from ..files import Fault, names, type_name

OR = "or give what it makes of x as an array: --x FILE --reconstruction FILE"
"""The way out for what cannot be read."""


def known() -> dict[str, ModuleType]:
    """Every format by its name."""
    return {name_of(module): module for module in modules(__name__)}


def files_of(format: ModuleType) -> tuple[str, ...]:
    """The files that a folder of a format has, or a pattern of the one that is an SAE."""
    return getattr(format, "FILES", ()) or (format.EACH,)


def beside(format: ModuleType, name: str) -> tuple[str, ...]:
    """Files that may lie beside, or that the file ``name`` needs."""
    return format.needs(name) if hasattr(format, "needs") else format.MORE


def recognise(path: str | Path) -> tuple[Path, ModuleType]:
    """The SAE's folder or file, where ``path`` is one or a file in one, and its format. Raises BadInput for a
    path that is not there, one of no format, and a folder that lacks one of a format's files, naming what
    there is."""
    path, formats = Path(path).absolute(), known()
    valid = "; ".join(f"{name} ({', '.join(files_of(format))})" for name, format in formats.items())
    if not path.exists():
        raise BadInput(f"no SAE at {path}: there is no such file or folder")
    folders = {name: format for name, format in formats.items() if hasattr(format, "FILES")}
    if path.is_file():
        known_as = {Path(file).name: file for format in folders.values() for file in format.FILES}
        if path.name in known_as:
            home = path.parents[len(Path(known_as[path.name]).parts) - 1]
            for format in folders.values():
                asked = home / known_as[path.name] == path and known_as[path.name] in format.FILES
                if asked and all((home / file).is_file() for file in format.FILES):
                    return home, format
        if (one := _by_content(path, formats)) is not None:
            return path, one
        if path.name not in known_as:
            raise BadInput(f"{path.name} is no file of an SAE; give one of the formats: {valid}; {OR}")
        path = home
    whole = {n: f for n, f in folders.items() if all((path / file).is_file() for file in f.FILES)}
    first = next(iter(whole.values()), None)
    if len(whole) > 1:
        what = f"{path.name} holds an SAE in {len(whole)} formats ({', '.join(whole)})"
        raise BadInput(f"{what}; give the file of one, e.g. {path.name}/{first.FILES[0]}")
    if whole:
        return path, first
    for name, format in folders.items():
        own = [file for file in format.FILES if file not in ("config.json", "config.yaml")]  # others have one
        if any((path / file).exists() for file in own):
            lacks = ", ".join(file for file in format.FILES if not (path / file).is_file())
            raise BadInput(f"{path.name} looks like {name}, but lacks {lacks}")
    many = [format for format in formats.values() if hasattr(format, "EACH") and format.KEYS]
    here = sorted({file for format in many for file in path.glob(format.EACH)}, key=_counted)
    if len(here) == 1:
        return recognise(here[0])
    firsts = [file.parent for format in folders.values() for file in path.rglob(format.FILES[0])]
    if inside := [str(one.relative_to(path)) for one in here or sorted(set(firsts))]:
        some = f"give one, e.g. {', '.join(inside[:3])}"
        raise BadInput(f"{path.name} is not an SAE but has {len(inside)} inside; {some}")
    raise BadInput(f"{path.name} holds no SAE of a known format; known: {valid}; {OR}")


def _by_content(path: Path, formats: dict[str, ModuleType]) -> ModuleType | None:
    """The format of one file, by its name and then by what it holds: the most particular one."""
    named = [f for f in formats.values() if hasattr(f, "EACH") and fnmatch(path.name, f.EACH)]
    if not named or path.suffix not in (".pt", ".pth", ".safetensors"):
        return None
    holds = names(path)
    fit = [format for format in named if format.KEYS <= holds]
    return max(fit, key=lambda format: (len(format.KEYS), len(format.EACH)), default=None)


def _counted(path: Path) -> list:
    """What sorts layer_10 after layer_9."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name)]


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
    earlier: tuple[str, ...] = ()
    """Sites of earlier layers that it reads as well (cross-layer transcoders)."""
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
    if "topk" in architecture and (type(k := cfg.get("k")) not in (int, float) or k != int(k)):
        raise Fault(f"{found.about} gives k {k!r}; {architecture} needs a whole number")
    if "threshold" in expected and bool((found.state["threshold"] < 0).all()):
        raise Fault("all thresholds are below 0; a JumpReLU's are positive: are they logarithms, or negated?")
    if (k := cfg.get("k")) is not None and not (isinstance(k, int | float) and 1 <= k <= sizes["d_sae"]):
        raise Fault(f"{found.about} gives k {k!r}; it must be a number from 1 to d_sae, {sizes['d_sae']}")
    l0 = found.facts.get("l0")
    if l0 is not None and (isinstance(l0, bool) or not isinstance(l0, int | float) or l0 <= 0):
        raise Fault(f"{found.about} gives an L0 of {l0!r}; it must be a number above 0")
    return sizes
