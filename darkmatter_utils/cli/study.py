"""``darkmatter study``: write a study of one's own, check what it would take, prepare it; take its results
elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path

from ..base.cache import versions
from ..base.errors import BadInput
from ..measurement import prepare as preparing
from ..studies import portable, recipes
from ..studies.study import Study


def new(options) -> None:
    print(recipes.new(Path(options.file), model=options.model, sae=options.sae, text=options.text), end="")


def check(options) -> None:
    if not recipes.is_recipe(options.study):
        study = Study.load(options.study)
        preparing.check_ready(study)
        print(
            f"study {study.name}: ready, {len(study.saes)} SAEs at {', '.join(study.sites()) or study.site}"
        )
        return
    for line in preparing.check(recipes.load(options.study)):
        print(line)


def prepare(options) -> None:
    recipe = recipes.load(options.study)
    path = preparing.prepare(recipe, progress=lambda line: print(line, file=sys.stderr, flush=True))
    print(f"study {recipe.name} is prepared: {path}")
    for name, source in sorted(preparing.sources(path).items()):
        if "@" in source:
            print(f"pinned: {name}: {source}")
    print(f"now: darkmatter build --study {options.study}")


def export(options) -> None:
    path = Path(options.file)
    if not path.absolute().parent.is_dir() or path.is_dir():
        raise BadInput(f"{path} cannot be written: give a file in a folder that is there")
    study = Study.load(options.study)
    found = portable.export(study, path)
    print(f"study {study.name}: {len(found)} result(s) in {path}")


def bring_in(options) -> None:
    about, new = portable.bring_in(Path(options.file))
    print(f"study {about['study']['name']}: {len(new)} new result(s), the others were here")
    _differences(about)


def verify(options) -> None:
    about = portable.verify(Path(options.file))
    print(f"study {about['study']['name']}: {len(about['files'])} files, each as it was written")
    _differences(about)


def _differences(about: dict) -> None:
    for name, version in versions().items():
        if about["versions"].get(name) != version:
            print(
                f"note: made with {name} {about['versions'].get(name)}, here is {version}: results "
                f"will be made anew"
            )
