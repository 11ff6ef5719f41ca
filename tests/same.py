"""Are two runs of the book the same? Guards a change that moves code and must not move numbers.

    python tests/same.py BEFORE AFTER [--only tiny/05] [--loose 1e-5]

BEFORE and AFTER are projects (a checkout whose chapters were run), or commits of this one. Compared, for
every study that both have: each record's ``values``, byte for byte, and each executed chapter's outputs,
without its run record and the pictures of its charts, which follow from their specifications. Prints what
differs and exits with 1; ``--loose SHARE`` lets numbers differ by that relative share.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import subprocess
import sys
import tempfile
from pathlib import Path


def records(project: Path) -> dict[str, dict]:
    """Values of every record by "study/NN": as they were made there, else as they are published."""
    found = {f"{p.parent.name}/{p.stem}": p for p in (project / "book" / "records").glob("*/[0-9][0-9].json")}
    made = (project / "build").glob("*/records/[0-9][0-9].json")
    found |= {f"{path.parents[1].name}/{path.stem}": path for path in made}
    return {name: json.loads(path.read_text())["values"] for name, path in sorted(found.items())}


def outputs(project: Path) -> dict[str, list]:
    """Outputs of every executed chapter by "study/NN_name", in order, without those that say how it was
    run."""
    found = {
        f"tiny/{path.stem}": path for path in (project / "book").glob("[0-9][0-9]_*.ipynb")
    }  # its old place
    found |= {f"{p.parent.name}/{p.stem}": p for p in (project / "book").glob("*/[0-9][0-9]_*.ipynb")}
    found |= {f"{p.parent.name}/{p.stem}": p for p in (project / "build").glob("*/[0-9][0-9]_*.ipynb")}
    return {name: _said(json.loads(path.read_text())) for name, path in sorted(found.items())}


def _said(notebook: dict) -> list:
    made = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    kept = []
    for output in made:
        about = {key: output[key] for key in ("data", "text", "name") if key in output}
        if any("vegalite" in kind for kind in about.get("data", {})):
            about["data"] = {kind: made for kind, made in about["data"].items() if kind != "image/png"}
        text = re.sub(r'"font": "[^"]*"', '"font"', json.dumps(about, sort_keys=True))
        if "run-record" not in text:
            kept.append(re.sub(r"cell-\d+-\d+", "cell", text))
    return sorted(kept)  # where a cell stands is not what it says


def differences(before, after, where: str = "", *, loose: float = 0.0) -> list[str]:
    """Where two JSON values differ, numbers by more than a relative share."""
    if isinstance(before, dict) and isinstance(after, dict):
        gone = [
            f"{where}/{key}: {'gone' if key in before else 'new'}"
            for key in sorted(before.keys() ^ after.keys())
        ]
        both = sorted(before.keys() & after.keys())
        return gone + [d for k in both for d in differences(before[k], after[k], f"{where}/{k}", loose=loose)]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return [
            d
            for i, (b, a) in enumerate(zip(before, after))
            for d in differences(b, a, f"{where}/{i}", loose=loose)
        ]
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (before, after))
    if before == after or (numbers and math.isclose(before, after, rel_tol=loose, abs_tol=0.0)):
        return []
    return [f"{where}: {str(before)[:80]} -> {str(after)[:80]}"]


def project(name: str, scratch: Path) -> Path:
    """The folder of a project, or of a commit's book written aside."""
    if Path(name).is_dir():
        return Path(name)
    folder = scratch / name
    folder.mkdir()
    made = subprocess.run(["git", "archive", name, "book"], capture_output=True, check=True)
    subprocess.run(["tar", "-x", "-C", str(folder)], input=made.stdout, check=True)
    return folder


def main() -> int:
    """Compare, print, and say by the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("before")
    parser.add_argument("after")
    parser.add_argument("--loose", type=float, default=0.0, help="relative share by which numbers may differ")
    parser.add_argument("--only", default="", help="records and chapters whose name holds this")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        first, second = (project(name, Path(scratch)) for name in (asked.before, asked.after))
        bad = 0
        for read, what in ((records, "record"), (outputs, "chapter")):
            before, after = read(first), read(second)
            names = sorted(name for name in before.keys() & after.keys() if asked.only in name)
            for name in names:
                if what == "record":
                    found = differences(before[name], after[name], loose=asked.loose)
                else:
                    gone = [text for text in before[name] if text not in after[name]]
                    new = [text for text in after[name] if text not in before[name]]
                    found = [f"{len(gone)} outputs gone, {len(new)} new"] if gone or new else []
                    found += [f"  - {text[:150]}" for text in gone[:3]] + [
                        f"  + {text[:150]}" for text in new[:3]
                    ]
                bad += bool(found)
                for line in found[:20]:
                    print(f"{what} {name}: {line}")
            print(f"{len(names)} {what}s compared")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
