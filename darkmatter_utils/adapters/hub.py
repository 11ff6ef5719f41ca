"""Files of the Hugging Face hub: asked for, downloaded so that a cut-off download goes on, checked, kept in
its cache.

``HF_ENDPOINT``, ``HF_HOME``, ``HF_HUB_CACHE``, ``HF_HUB_OFFLINE`` and ``HF_TOKEN`` mean what they mean to the
hub's own library. A file is trusted once its size, and its sha256 where the hub gives one, are the hub's.
"""

from __future__ import annotations

import fnmatch
import os
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from ..base.cache import cache_folder, sha256
from ..base.errors import BadInput


@dataclass(frozen=True)
class Remote:
    """A repository's wanted files as the hub lists them."""

    repository: str
    kind: str
    """model or dataset."""
    commit: str
    files: dict[str, int]
    """Name → bytes."""
    digests: dict[str, str]
    """Name → sha256, of the large ones."""

    def missing(self) -> dict[str, int]:
        """Files that are not in the cache yet, and their bytes."""
        return {name: size for name, size in self.files.items() if _kept(self, name) is None}


def cache() -> Path:
    """The hub's cache folder."""
    home = (
        os.environ.get("HF_HOME")
        or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"
    )
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub")


def offline() -> bool:
    """Whether the hub may not be asked."""
    return any(
        os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE")
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    )


def remote(
    repository: str, *, wanted: Iterable[str], revision: str | None = None, kind: str = "model"
) -> Remote:
    """What the hub lists of a repository's files that match a pattern of ``wanted``.

    Raises BadInput, saying what to do, for a repository, revision or files that are not there, one that needs
    permission, and a hub that cannot be reached. Cost: one request.
    """
    from huggingface_hub import HfApi

    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    try:
        info = api.repo_info(
            repository, repo_type=kind, revision=revision, files_metadata=True, timeout=_seconds()
        )
    except Exception as error:
        raise _said(error, repository, revision) from None
    listed = {sibling.rfilename: sibling for sibling in info.siblings}
    names = [name for name in listed if any(fnmatch.fnmatchcase(name, pattern) for pattern in wanted)]
    if not names:
        raise BadInput(
            f"{repository} has no {' or '.join(wanted)} at {revision or 'its newest revision'}; "
            f"it has {few(sorted(listed))}"
        )
    digests = {name: listed[name].lfs.sha256 for name in names if listed[name].lfs}
    return Remote(repository, kind, info.sha, {name: listed[name].size or 0 for name in names}, digests)


def folder(
    repository: str,
    *,
    wanted: Iterable[str],
    revision: str | None = None,
    kind: str = "model",
    progress: Callable[[str], None] | None = None,
) -> Path:
    """The snapshot of a repository with the files that match ``wanted``, downloaded where they are not in the
    cache.

    What was fetched and checked before is not asked for again (give a revision for another); where the hub
    cannot be reached, what is in the cache is taken. Raises BadInput as `remote` does, and for a file that
    does not arrive or is damaged.
    """
    wanted = tuple(wanted)
    kept = snapshot(repository, revision=revision, kind=kind)
    if kept and (offline() or sealed(kept, wanted)):
        return kept
    try:
        there = remote(repository, wanted=wanted, revision=revision, kind=kind)
    except Unreachable:
        if kept and _any(kept, wanted):
            return kept
        raise
    found = fetch(there, progress=progress, wanted=wanted)
    ref = cache() / _cached(repository, kind) / "refs" / (revision or "main")
    if ref.name != there.commit:  # so that the same name is found without the hub
        ref.parent.mkdir(parents=True, exist_ok=True)
        ref.write_text(there.commit)
    return found


def fetch(
    there: Remote, *, wanted: tuple[str, ...] = (), progress: Callable[[str], None] | None = None
) -> Path:
    """Download what is missing and check it against the hub's sizes and digests; the snapshot's folder.

    A file that is damaged is removed, so that the same command fetches it anew.
    """
    from huggingface_hub import hf_hub_download

    tell, missing = progress or (lambda line: None), there.missing()
    for number, (name, size) in enumerate(there.files.items(), 1):
        if name in missing:
            tell(
                f"download: {there.repository}, file {number} of {len(there.files)}, {name}, {readable(size)}"
            )
        try:
            path = Path(
                hf_hub_download(
                    there.repository,
                    name,
                    repo_type=there.kind,
                    revision=there.commit,
                    cache_dir=cache(),
                    endpoint=os.environ.get("HF_ENDPOINT"),
                    etag_timeout=_seconds(),
                )
            )
        except Exception as error:
            raise _said(error, there.repository, there.commit, file=name) from None
        _check(path, there, name)
    found = cache() / _cached(there.repository, there.kind) / "snapshots" / there.commit
    _seal(found, wanted)
    return found


def snapshot(repository: str, *, revision: str | None = None, kind: str = "model") -> Path | None:
    """The folder of a revision (a commit or a branch) in the cache, or None."""
    home = cache() / _cached(repository, kind)
    named = revision or "main"
    ref = home / "refs" / named
    commit = ref.read_text().strip() if ref.is_file() else named
    found = home / "snapshots" / commit
    if not found.is_dir() and revision is None and (home / "snapshots").is_dir():
        only = [path for path in (home / "snapshots").iterdir() if path.is_dir()]
        found = only[0] if len(only) == 1 else found
    return found if found.is_dir() else None


