"""How the report is shown: the grid of verdicts, a card for every claim, the tables of protocol, studies and
figures."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape, unescape

import altair as alt
import pandas as pd

from ..charts.tables import Html, Table, Words
from ..charts.theme import WIDTH, finish
from ..claims.claim import FAILS, HOLDS, PARTLY, UNKNOWN, WORDS, Claim
from ..claims.paper_figures import PAPER_FIGURES
from ..claims.protocol import changes
from ..claims.report import Finding, Records, counts, findings, summary

CLASSES = {HOLDS: "holds", PARTLY: "partly", FAILS: "fails", UNKNOWN: "unknown"}
"""The page's class of a verdict's word."""
COLOURS = {HOLDS: "#159a80", PARTLY: "#d99a1c", FAILS: "#dd4f3c", UNKNOWN: "#94a3b8"}
"""Colour of a verdict in the grid."""
MARKS = {HOLDS: "holds", PARTLY: "partly", FAILS: "fails", UNKNOWN: "?"}
"""A verdict's word in a cell of the grid, where there is little room."""
NO_RECORDS = (
    "No chapter has a record of the study {0} here. Run its chapters first: `darkmatter run --all "
    "--study {0}`."
)


def opening(found: Mapping[int, Finding], study: str, records: Records) -> Words:
    """The first screen's words: how many claims hold, or that there is nothing to judge."""
    if not records:
        return Words(f"> {NO_RECORDS.format(study)} Until then no claim can be told.")
    return Words(f"> {summary(found, study)}")


def verdict_grid(every: Mapping[str, Records]):
    """One column a study, one row a claim, in the colour of the verdict that follows from the study's
    records."""
    rows = [
        {
            "study": study,
            "claim": f"{number}  {one.claim.topic}",
            "verdict": one.verdict.word,
            "mark": MARKS[one.verdict.word],
            "here": one.here,
        }
        for study, records in every.items()
        for number, one in findings(records).items()
    ]
    data = pd.DataFrame(rows)
    order = list(dict.fromkeys(data["claim"]))
    base = alt.Chart(data).encode(
        x=alt.X(
            "study:N",
            title=None,
            sort=list(every),
            axis=alt.Axis(labelAngle=0, orient="top", domain=False, ticks=False),
        ),
        y=alt.Y("claim:N", title=None, sort=order, axis=alt.Axis(labelLimit=300, grid=False)),
        tooltip=[alt.Tooltip(f"{name}:N") for name in ("claim", "study", "verdict", "here")],
    )
    scale = alt.Scale(domain=list(WORDS), range=[COLOURS[word] for word in WORDS])
    cells = base.mark_rect(stroke="white", strokeWidth=2, cornerRadius=3).encode(
        color=alt.Color("verdict:N", scale=scale, legend=None)
    )
    text = base.mark_text(fontSize=11, color="white", fontWeight=600).encode(text="mark:N")
    return finish(cells + text, "", min(WIDTH - 260, 110 * len(every)), 26 * len(order)).properties(
        description="verdicts of the claims on each study"
    )


def link(name: str, anchor: str = "", words: str = "") -> Html:
    """A link to a chapter's page, or to a figure on it."""
    target = f"{name}.html{'#' + anchor if anchor else ''}"
    return Html(f'<a href="{target}">{escape(words or name[:2])}</a>')


def verdict(word: str) -> Html:
    """A verdict's word in its colour."""
    return Html(f'<span class="verdict verdict-{CLASSES[word]}">{word}</span>')


def ledger(found: Mapping[int, Finding]) -> Table:
    """Every claim with the paper's number, ours with its interval, the verdict and the chapter that shows
    it."""
    frame = pd.DataFrame(
        {
            "claim": [str(number) for number in found],
            "in words": [one.short for one in found.values()],
            "the paper": [one.paper for one in found.values()],
            "here": [one.here for one in found.values()],
            "verdict": [verdict(one.verdict.word) for one in found.values()],
            "chapter": [link(one.chapter) for one in found.values()],
        }
    )
    return Table(frame, {"verdict": Html, "chapter": Html}, left=("verdict", "chapter"))


