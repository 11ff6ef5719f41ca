"""Render what a build made, every warning an error; and publish it.

The site, ``build/html``, has a folder an edition: the published ones and the study at hand. Pages are built
aside and take the place of the last good ones only when no build has a warning. Publishing puts records and,
of editions, executed chapters into ``book/``, and headline numbers into the README.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import yaml

from ..base import config
from ..base.errors import BadInput
from ..base.provenance import digest
from ..base.values import whole, write_atomic
from ..base.words import time_of
from ..charts.vegalite import write_script, write_styles
from ..studies.study import Study
from . import lookup, results, running
from .arranging import arranged, glossary, listed, named, title_of
from .chapters import (
    DEFAULT_STUDY,
    RECORD,
    SECONDS,
    ChapterFile,
    chapters,
    editions,
    file_name,
    published,
    read_json,
    run_order,
    titled,
)
from .staleness import costs, due_reason, read_stamp

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
_FIRST = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="refresh" content="0; url={0}/index.html">
<title>Dark Matter</title>
<a href="{0}/index.html">Dark Matter, the edition {0}</a>
</html>
"""
NOTEBOOK = "[0-9][0-9]_*.ipynb"
BUILT_OF = "built-of.json"
"""In the folder of an edition's pages: the digest of every file that they were built of."""
BEGIN, END = "<!-- headline numbers: written by darkmatter publish -->", "<!-- end of headline numbers -->"


def render(root: Path, *, study: str = DEFAULT_STUDY, log=print) -> Path:
    """Build the site, ``build/html``: a study's chapters and every published edition, each as it was run here
    or else published; ``<study>/index.html`` of it.

    An edition whose files did not change is not built again. A published one that lacks a chapter is left
    out, and it is said. Raises BadInput where the study's own lacks one, and, with the first of Sphinx's
    complaints, when there is any; the last good pages stay.
    """
    shown = {name: name for name in editions(root)} | {file_name(study): study}
    for name, source in list(shown.items()):
        if lacks := [c.name for c in chapters(root) if not c.found(source)[0].exists()]:
            if name == file_name(study):
                first = f"run: darkmatter build --study {study}"
                raise BadInput(f"chapter {lacks[0]} has not been run on study {study}; {first}")
            log(f"edition {name} is left out of the site: it has no chapter {lacks[0]}")
            del shown[name]
    titles = [{"name": name, "title": title(root, source)} for name, source in shown.items()]
    made = {about["name"]: _built(root, shown[about["name"]], about, titles, log) for about in titles}
    with whole(root / "build" / "html") as part:
        for name, pages in made.items():
            shutil.copytree(pages, part / name)
        (part / "index.html").write_text(_FIRST.format(next(iter(made))), encoding="utf-8")
    return root / "build" / "html" / file_name(study) / "index.html"


def title(root: Path, study: str) -> str:
    """What every page says of its edition (`titled`); as its records have it, if it cannot be read here."""
    try:
        return titled(Study.load(study))
    except BadInput:
        kept = (read_json(chapter.found(study)[1]) or {} for chapter in chapters(root))
        return next((record["title"] for record in kept if record.get("title")), "")


