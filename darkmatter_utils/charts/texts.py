"""Pieces of text to read, as plain HTML: one context with its tokens' error, galleries, the token browser."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from html import escape

import altair as alt
import numpy as np
import pandas as pd

from ..base.values import Absent
from .theme import INK, MONO, MUTED, ON_DARK, PARTS, WIDTH, builder, colour, finish, tip

LINE, ROW = 46, 72
"""Pixels of one line of text and its bars; its characters."""
TOKEN_TOP, TOKEN_FOOT, BAR_TOP, BAR_FOOT = 0.05, 0.46, 0.50, 0.92
"""Where in a line the token and its bar stand, from its upper edge."""


@builder
def context_strip(
    frame, parts, *, about=(), value_title="sum of the parts", lines=None, level=None, title=""
):
    """The tokens of one context as lines of text, the parts of each token's error as stacked bars under it.

    frame: one row a token (column text), in order. parts: {"LinearError": column, "NonlinearError": column,
    ...}, the first at the foot, all on one scale (the tallest bar is the largest sum in the frame). about:
    further columns for the tooltip. A line ends with a line break of the text or after 72 characters. At most
    about 150 tokens stay legible.
    """
    frame = pd.DataFrame(frame).reset_index(drop=True)
    tokens = _layout([str(token) for token in frame["text"]])
    values = pd.DataFrame({part: np.asarray(frame[column], dtype=float) for part, column in parts.items()})
    notes = [alt.Tooltip("token:N"), tip("sum", value_title)]
    for n, column in enumerate(about):
        tokens[f"about{n}"] = list(frame[column])
        numeric = pd.api.types.is_numeric_dtype(frame[column])
        notes.append(tip(f"about{n}", column) if numeric else alt.Tooltip(f"about{n}:N", title=str(column)))
    if lines is not None:
        tokens, values = (some[tokens["line"] < lines] for some in (tokens, values))
        frame = frame.loc[tokens.index]
    lines = int(tokens["line"].max()) + 1
    tokens = tokens.assign(sum=values.sum(axis=1))
    longest = max(int(tokens["x2"].max()), 40)
    across = alt.Scale(domain=[0, longest], nice=False, zero=False)
    down = alt.Scale(domain=[lines, 0], nice=False, zero=False)
    x = alt.X("x:Q", axis=None, scale=across)
    tokens["top"], tokens["foot"] = tokens["line"] + TOKEN_TOP, tokens["line"] + TOKEN_FOOT
    # Text marks lose their leading spaces, so a word stands where its first letter is.
    tokens["word"] = tokens["token"].str.lstrip("\u00a0")
    tokens["at"] = tokens["x"] + tokens["token"].str.len() - tokens["word"].str.len()
    tokens["middle"] = (tokens["top"] + tokens["foot"]) / 2
    base = alt.Chart(tokens).encode(x=x, tooltip=notes)
    chips = base.mark_rect(color="#eceff5", stroke=ON_DARK, strokeWidth=1, cornerRadius=2)
    top = alt.Y("top:Q", axis=None, scale=down)
    chips = chips.encode(x2="x2", y=top, y2="foot")
    words = base.mark_text(align="left", baseline="middle", dx=1, font=MONO, fontSize=13, color=INK)
    at = alt.X("at:Q", axis=None, scale=across)
    words = words.encode(y=alt.Y("middle:Q", axis=None, scale=down), text="word:N", x=at)
    told = [alt.Tooltip("token:N"), alt.Tooltip("color:N", title="part"), tip("value", "value")]
    bars = alt.Chart(_bars(tokens, values)).mark_rect()
    bars = bars.encode(x=x, x2="x2", y=top, y2="foot", color=colour(list(parts), offset=8), tooltip=told)
    layers = [chips, words, bars]
    if level is not None:
        scale = (BAR_FOOT - BAR_TOP) / (float(tokens["sum"].max()) or 1.0)
        at = [{"x": 0, "x2": longest, "top": line + BAR_FOOT - level * scale} for line in range(lines)]
        rule = alt.Chart(pd.DataFrame(at)).mark_rule(color=MUTED, strokeDash=[2, 3])
        layers.append(rule.encode(x=x, x2="x2", y=top))
    size = {"width": WIDTH * longest / ROW, "height": LINE * lines, "title": title}
    return finish(alt.layer(*layers), **size).properties(usermeta={"scaleText": True})


def _layout(shown: list[str]) -> pd.DataFrame:
    """Columns token (line breaks and tabs visible), line, x, x2 in characters."""
    places, line, x = [], 0, 0
    for token in shown:
        visible = _visible(token)
        if len(visible) > ROW // 2:
            visible = visible[: ROW // 2 - 1] + "…"
        if x and x + len(visible) > ROW:
            line, x = line + 1, 0
        places.append((visible.replace(" ", "\u00a0"), line, x, x + len(visible)))
        line, x = (line + 1, 0) if "\n" in token else (line, x + len(visible))
    return pd.DataFrame(places, columns=["token", "line", "x", "x2"])


def _bars(tokens: pd.DataFrame, values: pd.DataFrame) -> pd.DataFrame:
    """One row a token and part: a rectangle from ``foot`` up to ``top``, heights to one scale."""
    unknown = [part for part in values if part not in PARTS]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is not a part of x; the parts are {', '.join(PARTS)}")
    scale = (BAR_FOOT - BAR_TOP) / (float(tokens["sum"].max()) or 1.0)
    below = np.zeros(len(values))
    pieces = []
    for part in values:
        foot = tokens["line"] + BAR_FOOT - below * scale
        below = below + values[part].to_numpy()
        top = tokens["line"] + BAR_FOOT - below * scale
        piece = {"token": tokens["token"], "x": tokens["x"] + 0.08, "x2": tokens["x2"] - 0.08}
        pieces.append(pd.DataFrame(piece | dict(top=top, foot=foot, color=part, value=values[part])))
    return pd.concat(pieces, ignore_index=True)


BARS = "▁▂▃▄▅▆▇█"
"""Heights of a bar: eighths of the scale."""
STYLE = """<style>
.dark-strip{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:.82rem;line-height:1.3;\
margin:.3rem 0 .9rem}
.dark-strip span{display:inline-block;vertical-align:top;margin:0 1px 6px 0;padding:0 1px;border-radius:2px;\
white-space:pre;\
background:rgba(100,116,139,calc(var(--e)*.07))}
.dark-strip i{display:block;font-style:normal;font-size:.5rem;line-height:1;height:1.1rem;color:inherit;\
opacity:.75;transform:scaleY(2.2);transform-origin:0 0}
.dark-gallery summary{cursor:pointer}
</style>"""


class Gallery:
    """Tokens as folded strips: one row of the frame is a token (column text), in order.

    fold: the column whose text stands over a fold; head: one whose text stands over some strips of a fold;
    strip: one that is the same for the tokens of a strip. shade: a column between 0 and 1, the darkness of
    the token's ground. bars: columns drawn as bars under the token, full at ``scale``. note: a column for
    the tooltip, beside the bars' numbers. unfolded: how many folds are open.
    """

    def __init__(
        self,
        frame: pd.DataFrame | Absent,
        fold: str,
        *,
        head: str | None = None,
        strip: str | None = None,
        shade: str,
        bars: Sequence[str] = (),
        scale: float = 2.0,
        note: str | None = None,
        unfolded: int = 0,
    ):
        self.absent = frame if isinstance(frame, Absent) else None
        self.folds, self.unfolded = {}, unfolded
        if self.absent is not None:
            return
        level = [name or fold for name in (fold, head, strip)]
        shades, heights = frame[shade], frame[list(bars)].to_numpy(float)
        rows = zip(frame["text"], shades, heights, frame[note or shade], strict=True)
        cells = [_token(*row, scale) for row in rows]
        table = pd.DataFrame({"cell": cells} | {n: frame[name].to_numpy() for n, name in enumerate(level)})
        for (summary, over, _), some in table.groupby([0, 1, 2], sort=False):
            heads = self.folds.setdefault(str(summary), {})
            heads.setdefault(str(over) if head else "", []).append("".join(some["cell"]))

    def _repr_html_(self) -> str:
        if self.absent is not None:
            return f"<p><em>{escape(self.absent.reason)}</em></p>"
        parts = [STYLE, '<div class="dark-gallery">']
        for n, (summary, heads) in enumerate(self.folds.items()):
            unfolded = " open" if n < self.unfolded else ""
            parts.append(f"<details{unfolded}><summary>{escape(summary)}</summary>")
            for over, strips in heads.items():
                parts += [f"<p>{escape(over)}</p>"] if over else []
                parts += [f'<div class="dark-strip">{strip}</div>' for strip in strips]
            parts.append("</details>")
        return "\n".join([*parts, "</div>"])

    def __repr__(self) -> str:
        return self.absent.reason if self.absent is not None else "\n".join(self.folds)


def _token(word: str, dark: float, values: np.ndarray, note, scale: float) -> str:
    told = " ".join([f"{note}:" if len(values) else f"{note}", *(f"{v:.1f}" for v in values)])
    marks = "".join(BARS[min(len(BARS) - 1, int(len(BARS) * v / scale))] for v in values)
    under = f"<i>{marks}</i>" if marks else ""
    said = "⏎" if word.startswith("\n") and not word.strip() else _visible(word)
    return f'<span style=--e:{min(9, round(9 * min(dark, 1.0)))} title="{told}">{escape(said)}{under}</span>'


def _visible(word: str) -> str:
    return word.replace("\n", "⏎").replace("\t", "⇥").replace("\r", "") or "∅"


FULL = 2.0
"""Multiples of the mean error at which a token's ground is darkest."""
STEPS = 1000
"""Parts of a multiple that the page has: a number is of 16 bits."""


