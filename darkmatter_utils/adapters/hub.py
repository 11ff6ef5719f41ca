"""Where the files of a model or an SAE are: a folder, or a name on the Hugging Face hub, brought here.

A model:  a transformers folder, a GGUF file or ``package:NAME`` (`gguf`), ``owner/name``, or a short name of
`MODELS`; ``@REVISION`` may follow.
An SAE:   a folder of one of `formats.known`, SAELens' ``release/id``, or ``owner/repository/folder``;
``@REVISION`` may follow.

The hub's own library downloads, goes on where it was cut off, and keeps; ``HF_ENDPOINT``, ``HF_HOME``,
``HF_HUB_CACHE``, ``HF_HUB_OFFLINE`` and ``HF_TOKEN`` mean what they mean to it.
"""

from __future__ import annotations

import fnmatch
import os
import re
import textwrap
from collections.abc import Callable
from pathlib import Path

from huggingface_hub import HfApi, errors, get_cached_repo_tree, snapshot_download

from ..base.cache import sha256
from ..base.errors import BadInput, nearest
from ..base.words import readable
from . import formats, gguf, loading, releases

MODELS = {
    "gpt2": "openai-community/gpt2",
    "gpt2-small": "openai-community/gpt2",
    "gemma-2-2b": "google/gemma-2-2b",
    "gemma-2-9b": "google/gemma-2-9b",
    "llama-3.1-8b": "meta-llama/Llama-3.1-8B",
    "gemma-3-270m": "google/gemma-3-270m",
    "qwen3-1.7b": "Qwen/Qwen3-1.7B-Base",
    "pythia-70m": "EleutherAI/pythia-70m-deduped",
}
"""Short names of models; any other name is the hub's own."""
SUFFIXES = (".npz", ".safetensors", ".json", ".pt", ".pth")
"""Of a name that is a file's."""
WEIGHTS = ["*.json", "*.safetensors", "*.model", "*.txt"]
"""Files of a model that are needed."""
AWAY = {"HTTPError", "TransportError", "TimeoutException", "OfflineModeIsEnabled", "ConnectionError"}
"""What the hub's library raises where it gets no answer."""
SNAPSHOT = re.compile(r"/models--([^/]+?)--([^/]+)/snapshots/[^/]+/(.+)$")
"""A folder in the hub's cache: owner, repository, folder in it."""


class Unreachable(BadInput):
    """The hub gave no answer."""


def model_folder(name: str, *, progress: Callable[[str], None] | None = None) -> Path:
    """The folder of a model's files, or its GGUF file, downloaded if it is not here. Raises BadInput as
    `folder` and `gguf.find` do."""
    if packed := gguf.find(name):
        return packed
    if (here := _here(name)) is not None:
        loading.check_model(here, name)
        return here
    repository, revision = model_name(name)
    found = folder(repository, WEIGHTS, revision, progress=progress)
    if not list(found.glob("*.safetensors")):
        what = f"weights in safetensors in {found.name}"
        raise BadInput(f"{repository} has no {what}; give a folder that has them")
    loading.check_model(found, name)
    return found


def model_name(name: str) -> tuple[str, str | None]:
    """(repository, revision) that a model's name stands for."""
    plain, revision = _revision(name)
    return MODELS.get(plain.lower(), plain), revision


def sae_folder(name: str, *, progress: Callable[[str], None] | None = None) -> Path:
    """The folder of an SAE's files, downloaded if it is not here. Raises BadInput for an unknown release or
    id, naming the nearest, and as `folder` does."""
    if (here := _here(name)) is not None:
        if not here.exists():
            has = _some(path.name for path in here.parent.glob("*"))
            raise BadInput(f"SAE {name}: there is no such file or folder; {here.parent} has {has}")
        return here
    repository, inside, revision = sae_name(name)
    return folder(repository, _sae_files(inside), revision, progress=progress) / inside


def _sae_files(inside: str) -> list[str]:
    """What to bring of an SAE's folder, or of the folder of a file that is one."""
    known, (home, _, name) = formats.known().values(), inside.rpartition("/")
    if Path(name).suffix in SUFFIXES:
        mine = [format for format in known if any(fnmatch.fnmatch(name, f) for f in formats.files_of(format))]
        beside = [file for f in mine for file in (*getattr(f, "FILES", ()), *formats.beside(f, name))]
        inside, files = home, [name, *beside]
    else:
        files = [file for f in known for file in (*getattr(f, "FILES", ()), *f.MORE)]
    return [f"{inside}/{file}" if inside else file for file in dict.fromkeys(files)]


