"""A study of one's own: ten lines of YAML that name a model, SAEs and a text; prepared once, then a study like any other.

    name: mine
    model: FOLDER            # or a name on the hub
    saes: [FOLDER, release/id]
    text: text.jsonl         # what `reading.texts` reads
    documents: 300
    window: [200, 1023]

Preparing resolves names, checks that all fits, stores token ids, and writes every SAE in one format.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import shutil
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from . import sae_grid
from .cache import cache_folder, key_of, sha256
from .errors import BadInput, nearest
from .study import DTYPES, STUDIES, _typed

RECIPES = STUDIES / "recipes"


@dataclass(frozen=True)
class Recipe:
    """What a study is made of. Raises BadInput for a contradiction."""

    name: str
    model: str
    """Transformers folder, or a name on the hub; ``@REVISION`` may follow."""
    text: str
    title: str = ""
    saes: list = field(default_factory=list)
    """SAEs: folders of a published format, or names; relative folders start at the file."""
    grid: dict = field(default_factory=dict)
    """Instead: those of the paper's list: model, site, layer, and l0, the nearest of each width."""
    site: str | None = None
    l0: float | None = None
    """L0 of the suite in which widths are compared, at each width the SAE nearest to it; None: the median of those published."""
    documents: int = 300
    window: tuple[int, int] = (200, 1023)
    """First position that counts and the one after the last; documents shorter than its end are left out."""
    folds: int = 5
    seed: int = 0
    bootstrap: int = 1000
    dtype: str = "float32"
    device: str = "cpu"

    def __post_init__(self) -> None:
        if bool(self.saes) == bool(self.grid):
            raise BadInput(f"study {self.name}: give either saes or grid")
        if self.dtype not in DTYPES:
            raise BadInput(f"study {self.name}: dtype '{self.dtype}' is not one of {', '.join(DTYPES)}")
        if not 0 <= self.window[0] < self.window[1]:
            raise BadInput(f"study {self.name}: window {list(self.window)} is empty; give [first position, one after the last]")
        if lacks := [key for key in ("model", "site", "layer", "l0") if self.grid and key not in self.grid]:
            raise BadInput(f"study {self.name}: grid lacks {', '.join(lacks)}")

    def names(self) -> list[str]:
        """The SAEs by what ``--sae`` takes."""
        return list(map(str, self.saes)) or [choice.taken.name for choice in self.choices()]

    def choices(self) -> list[sae_grid.Choice]:
        """What of the paper's list is taken."""
        grid = self.grid
        return sae_grid.nearest_l0(grid["model"], grid["site"], grid["layer"], grid["l0"]) if grid else []

    def requests(self):
        """A `probe.Request` for each SAE."""
        from .probe import Request

        return [Request(model=self.model, sae=name, site=self.site, text=self.text, documents=self.documents,
                        positions=self.window, dtype=self.dtype, device=self.device, folds=self.folds,
                        bootstrap=self.bootstrap, seed=self.seed) for name in self.names()]  # fmt: skip