class TokenBrowser:
    """Contexts to read, by two SAEs that the reader chooses; contexts are sorted by how much these disagree.

    frame: a row a token, in order: columns context, text and those of ``saes``: by an SAE, the column of
    its error's norm as a multiple of its mean and, if there, those of the error's two parts, linear and
    nonlinear; where they are not, it is ``unsplit``, told in words. The token under the pointer, or that the
    arrow keys lead to, has its numbers below. Without a script the first context is shown by the first SAE.
    Cost: some 3 bytes a token and column.
    """

    def __init__(
        self, frame: pd.DataFrame | Absent, saes: Mapping[str, Sequence[str]], *, name: str, unsplit: str = ""
    ):
        self.absent = frame if isinstance(frame, Absent) else None
        self.name, self.ground = name, []
        self.data = {"saes": list(saes), "full": FULL, "steps": STEPS, "unsplit": unsplit, "contexts": []}
        if self.absent is not None:
            return
        for context, rows in frame.groupby("context", sort=False):
            columns = [[rows[column].to_numpy(float) for column in of] for of in saes.values()]
            self.ground = self.ground or np.clip(columns[0][0] / FULL, 0, 1).tolist()
            found = {"name": str(context), "words": rows["text"].tolist()}
            found["values"] = [[packed(values) for values in parts] for parts in columns]
            self.data["contexts"].append(found)

    def _repr_html_(self) -> str:
        if self.absent is not None:
            return f"<p><em>{escape(self.absent.reason)}</em></p>"
        data = json.dumps(self.data, ensure_ascii=False).replace("</", "<\\/")
        first = self.data["contexts"][0]
        words = "".join(
            f'<span style="--e:{dark:.2f}">{escape(word)}</span>'
            for word, dark in zip(first["words"], self.ground, strict=True)
        )
        about = f'<p class="tokens-about">{escape(self.data["saes"][0])}, {escape(first["name"])}</p>'
        box = f'<div class="tokens-controls"></div>{about}<div class="tokens-text">{words}</div>'
        script = f'<script type="application/json">{data}</script>'
        return f'<div class="tokens" role="group" aria-label="{escape(self.name)}">{box}{script}</div>'

    def __repr__(self) -> str:
        if self.absent is not None:
            return self.absent.reason
        return "\n".join(f"{one['name']}: {''.join(one['words'])}" for one in self.data["contexts"])


def packed(values: np.ndarray) -> str:
    """Multiples in `STEPS` as 16-bit numbers, little-endian, in base64: a third of what digits take."""
    return base64.b64encode(np.rint(STEPS * np.clip(values, 0, 65)).astype("<u2").tobytes()).decode()