def sae_name(name: str) -> tuple[str, str, str | None]:
    """(repository, folder in it, revision) that an SAE's name stands for, by SAELens' list of releases."""
    plain, revision = _revision(name)
    release, _, id = plain.partition("/")
    found = releases.known()
    if about := found.get(release):
        paths = {sae["id"]: sae.get("path") or sae["id"] for sae in about["saes"]}
        if not id:
            raise BadInput(f"{release} has {len(paths)} SAEs; give one, e.g. {release}/{next(iter(paths))}")
        if id not in paths:
            raise BadInput(f"{release} has no SAE '{id}'; {nearest(id, paths)}")
        kind = about.get("conversion_func")
        format = next((one for one in formats.known().values() if kind in one.RELEASES), None)
        if format is None:
            todo = f"SAE.from_pretrained('{release}', '{id}').save_model(FOLDER) and give that folder"
            only = f"{release} is in a format that only SAELens reads ({kind})"
            raise BadInput(f"{only}; save it once with {todo}")
        owner, repository, *within = about["repo_id"].split("/")
        path = getattr(format, "RELEASED", "{}").format(paths[id])
        return f"{owner}/{repository}", "/".join([*within, path]), revision
    if meant := releases.meant(plain):
        raise BadInput(f"SAELens' list has no release '{release}'; nearest: {meant}")
    owner, repository, *inside = [*plain.split("/"), ""][: max(3, plain.count("/") + 1)]
    if not repository:
        none = "there is no such file or folder, nor a release of that name in SAELens"
        raise BadInput(f"no SAE at {name}: {none}; {nearest(plain, found)}")
    return f"{owner}/{repository}", "/".join(part for part in inside if part), revision


def release_of(name: str) -> dict | None:
    """What SAELens' list says of the release that an SAE is of, by the release's name or by the repository
    and the folder in it, in the hub's cache too; None where it is of none."""
    if (here := _here(name)) is not None:
        found = SNAPSHOT.search(here.absolute().as_posix())
        return releases.holding("/".join(found.groups())) if found else None
    return releases.holding(_revision(name)[0])


def pinned(name: str, folder: str) -> str:
    """A model's or SAE's name with the revision that its folder holds, NAME@COMMIT; of a folder, its name."""
    parts = Path(folder).parts
    if _here(name) is not None or "snapshots" not in parts:
        return gguf.version(name)
    return f"{_revision(name)[0]}@{parts[parts.index('snapshots') + 1]}"


def _here(name: str) -> Path | None:
    path = Path(name).expanduser()
    beside = path.parent != Path() and path.parent.is_dir()  # a folder whose last part is mistyped
    return path if path.exists() or path.is_absolute() or name.startswith(".") or beside else None


def _revision(name: str) -> tuple[str, str | None]:
    plain, _, revision = name.partition("@")
    return plain.strip("/"), revision or None


def _some(names) -> str:
    return textwrap.shorten(", ".join(sorted(names)) or "no file", 200)


