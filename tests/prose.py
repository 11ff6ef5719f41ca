"""The prose of a published page, and where each of its numbers is from."""

import ast
import json
import re
from functools import cache
from html.parser import HTMLParser

from throwaway import ROOT

from darkmatter_utils.base.config import DATA, modules
from darkmatter_utils.book import blocks, chapters, others
from darkmatter_utils.charts import evidence
from darkmatter_utils.claims import claim as rules
from darkmatter_utils.claims import front, paper, report, strips, worth
from darkmatter_utils.experiments import calibration
from darkmatter_utils.measurement import about
from darkmatter_utils.measurement.measure import shipped
from darkmatter_utils.studies.study import Study

DEFINED = ("0", "1", "95%", "100%")
"""A perfect and an empty score, and the coverage that an interval is due."""
MADE = ("evidence", "verdicts", "verdict", "question", "claims", "strip", "finding", "findings", "worth")
"""What a record holds of claims: what shows it is made again."""
CITES = re.compile(r"paper|§|Figs?\.|App\.|\{cite|abstract|Gemma|released code", re.I)
NAMED = re.compile(
    r"(?:Figs?\.|Eqs?\.|App\.|Tables?|[Cc]hapters?|[Cc]laims?|Sections?|§) ?(?:[A-Z]\.)?\d[\w.]*"
    r"(?:(?:,|,? and| to) (?:[A-Z]\.\d|\d{1,2}[a-z]?(?![\d%]|[.,]\d)))*|\(\d{1,2}\)|Gemma (?:Scope )?2"
)
"""Figures, sections, claims and models that are called by a number."""
GLUE = re.compile(r"\{glue:\w+\}`([^`]*)`")
BREAKS = ("p", "div", "summary", "details", "li")


def numbers_in(found) -> list[float]:
    """Every number of a record, those in its texts too."""
    if isinstance(found, bool) or found is None:
        return []
    if isinstance(found, int | float):
        return [float(found)]
    if isinstance(found, str):
        return [value_of(said)[0] for said in told(found)]
    parts = found.values() if isinstance(found, dict) else found
    counts = [float(len(found))]
    return (
        counts
        + [number for part in parts for number in numbers_in(part)]
        + [number for key in (found if isinstance(found, dict) else ()) for number in numbers_in(key)]
    )


def told(text: str) -> list[str]:
    """The numbers that a sentence says, without those of names such as L0 or w1024-l0-8."""
    return re.findall(r"(?<![\w.,²§-])[−-]?\d+(?:,\d{3})*(?:\.\d+)?%?(?![\w]|[.,-]\d|-\w)", text)


def value_of(said: str) -> tuple[float, int, bool]:
    """A number as said: its value, its digits after the point, whether it is a percentage."""
    plain = said.rstrip("%").replace(",", "").replace("−", "-")
    return float(plain), len(plain.partition(".")[2]), said.endswith("%")


def is_recorded(said: str, numbers: list[float]) -> bool:
    """Whether a number of a sentence is one of the record, rounded as said, or its share, or its size."""
    value, digits, share = value_of(said)
    half = 0.5 * 10**-digits + 1e-9
    scale = 100 if share else 1
    return any(
        abs(abs(scale * number) - abs(value)) <= half or (share and abs(abs(number) - abs(value)) <= half)
        for number in numbers
    )


class Lines(HTMLParser):
    """The paragraphs of a cell's HTML."""

    SKIPPED = ("table", "svg", "style", "script", "pre")

    def __init__(self, markup: str):
        super().__init__()
        self.said, self.inside = "", []
        self.feed(re.sub(r'<div class="(tokens|dark-gallery)".*', "", markup, flags=re.S))

    def handle_starttag(self, tag, attrs):
        self.inside += [tag] * (tag in self.SKIPPED)
        self.said += "\n" * (tag in BREAKS)

    def handle_endtag(self, tag):
        self.said += "\n" * (tag in BREAKS)
        if self.inside[-1:] == [tag]:
            self.inside.pop()

    def handle_data(self, data):
        self.said += "" if self.inside else data


def lines(markup: str) -> list[str]:
    """Markdown or HTML that a cell shows, by paragraphs, without marks of emphasis and names of files."""
    said = Lines(re.sub(r"[*`]|\]\(\w+\.html\)|^- \[?", "", markup, flags=re.M)).said
    found = [" ".join(line.split()) for line in said.split("\n")]
    return [line for line in found if line and not line.endswith("rows as CSV")]


