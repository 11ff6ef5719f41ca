"""Make a study of a recipe: files brought here and checked, tokens and SAEs stored; or what it would take."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import statistics
from collections.abc import Callable
from pathlib import Path

import numpy as np
import yaml

from ..adapters import gguf, hub
from ..adapters.grid import nearness
from ..adapters.releases import latents
from ..base.cache import listed, verify
from ..base.errors import BadInput
from ..base.values import whole
from ..base.words import readable, time_of
from ..studies.activations import Activations
from ..studies.recipes import Recipe, Size, folder_of
from ..studies.saes import load_saes
from ..studies.study import Study
from . import about, estimate
from .one_sae import plan

KEPT = 3_000_000_000
"""Bytes of activations and codes that a measurement keeps in memory at the most."""


def check(recipe: Recipe) -> list[str]:
    """What a recipe would take, as lines; BadInput for whatever does not fit. Nothing is written or
    downloaded: what is not here is told from the recipe's size and the hub's lists, the rest loaded, one SAE
    at a time."""
    said, lacks, away = [choice.sentence for choice in recipe.choices()], {}, ""
    asked = recipe.requests()
    try:
        for _, request in asked:
            for repository, files in hub.downloads(request.model, request.sae).items():
                lacks[repository] = lacks.get(repository, {}) | files
    except hub.Unreachable as error:
        if not recipe.size:
            raise
        away = str(error)
    if recipe.size and (lacks or away):
        return said + far(recipe, [f"download: not known ({away})"] if away else about.downloads(lacks))
    if lacks:
        lines = [line for _, request in asked for line in about.before_download(request, lacks)]
        return said + list(dict.fromkeys(lines))
    found, works = _Study(recipe), []
    for planned in found:
        facts = about.plan_facts(planned)
        said += [f"{name}: {facts[name]}" for name in ("model", "text") if not found.entries[1:]]
        said.append(f"SAE {found.entries[-1]['id']}: {facts['SAE']}, {facts['site']}")
        said += [f"warning: {line}" for line in planned.warnings()]
        works.append((found.entries[-1]["suite"], estimate.of_plan(planned)))
    found.settled()
    together = dataclasses.replace(
        works[0][1], widths=tuple(work.widths[0] for suite, work in works if not suite)
    )
    vocabulary = found.first.model.vocabulary
    return list(dict.fromkeys(said)) + [
        "download: nothing",
        *_costs(together, vocabulary),
        f"store: about {readable(found.bytes)} in {folder_of(recipe)}",
    ]


def far(recipe: Recipe, downloads: list[str]) -> list[str]:
    """What a recipe that says its model's size takes, before anything of it is here."""
    size = Size(**recipe.size)
    widths = {name: latents(name) or size.latents for _, name in recipe.names()}
    if unknown := [name for name, width in widths.items() if width is None]:
        why = f"the name of SAE {unknown[0]} does not say how many latents it has"
        raise BadInput(f"study {recipe.name}: {why}; give size.latents")
    main = [widths[name] for suite, name in recipe.names() if not suite]
    work, every = (estimate.of_recipe(recipe, size, some) for some in (main, list(widths.values())))
    stored = 2 * size.parameters + 2 * every.sae_bytes  # a model of 16 bits; SAEs as they come, and as saved
    return [
        f"model: {recipe.model}, {size.parameters:,} parameters",
        f"SAEs: {len(main)} of {min(main):,} to {max(main):,} latents, {len(widths) - len(main)} beside them",
        f"text: {recipe.text}, {recipe.documents} documents, {work.counted:,} tokens that count",
        *downloads,
        *_costs(work, size.vocabulary),
        f"store: about {readable(stored + work.on_disk)}: downloads, SAEs, activations",
    ]