def names() -> list[str]:
    """Recipes in the package."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def is_recipe(source: str) -> bool:
    """Whether a study's name or file is a recipe, rather than a study that is ready."""
    if source in names():
        return True
    try:
        found = yaml.safe_load(Path(source).read_text("utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError):
        return False
    return isinstance(found, dict) and "data" not in found and "world" not in found and "model" in found


def load(source: str | Path) -> Recipe:
    """A recipe by name or by the path of its file; BadInput for an unknown key, a wrong type, a contradiction."""
    path = RECIPES / f"{source}.yaml" if str(source) in names() else Path(source)
    if not path.is_file():
        raise BadInput(f"no recipe of a study at {source}; {nearest(str(source), names())}, or the path of a .yaml file")
    try:
        settings = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInput(f"{path.name} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(settings, dict):
        raise BadInput(f"{path.name} must hold keys and values (name: ..., model: ..., saes: ..., text: ...)")
    settings = dict(settings)
    saes = settings.pop("saes", [])
    if not isinstance(saes, list) or not all(isinstance(name, str) for name in saes):
        raise BadInput(f"{path.name}: saes must be a list of folders or names")
    made = _typed(Recipe, settings | {"saes": saes}, f"study {settings.get('name', '?')}")

    def near(name: str) -> str:
        beside = path.parent / name
        return str(beside.resolve()) if beside.exists() else name

    return dataclasses.replace(made, model=near(made.model), text=near(made.text), saes=[near(name) for name in saes])


def check(recipe: Recipe) -> list[str]:
    """What a recipe would take, as lines; BadInput for whatever does not fit. Nothing is written or downloaded."""
    from . import forecast, locations, probe

    said = [choice.sentence for choice in recipe.choices()]
    model = None
    for request in recipe.requests():
        if missing := locations.downloads(request.model, request.sae):
            said += forecast.before_download(request, missing)
            continue
        planned = probe.plan(request, model=model)
        model = planned.model
        said += forecast.lines(planned)
    return said


def folder_of(recipe: Recipe) -> Path:
    """Where a recipe's study is, or will be."""
    asked = dataclasses.asdict(recipe)
    return cache_folder() / f"study-{recipe.name}-{key_of(recipe=asked, files=_stamps(recipe))[:12]}"


def prepared(recipe: Recipe) -> Path:
    """The study file that `prepare` wrote; BadInput says how to make it."""
    path = folder_of(recipe) / f"{recipe.name}.yaml"
    if not path.is_file():
        raise BadInput(f"study {recipe.name} is not prepared here: its model, SAEs and tokens come from elsewhere; run: "
                       f"darkmatter study prepare {recipe.name if recipe.name in names() else 'FILE'}")  # fmt: skip
    return path


def prepare(recipe: Recipe, *, progress: Callable[[str], None] | None = None) -> Path:
    """Bring the files here, check them, store token ids and SAEs; the path of the study's file.

    Raises BadInput as `probe.plan` does, where SAEs are of several sites, and where too few documents fill the window.
    Cost: the downloads, and the SAEs' size on disk. Written beside and put in place in one step.
    """
    from . import probe

    tell, folder = progress or (lambda line: None), folder_of(recipe)
    made = folder / f"{recipe.name}.yaml"  # its name is the study's: where pages and records go follows from it
    if made.is_file():
        return made
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f"{folder.name}-part-"))
    try:
        entries, tokens, model, files = [], None, None, None
        for request in recipe.requests():
            tell(f"prepare: {request.sae}")
            planned = probe.plan(request, progress=tell, model=model)
            if planned.reads != planned.writes:
                raise BadInput(f"SAE {planned.sae.id} is a transcoder; a study's SAEs read and write one site "
                               "(darkmatter measure takes transcoders)")  # fmt: skip
            card, id = planned.sae.card, _id(planned.sae, [entry["id"] for entry in entries])
            planned.sae.sae.save_model(part / "data" / "saes" / id)
            entries.append(dict(id=id, kind=card.architecture, width=card.d_sae, l0=float(card.l0) if card.l0 else None,
                                site=planned.reads, seed=0, main=True, path=f"saes/{id}"))  # fmt: skip
            tokens, model, files = planned.reading, planned.model, Path(planned.folders[0])
        if len(sites := sorted({entry["site"] for entry in entries})) > 1:
            raise BadInput(f"study {recipe.name}: its SAEs are at {', '.join(sites)}; a study has one site")
        _suite(entries, recipe.l0 or recipe.grid.get("l0"))
        _tokens(recipe, tokens, part / "data")
        shutil.copytree(files, part / "data" / "model", copy_function=_link)
        _manifest(part / "data", entries)
        (part / made.name).write_text(yaml.safe_dump(_study(recipe, sites[0]), sort_keys=False))
        os.replace(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return made


NEW = """# A study of your own: darkmatter study check {file}, then prepare, then build --study {file}
name: {name}
model: {model}  # a transformers folder, or a name on the hub
saes: [{sae}]  # folders of any published format, or SAELens' release/id
text: {text}  # .txt, .jsonl or .parquet file, a folder of them, a dataset's name, or embedded
documents: 300
window: [200, 1023]  # positions that count; shorter documents are left out
dtype: float32
device: cpu
"""


def new(path: Path, *, model: str = "gpt2", sae: str = "gpt2-small-res-jb/blocks.8.hook_resid_pre", text: str = "embedded") -> str:
    """Write a recipe to start from; the text. Raises BadInput where there is a file already."""
    if path.exists():
        raise BadInput(f"{path} is there already; give another name")
    if not path.absolute().parent.is_dir():
        raise BadInput(f"there is no folder {path.parent}")
    made = NEW.format(file=path.name, name=path.stem, model=model, sae=sae, text=text)
    path.write_text(made)
    return made


def _id(sae, taken: list[str]) -> str:
    """w16384-l0-58, or its own name."""
    id = f"w{sae.card.d_sae}-l0-{sae.card.l0:g}" if sae.card.l0 else sae.id
    return id if id not in taken else f"{id}-{len(taken)}"


def _suite(entries: list[dict], l0: float | None) -> None:
    """Mark, at each width, the SAE whose published L0 is nearest to ``l0`` on a log scale; those without one stay in."""
    known = [entry for entry in entries if entry["l0"]]
    if not known:
        return
    wanted = math.log(l0 or statistics.median(entry["l0"] for entry in known))
    for width in {entry["width"] for entry in known}:
        there = [entry for entry in known if entry["width"] == width]
        nearest_one = min(there, key=lambda entry: (abs(math.log(entry["l0"]) - wanted), entry["l0"]))
        for entry in there:
            entry["main"] = entry is nearest_one


def _tokens(recipe: Recipe, reading, folder: Path) -> None:
    import numpy as np

    full = reading.length >= min(recipe.window[1], reading.tokens.shape[1])
    if full.sum() < recipe.folds:
        raise BadInput(f"study {recipe.name}: {full.sum()} documents reach position {recipe.window[1]}, too few for {recipe.folds} "
                       "folds; end the window earlier or give longer documents")  # fmt: skip
    np.savez_compressed(folder / "tokens.npz", score_tokens=reading.tokens[full].astype(np.int32),
                        score_document=reading.document[full].astype(np.int32))  # fmt: skip


def _manifest(folder: Path, entries: list[dict]) -> None:
    files = {path.relative_to(folder).as_posix(): dict(bytes=path.stat().st_size, sha256=sha256(path))
             for path in sorted(folder.rglob("*")) if path.is_file()}  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(dict(saes=entries, files=files), indent=1))


def _study(recipe: Recipe, site: str) -> dict:
    return dict(name=recipe.name, title=recipe.title or recipe.name, model="model", data="./data", text="score", site=site,
                window=list(recipe.window), folds=recipe.folds, seed=recipe.seed, bootstrap=recipe.bootstrap,
                dtype=recipe.dtype, device=recipe.device, saes="manifest")  # fmt: skip


def _stamps(recipe: Recipe) -> str:
    """A digest of the sizes and times of the local files that a recipe names."""
    found = []
    for name in (recipe.model, recipe.text, *recipe.names()):
        files = [Path(name)] if Path(name).is_file() else sorted(Path(name).rglob("*")) if Path(name).is_dir() else []
        found += [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files]
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()


def _link(source: str, target: str) -> None:
    os.symlink(Path(source).resolve(), target)
