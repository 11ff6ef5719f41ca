"""What is studied: one typed dataclass, read from a YAML file."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ..base.config import DATA, STUDIES, check_name, checked, one_of, read
from ..base.errors import BadInput, nearest

FORMAT_TESTS = ("nano",)
"""Studies that speak of no claim: they are not among every study."""
DTYPES = ("float64", "float32")
"""Of the SAEs. Sums are float64 whatever the study says."""
MODEL_DTYPES = (*DTYPES, "bfloat16", "float16")
"""Of the model."""


FINDERS: list[tuple[Callable[[str | Path], Path | None], Callable[[], list[str]]]] = []
"""Who else finds a study's file by name or path, and names what it finds: recipes add themselves."""


@dataclass(frozen=True)
class SaeEntry:
    """One SAE of a study."""

    id: str
    kind: str = "jumprelu"
    """Architecture of a trained SAE, or the kind of null."""
    width: int = 0
    """Latents, d_sae; 0 for a reconstruction without a dictionary."""
    l0: float | None = None
    """Active latents a token that it was made for; the realised number is measured."""
    site: str | None = None
    """Where it reads and writes; the study's site if not given."""
    seed: int = 0
    main: bool = False
    """Belongs to the suite that scaling in width is read from: one L0, one seed a width or several."""
    dead: float | None = None
    """Share of latents that never fired on held-out text, where whoever trained it counted."""
    path: str | None = None
    """Folder of its weights, relative to the study's data."""
    suite: str = ""
    """Which comparison it was trained for; the unnamed suite is the one that chapters 01 to 05 measure."""
    target: str = "x"
    """Part of x that it was trained on and reads: a component SAE's is LinearError, noise..."""
    dials: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """A model, a site, SAEs and a text, and how they are measured. Raises `BadInput` for a contradiction."""

    name: str
    """Unique name; results are kept under it."""
    title: str
    site: str
    """Activation that is decomposed, e.g. ``blocks.2.hook_resid_post``."""
    model: str | None = None
    """Folder of a transformers model, relative to the data; None: activations are simulated."""
    data: str | None = None
    """Folder of an embedded study's files: a name inside the package, or a path."""
    text: str | None = None
    """Which token set of the data is decomposed; None for a simulated world."""
    window: tuple[int, int] = (0, 1 << 30)
    """First position that counts and the one after the last."""
    loud: float | None = None
    """A token whose norm is more than so many times the median norm is neither fitted nor scored (10, where
    the model has attention sinks); None: every token of the window counts."""
    folds: int = 5
    seed: int = 0
    bootstrap: int = 1000
    """Resamples of documents behind every interval."""
    ridge: float | str = 0.0
    """Ridge of the linear maps, or "cv"."""
    dtype: str = "float64"
    """Of the SAEs, and of the model unless `model_dtype` says otherwise."""
    model_dtype: str | None = None
    """Precision of the model, e.g. bfloat16; None: ``dtype``. What is read is float32 or wider."""
    device: str = "cpu"
    contexts: int | None = None
    """Only so many contexts of the text; None: all."""
    suite: str = ""
    """Which of its SAEs are measured: those at its site that belong to this suite."""
    random_weights: int | None = None
    """Seed of random weights that replace the model's, each matrix with its mean and spread."""
    world: dict[str, Any] = field(default_factory=dict)
    """Dials of a simulated world, and how many ``documents`` of it."""
    saes: tuple[SaeEntry, ...] = ()
    """The SAEs; ``manifest`` in the file stands for all that the data's manifest lists."""

    def __post_init__(self) -> None:
        check_study(self)
        say = lambda line: BadInput(f"study {self.name}: {line}")
        if self.folds < 2:
            why = "a fold is scored by a map fitted on the others, so give at least 2"
            raise say(f"folds is {self.folds}; {why}")
        if self.bootstrap < 100:
            raise say(f"bootstrap is {self.bootstrap}; give at least 100 resamples for a 95% interval")
        if self.seed < 0 or (self.contexts is not None and self.contexts < 1):
            raise say(f"seed {self.seed} must be 0 or more, contexts {self.contexts} 1 or more")
        if self.loud is not None and self.loud <= 1:
            raise say(f"loud is {self.loud}; give a multiple of the median norm above 1, such as 10, or none")
        if self.ridge != "cv" and (isinstance(self.ridge, str) or self.ridge < 0):
            raise say(f"ridge is {self.ridge!r}; give a number of 0 or more, or cv")
        if (self.model is None) != bool(self.world):
            why = "activations are read from one or simulated by the other"
            raise say(f"give either a model or a world: {why}")
        if self.model is not None and (self.data is None or self.text is None):
            raise say("a model needs data (where its files are) and text (which token set)")
        ids = [sae.id for sae in self.saes]
        if len(set(ids)) != len(ids):
            raise say(f"SAE id '{next(i for i in ids if ids.count(i) > 1)}' is given twice; ids must differ")

    @classmethod
    def load(cls, source: "str | Path | Study") -> "Study":
        """A study by name or by the path of its YAML file; of a recipe, what `prepare.prepare` made of it.
        Raises BadInput naming the nearest valid names."""
        if isinstance(source, Study):
            return source
        path = Path(next((path for find, _ in FINDERS if (path := find(source)) is not None), source))
        if path.suffix not in (".yaml", ".yml"):
            path = STUDIES / f"{source}.yaml"
            if not path.is_file():
                near = nearest(str(source), _every_name())
                raise BadInput(f"unknown study '{source}'; {near} (or the path of a .yaml file)")
        elif not path.is_file():
            names = ", ".join(_every_name())
            raise BadInput(f"no study file at {path}; give a name ({names}) or a .yaml file")
        return cls.of(read(path), base=path.parent)

    @classmethod
    def of(cls, settings: Any, *, base: Path = STUDIES) -> "Study":
        """A study from the mapping that a YAML file holds; BadInput for an unknown key or a wrong type."""
        if not isinstance(settings, dict):
            raise BadInput("a study file holds keys and values (name: ..., site: ..., saes: ...)")
        settings = dict(settings)
        where = f"study {settings.get('name', '?')}"
        if isinstance(settings.get("data"), str) and settings["data"].startswith("."):
            settings["data"] = str((base / settings["data"]).resolve())
        if settings.get("saes") == "manifest":
            settings["saes"] = manifest_entries(settings.get("data"))
        entries = settings.get("saes")
        if entries is None:
            raise BadInput(f"{where}: saes is missing; list them, or write saes: manifest")
        if not isinstance(entries, list | tuple) or not entries:
            raise BadInput(f"{where}: saes must be a list with at least one entry, or manifest")
        saes = tuple(checked(SaeEntry, one, where=f"{where}: sae {i}") for i, one in enumerate(entries))
        return checked(cls, settings | {"saes": saes}, where=where)

    def data_folder(self) -> Path:
        """Where the study's files are; makes them first if they are made on the spot."""
        return data_folder(self.data)

    def model_source(self) -> str:
        """What `load_model` takes: the folder among the study's files, or the name of a model elsewhere."""
        own = self.data_folder() / self.model
        return str(own) if own.exists() else self.model

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for records."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    def at(self, site: str | None = None, *, suite: str | None = None, **changes: Any) -> "Study":
        """The same study at another site, of another suite of its SAEs, or with other settings. Raises
        BadInput for a contradiction, or a site and suite without any SAE, naming those that have."""
        changes |= {key: value for key, value in (("site", site), ("suite", suite)) if value is not None}
        made = dataclasses.replace(self, **changes)
        if not made.selected():
            said = lambda suite, site: f"{suite or 'the unnamed suite'} at {site or self.site}"
            have = ", ".join(sorted({said(entry.suite, entry.site) for entry in self.saes}))
            raise BadInput(f"study {self.name} has no SAE of {said(made.suite, made.site)}; it has {have}")
        return made

    def selected(self) -> tuple[SaeEntry, ...]:
        """The SAEs that are measured: those of the study's suite at its site."""
        return tuple(e for e in self.saes if e.suite == self.suite and e.site in (None, self.site))

    def sites(self, suite: str = "") -> list[str]:
        """Sites that have SAEs of a suite, in the order of the study's list."""
        return list(dict.fromkeys(e.site or self.site for e in self.saes if e.suite == suite))

    def at_hand(self) -> "Study":
        """The same with those of its SAEs alone whose weights are here; BadInput where none of them is."""
        here = [e for e in self.saes if e.path is None or any((self.data_folder() / e.path).glob("*"))]
        return self.at(saes=tuple(here))

    def fingerprint(self) -> str:
        """sha256 of the settings that numbers depend on (not of the data's bytes)."""
        chosen = [dataclasses.asdict(entry) for entry in self.selected()]
        settings = {k: v for k, v in self.to_dict().items() if k not in ("title", "device")}
        settings["data"] = self.data and Path(self.data).name  # where it lies changes no number
        settings["saes"] = chosen
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()

    def sae(self, id: str) -> SaeEntry:
        """The entry of an SAE; BadInput names the nearest ids."""
        if (entry := {entry.id: entry for entry in self.saes}.get(id)) is None:
            raise BadInput(f"study {self.name} has no SAE '{id}'; {nearest(id, [s.id for s in self.saes])}")
        return entry


