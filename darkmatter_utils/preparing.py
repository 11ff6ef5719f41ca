"""Make a study of a recipe: bring its files here, check that they fit, store tokens and SAEs; or say what that would take."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import yaml

from . import forecast, locations, probe
from .cache import sha256
from .errors import BadInput
from .recipes import Recipe, folder_of
from .saes import nearest_l0
from .study import SaeEntry


def check(recipe: Recipe) -> list[str]:
    """What a recipe would take, as lines; BadInput for whatever does not fit. Nothing is written or downloaded."""
    said = [choice.sentence for choice in recipe.choices()]
    model = None
    for _, request in recipe.requests():
        if missing := locations.downloads(request.model, request.sae):
            said += forecast.before_download(request, missing)
            continue
        planned = probe.plan(request, model=model)
        model = planned.model
        said += forecast.lines(planned)
    return said


def prepare(recipe: Recipe, *, progress: Callable[[str], None] | None = None) -> Path:
    """Bring the files here, check them, store token ids and SAEs; the path of the study's file.

    Raises BadInput as `probe.plan` does, where the main SAEs are of several sites, and where too few documents fill the
    window. Cost: the downloads, and the SAEs' size on disk. Written beside and put in place in one step.
    """
    tell, folder = progress or (lambda line: None), folder_of(recipe)
    made = folder / f"{recipe.name}.yaml"  # its name is the study's: where pages and records go follows from it
    if made.is_file():
        return made
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f"{folder.name}-part-"))
    try:
        entries, plans, warnings = [], [], []
        for suite, request in recipe.requests():
            tell(f"prepare: {request.sae}")
            planned = probe.plan(request, progress=tell, model=plans[0].model if plans else None)
            entries.append(_entry(planned, suite, [entry["id"] for entry in entries]))
            planned.sae.sae.save_model(part / "data" / entries[-1]["path"])
            warnings += [f"{entries[-1]['id']}: {line}" for line in planned.sae.card.warnings]
            warnings += [line for line in planned.warnings() if line not in (*warnings, *planned.sae.card.warnings)]
            plans.append(planned)
            if planned.reading.sha256 != plans[0].reading.sha256:
                warnings.append(f"{entries[-1]['id']} was trained with another opening of its contexts (<bos>) than {entries[0]['id']}")
        if len(sites := sorted({entry["site"] for entry in entries if not entry["suite"]})) > 1:
            raise BadInput(f"study {recipe.name}: its SAEs are at {', '.join(sites)}; a study has one site, those of other "
                           "sites belong into its suites")  # fmt: skip
        if again := [entry["id"] for entry in entries if entry["suite"] and entry["site"] == sites[0]]:
            raise BadInput(f"study {recipe.name}: {again[0]} is at the study's own site, {sites[0]}; list it among its saes")
        _suite([entry for entry in entries if not entry["suite"]], recipe.l0 or recipe.grid.get("l0"))
        _tokens(recipe, plans[0].reading, part / "data")
        shutil.copytree(Path(plans[0].folders[0]), part / "data" / "model", copy_function=_link)
        sources = {"model": locations.pinned(recipe.model, plans[0].folders[0])}
        sources |= {entry["id"]: locations.pinned(p.request.sae, p.folders[1]) for entry, p in zip(entries, plans)}
        reading, parameters = plans[0].reading, sum(w.numel() for w in plans[0].model.bridge.parameters())
        text = dict(source=recipe.text, packed=recipe.packed, sha256=reading.sha256)
        _manifest(part / "data", dict(saes=entries, warnings=warnings, sources=sources, model=dict(parameters=parameters), text=text))
        (part / made.name).write_text(yaml.safe_dump(_study(recipe, sites[0]), sort_keys=False))
        os.replace(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return made


def _entry(planned, suite: str, taken: list[str]) -> dict:
    """What the manifest says of an SAE."""
    if planned.reads != planned.writes:
        raise BadInput(f"SAE {planned.sae.id} is a transcoder; a study's SAEs read and write one site "
                       "(darkmatter measure takes transcoders)")  # fmt: skip
    card = planned.sae.card
    id = f"w{card.d_sae}-l0-{card.l0:g}" if card.l0 else planned.sae.id
    id = f"{suite}-{planned.reads}-{id}" if suite else id
    id = id if id not in taken else f"{id}-{len(taken)}"
    return dict(id=id, kind=card.architecture, width=card.d_sae, l0=float(card.l0) if card.l0 else None, site=planned.reads,
                seed=0, main=not suite, path=f"saes/{id}", suite=suite)  # fmt: skip


def _suite(entries: list[dict], l0: float | None) -> None:
    """Mark, at each width, the SAE whose published L0 is nearest to ``l0``; those without one stay in."""
    known = [entry for entry in entries if entry["l0"]]
    if not known:
        return
    wanted = l0 or statistics.median(entry["l0"] for entry in known)
    for width in {entry["width"] for entry in known}:
        there = [entry for entry in known if entry["width"] == width]
        chosen = nearest_l0([SaeEntry(entry["id"], l0=entry["l0"]) for entry in there], wanted).id
        for entry in there:
            entry["main"] = entry["id"] == chosen


def _tokens(recipe: Recipe, reading, folder: Path) -> None:
    import numpy as np

    full = reading.length >= min(recipe.window[1], reading.tokens.shape[1])
    if full.sum() < recipe.folds:
        raise BadInput(f"study {recipe.name}: {full.sum()} documents reach position {recipe.window[1]}, too few for {recipe.folds} "
                       "folds; end the window earlier or give longer documents")  # fmt: skip
    np.savez_compressed(folder / "tokens.npz", score_tokens=reading.tokens[full].astype(np.int32),
                        score_document=reading.document[full].astype(np.int32))  # fmt: skip


def _manifest(folder: Path, about: dict) -> None:
    files = {path.relative_to(folder).as_posix(): dict(bytes=path.stat().st_size, sha256=sha256(path))
             for path in sorted(folder.rglob("*")) if path.is_file()}  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(about | dict(files=files), indent=1))


def _study(recipe: Recipe, site: str) -> dict:
    return dict(name=recipe.name, title=recipe.title or recipe.name, model="model", data="./data", text="score", site=site,
                window=list(recipe.window), folds=recipe.folds, seed=recipe.seed, bootstrap=recipe.bootstrap,
                dtype=recipe.dtype, model_dtype=recipe.model_dtype, device=recipe.device, saes="manifest")  # fmt: skip


def _link(source: str, target: str) -> None:
    os.symlink(Path(source).resolve(), target)
