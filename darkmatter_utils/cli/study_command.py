"""``darkmatter study``: write a study of one's own, check what it would take, prepare it; take its results
elsewhere."""

from __future__ import annotations

from pathlib import Path


def add(commands, command) -> None:
    """Add the command to the parser; ``command`` is the command line's own way of doing so."""
    study = command(
        commands,
        "study",
        None,
        "a study of your own: new, check, prepare; its results: export, import, verify",
        study=False,
    )
    actions = study.add_subparsers(required=True, metavar="ACTION", parser_class=type(study))
    new = command(actions, "new", _new, "write a study of ten lines to start from", study=False)
    new.add_argument("file", help="the .yaml file to write")
    new.add_argument("--model", default="gpt2", help="transformers folder or name on the hub (gpt2)")
    new.add_argument("--sae", default="gpt2-small-res-jb/blocks.8.hook_resid_pre", help="SAE folder or name")
    new.add_argument("--text", default="embedded", help="text file, folder, dataset, or embedded")
    for name, function, about in (
        ("check", _check, "validate a study and say what it costs; nothing is downloaded"),
        ("prepare", _prepare, "bring a study's files here and store its tokens and SAEs"),
    ):
        action = command(actions, name, function, about, study=False)
        action.add_argument(
            "study", help="a .yaml file, or one of: gpt2, gemma-2-2b, gemma-2-9b, llama-3.1-8b"
        )
    export = command(
        actions,
        "export",
        _export,
        "write a study's results to one file, to be read on another machine",
        study=False,
    )
    export.add_argument("study", help="name of a study, or the path of its YAML file")
    export.add_argument("file", help="the .tar file to write")
    for name, function, about in (
        ("import", _import, "put the results of such a file into the cache here"),
        ("verify", _verify, "check such a file against its digests"),
    ):
        command(actions, name, function, about, study=False).add_argument(
            "file", help="a .tar file of study export"
        )


def _new(options) -> None:
    from ..studies import recipes

    print(recipes.new(Path(options.file), model=options.model, sae=options.sae, text=options.text), end="")


def _check(options) -> None:
    from ..measurement import preparing
    from ..studies import recipes
    from ..studies.study import Study

    if not recipes.is_recipe(options.study):
        study = Study.load(options.study)
        preparing.check_ready(study)
        print(
            f"study {study.name}: ready, {len(study.saes)} SAEs at {', '.join(study.sites()) or study.site}"
        )
        return
    for line in preparing.check(recipes.load(options.study)):
        print(line)


def _prepare(options) -> None:
    import sys

    from ..measurement import preparing
    from ..studies import recipes

    recipe = recipes.load(options.study)
    path = preparing.prepare(recipe, progress=lambda line: print(line, file=sys.stderr, flush=True))
    print(f"study {recipe.name} is prepared: {path}")
    for name, source in sorted(preparing.sources(path).items()):
        if "@" in source:
            print(f"pinned: {name}: {source}")
    print(f"now: darkmatter build --study {options.study}")


def _export(options) -> None:
    from ..base.errors import BadInput
    from ..studies import portable
    from ..studies.study import Study

    path = Path(options.file)
    if not path.absolute().parent.is_dir() or path.is_dir():
        raise BadInput(f"{path} cannot be written: give a file in a folder that is there")
    study = Study.load(options.study)
    found = portable.export(study, path)
    print(f"study {study.name}: {len(found)} result(s) in {path}")


def _import(options) -> None:
    from ..studies import portable

    about, new = portable.bring_in(Path(options.file))
    print(f"study {about['study']['name']}: {len(new)} new result(s), the others were here")
    _differences(about)


def _verify(options) -> None:
    from ..studies import portable

    about = portable.verify(Path(options.file))
    print(f"study {about['study']['name']}: {len(about['files'])} files, each as it was written")
    _differences(about)


def _differences(about: dict) -> None:
    from ..base.cache import versions

    for name, version in versions().items():
        if about["versions"].get(name) != version:
            print(
                f"note: made with {name} {about['versions'].get(name)}, here is {version}: results "
                f"will be made anew"
            )
