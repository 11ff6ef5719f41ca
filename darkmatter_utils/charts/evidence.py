"""The evidence strip: where each claim's number lies against its rule's range; thresholds that move.

Plain HTML and SVG, complete without a script; `static/bench.js` gives the thresholds their sliders.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from html import escape
from typing import Any

from .tables import Html, badge, emphasis
from .theme import GLYPHS

WIDE, TALL, REACH = 260, 26, 1.2
"""Pixels of a row's picture; how far positions go on both sides of a range's end."""
FIRST = ("paper", "null")
"""Of those whose words stand beside a row, who comes first."""
LEGEND = (
    '<p class="strip-legend"><span class="strip-key">{ours} this study, with its 95% interval</span> '
    '<span class="strip-key">{points} the paper\'s points</span> '
    '<span class="strip-key">{control} the null and controls</span> '
    '<span class="strip-key">shaded: as the claim says</span> '
    '<span class="strip-key">● holds ◐ partly ○ does not hold ? cannot be told</span></p>'
)


def strip(
    rows: Iterable[Mapping[str, Any]],
    *,
    others: Mapping[str, Mapping[str, str]],
    more: Callable | None = None,
) -> Html:
    """A row a claim (`claims.strips.rows`): words, numbers against its range, a mark a statement, a mark a
    study of ``others`` (by name, a claim's word). ``more``: of a row what it unfolds to; else it links."""
    others = {name: others[name] for name in sorted(others, key=lambda name: (FIRST + (name,)).index(name))}
    drawn = "\n".join(_row(row, others, more) for row in rows)
    return Html(f'{_legend()}\n<div class="strip">\n{drawn}\n</div>')


def _row(row: Mapping[str, Any], others: Mapping[str, Mapping[str, str]], more: Callable | None) -> str:
    number, word = row["claim"], row["word"]
    topic = f"{number}. {escape(row['topic'])}"
    page = f"{row['chapter']}.html"
    name = topic if more else f'<a href="{page}">{topic}</a>'
    statements = "".join(
        f'<span title="{escape(one["name"])}: {one["word"]}">{GLYPHS[one["word"]]}</span>'
        for one in row["statements"]
    )
    studies = "".join(
        f'<span class="strip-study" title="{escape(study)}: {found[str(number)]}">{escape(study)} '
        f"{GLYPHS.get(found[str(number)], '–')}</span> "
        for study, found in others.items()
        if str(number) in found
    )
    said = f'{badge(word).replace(" here", "")} <span class="strip-statements">{statements}</span>'
    cells = (
        f'<span class="strip-claim">{name}</span>{picture(row)}<span class="strip-word">{said}</span>'
        f'<span class="strip-studies">{studies}</span>'
    )
    if more is None:
        return f'<div class="strip-row">{cells}</div>'
    body = f'<div class="strip-more">{more(row)}</div>'
    return f'<details class="strip-row"><summary>{cells}</summary>\n{body}</details>'


def picture(row: Mapping[str, Any]) -> str:
    """A row's numbers: 0, the range's end, in the middle; to its right, shaded, is as the claim says."""
    if not row.get("ours"):
        return f'<span class="strip-text">{escape(row["here"])}</span>'
    middle, foot = WIDE / 2, TALL
    marks = [f'<rect class="as-claimed" x="{middle}" y="0" width="{WIDE / 2}" height="{TALL}"/>']
    marks += [f'<line class="edge" x1="{middle}" x2="{middle}" y1="0" y2="{foot}"/>']
    for name, at, _, _, said in row["control"]:
        marks.append(_mark("control", at, 5, name, said))
    for name, at, _, _, said in row["points"]:
        marks.append(_mark("points", at, 21, name, said.partition(" [")[0]))
    for name, at, low, high, said in row["ours"]:
        line = f'<line class="ours" x1="{_x(low)}" x2="{_x(high)}" y1="13" y2="13"/>'
        marks.append(line + _mark("ours", at, 13, name, said))
    told = f"{row['quantity']}: {'; '.join(f'{one[0]} {one[4]}'.strip() for one in row['ours'][:6])}"
    about = f"{escape(told)} (asked for: {escape(row['range'])})"
    size = f'viewBox="0 0 {WIDE} {TALL}" role="img" aria-label="{about}"'
    return f'<svg class="strip-picture" {size}>{"".join(marks)}</svg>'


def _x(at: float) -> float:
    return round(8 + (at + REACH) / (2 * REACH) * (WIDE - 16), 1)


def _mark(kind: str, at: float, y: float, name: str, said: str) -> str:
    x, told = _x(at), f"<title>{escape(f'{name}: {said}' if name else said)}</title>"
    shapes = {
        "ours": f'<circle class="ours" cx="{x}" cy="{y}" r="3.6">{told}</circle>',
        "control": f'<path class="control" d="M{x} {y - 4}l4 4l-4 4l-4 -4z">{told}</path>',
        "points": f'<circle class="points" cx="{x}" cy="{y}" r="3">{told}</circle>',
    }
    return shapes[kind]


def _legend() -> str:
    key = lambda kind: f'<svg class="strip-sample" viewBox="0 0 12 12">{_mark_at(kind)}</svg>'
    return LEGEND.format(**{kind: key(kind) for kind in ("ours", "points", "control")})


def _mark_at(kind: str) -> str:
    return {
        "ours": '<circle class="ours" cx="6" cy="6" r="3.6"/>',
        "control": '<path class="control" d="M6 2l4 4l-4 4l-4 -4z"/>',
        "points": '<circle class="points" cx="6" cy="6" r="3"/>',
    }[kind]


def thresholds(flips: Iterable[Mapping[str, Any]]) -> Html:
    """Each threshold of a claim (`claims.strips.flips`) against the intervals that it judges: shaded is where
    it could stand with the statement's word the same; with a script, a slider moves it."""
    return Html("\n".join(_threshold(one) for one in flips))


def _threshold(one: Mapping[str, Any]) -> str:
    finite = [v for _, *ends in one["values"] for v in ends if math.isfinite(v)]
    low, high = min([one["at"], *finite]), max([one["at"], *finite])
    room = 0.12 * ((high - low) or abs(high) or 1.0)
    low, high = low - room, high + room
    x = lambda value: round(WIDE * (min(max(value, low), high) - low) / (high - low), 1)
    start, stop = x(one["low"]), x(one["high"])
    marks = [f'<rect class="same" x="{start}" width="{stop - start:.1f}" y="0" height="{TALL}"/>']
    for place, value, bottom, top in one["values"]:
        told = f"<title>{escape(place)}</title>"
        marks.append(f'<line class="ours" x1="{x(bottom)}" x2="{x(top)}" y1="13" y2="13"/>')
        marks.append(f'<circle class="ours" cx="{x(value)}" cy="13" r="2.6">{told}</circle>')
    marks.append(f'<line class="threshold" x1="{x(one["at"])}" x2="{x(one["at"])}" y1="0" y2="{TALL}"/>')
    ends = [f"{to} {end}" if end else "" for to, end in zip(("from", "up to"), one["words"])]
    same = " ".join(filter(None, ends)) or "at any value"
    name = f"{one['statement']}, {one['side']} {one['said']}"
    steps = [[step if math.isfinite(step) else None, *words] for step, *words in one["steps"]]
    data = escape(json.dumps({"low": low, "high": high, "at": one["at"], "steps": steps}), quote=True)
    picture = (
        f'<svg viewBox="0 0 {WIDE} {TALL}" role="img" aria-label="{escape(name)}">{"".join(marks)}</svg>'
    )
    told = f"<em>{escape(name)}</em>: the same word {escape(same)}"
    return f'<div class="bench" data-bench="{data}">{picture}<span class="bench-said">{told}</span></div>'


def told(lines: Mapping[str, str]) -> Html:
    """Names and what is said of each, one under another; what is empty is left out."""
    said = (
        f"<p><strong>{escape(name)}:</strong> {emphasis(text)}</p>" for name, text in lines.items() if text
    )
    return Html("\n".join(said))