def _costs(work: estimate.Work, vocabulary: int) -> list[str]:
    """Time and memory of a study's measurement, and what the machine has not."""
    seconds, kept = work.seconds(nulls=False), min(KEPT, 4 * work.passed * work.d_model)
    needs = work.study_memory(vocabulary, kept)
    once = estimate.duration(seconds, work.device)
    every = time_of(estimate.START + estimate.CHAPTERS * seconds)
    weights = f"weights of the model {readable(work.model_bytes)}, of the SAEs {readable(work.sae_bytes)}"
    return [
        f"compute: the measurement about {once}, all chapters about {every}",
        f"memory: about {estimate.in_words(needs)}: {weights}, sums {readable(work.sums)}",
        *(f"warning: {line}" for line in estimate.doubts(needs)),
    ]


class _Study:
    """The SAEs of a recipe, planned one after the other; each is let go before the next is loaded."""

    def __init__(self, recipe: Recipe, tell: Callable[[str], None] | None = None):
        self.recipe, self.tell = recipe, tell or (lambda line: None)
        self.entries: list[dict] = []
        self.warnings: list[str] = []
        self.sources: dict[str, str] = {}
        self.first, self.bytes = None, 0

    def __iter__(self):
        """Each SAE's `one_sae.Plan`, once it is known to fit the others."""
        named: dict[str, str] = {}
        for suite, request in self.recipe.requests():
            self.tell(f"prepare: {request.sae}")
            planned = plan(request, progress=self.tell, model=self.first and self.first.model)
            if (twin := named.setdefault(planned.folders[1], request.sae)) is not request.sae:
                twins = f"{request.sae} and {twin}"
                raise BadInput(f"study {self.recipe.name}: {twins} are one SAE; list it once")
            entry = _entry(planned, suite, [entry["id"] for entry in self.entries])
            self.entries.append(entry)
            own = planned.sae.card.warnings
            self.warnings += [f"{entry['id']}: {line}" for line in own]
            self.warnings += [one for one in planned.warnings() if one not in (*self.warnings, *own)]
            self.sources[entry["id"]] = hub.pinned(request.sae, planned.folders[1])
            self.bytes += sum(weight.nbytes for weight in planned.sae.weights)
            if self.first is None:
                self.sources["model"] = hub.pinned(self.recipe.model, planned.folders[0])
                self.first = dataclasses.replace(planned, sae=None)
            elif planned.reading.sha256 != self.first.reading.sha256:
                other = "was trained with another opening of its contexts (<bos>) than"
                self.warnings.append(f"{entry['id']} {other} {self.entries[0]['id']}")
            yield planned

    def settled(self) -> str:
        """The study's site; BadInput where the main SAEs are at several, or the text is too short."""
        say = lambda line, todo: BadInput(f"study {self.recipe.name}: {line}; {todo}")
        site, *others = sorted({entry["site"] for entry in self.entries if not entry["suite"]})
        if others:
            todo = "a study has one site, those of other sites belong into its suites"
            raise say(f"its SAEs are at {', '.join((site, *others))}", todo)
        if again := [entry["id"] for entry in self.entries if entry["suite"] and entry["site"] == site]:
            raise say(f"{again[0]} is at the study's own site, {site}", "list it among its saes")
        if (count := int(self.full.sum())) < (folds := self.recipe.folds):
            few = f"{count} documents reach position {self.recipe.window[1]}, too few for {folds} folds"
            raise say(few, "end the window earlier or give longer documents")
        return site

    @property
    def full(self):
        """Which contexts fill the window: those that end before it does are left out."""
        return self.first.reading.length >= self.recipe.window[1]


def check_ready(study: Study) -> None:
    """BadInput for what a study that needs no preparing cannot be measured with. Cost: its files are read."""
    source = Activations(study)
    if study.data:
        verify(study.data_folder())
        own = study.model is None or Path(study.model_source()).is_dir() or gguf.find(study.model_source())
        if not own:
            raise BadInput(f"study {study.name}: its data has no model '{study.model}'")
    source.folds()
    load_saes(study, source)


def sources(made: Path) -> dict[str, str]:
    """What a prepared study's model and SAEs were brought from, by revision where the hub has one."""
    return json.loads((made.parent / "data" / "manifest.json").read_text())["sources"]


