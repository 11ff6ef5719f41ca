"""The house: which storey may use which, how large a room may be, and what a chapter may take from it."""

import ast
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted((ROOT / "darkmatter_utils").rglob("*.py"))
CHAPTERS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.py"))
LINES = 300
"""Of a module."""
OF_A_CHAPTER = ("darkmatter_utils", "numpy", "pandas", "torch", "altair", "pathlib")
"""What a chapter may import."""


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(tree: ast.AST) -> list[tuple[ast.AST, str, list[str]]]:
    """(statement, module, names) of every import."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node, alias.name, []) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node, "." * node.level + (node.module or ""), [alias.name for alias in node.names]))
    return found


def test_the_import_law_is_kept():
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("what", [("check",), ("format", "--check")], ids=" ".join)
def test_the_source_is_as_its_settings_say(what):
    ruff = [sys.executable, "-m", "ruff", *what, "--quiet", "."]
    done = subprocess.run(ruff, cwd=ROOT, capture_output=True, text=True, check=False)
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
    made = re.compile(r"np\.(nan)?(percentile|quantile)\(|chisquare\(|stdtrit\(|\.ppf\(|\b(1\.96|3\.92)\b")
    files = [*(ROOT / "darkmatter_utils").rglob("*.py"), *(ROOT / "notebooks").glob("*.py")]
    elsewhere = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in sorted(files)
        if path.parts[-2:] != ("stats", "intervals.py")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if made.search(line)
    ]
    assert not elsewhere


def test_every_folder_says_in_a_line_what_it_owns():
    for path in (ROOT / "darkmatter_utils").iterdir():
        if (path / "__init__.py").is_file():
            assert ast.get_docstring(ast.parse((path / "__init__.py").read_text())), path.name


def test_no_module_has_outgrown_its_idea():
    sizes = {named(path): len(path.read_text().splitlines()) for path in MODULES}
    assert {name: size for name, size in sizes.items() if size > LINES} == {}


def test_modules_import_each_other_at_the_top():
    """A heavy library may wait inside a function; a module of this package that has to is misplaced."""
    inside = []
    for path in MODULES:
        tree = ast.parse(path.read_text())
        top = {id(n) for node in tree.body for n in (node, *(node.body if isinstance(node, ast.If) else ()))}
        ours = [n for n, name, _ in imports(tree) if name.startswith((".", "darkmatter_utils"))]
        inside += [f"{named(path)}:{node.lineno}" for node in ours if id(node) not in top]
    assert inside == []


def test_the_formatter_is_held_off_in_tables_of_data_only():
    """What it would take apart, one entry a line, must be entries: a literal without a call."""
    for path in [*MODULES, *CHAPTERS, *sorted((ROOT / "tests").rglob("*.py"))]:
        text = path.read_text()
        ends = [n for n, line in enumerate(text.splitlines(), 1) if line.endswith("# fmt: " + "skip")]
        for node in ast.parse(text).body if ends else []:
            if node.end_lineno in ends:
                ends.remove(node.end_lineno)
                assert isinstance(node, ast.Assign | ast.AnnAssign), f"{named(path)}:{node.end_lineno}"
        assert not ends, f"{named(path)}: {ends}"


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_takes_little_and_nothing_from_the_machinery(path):
    for node, name, names in imports(ast.parse(path.read_text())):
        head, _, rest = name.partition(".")
        assert head in OF_A_CHAPTER, f"{path.name}:{node.lineno} imports {name}"
        assert rest.partition(".")[0] not in ("book", "cli", "training"), f"{path.name}:{node.lineno}"
        assert not {"book", "cli", "training"} & set(names), f"{path.name}:{node.lineno}"


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_cell_of_a_chapter_is_one_idea(path):
    for cell in re.split(r"^# %%", path.read_text(), flags=re.M)[1:]:
        head, _, body = cell.partition("\n")
        lines = [line for line in body.splitlines() if line.strip() and not line.startswith("#|")]
        code = "[markdown]" not in head and not lines[0].startswith(("import ", "from ")) if lines else False
        assert not code or len(lines) <= 20, f"{path.name}: a cell of {len(lines)} lines: {lines[0]}"
        assert "remove-input" not in head or "parameters" in head, (
            f"{path.name}: a cell is removed, not folded"
        )


def mentioned(path: Path) -> Counter:
    """How often each name is used in a file: in code, in an import, in a string such as "module:function"."""
    found = Counter()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Name):
            found[node.id] += 1
        elif isinstance(node, ast.Attribute):
            found[node.attr] += 1
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found.update(alias.name.rpartition(".")[2] for alias in node.names)
            found.update((getattr(node, "module", None) or "").split("."))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.update(re.split(r"[.:]", node.value) if re.fullmatch(r"[\w.:]+", node.value) else ())
    return found


def test_every_public_name_is_used_by_a_chapter_or_by_another_definition():
    used = sum((mentioned(path) for path in [*MODULES, *CHAPTERS]), Counter())
    for path in MODULES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                assert used[node.name] or path.name == "sphinx_pages.py", f"{named(path)}: {node.name}"


def test_every_module_is_imported_by_another_or_found_by_listing():
    used = sum((mentioned(path) for path in [*MODULES, *CHAPTERS]), Counter())
    used.update(re.findall(r"\w+", (ROOT / "_config.yml").read_text()))
    for path in MODULES:
        listed = path.parent.name == "formats" or re.match(r"[cq]\d\d_", path.name)
        listed = listed or '__name__ == "__main__"' in path.read_text()  # a command of its own
        assert listed or path.stem.startswith("__") or used[path.stem], named(path)