def readable(size: float) -> str:
    """Bytes for people."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:,.1f} {unit}"
        size /= 1000
    raise AssertionError


class Unreachable(BadInput):
    """The hub gave no answer."""


def _said(error: Exception, repository: str, revision: str | None, file: str | None = None) -> BadInput:
    """What the hub's library raised, as one line that says what to do."""
    from huggingface_hub import errors

    where = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    what = f"{file} of {repository}" if file else repository
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.GatedRepoError) or status in (401, 403) and "gated" in str(error).lower():
        return BadInput(
            f"{repository} is gated: ask for access at {where}/{repository}, make a token at "
            f"{where}/settings/tokens, then run: hf auth login (or set HF_TOKEN)"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return BadInput(f"{repository} has no revision '{revision}' at {where}; leave it out for the newest")
    if isinstance(error, (errors.HFValidationError,)):
        return BadInput(f"'{repository}' is neither a folder here nor a name on the hub (owner/name)")
    if status == 401 and not isinstance(error, errors.EntryNotFoundError):
        return BadInput(
            f"{where} has no {what} that you may read (401): check the name; if it is private or "
            f"gated, log in "
            "with hf auth login (or set HF_TOKEN) after access was given"
        )
    if isinstance(error, errors.RepositoryNotFoundError) or (status == 404 and not file):
        return BadInput(
            f"there is no {repository} at {where} (404), nor a folder of that name here; check the name"
        )
    if isinstance(error, errors.EntryNotFoundError) and not isinstance(error, errors.LocalEntryNotFoundError):
        return BadInput(f"{repository} has no file {file} at revision {revision}")
    if isinstance(error, OSError) and getattr(error, "errno", None):
        raise error  # a full disk
    why = textwrap.shorten(str(error), 160)
    if offline():
        return Unreachable(
            f"there is no folder {repository} here, and {what} is not in the hub's cache ({cache()}); "
            f"the hub may not "
            "be asked while HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set"
        )
    names = {kind.__name__ for kind in type(error).__mro__}
    if "consistency" in why.lower():
        return BadInput(
            f"{what} arrived cut off ({why[:120]}); give the same command again, it goes on from there"
        )
    if isinstance(error, errors.LocalEntryNotFoundError) or names & {
        "HTTPError",
        "TransportError",
        "ConnectError",
        "TimeoutException",
        "OfflineModeIsEnabled",
        "ConnectionError",
    }:
        stalled = " (no byte came in time)" if "Timeout" in "".join(names) or "timed out" in why else ""
        return Unreachable(
            f"there is no folder {repository} here, and {what} cannot be had from {where}{stalled}: "
            f"{why or type(error).__name__}; what has arrived is kept, the same command goes on"
        )
    return BadInput(f"{what} cannot be had from {where} ({type(error).__name__}: {why})")


def _check(path: Path, there: Remote, name: str) -> None:
    """Raise BadInput, and remove the file, unless it is the hub's."""
    expected, blob = there.digests.get(name), path.resolve()
    size = there.files[name]
    proof = cache_folder() / "checked" / f"{expected}-{blob.stat().st_size}-{blob.stat().st_mtime_ns}"
    if expected and proof.exists():
        return
    if size and blob.stat().st_size != size:
        why = f"has {blob.stat().st_size} bytes, the hub says {size}"
    elif expected and sha256(blob) != expected:
        why = "has another sha256 than the hub says (checksum mismatch)"
    else:
        if expected:
            proof.parent.mkdir(parents=True, exist_ok=True)
            proof.touch()
        return
    blob.unlink()
    path.unlink(missing_ok=True)
    raise BadInput(
        f"{name} of {there.repository} {why}: it is damaged and was removed; give the same command again"
    )


def _kept(there: Remote, name: str) -> Path | None:
    path = cache() / _cached(there.repository, there.kind) / "snapshots" / there.commit / name
    return path if path.is_file() else None


def _seal(found: Path, wanted: tuple[str, ...]) -> None:
    mark = _mark(found, wanted)
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()


def sealed(found: Path, wanted: tuple[str, ...]) -> bool:
    """Whether these files of this commit were fetched and checked before."""
    return _mark(found, wanted).exists()


def _mark(found: Path, wanted: tuple[str, ...]) -> Path:
    from ..base.cache import key_of

    return cache_folder() / "checked" / key_of(snapshot=str(found), wanted=list(wanted))


def _any(found: Path, wanted: Iterable[str]) -> bool:
    names = [str(path.relative_to(found)) for path in found.rglob("*") if path.is_file()]
    return any(fnmatch.fnmatchcase(name, pattern) for name in names for pattern in wanted)


def _cached(repository: str, kind: str) -> str:
    return f"{kind}s--{repository.replace('/', '--')}"


def _seconds() -> float:
    return float(os.environ.get("HF_HUB_ETAG_TIMEOUT", 10))


def few(names: list[str], limit: int = 6) -> str:
    return (
        ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
        or "no file"
    )
