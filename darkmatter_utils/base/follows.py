"""What a kept result follows from, and stored ones of earlier code, taken as those of today's.

That is for code which gives the same numbers otherwise written, where what was measured cannot be measured
again: its weights are gone, or it takes hours. That the numbers are the same is for whoever carries them over
to show, by what can be computed anew (`darkmatter build`, `--only shipped`); a result keeps the code that it
was computed with.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

FOLLOWS = "follows.json"
"""File of a kept result: what its key was made of, so that one can say what moved when it is another."""
ALIKE = "settings by name"
"""Part that is not of the key: the settings, functions of this package among them by name alone."""
CARRIED, COMPUTED = "carried", "computed with"
"""Value of the environment variable; the field of what a carried result follows from."""


def said(parts: dict) -> dict:
    """What a key was made of: its parts, long ones by digest, and the ``same`` of all but code and versions,
    of settings as `ALIKE` has them; {} of no parts."""
    parts = dict(parts)
    alike = {"settings": parts.pop(ALIKE)} if ALIKE in parts else {}
    same, subject = _digest(_data(parts | alike)), parts.pop("subject", {})
    parts |= {f"subject {name}": part for name, part in subject.items()} if isinstance(subject, dict) else {}
    short = {name: part if len(json.dumps(part)) < 300 else _digest(part) for name, part in parts.items()}
    return short | {"same": same} if parts else {}


def text(follows: dict) -> str:
    """It, as `FOLLOWS` has it."""
    return json.dumps(follows, indent=0, sort_keys=True) if follows else ""


def _digest(part) -> str:
    return hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest()[:32]


def _data(part):
    if not isinstance(part, dict):
        return part
    return {name: _data(one) for name, one in part.items() if name not in ("code", "versions")}


def is_carried(folder: Path) -> bool:
    """Whether a kept result was taken over from a stored one of earlier code."""
    return (path := folder / FOLLOWS).is_file() and COMPUTED in path.read_text(encoding="utf-8")


def earlier(name: str, follows: dict, stores: Iterable[Path]) -> tuple[Path, dict] | None:
    """(folder, what it follows from) of the stored result of a name that follows from all that ``follows``
    says but code: the same data and settings, the same versions of libraries."""
    for folder in (folder for store in stores for folder in sorted(store.glob(f"{name}-{'?' * 32}"))):
        try:
            was = json.loads((folder / FOLLOWS).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if follows and all(was.get(part) == follows.get(part) for part in ("same", "versions")):
            return folder, follows | {COMPUTED: was.get(COMPUTED, was["code"])}
    return None