def _built(root: Path, study: str, edition: dict, every: list[dict], log) -> Path:
    """The folder of an edition's pages, from what its last build made where that had the same files."""
    made = root / "build" / file_name(study)
    source, aside = made / "site", made / "pages"
    shutil.rmtree(source, ignore_errors=True)
    apart = shutil.ignore_patterns("*.ipynb", "records", "results", *editions(root))
    shutil.copytree(root / "book", source / "book", ignore=apart)
    settings = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))
    context = settings["sphinx"]["config"].setdefault("html_context", {})
    context |= {"edition": edition, "editions": every}
    (source / "_config.yml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    _arranged(root, study, source)
    write_assets(root, source / "book" / "_static", study)
    files = {str(path.relative_to(source)): path for path in sorted(source.rglob("*")) if path.is_file()}
    of = {name: version(name) for name in ("jupyter-book", "sphinx", "sphinx-book-theme", "myst-nb")}
    key = json.dumps(of | {name: digest(path.read_bytes()) for name, path in files.items()})
    if (pages := aside / "_build" / "html").is_dir() and read_json(aside / BUILT_OF) == json.loads(key):
        return pages
    (aside / BUILT_OF).unlink(missing_ok=True)
    program = "from jupyter_book.cli.main import main; main()"  # it cannot be run with -m
    command = [sys.executable, "-c", program, "build", "--all", "-q", "-n", "-W", "--keep-going"]
    command += ["--path-output", str(aside), str(source)]
    log(f"rendering the pages of {edition['name']}")
    quiet = os.environ | {"NO_COLOR": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=quiet)
    if done.returncode != 0:
        raise BadInput(_complaint(done.stdout + done.stderr, source))
    write_atomic(aside / BUILT_OF, key)
    return pages


def _arranged(root: Path, study: str, source: Path) -> None:
    """Write the sources of an edition's pages: each chapter as its page shows it, the contents."""
    import nbformat

    found = {chapter.name: chapter.found(study) for chapter in chapters(root)}
    books = {name: nbformat.read(path, as_version=4) for name, (path, _) in found.items()}
    titles = {name: title_of(book) for name, book in books.items()}
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    toc = yaml.safe_dump(listed(toc, titles), sort_keys=False, allow_unicode=True)
    (source / "_toc.yml").write_text(toc, encoding="utf-8")
    for name, book in books.items():
        values = (read_json(found[name][1]) or {}).get("values", {})
        nbformat.write(arranged(book, values, titles), source / "book" / f"{name}.ipynb")
    (source / "book" / "paper.md").write_text(lookup.page(), encoding="utf-8")
    for path in (source / "book").glob("*.md"):
        path.write_text(named(path.read_text(encoding="utf-8"), titles), encoding="utf-8")


def write_assets(root: Path, static: Path, study: str) -> None:
    """Write what pages load and git does not keep: chart script, MathJax, what changes from run to run."""
    write_script(static / "vega-book.js")
    write_styles(static / "charts.css")
    for name in ("bench.js", "tokens.js", "favicon.svg"):
        shutil.copyfile(config.STATIC / name, static / name)
    notation = root / "book" / "notation.md"
    words = glossary(notation.read_text(encoding="utf-8")) if notation.exists() else {}
    script = f"const glossary = {json.dumps(words, ensure_ascii=False)};\n"
    script += (config.STATIC / "glossary.js").read_text(encoding="utf-8")
    (static / "glossary.js").write_text(script, encoding="utf-8")
    package = find_spec("sphinx-mathjax-offline")
    if package is None:
        raise BadInput("MathJax is missing; install it: pip install -r requirements.lock")
    mathjax = static / "mathjax" / MATHJAX
    mathjax.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(Path(package.origin).parent / "static" / "mathjax" / MATHJAX, mathjax)
    takes = costs(root, study)
    facts = {number: [f"computed anew, about {time_of(seconds)}"] for number, seconds in takes.items()}
    for chapter in chapters(root):
        if stamped := read_stamp(chapter, study):
            commit = f", commit {stamped['commit']}" if stamped["commit"] else ""
            here = f"{stamped['seconds']:.0f} s on {stamped['machine']}{commit}"
            facts[f"{chapter.number:02d}"].insert(0, here)
    facts = {number: "; ".join(said) for number, said in facts.items()}
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
    """Copy the last builds of studies into ``book/``: records, of `editions` executed chapters; the files and
    folders. Of a study that is not in the package, the results that its chapters read (`results.store`).

    A chapter that reads records, or draws points of other studies, takes the published ones: it runs again
    where it is stale once all are published, so that an edition is of one piece. Raises BadInput, before
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
        there = {*place.glob(RECORD), *every[0].published(study).parent.glob(NOTEBOOK)}
        there |= set((root / "book").glob(NOTEBOOK)) if file_name(study) == DEFAULT_STUDY else set()
        for path in there - {path for chapter in every for path in _copies(chapter, study)}:
            path.unlink()  # of no chapter any more
        copies += [path for chapter in others for path in _copy(chapter, study)]
    for chapter in every:
        for study in studies:
            if reason := due_reason(chapter, study):
                log(f"chapter {chapter.name} on study {study}: {reason}")
                running.run(chapter, study=study, log=log)
            elif chapter in others:
                continue
            copies += [path for path in _copy(chapter, study) if path not in copies]
    for study in studies:
        path = published(root, file_name(study)) / SECONDS
        write_atomic(path, json.dumps(costs(root, study), indent=1, sort_keys=True) + "\n")
    copies += [results.store(root, study) for study in studies if file_name(study) not in results.EMBEDDED]
    update(root)
    return copies


def _copy(chapter: ChapterFile, study: str) -> list[Path]:
    """Put what was made of a chapter where it is published."""
    copies = _copies(chapter, study)
    for target, made in copies.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        if made.parent == target.parent / DEFAULT_STUDY:
            target.unlink(missing_ok=True)
            target.symlink_to(made.relative_to(target.parent))
        else:
            shutil.copyfile(made, target)
    return list(copies)


def _copies(chapter: ChapterFile, study: str) -> dict[Path, Path]:
    """What is published of a chapter, and of what: its record; of an edition, the executed chapter. That of
    the default study is at ``book/NN_name.ipynb``, too, where papermill always found one."""
    copies = {chapter.published_record(study): chapter.record(study)}
    if file_name(study) in editions(chapter.root):
        copies[chapter.published(study)] = chapter.executed(study)
        if file_name(study) == DEFAULT_STUDY:
            copies[chapter.root / "book" / f"{chapter.name}.ipynb"] = chapter.published(study)
    return copies


def update(root: Path) -> bool:
    """Write the table between the README's markers; True when that changed the file.

    Raises BadInput when the markers are gone. Without any headline in the records the README stays as it is.
    """
    path = root / "README.md"
    rows, study = headlines(root), editions(root)[0]
    if not rows or not path.exists():
        return False
    text = path.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise BadInput(f"README.md needs one line '{BEGIN}' and one line '{END}' around its table of numbers")
    before, rest = text.split(BEGIN)
    new = f"{before}{BEGIN}\n{table(rows, study)}{END}{rest.split(END)[1]}"
    write_atomic(path, new)
    return new != text


def headlines(root: Path) -> list[dict]:
    """The rows that the first edition's records hold under ``headline``, in the order of the chapters."""
    rows = []
    for chapter in chapters(root):
        record = chapter.published_record(editions(root)[0])
        if record.exists():
            found = json.loads(record.read_text(encoding="utf-8"))["values"].get("headline", [])
            rows += [{"chapter": chapter.name} | row for row in found]
    return rows


def table(rows: list[dict], study: str) -> str:
    """The rows of an edition as a Markdown table that ends with a newline."""
    names = ["what", "here", "paper", "points", "null"]
    lines = [f"| | here (study `{study}`) | the paper | its own points earn | the null earns | chapter |"]
    lines.append("|---|---|---|---|---|---|")
    for row in rows:
        link = f"[{row['chapter'][:2]}](book/{study}/{row['chapter']}.ipynb)"
        lines.append(f"| {' | '.join(row.get(name) or '–' for name in names)} | {link} |")
    return "\n".join(lines) + "\n"
