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
from ..base.values import whole, write_atomic
from ..charts.vegalite import write_fonts, write_script
from . import running
from .chapters import DEFAULT_STUDY, RECORD, SECONDS, ChapterFile, chapters, file_name, published, run_order
from .staleness import due_reason, read_stamp

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
BEGIN, END = "<!-- headline numbers: written by darkmatter publish -->", "<!-- end of headline numbers -->"


def render(root: Path, *, study: str = DEFAULT_STUDY, log=print) -> Path:
    """Build the pages of a study's chapters, run here or else published; their ``build/<study>/html/index.html``.

    Raises BadInput, with the first of Sphinx's complaints, when there is any; the last good pages stay.
    """
    made = root / "build" / file_name(study)
    source, target, aside = made / "site", made / "html", made / "pages"
    for chapter in chapters(root):
        if not chapter.found(study)[0].exists():
            first = f"run: darkmatter build --study {study}"
            raise BadInput(f"chapter {chapter.name} has not been run on study {study}; {first}")
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(root / "book", source / "book", ignore=shutil.ignore_patterns("*.ipynb", "records"))
    for name in ("_config.yml", "_toc.yml"):
        shutil.copyfile(root / name, source / name)
    for chapter in chapters(root):
        shutil.copyfile(chapter.found(study)[0], source / "book" / f"{chapter.name}.ipynb")
    write_assets(root, source / "book" / "_static", study)
    program = "from jupyter_book.cli.main import main; main()"  # it cannot be run with -m
    command = [sys.executable, "-c", program, "build", "--all", "-q", "-n", "-W", "--keep-going"]
    command += ["--path-output", str(aside), str(source)]
    log("rendering the pages")
    quiet = os.environ | {"NO_COLOR": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=quiet)
    if done.returncode != 0:
        raise BadInput(_complaint(done.stdout + done.stderr, source))
    with whole(target) as part:
        shutil.copytree(aside / "_build" / "html", part)
    return target / "index.html"


def write_assets(root: Path, static: Path, study: str) -> None:
    """Write what pages load and git does not keep: chart script, MathJax, what changes from run to run."""
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
        if stamped := read_stamp(chapter, study):
            commit = f", commit {stamped['commit']}" if stamped["commit"] else ""
            facts[f"{chapter.number:02d}"] = f"{stamped['seconds']:.0f} s on {stamped['machine']}{commit}"
    script = f"const runs = {json.dumps(facts, sort_keys=True)};\n{_FILL}"
    (static / "runs.js").write_text(script, encoding="utf-8")


def _complaint(output: str, source: Path) -> str:
    """The first warning or error of a build and how many there are, paths relative to the project."""
    lines = [line.strip() for line in re.sub(r"\x1b\[[\d;]*m", "", output).splitlines()]
    told = [line for line in lines if re.search(r"\b(WARNING|ERROR|Error|Exception)\b", line)]
    found = list(dict.fromkeys(told)) or [line for line in lines if line][:1] or ["no output"]
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return f"the book was not rendered: {found[0].replace(f'{source}{os.sep}', '')}{more}"


def publish(root: Path, *studies: str, log=print) -> list[Path]:
    """Copy the last builds of studies into ``book/``: records, of the default study executed chapters; the files.

    A chapter that reads records reads the published ones of other studies: it runs again here where it is
    stale once the others' records are published, so that an edition is of one piece. Raises BadInput, before
    anything is written, where another chapter was not run here as it stands.
    """
    every, copies = run_order(root), []
    readers = [chapter for chapter in every if chapter.reads_records()]
    others = [chapter for chapter in every if chapter not in readers]
    for study in studies:
        for chapter in others:
            if reason := due_reason(chapter, study):
                first = f"first: darkmatter build --study {study}"
                raise BadInput(f"chapter {chapter.name} cannot be published: {reason}; {first}")
    for study in studies:
        place = published(root, file_name(study))
        place.mkdir(parents=True, exist_ok=True)
        there = {*place.glob(RECORD), *(root / "book").glob("[0-9][0-9]_*.ipynb")}
        for path in there - {c.published_record(study) for c in every} - {c.published() for c in every}:
            path.unlink()  # of no chapter any more
        copies += [path for chapter in others for path in _copy(chapter, study)]
    for chapter in readers:
        for study in studies:
            if reason := due_reason(chapter, study):
                log(f"chapter {chapter.name} on study {study}: {reason}")
                running.run(chapter, study=study, log=log)
            copies += _copy(chapter, study)
    for study in studies:
        seconds = {
            f"{chapter.number:02d}": read_stamp(chapter, study)["seconds"] for chapter in chapters(root)
        }
        path = published(root, file_name(study)) / SECONDS
        write_atomic(path, json.dumps(seconds, indent=1) + "\n")
    update(root)
    return copies


def _copy(chapter: ChapterFile, study: str) -> list[Path]:
    """Put what was made of a chapter where it is published."""
    copies = {chapter.published_record(study): chapter.record(study)}
    if file_name(study) == DEFAULT_STUDY:
        copies[chapter.published()] = chapter.executed(study)
    for target, made in copies.items():
        shutil.copyfile(made, target)
    return list(copies)


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
    new = f"{before}{BEGIN}\n{table(rows)}{END}{rest.split(END)[1]}"
    write_atomic(path, new)
    return new != text


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
    names = ["what", "here", "paper", "points", "null"]
    lines = ["| | here (study `tiny`) | the paper | its own points earn | the null earns | chapter |"]
    lines.append("|---|---|---|---|---|---|")
    for row in rows:
        link = f"[{row['chapter'][:2]}](book/{row['chapter']}.ipynb)"
        lines.append(f"| {' | '.join(row.get(name) or '–' for name in names)} | {link} |")
    return "\n".join(lines) + "\n"
