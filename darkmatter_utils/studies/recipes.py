"""A study of one's own: ten lines of YAML, prepared once (`prepare.prepare`), then a study like any other.

name: mine
model: FOLDER            # or a name on the hub
saes: [FOLDER, release/id]
text: text.jsonl         # what `texts.texts` reads
documents: 300
window: [200, 1023]
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path

from ..adapters.grid import TAKE, Choice, choose
from ..adapters.texts import EMBEDDED
from ..base.cache import cache_folder, key_of, stamps
from ..base.config import STUDIES, at_least, check_name, checked, read
from ..base.errors import BadInput, nearest
from .study import FINDERS, check_study, study_names

RECIPES = STUDIES / "recipes"
SUITES = {
    "depth": "the same widths at other layers (chapter 03)",
    "sites": "earlier sites: attention, MLP, residual (chapter 12)",
}
"""What SAEs beside the main ones can be for."""
GIVEN = ("parameters", "d_model", "vocabulary")
"""What a size always says."""
GRID = ("model", "site", "layer", "l0")
"""What names a place in the paper's list of SAEs."""


@dataclass(frozen=True)
class Request:
    """What is asked for. Raises BadInput for a number that cannot be."""

    model: str
    """Folder of a transformers model, or its name on the hub."""
    sae: str
    """Folder of an SAE in any of `formats.known`, or its name (`hub.sae_folder`)."""
    site: str | None = None
    """Where the SAE reads; what the SAE says, if not given."""
    text: str = EMBEDDED
    documents: int = 300
    positions: tuple[int, int] | None = None
    packed: bool = False
    dtype: str = "float32"
    """Of the model."""
    sae_dtype: str = "float32"
    device: str = "cpu"
    folds: int = 5
    bootstrap: int = 1000
    seed: int = 0
    k: int | None = None
    """What an SAE's files do not say, for the formats that take it: its largest latents count;"""
    threshold: float | None = None
    """those above it count;"""
    b_dec_in: bool | None = None
    """b_dec is taken off before the encoder."""

    @property
    def said(self) -> dict:
        """The last three, for `saes.load_any`."""
        return {"k": self.k, "threshold": self.threshold, "b_dec_in": self.b_dec_in}

    def __post_init__(self) -> None:
        for name in ("model", "sae", "text"):
            if not getattr(self, name):
                raise BadInput(f"--{name} is empty; give a folder, a file or a name")
        at_least(self, "", documents=2, folds=2, bootstrap=100, seed=0)


@dataclass(frozen=True)
class Size:
    """What time and memory follow from before a model is here. Raises BadInput for less than 1."""

    parameters: int
    d_model: int
    vocabulary: int
    latents: int | None = None
    """Of the SAEs whose names do not say it (`listed.latents`)."""


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
    size: dict = field(default_factory=dict)
    """Of the model (`Size`): with it `darkmatter study check` says time and memory before a download."""
    grid: dict = field(default_factory=dict)
    """Instead: of the paper's list: model, site, layer, l0 and take (one of `TAKE`)."""
    suites: dict = field(default_factory=dict)
    """SAEs beside these, by what they are for: a list of folders or names for each of `SUITES`."""
    site: str | None = None
    l0: float | None = None
    """L0 at which widths are compared, by the nearest SAE of each; None: the median of those published."""
    documents: int = 300
    packed: bool = False
    """Short documents share a context, which then stands for a document (`reading.pack`)."""
    window: tuple[int, int] = (200, 1023)
    """First position that counts and the one after the last; documents shorter than its end are left out."""
    loud: float | None = None
    """As `Study.loud`."""
    folds: int = 5
    seed: int = 0
    bootstrap: int = 1000
    dtype: str = "float32"
    """Of the SAEs, and of the model unless `model_dtype` says otherwise."""
    model_dtype: str | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        check_study(self)
        say, grid = lambda line: BadInput(f"study {self.name}: {line}"), self.grid
        if self.name in study_names():
            raise say("that is the name of a study in the package; take another")
        if bool(self.saes) == bool(grid):
            raise say("give either saes or grid")
        at_least(self, f"study {self.name}: ", documents=2, folds=2, bootstrap=100, seed=0)
        if (take := grid.get("take", TAKE[0])) not in TAKE:
            raise say(f"grid takes '{take}'; {nearest(str(take), TAKE)}")
        if self.size:
            where = f"study {self.name}: size"
            at_least(sized := checked(Size, self.size, where=where), f"{where}: ", **dict.fromkeys(GIVEN, 1))
            if sized.latents is not None:
                at_least(sized, f"{where}: ", latents=1)
        for suite, saes in self.suites.items():
            if suite not in SUITES:
                raise say(f"unknown suite '{suite}'; {nearest(str(suite), SUITES)}")
            if not isinstance(saes, list) or not saes or not all(isinstance(name, str) for name in saes):
                raise say(f"suite {suite} must be a list of folders or names")
        if not all(isinstance(l0, int | float) and l0 > 0 for l0 in (self.l0 or 1, grid.get("l0", 1))):
            raise say(f"l0 is {grid.get('l0', self.l0)!r}; give a number above 0")
        if twice := {name for name in self.saes if self.saes.count(name) > 1}:
            raise say(f"SAE {sorted(twice)[0]} is given twice")
        if lacks := [key for key in GRID if grid and key not in grid]:
            raise say(f"grid lacks {', '.join(lacks)}")

    def names(self) -> list[tuple[str, str]]:
        """(suite, SAE by what ``--sae`` takes): the main ones, whose suite is "", first."""
        main = list(self.saes) or [sae.name for choice in self.choices() for sae in choice.all]
        return [(suite, name) for suite, saes in {"": main, **self.suites}.items() for name in saes]

    def choices(self) -> list[Choice]:
        """What of the paper's list is taken."""
        if not self.grid:
            return []
        return choose(*(self.grid[key] for key in GRID), take=self.grid.get("take", TAKE[0]))

    def requests(self) -> list[tuple[str, Request]]:
        """(suite, what is asked) for each SAE."""
        same = ("model", "text", "documents", "packed", "device", "folds", "bootstrap", "seed")
        common = {name: getattr(self, name) for name in same}
        common |= dict(positions=self.window, dtype=self.model_dtype or self.dtype, sae_dtype=self.dtype)
        ask = lambda suite, sae: Request(sae=sae, site=None if suite else self.site, **common)
        return [(suite, ask(suite, sae)) for suite, sae in self.names()]


