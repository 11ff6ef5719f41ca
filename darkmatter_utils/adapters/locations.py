"""Where the files of a model or an SAE are: a folder, or a name on the hub brought here.

A model:  a transformers folder, ``owner/name``, or a short name of `MODELS`; ``@REVISION`` may follow.
An SAE:   a folder of one of `formats.known`, SAELens' ``release/id``, or ``owner/repository/folder``;
``@REVISION`` may follow.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from pathlib import Path

from ..base.errors import BadInput, nearest
from . import formats, hub
from .hub import few

MODELS = {
    "gpt2": "openai-community/gpt2",
    "gpt2-small": "openai-community/gpt2",
    "gemma-2-2b": "google/gemma-2-2b",
    "gemma-2-9b": "google/gemma-2-9b",
    "llama-3.1-8b": "meta-llama/Llama-3.1-8B",
}
"""Short names of models; any other name is the hub's own."""
WEIGHTS = ("*.json", "*.safetensors", "*.model", "*.txt")
"""Files of a model that are needed."""


def model_folder(name: str, *, progress: Callable[[str], None] | None = None) -> Path:
    """The folder of a model's files, downloaded if ``name`` is no folder here. Raises BadInput as
    `hub.folder` does."""
    if (here := _here(name)) is not None:
        if not (here / "config.json").is_file():
            raise BadInput(
                f"model {name}: {'that folder' if here.is_dir() else 'there is no such folder; a model'} "
                f"{'has no' if here.is_dir() else 'is a transformers folder with'} config.json"
            )
        return here
    repository, revision = model_name(name)
    found = hub.folder(repository, wanted=WEIGHTS, revision=revision, progress=progress)
    if not list(found.glob("*.safetensors")):
        raise BadInput(
            f"{repository} has no weights in safetensors in {found.name}; give a folder that has them"
        )
    return found


def model_name(name: str) -> tuple[str, str | None]:
    """(repository, revision) that a model's name stands for."""
    plain, revision = _revision(name)
    return MODELS.get(plain.lower(), plain), revision


def sae_folder(name: str, *, progress: Callable[[str], None] | None = None) -> Path:
    """The folder of an SAE's files, downloaded if ``name`` is no folder here.

    Raises BadInput for an unknown release or id, naming the nearest, and as `hub.folder` does.
    """
    if (here := _here(name)) is not None:
        if not here.exists():
            raise BadInput(
                f"SAE {name}: there is no such file or folder; {here.parent} has "
                f"{few(sorted(path.name for path in here.parent.glob('*')) if here.parent.is_dir() else [])}"
            )
        return here
    repository, inside, revision = sae_name(name)
    wanted = _sae_files(inside)
    if inside.endswith((".npz", ".safetensors", ".json")):
        inside, wanted = inside.rpartition("/")[0], [inside]
    return hub.folder(repository, wanted=wanted, revision=revision, progress=progress) / inside


def _sae_files(inside: str) -> list[str]:
    """Files of an SAE's folder that are needed, whatever its format."""
    files = [file for format in formats.known().values() for file in (*format.FILES, *format.MORE)]
    return [f"{inside}/{file}" if inside else file for file in files]


def sae_name(name: str) -> tuple[str, str, str | None]:
    """(repository, folder in it, revision) that an SAE's name stands for, by SAELens' list of releases."""
    plain, revision = _revision(name)
    release, _, id = plain.partition("/")
    found = releases()
    if about := found.get(release):
        paths = {sae["id"]: sae.get("path") or sae["id"] for sae in about["saes"]}
        if not id:
            raise BadInput(f"{release} has {len(paths)} SAEs; give one, e.g. {release}/{next(iter(paths))}")
        if id not in paths:
            raise BadInput(f"{release} has no SAE '{id}'; {nearest(id, paths)}")
        kind = about.get("conversion_func")
        if not any(kind in format.RELEASES for format in formats.known().values()):
            raise BadInput(
                f"{release} is in a format that only SAELens reads ({kind}); save it once with "
                f"SAE.from_pretrained('{release}', '{id}').save_model(FOLDER) and give that folder"
            )
        owner, repository, *within = about["repo_id"].split("/")
        return f"{owner}/{repository}", "/".join([*within, paths[id]]), revision
    owner, repository, *inside = [*plain.split("/"), ""][: max(3, plain.count("/") + 1)]
    if not repository:
        raise BadInput(
            f"no SAE at {name}: there is no such file or folder, nor a release of that name in SAELens; "
            f"{nearest(plain, found)}"
        )
    return f"{owner}/{repository}", "/".join(part for part in inside if part), revision


def pinned(name: str, folder: str) -> str:
    """A model's or SAE's name with the revision that its folder holds: NAME@COMMIT; a local folder's is its
    name."""
    parts = Path(folder).parts
    if _here(name) is not None or "snapshots" not in parts:
        return name
    return f"{_revision(name)[0]}@{parts[parts.index('snapshots') + 1]}"


def downloads(model: str, sae: str) -> list[hub.Remote]:
    """What would have to be downloaded for a model and an SAE: the hub's lists, none for what is here.

    Raises BadInput as `hub.remote` does. Cost: a request for each that is not a folder or checked before.
    """
    found = []
    if _here(model) is None:
        repository, revision = model_name(model)
        found += _listed(repository, WEIGHTS, revision)
    if _here(sae) is None:
        repository, inside, revision = sae_name(sae)
        found += _listed(repository, _sae_files(inside), revision)
    return [there for there in found if there.missing()]


def _listed(repository: str, wanted, revision: str | None) -> list[hub.Remote]:
    kept = hub.snapshot(repository, revision=revision)
    if kept and (hub.offline() or hub.sealed(kept, tuple(wanted))):
        return []
    try:
        return [hub.remote(repository, wanted=wanted, revision=revision)]
    except hub.Unreachable:
        if kept:
            return []
        raise


def _here(name: str) -> Path | None:
    path = Path(name).expanduser()
    beside = path.parent != Path() and path.parent.is_dir()  # a folder whose last part is mistyped
    if path.exists() or path.is_absolute() or name.startswith(".") or beside:
        return path
    return None


def _revision(name: str) -> tuple[str, str | None]:
    plain, _, revision = name.partition("@")
    return plain.strip("/"), revision or None


@functools.cache
def releases() -> dict[str, dict]:
    """SAELens' list of releases: repo_id, model, saes (id, path, l0). Read from its file, without importing
    it."""
    import yaml

    path = Path(importlib.util.find_spec("sae_lens").origin).parent / "pretrained_saes.yaml"
    return yaml.load(path.read_text("utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
