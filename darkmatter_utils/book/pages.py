"""Render what a build made, every warning an error; and publish it.

Pages are built aside and take the place of the last good ones only when the build has no warning. Publishing
puts executed chapters and records into ``book/``, and headline numbers into the README.
"""

from __future__ import annotations
import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from ..base.errors import BadInput
from ..charts.vegalite import write_fonts, write_script
from .chapters import DEFAULT_STUDY, chapters, file_name
from .staleness import read_stamp
from ..base.values import write_atomic
from .chapters import DEFAULT_STUDY, ChapterFile, chapters, file_name
from .shelf import ONE, SECONDS, hash_of, published
from .staleness import due, read_stamp


MATHJAX = "tex-svg-full.js"
"""One file that typesets every formula: no fonts, nothing loaded later."""
_FILL = """
document.addEventListener("DOMContentLoaded", () => {
  for (const row of document.querySelectorAll(".run-facts")) {
    const said = runs[row.dataset.chapter];
    if (said) { row.querySelector("td").textContent = said; row.hidden = false; }
  }
});
"""


def render(root: Path, *, study: str = DEFAULT_STUDY, log=print) -> Path:
    """Build the pages of a study's chapters, as they were run here or else published, in
    ``build/<study>/html``; their ``index.html``.

    Raises BadInput, with the first of Sphinx's complaints, when there is any; the last good pages stay.
    """
    for chapter in chapters(root):
        if not chapter.found(study)[0].exists():
            raise BadInput(
                f"chapter {chapter.name} has not been run on study {study}; "
                f"run: darkmatter build --study {study}"
            )
    source, target = _staged(root, study), root / "build" / file_name(study) / "html"
    write_assets(root, source / "book" / "_static", study)
    aside = root / "build" / file_name(study) / "pages"
    program = "from jupyter_book.cli.main import main; main()"  # it cannot be run with -m
    command = [sys.executable, "-c", program, "build", "--all", "-q", "-n", "-W", "--keep-going"]
    log("rendering the pages")
    done = subprocess.run(
        [*command, "--path-output", str(aside), str(source)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"NO_COLOR": "1", "PYTHONWARNINGS": "ignore"},
    )
    if done.returncode != 0:
        raise BadInput(_complaint(done.stdout + done.stderr, source))
    _take_place(aside / "_build" / "html", target)
    return target / "index.html"


def write_assets(root: Path, static: Path, study: str) -> None:
    """Write what pages load and git does not keep: the chart script, MathJax, what changes from run to
    run."""
    write_script(static / "vega-book.js")
    write_fonts(static / "fonts.css")
    package = find_spec("sphinx-mathjax-offline")
    if package is None:
        raise BadInput("MathJax is missing; install it: pip install -r requirements.lock")
    mathjax = static / "mathjax" / MATHJAX
    mathjax.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(Path(package.origin).parent / "static" / "mathjax" / MATHJAX, mathjax)
    facts = {}
    for chapter in chapters(root):
        stamped = read_stamp(chapter, study)
        if stamped:
            commit = f", commit {stamped['commit']}" if stamped["commit"] else ""
            facts[f"{chapter.number:02d}"] = f"{stamped['seconds']:.0f} s on {stamped['machine']}{commit}"
    (static / "runs.js").write_text(
        f"const runs = {json.dumps(facts, sort_keys=True)};\n{_FILL}", encoding="utf-8"
    )


def _staged(root: Path, study: str) -> Path:
    """A copy of the book's prose and settings with a study's executed chapters."""
    stage = root / "build" / file_name(study) / "site"
    shutil.rmtree(stage, ignore_errors=True)
    shutil.copytree(root / "book", stage / "book", ignore=shutil.ignore_patterns("*.ipynb", "records"))
    for name in ("_config.yml", "_toc.yml"):
        shutil.copyfile(root / name, stage / name)
    for chapter in chapters(root):
        shutil.copyfile(chapter.found(study)[0], stage / "book" / f"{chapter.name}.ipynb")
    return stage


def _complaint(output: str, source: Path) -> str:
    """The first warning or error of a build and how many there are, paths relative to the project."""
    lines = [line.strip() for line in re.sub(r"\x1b\[[\d;]*m", "", output).splitlines()]
    found = list(
        dict.fromkeys(line for line in lines if re.search(r"\b(WARNING|ERROR|Error|Exception)\b", line))
    )
    first = (found or [line for line in lines if line] or ["no output"])[0].replace(f"{source}{os.sep}", "")
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return f"the book was not rendered: {first}{more}"


