"""One context as text, with the parts of every token's error under it."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from .theme import INK, MONO, PARTS, WIDTH, builder, colour, finish, tip

LINE = 46
"""Pixels of one line of text and its bars."""
TOKEN_TOP, TOKEN_FOOT, BAR_TOP, BAR_FOOT = 0.05, 0.46, 0.50, 0.92
"""Where in a line the token and its bar stand, from its upper edge."""


@builder
def context_strip(
    frame,
    parts,
    *,
    text="text",
    about=(),
    title="",
    value_title="sum of the parts",
    row=72,
    width=WIDTH,
):
    """The tokens of one context as lines of text, the parts of each token's error as stacked bars under it.

    frame: one row a token, in order. parts: {"LinearError": column, "NonlinearError": column, ...}, the first
    at the foot, all on one scale (the tallest bar is the largest sum in the frame). about: further columns
    for the tooltip. A line ends with a line break of the text or after ``row`` characters. At most about 150
    tokens stay legible.
    """
    frame = pd.DataFrame(frame).reset_index(drop=True)
    tokens = _layout([str(token) for token in frame[text]], row)
    values = pd.DataFrame({part: np.asarray(frame[column], dtype=float) for part, column in parts.items()})
    tokens["sum"] = values.sum(axis=1)
    notes = [alt.Tooltip("token:N"), tip("sum", value_title)]
    for n, column in enumerate(about):
        tokens[f"about{n}"] = list(frame[column])
        numeric = pd.api.types.is_numeric_dtype(frame[column])
        notes.append(tip(f"about{n}", column) if numeric else alt.Tooltip(f"about{n}:N", title=str(column)))
    lines = int(tokens["line"].max()) + 1
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
    chips = base.mark_rect(color="#eceff5", stroke="#ffffff", strokeWidth=1, cornerRadius=2)
    chips = chips.encode(x2="x2", y=alt.Y("top:Q", axis=None, scale=down), y2="foot")
    words = base.mark_text(align="left", baseline="middle", dx=1, font=MONO, fontSize=13, color=INK)
    words = words.encode(
        y=alt.Y("middle:Q", axis=None, scale=down), text="word:N", x=alt.X("at:Q", axis=None, scale=across)
    )
    bars = (
        alt.Chart(_bars(tokens, values))
        .mark_rect()
        .encode(
            x=x,
            x2="x2",
            y=alt.Y("top:Q", axis=None, scale=down),
            y2="foot",
            color=colour(list(parts), offset=8),
            tooltip=[alt.Tooltip("token:N"), alt.Tooltip("color:N", title="part"), tip("value", "value")],
        )
    )
    strip = alt.layer(chips, words, bars)
    sized = finish(strip, title, width * longest / row, LINE * lines)
    return sized.properties(usermeta={"scaleText": True})


def _layout(shown: list[str], row: int) -> pd.DataFrame:
    """Columns token (line breaks and tabs visible), line, x, x2 in characters."""
    places, line, x = [], 0, 0
    for token in shown:
        visible = token.replace("\n", "⏎").replace("\t", "⇥").replace("\r", "") or "∅"
        if len(visible) > row // 2:
            visible = visible[: row // 2 - 1] + "…"
        if x and x + len(visible) > row:
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
        piece = tokens[["token", "x", "x2"]].assign(
            x=tokens["x"] + 0.08, x2=tokens["x2"] - 0.08, top=top, foot=foot
        )
        pieces.append(piece.assign(color=part, value=values[part]))
    return pd.concat(pieces, ignore_index=True)
