"""What a suite of SAEs is made of: a few lines of YAML, and the SAEs that follow from them.

name: mine
model: gpt2                     # what `measure --model` takes
text: text.jsonl                # what `measure --text` takes
site: blocks.6.hook_resid_post  # the study's own; its SAEs are compared in width
context: 512
window: [32, 512]
samples: 5000000                # activations that each SAE sees; no stored one is seen more than twice
saes:
  - {expansions: [4, 8, 16], l0s: [32], main: true}
  - {expansions: [4, 8], seeds: [1], l0s: [32], main: true}
  - {expansions: [4], l0s: [16, 64]}
  - {suite: depth, sites: [blocks.2.hook_resid_post], expansions: [4], l0s: [32]}
  - {suite: components, targets: [LinearError, NonlinearError], expansions: [3], seeds: [0, 1, 2]}
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from ..adapters.models import place
from ..base.config import STUDIES, at_least, checked, read
from ..base.errors import BadInput, nearest
from ..experiments.components import SUITE, TARGETS
from ..studies.study import check_study
from .sae_training import KINDS, SaeJob

FILES = STUDIES / "suites"
EPOCHS = 2
"""Times that a stored activation is seen, at most."""


@dataclass(frozen=True)
class Planned:
    """An SAE to train and what it is trained for."""

    job: SaeJob
    suite: str = ""
    kind: str = "batchtopk"
    """One of `KINDS`: batchtopk is read as JumpReLU, and so is frozen, its decoder random and fixed."""
    random_weights: int | None = None
    """Seed of the random weights of the model that its activations come from; None: the trained ones."""
    target: str = "x"
    main: bool = False


@dataclass(frozen=True)
class Group:
    """SAEs that differ in width, L0, seed, site or kind: all combinations of what is listed."""

    expansions: list = field(default_factory=list)
    """Latents, as multiples of the site's dimension."""
    widths: list = field(default_factory=list)
    """Or latents."""
    l0s: list = field(default_factory=lambda: [32.0])
    seeds: list = field(default_factory=lambda: [0])
    sites: list = field(default_factory=list)
    """The study's own, if none is listed."""
    kinds: list = field(default_factory=lambda: ["batchtopk"])
    targets: list = field(default_factory=lambda: ["x"])
    """Of the suite "components": parts of x, under the study's SAE at 8 d_model, or noise like one."""
    suite: str = ""
    main: bool = False
    samples: int = 0
    """Activations each sees; 0: as many as the suite says."""
    random_weights: int | None = None


@dataclass(frozen=True)
class Suite:
    """A model, a text, and the SAEs trained on its activations. Raises BadInput for a contradiction."""

    name: str
    model: str
    """What `load_model` takes, or an installed package with a GGUF file, ``package:NAME``."""
    text: str
    site: str
    saes: tuple[Group, ...]
    title: str = ""
    context: int = 512
    window: tuple[int, int] = (32, 512)
    """Positions that are trained on and scored: the first, and the one after the last."""
    loud: float = 10.0
    """Activations louder than so many median norms of the component text are left out."""
    samples: int = 10_000_000
    batch: int = 2048
    lr: float = 1e-3
    score: int = 600
    """Contexts of the scored text, about."""
    component: int = 1600
    held_out: tuple[str, ...] = ()
    """Sources of the text that nothing is trained on."""
    model_dtype: str = "bfloat16"
    """Of the model while activations are stored."""
    dtype: str = "float32"
    """Of the SAEs, and of the model, in the study that is made."""
    device: str = "cpu"
    data: str = ""
    """Folder that the finished study goes to; beside the file, by its name, if none is given."""

    def __post_init__(self) -> None:
        check_study(self)
        say = lambda line: BadInput(f"suite {self.name}: {line}")
        at_least(self, f"suite {self.name}: ", context=8, samples=1, batch=1, score=2, component=1)
        if self.window[1] > self.context:
            raise say(f"the window ends at {self.window[1]}, behind the context of {self.context} tokens")
        for group in self.saes:
            if bool(group.expansions) == bool(group.widths):
                raise say("each group of saes needs expansions or widths")
            for given, valid in ((group.kinds, KINDS), (group.targets, TARGETS)):
                if wrong := [one for one in given if one not in valid]:
                    raise say(f"unknown '{wrong[0]}' in saes; {nearest(str(wrong[0]), valid)}")
            if group.targets != ["x"] and group.suite != SUITE:
                raise say(f"targets are of the suite {SUITE}")
            if wrong := [site for site in (self.site, *group.sites) if place(site) is None]:
                raise say(f"'{wrong[0]}' is no site; a site is e.g. blocks.6.hook_resid_post")

    def planned(self, width_of) -> list[Planned]:
        """Every SAE in the order in which they are trained; ``width_of(site)``: its dimension."""
        made: list[Planned] = []
        for group in self.saes:
            for site in group.sites or [self.site]:
                d = width_of(site)
                widths = [int(w) for w in group.widths] or [8 * round(e * d / 8) for e in group.expansions]
                sorts = product(widths, group.l0s, group.targets, group.seeds, group.kinds)
                for width, l0, target, seed, kind in sorts:
                    id = self._id(group, site, width, l0, seed, kind)
                    if group.suite == SUITE:
                        id = f"part-{target.replace(' ', '-')}" + (f"-seed{seed}" if seed else "")
                    samples = group.samples or self.samples
                    job = SaeJob(id, site, width, float(l0), seed, samples, self.batch, self.lr)
                    how = dict(random_weights=group.random_weights, main=group.main, target=target)
                    made.append(Planned(job, group.suite, kind, **how))
        ids = [one.job.id for one in made]
        if twice := next((id for id in ids if ids.count(id) > 1), None):
            raise BadInput(f"suite {self.name}: SAE {twice} is listed twice")
        return made

    def _id(self, group: Group, site: str, width: int, l0: float, seed: int, kind: str) -> str:
        layer, name = site.split(".")[1], site.rpartition("hook_")[2]
        parts = [] if site == self.site else [f"l{layer}-{name.replace('_', '-')}"]
        parts += [] if kind == "batchtopk" else [kind]
        parts += [] if group.random_weights is None else ["twin"]
        return "-".join([*parts, f"w{width}", f"l0-{l0:g}", *([f"seed{seed}"] if seed else [])])

    def contexts(self, samples: int) -> int:
        """Training contexts whose activations suffice for so many samples in `EPOCHS` passes."""
        return math.ceil(1.01 * samples / EPOCHS / (self.window[1] - max(1, self.window[0])))


def load(source: str) -> tuple[Suite, Path]:
    """(the suite, its file) by name or path; BadInput for an unknown key, a wrong type, a contradiction."""
    known = sorted(path.stem for path in FILES.glob("*.yaml"))
    path = FILES / f"{source}.yaml" if source in known else Path(source)
    if not path.is_file():
        near = nearest(source, ["tiny", *known])  # the embedded study is made by the same command
        raise BadInput(f"there is no suite at {source}; {near}, or the path of a .yaml file")
    settings = read(path)
    if not isinstance(settings, dict) or not isinstance(settings.get("saes"), list):
        raise BadInput(
            f"{path.name} must hold keys and values (name: ..., model: ..., text: ..., saes: a list)"
        )
    where = f"suite {settings.get('name', '?')}"
    groups = [checked(Group, one, where=f"{where}: saes {i}") for i, one in enumerate(settings["saes"], 1)]
    made = checked(Suite, settings | {"saes": tuple(groups)}, where=where)
    near = lambda name: str(found.resolve()) if (found := path.parent / name).exists() else name
    return dataclasses.replace(made, model=near(made.model), text=near(made.text)), path