class Cards:
    """One small table under another, each with a heading: what is told of every claim."""

    def __init__(self, cards: Mapping[str, Mapping[str, str]]):
        self.cards = cards

    def _repr_html_(self) -> str:
        return "\n".join(_card(heading, lines) for heading, lines in self.cards.items())

    def __repr__(self) -> str:
        return "\n\n".join(
            "\n".join(
                [
                    heading,
                    *(f"{name}: {unescape(re.sub('<[^>]+>', '', text))}" for name, text in lines.items()),
                ]
            )
            for heading, lines in self.cards.items()
        )


def _card(heading: str, lines: Mapping[str, str]) -> str:
    rows = "".join(
        (
            f'<tr><th class="text-left" scope="row">{escape(name)}</th><td '
            f'class="text-left">{_emphasis(text)}</td></tr>'
        )
        for name, text in lines.items()
    )
    return (
        f'<table class="table dark-table '
        f'claim-card">\n<caption>{escape(heading)}</caption>\n<tbody>\n{rows}\n</tbody>\n</table>'
    )


def _emphasis(text: str) -> str:
    """Text as HTML, its *stressed* words in italics; markup that is markup already stays."""
    return text if isinstance(text, Html) else re.sub(r"\*([^*]+)\*", r"<em>\1</em>", escape(text))


def claim_cards(found: Mapping[int, Finding]) -> Cards:
    """What is known of each claim: the paper's number and its source, ours, the controls, verdict, rule,
    falsifier."""
    return Cards({f"Claim {number}. {one.short}": _lines(one) for number, one in found.items()})


def _lines(one: Finding) -> dict[str, str]:
    entry = one.claim
    name = f" ({entry.here.name})" if entry.here and one.here != "–" else ""
    controls = "; ".join(f"{what}: {text}" for what, text in one.beside().items())
    return {
        "the paper": paper_number(entry),
        "here": f"{one.here}{name}",
        "the controls beside it": controls or "–",
        "verdict": Html(f"{verdict(one.verdict.word)}. {escape(one.verdict.why)}"),
        "the rule": f"{entry.rule} {entry.written}",
        "what would show it wrong": f"{entry.falsifier}.",
        "chapter": link(entry.chapter, words=entry.chapter),
    }


def paper_number(entry: Claim) -> str:
    """The paper's number for a claim, where it was read, and what could not be found."""
    text = f"{entry.paper}; source: {entry.paper_place}."
    return f"{text} Not found: {entry.missing}." if entry.missing else text


def protocol_table(records: Records) -> Table:
    """One line a choice of protocol: the released code, this book, what it changes here, the chapter."""
    rows = [
        {
            "choice": choice.name,
            "the released code": choice.released,
            "this book": choice.here,
            "what it changes here": text,
            "chapter": f"{choice.chapter:02d}" if choice.chapter else "–",
        }
        for choice, text in changes(records)
    ]
    return Table(pd.DataFrame(rows))


def studies_table(every: Mapping[str, Records]) -> Table:
    """One row a claim, one column a study that has records: our number and the verdict."""
    columns = {study: findings(records) for study, records in every.items()}
    claims = next(iter(columns.values()))
    frame = pd.DataFrame({"claim": [f"{number}. {one.claim.topic}" for number, one in claims.items()]})
    for study, found in columns.items():
        frame[study] = [_cell(one) for one in found.values()]
    return Table(frame, {study: Html for study in columns}, left=tuple(columns))


def _cell(one: Finding) -> str:
    number = one.verdict.measured if one.verdict.numbers else ""
    return f"{verdict(one.verdict.word)}{': ' + escape(number, quote=False) if number else ''}"


def figure_table() -> Table:
    """Every figure number of the paper with links to the figures here that answer to it."""
    frame = pd.DataFrame(
        {
            "the paper's": [one.name for one in PAPER_FIGURES],
            "version": [one.version for one in PAPER_FIGURES],
            "experiment": [one.experiment for one in PAPER_FIGURES],
            "what it shows": [one.shows for one in PAPER_FIGURES],
            "here": [", ".join(_figure_link(*place) for place in one.counterparts) for one in PAPER_FIGURES],
        }
    )
    return Table(frame, {"here": Html}, left=("here",))


def _figure_link(chapter: str, label: str) -> str:
    return link(chapter, label, f"{chapter[:2]} {label.removeprefix('fig-').replace('-', ' ')}")


def tally(found: Mapping[int, Finding]) -> str:
    """How many claims have each verdict, in the order of the words."""
    return ", ".join(f"{len(numbers)} {word}" for word, numbers in counts(found).items())