def names() -> list[str]:
    """Recipes in the package."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def is_recipe(source: str) -> bool:
    """Whether a study's name or file is a recipe, rather than a study that is ready."""
    if source in names():
        return True
    try:
        found = read(Path(source))
    except BadInput:
        return False
    keys = found.keys() if isinstance(found, dict) else set()
    return keys.isdisjoint(("data", "world")) and not keys.isdisjoint(("model", "grid", "text"))


def load(source: str | Path) -> Recipe:
    """A recipe by name or file; BadInput for an unknown key, a wrong type, a contradiction."""
    path = RECIPES / f"{source}.yaml" if str(source) in names() else Path(source)
    if not path.is_file():
        near = nearest(str(source), names())
        raise BadInput(f"no recipe of a study at {source}; {near}, or the path of a .yaml file")
    settings = read(path)
    if not isinstance(settings, dict):
        raise BadInput(f"{path.name} must hold keys and values (name: ..., model: ..., saes: ..., text: ...)")
    saes = settings.get("saes", [])
    if not isinstance(saes, list) or not all(isinstance(name, str) for name in saes):
        todo = f"a suite to train becomes a study by: darkmatter train {path.name}"
        raise BadInput(f"{path.name}: saes must be a list of folders or names; {todo}")
    made = checked(Recipe, settings, where=f"study {settings.get('name', '?')}")

    def near(name: str) -> str:
        file = path.parent / name
        return str(file.resolve()) if file.exists() else name

    beside = {name: near(getattr(made, name)) for name in ("model", "text")}
    suites = {suite: [near(name) for name in names] for suite, names in made.suites.items()}
    return dataclasses.replace(made, saes=[near(name) for name in saes], suites=suites, **beside)


def found(source: str | Path) -> Path | None:
    """The file of the study that was prepared of a recipe, by its name or file; None for another study."""
    return prepared(load(source)) if is_recipe(str(source)) else None


FINDERS.append((found, names))


def folder_of(recipe: Recipe) -> Path:
    """Where a recipe's study is, or will be."""
    named = (recipe.model, recipe.text, *(name for _, name in recipe.names()))
    key = key_of(recipe=dataclasses.asdict(recipe), files=[stamps(Path(name)) for name in named])
    return cache_folder() / f"study-{recipe.name}-{key[:12]}"


def prepared(recipe: Recipe) -> Path:
    """The study file that `prepare` wrote; BadInput says how to make it."""
    path = folder_of(recipe) / f"{recipe.name}.yaml"
    if not path.is_file():
        why = f"study {recipe.name} is not prepared here: its model, SAEs and tokens come from elsewhere"
        name = recipe.name if recipe.name in names() else "FILE"
        raise BadInput(f"{why}; run: darkmatter study prepare {name}")
    return path


NEW = """# A study of your own: darkmatter study check {file}, then prepare, then build --study {file}
name: {name}
model: {model}  # a transformers folder, or a name on the hub
saes: [{sae}]  # folders of any published format, or SAELens' release/id
# site: blocks.8.hook_resid_pre  # only where the SAEs do not say where they read
text: {text}  # .txt, .jsonl or .parquet file, a folder of them, a dataset's name, or embedded
documents: 300
window: {window}  # positions that count; shorter documents are left out (loud: 10, loud tokens, too)
dtype: float32
device: cpu
"""


def new(
    path: Path,
    *,
    model: str = "gpt2",
    sae: str = "gpt2-small-res-jb/blocks.8.hook_resid_pre",
    text: str = "embedded",
) -> str:
    """Write a recipe to start from, its window inside the model's context; BadInput where a file is there."""
    if path.exists() or path.is_symlink():
        raise BadInput(f"{path} is there already; give another name")
    if not path.absolute().parent.is_dir():
        raise BadInput(f"there is no folder {path.parent}")
    check_name(path.stem)
    named = dict(file=path.name, name=path.stem, model=model, sae=sae, text=text)
    path.write_text(made := NEW.format(window=_window(path.parent / model), **named))
    return made


def _window(model: Path) -> list[int]:
    """The paper's window, or what of it a local model's context holds."""
    try:
        about = json.loads((model / "config.json").read_text())
        keys = ("max_position_embeddings", "n_positions", "n_ctx")
        context = next(about[key] for key in keys if key in about)
    except (OSError, ValueError, TypeError, StopIteration):
        return [200, 1023]
    return [200, 1023] if context >= 1023 else [context // 8, context]