def _take_place(built: Path, target: Path) -> None:
    """Put a built folder where the last one was, by renaming: there is no moment with half a book."""
    fresh, old = target.with_name("html.new"), target.with_name("html.old")
    for folder in (fresh, old):
        shutil.rmtree(folder, ignore_errors=True)
    fresh.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(built, fresh)
    if target.exists():
        os.replace(target, old)
    os.replace(fresh, target)
    shutil.rmtree(old, ignore_errors=True)


BEGIN, END = "<!-- headline numbers: written by darkmatter publish -->", "<!-- end of headline numbers -->"


def publish(root: Path, *, study: str = DEFAULT_STUDY) -> list[Path]:
    """Copy the records of a study's last build into ``book/``, its executed chapters as well where it is the
    default study; the files written.

    Raises BadInput where a chapter was not run here as it stands, or read a record of another study that is
    not the published one: an edition is of one piece.
    """
    waiting = due(root, study)
    if waiting:
        chapter, reason = waiting[0]
        raise BadInput(
            f"chapter {chapter.name} cannot be published: {reason}; first: darkmatter build --study {study}"
        )
    for chapter in chapters(root):
        _reads_what_is_published(root, chapter, study)
    place = published(root, file_name(study))
    seconds, copies = {}, {}
    for chapter in chapters(root):
        copies[chapter.published_record(study)] = chapter.record(study)
        seconds[f"{chapter.number:02d}"] = read_stamp(chapter, study)["seconds"]
        if file_name(study) == DEFAULT_STUDY:
            copies[chapter.published()] = chapter.executed(study)
    place.mkdir(parents=True, exist_ok=True)
    of_no_chapter = {*place.glob(ONE)}
    if file_name(study) == DEFAULT_STUDY:
        of_no_chapter |= {*(root / "book").glob("[0-9][0-9]_*.ipynb")}
    for path in of_no_chapter - copies.keys():
        path.unlink()
    for target, made in copies.items():
        shutil.copyfile(made, target)
    write_atomic(place / SECONDS, json.dumps(seconds, indent=1) + "\n")
    update(root)
    return list(copies)


def _reads_what_is_published(root: Path, chapter: ChapterFile, study: str) -> None:
    found = (json.loads(chapter.record(study).read_text("utf-8"))["records"] or {}).get("found", {})
    for name, said in found.items():
        other, _, number = name.partition("/")
        path = published(root, other) / f"{number}.json"
        if other != file_name(study) and not (
            path.is_file() and hash_of(json.loads(path.read_text("utf-8"))["values"]) == said
        ):
            raise BadInput(
                f"chapter {chapter.name} cannot be published: it read the record {name}, which is not the "
                f"published one; first: darkmatter publish --study {other} (or remove build/{other} and run it "
                f"again)"
            )


def update(root: Path) -> bool:
    """Write the table between the README's markers; True when that changed the file.

    Raises BadInput when the markers are gone. Without any headline in the records the README stays as it is.
    """
    path = root / "README.md"
    rows = headlines(root)
    if not rows or not path.exists():
        return False
    text = path.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise BadInput(f"README.md needs one line '{BEGIN}' and one line '{END}' around its table of numbers")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    new = f"{before}{BEGIN}\n{table(rows)}{END}{after}"
    if new == text:
        return False
    write_atomic(path, new)
    return True


def headlines(root: Path) -> list[dict]:
    """The rows that the chapters' records hold under ``headline``, in the order of the chapters."""
    rows = []
    for chapter in chapters(root):
        record = chapter.published_record(DEFAULT_STUDY)
        if record.exists():
            found = json.loads(record.read_text(encoding="utf-8"))["values"].get("headline", [])
            rows += [{"chapter": chapter.name} | row for row in found]
    return rows


def table(rows: list[dict]) -> str:
    """The rows as a Markdown table that ends with a newline."""
    lines = ["| | here (study `tiny`) | the paper | chapter |", "|---|---|---|---|"]
    for row in rows:
        name = row["chapter"]
        lines.append(
            f"| {row['what']} | {row['here']} | {row['paper'] or '–'} | [{name[:2]}](book/{name}.ipynb) |"
        )
    return "\n".join(lines) + "\n"
