"""Activations and reconstructions that are already on disk, read through memory maps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from ..adapters import stated
from ..adapters.files import opened
from ..adapters.hub import sae_folder
from ..adapters.models import check_device
from ..adapters.saes import load_any
from ..base.errors import BadInput
from ..base.words import readable
from ..stats.intervals import doubts
from .answers import Answer, answer

LARGEST = 1e100
"""Values beyond this would overflow when they are squared and summed."""


def read(source: str | Path) -> np.ndarray:
    """The array of ``FILE.npy`` or ``FILE.safetensors:NAME`` (the name left out where there is one), mapped.

    Raises BadInput for a file that is not there, truncated or of another type, and a name that it does not
    hold. Cost: the header; rows are read when they are used (bfloat16, which numpy lacks, at once).
    """
    text, name = str(source), None
    if not Path(text).exists() and ".safetensors:" in text:
        text, _, name = text.rpartition(":")
    path = Path(text)
    if not path.is_file():
        raise BadInput(f"there is no file {text}; give a .npy, or a .safetensors (FILE.safetensors:NAME)")
    if path.suffix == ".npy":
        try:
            return np.load(path, mmap_mode="r")
        except (ValueError, OSError, EOFError) as error:
            why = " ".join(str(error).split())[:100]
            raise BadInput(f"{path.name} is not a complete npy file of numbers ({why})") from None
    if path.suffix != ".safetensors":
        raise BadInput(f"{path.name} cannot be read; give a .npy, or a .safetensors (FILE.safetensors:NAME)")
    with opened(path) as file:
        names = sorted(file.keys())
        if name is None and len(names) != 1:
            raise BadInput(f"{path.name} holds {', '.join(names) or 'nothing'}; say which: {path.name}:NAME")
        if (name := name or names[0]) not in names:
            raise BadInput(f"{path.name} has no '{name}'; it holds {', '.join(names)}")
        return _numpy(file.get_tensor(name))


def measure(
    x,
    reconstruction=None,
    *,
    document=None,
    sae=None,
    folds: int = 5,
    bootstrap: int = 1000,
    seed: int = 0,
    device: str = "cpu",
    sae_dtype: str = "float32",
    said: dict | None = None,
    strict: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Answer:
    """What `probe` says, of arrays: their decomposition, the paper's protocol, nulls, warnings.

    x: [token, d_model], an array or what `read` reads; reconstruction: the same, or a function of rows of x;
    or ``sae``, a folder or name, and what is ``said`` of it (`load_any`). document: ints [token]; without it,
    blocks of 1,024 rows stand for documents, with a warning. Raises BadInput for shapes that do not fit, NaN
    or infinity, and each way an SAE cannot be read.
    """
    tell, warnings = progress or (lambda line: None), []
    names = {"x": _name(x)}
    x = _loaded(x, "x")
    about: dict = {"arrays": names, "shape": list(x.shape), "documents given": document is not None}
    known: dict = {}
    if sae is not None:
        loaded, x_hat, l0 = _through_sae(x, sae, sae_dtype, device, said, tell)
        card, known = loaded.card, {"width": loaded.width, "l0": l0, "published": loaded.card.l0}
        warnings += [*card.warnings, *stated.uncentred(stated.overrides(str(sae)))]
        about["sae"] = card.to_dict() | {"id": loaded.id}
        title = f"{loaded.id} ({card.format}, {card.architecture}, {loaded.width:,} latents) · {names['x']}"
    else:
        if callable(reconstruction):
            names["reconstruction"] = getattr(reconstruction, "__name__", type(reconstruction).__name__)
            x_hat = _through(x, reconstruction, tell)
        else:
            names["reconstruction"] = _name(reconstruction)
            x_hat = _loaded(reconstruction, "reconstruction")
            _alike(x, x_hat)
        title = f"{names['reconstruction']} of {names['x']}"
    if document is None:
        document = np.arange(len(x)) // 1024
        if len(x) < 1024 * folds:
            document = np.arange(len(x)) * 2 * folds // max(len(x), 1)
        blocks = f"{len(np.unique(document))} blocks of rows stand for them"
        narrow = "intervals may be too narrow if texts are longer"
        warnings.append(f"no documents given: {blocks}, and {narrow}")
    else:
        names["document"] = _name(document)
        document = np.asarray(read(document) if isinstance(document, (str, Path)) else document)
    if folds < 2 or bootstrap < 100 or seed < 0:
        least = f"folds {folds} must be at least 2, bootstrap {bootstrap} at least 100"
        raise BadInput(f"{least}, seed {seed} at least 0")
    if (have := len(np.unique(document))) < folds:
        more = f"give at least {folds} documents, or fewer folds"
        raise BadInput(f"{have} document(s) cannot make {folds} folds; {more}")
    warnings += doubts(have, len(x) / x.shape[1])
    if strict and warnings:
        raise BadInput(f"strict: {'; '.join(warnings)}")
    facts = {key: value for key, value in names.items() if value} | about.get("sae", {})
    known |= dict(title=title, warnings=tuple(warnings), about=about, facts=facts)
    draws, blocks = dict(bootstrap=bootstrap, seed=seed), not about["documents given"]
    known["named"] = lambda row: {"row": row} | ({} if blocks else {"document": int(document[row])})
    return answer(x, x_hat, document, folds=folds, draws=draws, tell=tell, **known)


def facts(x: str, reconstruction: str | None) -> list[str]:
    """For ``--dry-run``."""
    found = read(x)
    _check(found, "x")
    if reconstruction is not None:
        _check(other := read(reconstruction), "reconstruction")
        _alike(found, other)
    size, (tokens, d) = f"{readable(found.nbytes)}, {found.dtype} {list(found.shape)}", found.shape
    made = readable(4 * found.size) if reconstruction is None else "nothing"
    return [
        f"x: {x}, {size}",
        f"reconstruction: {reconstruction or 'made by the SAE'}",
        "download: nothing",
        f"compute: a decomposition and its nulls, about {60 * tokens * d**2:.2g} operations",
        f"store: {made}{' in memory' if reconstruction is None else ''}",
    ]


def _loaded(array, name: str):
    found = read(array) if isinstance(array, (str, Path)) else array
    found = _numpy(found) if isinstance(found, torch.Tensor) else found
    _check(found, name)
    for at in range(0, len(found), 65536):
        if not np.isfinite(part := found[at : at + 65536]).all():
            row, half = at + int((~np.isfinite(part).all(axis=1)).argmax()), found.dtype == np.float16
            why = "overflowed float16?" if half else "the file is damaged, or the model overflowed"
            raise BadInput(f"{name} holds NaN or infinity in row {row}: {why}")
        if found.dtype.itemsize > 4 and (most := float(np.abs(part).max())) > LARGEST:
            raise BadInput(f"{name} holds values up to {most:.1e}, whose squares overflow; scale the array")
    return found


def _check(found, name: str) -> None:
    shape, kind = list(getattr(found, "shape", [])), getattr(found, "dtype", type(found).__name__)
    if len(shape) != 2 or found.dtype.kind != "f" or not all(shape):
        raise BadInput(f"{name} must be floats [token, d_model], got {kind} {shape}")
    if not found.dtype.isnative or found.dtype.itemsize > 8:
        raise BadInput(f"{name} is stored as {kind}; save it as float32 in this machine's byte order")


def _through_sae(x, sae, sae_dtype: str, device: str, said: dict | None, tell):
    check_device(device)
    loaded = load_any(sae_folder(str(sae), progress=tell), dtype=sae_dtype, device=device, said=said)
    loaded = stated.honoured(loaded, stated.overrides(str(sae)))
    if loaded.d_model != (has := x.shape[1]):
        reads = f"reads {loaded.d_model} dimensions, but x has {has}"
        raise BadInput(f"SAE {loaded.id} {reads}; it belongs to another model or site")
    if loaded.card.d_out != has or "transcoder" in loaded.card.architecture:
        raise BadInput(
            f"SAE {loaded.id} is a transcoder: it writes elsewhere than it reads, so x alone does not do; "
            "give --model, or its output as --reconstruction beside what it should be as --x"
        )
    active = 0.0

    def through(rows):
        nonlocal active
        hat, l0 = loaded.reconstruct(torch.from_numpy(np.array(rows)).to(device))
        active += l0.double().sum().item()
        return hat

    return loaded, _through(x, through, tell), active / len(x)


def _through(x, function, tell) -> np.ndarray:
    made = np.empty(x.shape, np.float32)
    for at in range(0, len(x), 8192):
        part, stop = x[at : at + 8192], min(at + 8192, len(x))
        value, said = _numpy(function(part)), "the reconstruction"
        if value.shape != part.shape:
            raise BadInput(f"{said} of {list(part.shape)} has shape {list(value.shape)}; it must be the same")
        if not np.isfinite(value).all():
            raise BadInput(f"{said} is NaN or infinite in rows {at} to {stop - 1}; use a wider dtype")
        made[at:stop] = value
        tell(f"reconstruction: rows {stop:,} of {len(x):,}")
    return made


def _numpy(value) -> np.ndarray:
    """Whatever as an array; a tensor of a type that numpy lacks as float32."""
    if not isinstance(value, torch.Tensor):
        return np.asarray(value)
    half = value.is_floating_point() and value.dtype not in (torch.float64, torch.float32, torch.float16)
    return (value.float() if half else value).detach().cpu().numpy()


def _alike(x, reconstruction) -> None:
    if reconstruction.shape != x.shape:
        have = f"x is {list(x.shape)} and the reconstruction {list(reconstruction.shape)}"
        turned = ": it is transposed" if reconstruction.shape == x.shape[::-1] else ""
        raise BadInput(f"{have}: they must have one shape{turned}")


def _name(array) -> str | None:
    return Path(array).name if isinstance(array, (str, Path)) else None if array is None else "an array"
