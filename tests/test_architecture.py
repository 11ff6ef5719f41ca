"""The house: which storey may use which, and how large a room may be."""

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_the_import_law_is_kept():
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_only_adapters_and_training_reach_into_the_libraries_objects():
    """A loaded model's ``.bridge`` and a loaded SAE's ``.sae`` are theirs; others ask by a method."""
    reaches = []
    for path in sorted((ROOT / "darkmatter_utils").rglob("*.py")):
        if path.parent.name in ("adapters", "training"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and (
                node.attr == "bridge" or (node.attr == "sae" and ast.unparse(node).endswith("sae.sae"))
            ):
                reaches.append(f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}")
    assert not reaches


def test_an_interval_is_made_in_one_module():
    """Whoever wants other intervals edits stats/intervals.py, and nothing else."""
    made = re.compile(r"np\.(nan)?(percentile|quantile)\(|chisquare\(|stdtrit\(|\.ppf\(|\b1\.96\b")
    files = [*(ROOT / "darkmatter_utils").rglob("*.py"), *(ROOT / "notebooks").glob("*.py")]
    elsewhere = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in sorted(files)
        if path.parts[-2:] != ("stats", "intervals.py")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if made.search(line)
    ]
    assert not elsewhere