def plain(text: str) -> list[str]:
    """The numbers of a text without code, links, formulas but for their decimals, and names with numbers."""
    text = re.sub(r"(\{\w+\})?`[^`\n]*`", " ", text)
    text = re.sub(r"\$[^$]*\$", lambda found: " ".join(re.findall(r"\d+\.\d+", found[0])), text)
    return told(NAMED.sub(" ", " ".join(text.split())))


@cache
def records(edition: str) -> dict[int, dict]:
    """The values of an edition's published records, by chapter."""
    paths = sorted((ROOT / "book" / "records" / edition).glob("[0-9][0-9].json"))
    return {int(path.stem): json.loads(path.read_text())["values"] for path in paths}


@cache
def cells(name: str) -> list[dict]:
    """The cells of a published page, without its run record."""
    found = json.loads((ROOT / "book" / f"{name}.ipynb").read_text())["cells"]
    return [cell for cell in found if "run-record" not in json.dumps(cell.get("outputs", ""))]


@cache
def of_the_paper() -> list[float]:
    """The values of the paper's figures, and what the claims' files and the errata quote of it."""
    rows = (DATA / "paper" / "values.csv").read_text().splitlines()[3:]
    said = [one for each in report.every().values() for one in (each.paper, each.paper_points)]
    words = [word for row in rows for word in row.split(",")] + said
    return numbers_in([*words, *map(str, paper.ERRATA), *map(str, rules.PAPER.values()), *front.LIMITS])


def limits(number: int, values: dict) -> set[str]:
    """The thresholds of a page's rules, as they would be typed."""
    files = [f"c{int(n):02d}_*" for n in values.get("evidence", {})] + [f"q{number:02d}_*"]
    found = [module.THRESHOLDS for one in files for module in modules("darkmatter_utils.claims", one)]
    numbers = numbers_in([list(one) for one in found])
    return {f"{one:g}" for one in numbers} | {f"{100 * one:g}%" for one in numbers if one < 1}


@cache
def settings(edition: str) -> list[float]:
    """What a study's file sets: the widths, the L0s and the number of its SAEs, and of those kept with it."""
    study = Study.load(edition)
    saes = study.selected()
    return numbers_in([[one.width, one.l0] for one in saes]) + [len(saes), len(shipped(study).selected())]


def ends(found) -> list[float]:
    """The numbers of a record that a sentence quotes: of a list its ends, mean and length; of no sentence."""
    if isinstance(found, dict):
        return [n for value in found.values() for n in ends(value)]
    if isinstance(found, list) and found and all(isinstance(one, int | float) for one in found):
        return [found[0], found[-1], min(found), max(found), sum(found) / len(found), sum(found), len(found)]
    if isinstance(found, list):
        return [n for one in found for n in ends(one)]
    return [] if isinstance(found, str) and len(found.split()) > 7 else numbers_in(found)


@cache
def elsewhere(edition: str, number: int, claim: int, word: str) -> str:
    """On which other editions a claim's word is another."""
    return others.elsewhere(ROOT, Study.load(edition), number, str(claim), word)


@cache
def idle(claim: int) -> str:
    """Which statements of a claim a study cannot answer."""
    return worth.cannot_answer(calibration.summary(), claim)


def judged(edition: str, number: int, known: dict[int, dict]) -> dict[str, str]:
    """The paragraphs that follow from what a page's record holds, made again: text -> what it is."""
    every, values, made = report.every(), known[number], {}
    keep = lambda kind, *texts: made.update((line, kind) for text in texts for line in lines(str(text)))
    for n in map(int, values.get("evidence", {})):
        verdict = every[n].from_record(values["evidence"][str(n)])
        keep("judged", verdict.why, verdict.measured)
        keep("setting", elsewhere(edition, number, n, verdict.word))
        keep("paper", every[n].paper)
        keep("rule", blocks.rules([every[n]]), idle(n), every[n].short)
    if values.get("question"):
        question = modules("darkmatter_utils.claims", f"q{number:02d}_*")[0].QUESTION
        keep("judged", question.from_record(values["question"]).why)
        keep("rule", blocks.rules([question]))
    if number in (0, 15):
        found, setting = report.findings(known), about.setting(Study.load(edition))
        keep("setting", setting, setting[:1].lower() + setting[1:], *front.LIMITS)
        keep("quoted", front.learned(known, chapters.story(ROOT)))
        keep("judged", front.untold(found))
        for n, one in found.items():
            card = report.card(one)
            keep("paper", card.pop("the paper"))
            keep("judged", evidence.thresholds(strips.flips(one)), one.here, *card.values())
            keep("rule", idle(n), f"{n}. {one.claim.topic}")
    return {line: kind for line, kind in made.items() if plain(line)}