def prepare(recipe: Recipe, *, progress: Callable[[str], None] | None = None) -> Path:
    """Bring the files here, check them, store token ids and SAEs; the path of the study's file.

    Raises BadInput as `one_sae.plan` does, where the main SAEs are of several sites, and where too few
    documents fill the window. Cost: the downloads, and the SAEs' size on disk. Written beside and put in
    place in one step.
    """
    folder = folder_of(recipe)
    made = folder / f"{recipe.name}.yaml"  # its name is the study's: where pages and records go follows
    if made.is_file():
        return made
    folder.parent.mkdir(parents=True, exist_ok=True)
    with whole(folder) as part:
        data = part / "data"
        found = _Study(recipe, progress)
        for planned in found:
            planned.sae.save(data / found.entries[-1]["path"])
        site, first = found.settled(), found.first
        _suite([entry for entry in found.entries if not entry["suite"]], recipe.l0 or recipe.grid.get("l0"))
        np.savez_compressed(
            data / "tokens.npz",
            score_tokens=first.reading.tokens[found.full].astype(np.int32),
            score_document=first.reading.document[found.full].astype(np.int32),
            score_source=_by_number(first.reading),
        )
        link = lambda source, target: os.symlink(Path(source).resolve(), target)
        if (model := Path(first.folders[0])).is_dir():
            shutil.copytree(model, data / "model", copy_function=link)
        else:  # a GGUF file
            (data / "model").mkdir()
            link(model, data / "model" / model.name)
        manifest = dict(saes=found.entries, warnings=found.warnings, sources=found.sources)
        manifest["model"] = dict(parameters=first.model.parameters, quantised=first.model.quantised)
        manifest["text"] = dict(source=recipe.text, packed=recipe.packed, sha256=first.reading.sha256)
        manifest["files"] = listed(data)
        (data / "manifest.json").write_text(json.dumps(manifest, indent=1))
        (part / made.name).write_text(yaml.safe_dump(_study(recipe, site), sort_keys=False))
    return made


def _by_number(reading) -> np.ndarray:
    """The source of each document by its number; "" for those that were left out."""
    sources = dict(zip(reading.document.tolist(), reading.source))
    return np.array([sources.get(number, "") for number in range(max(sources) + 1)])


def _entry(planned, suite: str, taken: list[str]) -> dict:
    if planned.reads != planned.writes:
        one = "a study's SAEs read and write one site (darkmatter measure takes transcoders)"
        raise BadInput(f"SAE {planned.sae.id} is a transcoder; {one}")
    card = planned.sae.card
    id = f"w{card.d_sae}-l0-{card.l0:g}" if card.l0 else planned.sae.id
    id = f"{suite}-{planned.reads}-{id}" if suite else id
    id = id if id not in taken else f"{id}-{len(taken)}"
    return dict(
        id=id,
        kind=card.architecture,
        width=card.d_sae,
        l0=float(card.l0) if card.l0 else None,
        site=planned.reads,
        seed=0,
        main=not suite,
        path=f"saes/{id}",
        suite=suite,
    )


def _suite(entries: list[dict], l0: float | None) -> None:
    """Mark, at each width, the SAE whose published L0 is nearest to ``l0``; those without one stay in."""
    known = [entry for entry in entries if entry["l0"]]
    wanted = l0 or statistics.median([entry["l0"] for entry in known] or [0])
    for width in {entry["width"] for entry in known}:
        there = [entry for entry in known if entry["width"] == width]
        chosen = min(there, key=lambda entry: nearness(entry["l0"], wanted))
        for entry in there:
            entry["main"] = entry is chosen


def _study(recipe: Recipe, site: str) -> dict:
    same = ("loud", "folds", "seed", "bootstrap", "dtype", "model_dtype", "device")
    return dict(
        name=recipe.name,
        title=recipe.title or recipe.name,
        model="model",
        data="./data",
        text="score",
        site=site,
        window=list(recipe.window),
        **{name: getattr(recipe, name) for name in same},
        saes="manifest",
    )