def check_study(study) -> None:
    """BadInput unless a study's or recipe's name, window and types of numbers can be used."""
    check_name(study.name)
    if not 0 <= study.window[0] < study.window[1]:
        empty = f"window {list(study.window)} is empty"
        raise BadInput(f"study {study.name}: {empty}; give [first position, one after the last]")
    one_of(study, f"study {study.name}: ", dtype=DTYPES, model_dtype=(None, *MODEL_DTYPES))


def _every_name() -> list[str]:
    return [*study_names(), *(name for _, names in FINDERS for name in names())]


def study_names() -> list[str]:
    """Names of the studies in the package."""
    return sorted(path.stem for path in STUDIES.glob("*.yaml"))


def data_folder(data: str) -> Path:
    """The folder behind a study's ``data``: inside the package, made on the spot, or a path."""
    folder = DATA / data if not Path(data).is_absolute() else Path(data)
    if not (folder / "manifest.json").is_file():
        have = sorted(p.parent.name for p in DATA.glob("*/manifest.json"))
        names = ", ".join(have) or "none"
        raise BadInput(f"no data at '{data}' (a folder with manifest.json); embedded: {names}")
    return folder


def manifest_entries(data: str | None) -> list[dict]:
    """What ``saes: manifest`` stands for: the SAEs that the data's manifest lists, in its order."""
    if not isinstance(data, str):
        raise BadInput("saes: manifest needs data, the folder whose manifest lists them")
    manifest = json.loads((data_folder(data) / "manifest.json").read_text())
    known = {f.name for f in fields(SaeEntry)}
    return [{k: v for k, v in entry.items() if k in known} for entry in manifest["saes"]]