def glued(page: list[dict]) -> dict[str, str]:
    """What each key of a page shows in its prose."""
    found = {}
    for output in (output for cell in page for output in cell.get("outputs", [])):
        if key := output.get("metadata", {}).get("scrapbook", {}).get("name"):
            found[key.rpartition("/")[2] if key.startswith("application/") else key] = "".join(
                next(text for kind, text in output["data"].items() if "text" in kind)
            )
    return found


def typed(page: list[dict]) -> list[str]:
    """The sentences that are typed into Markdown, captions and the strings of cells."""
    found = []
    for cell in page:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            found.append(re.sub(r"```.*?```|^ {4}.*?$", " ", source, flags=re.S | re.M))
            continue
        found.append(cell["metadata"].get("mystnb", {}).get("figure", {}).get("caption", ""))
        nodes = (node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant))
        found += [text for text in nodes if isinstance(text, str) and " " in text and "==" not in text]
    after = r"(?<=[.;!?])(?<!App\.)\s+(?=[A-Z(*\"-])|\n\n"
    return [" ".join(one.split()) for text in found for one in re.split(after, text)]


def constants(page: list[dict]) -> set[str]:
    """The numbers in the code that a page shows."""
    shown = [cell for cell in page if cell["cell_type"] == "code" and "input" not in str(cell["metadata"])]
    number = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?![\w.])")
    return {n for cell in shown for n in number.findall("".join(cell["source"]))}


def shown_by(cell: dict) -> str:
    """What a cell shows as Markdown or HTML, but for charts."""
    found = [one for one in cell.get("outputs", []) if "scrapbook" not in one.get("metadata", {})]
    data = [one.get("data", {}) for one in found if "vega" not in str(list(one.get("data", {})))]
    return "\n".join("".join(one.get("text/html", one.get("text/markdown", ""))) for one in data)


def without(text: str, declared) -> tuple[str, list[tuple[str, str, str]]]:
    """A text without what is declared, and the numbers of that."""
    found = []
    for known in (one for one in declared if one in text):
        found += [(n, "declared", known) for n in told(known)]
        text = text.replace(known, " ")
    return text, found


def of_what_is_typed(number: int, page: list[dict], values: dict, declared) -> list[tuple[str, str, str]]:
    """Every number of Markdown, captions, strings: (number, where from, "" for nowhere; the sentence)."""
    shown, fixed, found = glued(page), constants(page) | limits(number, values), []
    for sentence in typed(page):
        for key in GLUE.findall(sentence):
            of_key = numbers_in(values.get(key))
            found += [(n, "glue" * is_recorded(n, of_key), key) for n in plain(shown[key])]
        words, named = without(GLUE.sub(" ", sentence), declared)
        found += named
        for said in plain(words):
            cited = CITES.search(sentence) and is_recorded(said, of_the_paper())
            kind = "defined" if said in DEFINED else "paper" if cited else "setting" if said in fixed else ""
            found.append((said, kind, sentence))
    return found


def of_what_is_shown(name: str, page: list[dict], known: dict[int, dict], declared) -> list[tuple]:
    """The same of what cells show: (number, where it is from, "" for nowhere; the line)."""
    edition, number, found = name.split("/")[0], int(name.split("/")[1][:2]), []
    own = {key: value for key, value in known[number].items() if key not in MADE}
    said_there = [line for text in texts_in(own) for line in lines(text) if len(line.split()) > 2]
    whole = dict.fromkeys(filter(plain, said_there), "") | judged(edition, number, known)
    numbers = [*ends(own), *settings(edition)]
    for line in (line for cell in page for line in lines(shown_by(cell)) if plain(line)):
        for text in sorted((text for text in whole if text in line), key=len, reverse=True):
            rest, named = without(text, declared)
            again, found = plain(rest) * line.count(text), found + named
            found += [(n, whole[text] or "record" * is_recorded(n, numbers), text) for n in again]
            line = line.replace(text, " ")
        kind = lambda n: "defined" if n in DEFINED else "setting" * is_recorded(n, settings(edition))
        found += [(n, kind(n), line) for n in plain(line)]
    return found


def account(name: str, page: list[dict], known: dict[int, dict], declared) -> list[tuple[str, str, str]]:
    """Every number of a page's prose, typed or shown."""
    number = int(name.split("/")[1][:2])
    found = of_what_is_typed(number, page, known[number], declared)
    return found + of_what_is_shown(name, page, known, declared)


def texts_in(found) -> list[str]:
    """Every text of a record."""
    parts = found.values() if isinstance(found, dict) else found if isinstance(found, list) else ()
    return [found] if isinstance(found, str) else [text for part in parts for text in texts_in(part)]