def cache() -> Path:
    """The hub's cache folder."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or Path(os.environ.get("HF_HOME") or home) / "hub")


def offline() -> bool:
    """Whether the hub may not be asked."""
    names = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    return any(os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE") for name in names)


def downloads(model: str, sae: str) -> dict[str, dict[str, int]]:
    """What would have to be downloaded for a model and an SAE: repository → file → bytes. Raises BadInput as
    `folder` does. Cost: some requests for each that is not a folder or here already."""
    asked = []
    if gguf.find(model) is None and _here(model) is None:
        repository, revision = model_name(model)
        asked.append((repository, WEIGHTS, revision))
    if _here(sae) is None:
        repository, inside, revision = sae_name(sae)
        asked.append((repository, _sae_files(inside), revision))
    return {repository: files for repository, *how in asked if (files := missing(repository, *how))}


def missing(repository: str, wanted: list[str], revision: str | None) -> dict[str, int]:
    """The files that match a pattern of ``wanted`` and are not in the cache yet, and their bytes.

    What was fetched before is not asked for again (give a revision for another); where the hub cannot be
    reached, what is in the cache has to do. Raises BadInput, saying what to do, for a repository, revision or
    files that are not there, one that needs permission, and a hub that cannot be reached.
    """
    kept = _snapshot(repository, wanted, revision, local_files_only=True)
    matches = lambda names: any(fnmatch.filter(names, pattern) for pattern in wanted)
    try:
        tree = [file.path for file in get_cached_repo_tree(repository, revision=revision, cache_dir=cache())]
    except errors.CachedRepoTreeNotFoundError:  # not fetched by this library: some of it may be missing
        tree = []
    if kept is not None and (offline() or matches(tree)):
        return {}
    try:
        files = _snapshot(repository, wanted, revision, dry_run=True)
    except Unreachable:
        if kept is not None and matches([path.relative_to(kept).as_posix() for path in kept.rglob("*")]):
            return {}
        raise
    if not files:
        has = HfApi(endpoint=os.environ.get("HF_ENDPOINT")).list_repo_files(repository, revision=revision)
        where = f"{' or '.join(wanted)} at {revision or 'its newest revision'}"
        raise BadInput(f"{repository} has no {where}; it has {_some(has)}")
    return {file.filename: file.file_size or 0 for file in files if file.will_download}


def folder(repository: str, wanted: list[str], revision: str | None, *, progress=None) -> Path:
    """A repository's snapshot with the files that match ``wanted``, downloaded where need be. Raises BadInput
    as `missing` does, and for a file that does not arrive or is damaged."""
    files, tell = missing(repository, wanted, revision), progress or (lambda line: None)
    for number, (name, size) in enumerate(files.items(), 1):
        tell(f"download: {repository}, file {number} of {len(files)}, {name}, {readable(size)}")
    local = None if files else _snapshot(repository, wanted, revision, local_files_only=True)
    found = local or _snapshot(repository, wanted, revision)
    for name in files:  # the cache calls a large file by its sha256
        path = found / name
        digest = Path(os.readlink(path)).name if path.is_symlink() else ""
        if len(digest) == 64 and sha256(path) != digest:
            path.resolve().unlink()
            path.unlink()
            raise BadInput(
                f"{name} of {repository} has another sha256 than the hub says (checksum mismatch): it is "
                "damaged and was removed; give the same command again"
            )
    return found


def _snapshot(repository: str, wanted: list[str], revision: str | None, **how):
    """`snapshot_download`, its errors as lines that say what to do; None for a snapshot that is not here."""
    how |= dict(cache_dir=cache(), endpoint=os.environ.get("HF_ENDPOINT"))
    how |= dict(etag_timeout=float(os.environ.get("HF_HUB_ETAG_TIMEOUT", 10)))
    try:
        found = snapshot_download(repository, revision=revision, allow_patterns=wanted, **how)
    except Exception as error:
        if how.get("local_files_only") and isinstance(error, errors.LocalEntryNotFoundError):
            return None
        raise _said(error.__cause__ or error, repository, revision) from None
    return found if how.get("dry_run") else Path(found)


def _said(error: Exception, repository: str, revision: str | None) -> BadInput:
    where = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.GatedRepoError) or status in (401, 403) and "gated" in str(error).lower():
        return BadInput(
            f"{repository} is gated: ask for access at {where}/{repository}, make a token at "
            f"{where}/settings/tokens, then run: hf auth login (or set HF_TOKEN)"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return BadInput(f"{repository} has no revision '{revision}' at {where}; leave it out for the newest")
    if isinstance(error, errors.HFValidationError):
        return BadInput(f"'{repository}' is neither a folder here nor a name on the hub (owner/name)")
    if status == 401:
        return BadInput(
            f"{where} has no {repository} that you may read (401): check the name; if it is private or "
            "gated, log in with hf auth login (or set HF_TOKEN) after access was given"
        )
    no_file = isinstance(error, errors.EntryNotFoundError)
    if isinstance(error, errors.RepositoryNotFoundError) or (status == 404 and not no_file):
        what = f"{repository} at {where} (404)"
        return BadInput(f"there is no {what}, nor a folder of that name here; check the name")
    if isinstance(error, OSError) and getattr(error, "errno", None):
        raise error  # a full disk
    why = textwrap.shorten(str(error), 160)
    if offline():
        return Unreachable(
            f"there is no folder {repository} here, and {repository} is not in the hub's cache "
            f"({cache()}); the hub may not be asked while HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set"
        )
    names = {kind.__name__ for kind in type(error).__mro__}
    if "consistency" in why.lower():
        again = "give the same command again, it goes on from there"
        return BadInput(f"{repository} arrived cut off ({why[:120]}); {again}")
    if isinstance(error, errors.LocalEntryNotFoundError) or names & AWAY:
        stalled = " (no byte came in time)" if "Timeout" in "".join(names) or "timed out" in why else ""
        return Unreachable(
            f"there is no folder {repository} here, and {repository} cannot be had from {where}{stalled}: "
            f"{why or type(error).__name__}; what has arrived is kept, the same command goes on"
        )
    return BadInput(f"{repository} cannot be had from {where} ({type(error).__name__}: {why})")
