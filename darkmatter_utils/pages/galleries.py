"""Contexts to read: a folded gallery in plain HTML, each token with a bar for every SAE's error under it.

No script, no picture and no colour is needed to read it: the bars are characters, so it is light and works
wherever a notebook is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
import pandas as pd

BARS = "▁▂▃▄▅▆▇█"
"""Heights of a bar: eighths of the scale."""
SCALE = 2.0
"""The error, in multiples of the SAE's mean, that fills a bar."""
STYLE = """<style>
.dark-strip{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:.82rem;line-height:1.3;\
margin:.3rem 0 .9rem}
.dark-strip span{display:inline-block;vertical-align:top;margin:0 1px 6px 0;padding:0 1px;border-radius:2px;\
white-space:pre;
background:rgba(139,95,191,calc(var(--e)*.1))}
.dark-strip i{display:block;font-style:normal;font-size:.5rem;line-height:1;height:1.1rem;color:#8b5fbf;
transform:scaleY(2.2);transform-origin:0 0}
.dark-gallery summary{cursor:pointer}
</style>"""


def spread_contexts(measurement, ids: Sequence[str], *, count: int = 40) -> list[int]:
    """Contexts from the one with the smallest mean error to the one with the largest, at evenly spaced ranks.

    The mean is over the scored tokens of error norms in units of each SAE's mean norm, then over ``ids``;
    only contexts with the largest number of scored tokens take part. So no context is picked by hand, and
    both ends are shown.
    """
    tokens = measurement.tokens[measurement.tokens["scored"]]
    level = relative_norms(tokens, ids).mean(axis=1)
    stats = (
        pd.DataFrame({"context": tokens["context"].to_numpy(), "level": level})
        .groupby("context")["level"]
        .agg(["mean", "size"])
    )
    ranked = stats[stats["size"] == stats["size"].max()].sort_values("mean", kind="stable").index
    return [int(ranked[i]) for i in np.unique(np.linspace(0, len(ranked) - 1, count).round().astype(int))]


def relative_norms(tokens: pd.DataFrame, ids: Sequence[str]) -> np.ndarray:
    """‖SaeError‖ of each SAE in multiples of its mean over these tokens [token, SAE]."""
    norms = np.sqrt(np.column_stack([tokens[f"{id}:error"].to_numpy(float) for id in ids]))
    return norms / norms.mean(axis=0)


class Gallery:
    """Contexts as folded strips of tokens; under each token one bar for each SAE, in the order of ``ids``."""

    def __init__(
        self, measurement, ids: Sequence[str], contexts: Sequence[int], *, shown: int = 100, unfolded: int = 1
    ):
        self.names, self.unfolded = [f"{int(measurement.sae(id)['width']):,}" for id in ids], unfolded
        tokens = measurement.tokens[measurement.tokens["scored"]]
        relative = relative_norms(tokens, ids)
        self.strips = []
        for context in contexts:
            mine = np.flatnonzero(tokens["context"].to_numpy() == context)
            level = relative[mine].mean()
            mine = mine[:shown]
            words = measurement.decode(tokens["token"].to_numpy()[mine].tolist())
            document = int(tokens["document"].to_numpy()[mine[0]])
            positions = tokens["position"].to_numpy()[mine].tolist()
            self.strips.append((context, document, level, words, positions, relative[mine]))

    def _repr_html_(self) -> str:
        parts = [STYLE, '<div class="dark-gallery">']
        for n, (context, document, level, words, positions, values) in enumerate(self.strips):
            line = f"context {context}, document {document}: {level:.2f} times the mean error"
            parts.append(f"<details{' open' if n < self.unfolded else ''}><summary>{line}</summary>")
            parts.append(
                '<div class="dark-strip">'
                + "".join(map(_token, words, positions, values))
                + "</div></details>"
            )
        return "\n".join([*parts, "</div>"])

    def __repr__(self) -> str:
        lines = [f"{len(self.strips)} contexts; bars from left to right: widths {', '.join(self.names)}"]
        lines += [
            f"context {context}, document {document}: {level:.2f}"
            for context, document, level, *_ in self.strips
        ]
        return "\n".join(lines)


def bars(values) -> str:
    """Numbers as bar characters: nothing is ▁, `SCALE` times the mean or more is █."""
    return "".join(BARS[min(len(BARS) - 1, int(len(BARS) * v / SCALE))] for v in values)


def _token(word: str, position: int, values: np.ndarray) -> str:
    visible = (
        "⏎" if word.startswith("\n") and not word.strip() else word.replace("\n", "⏎").replace("\t", "⇥")
    )
    told = " ".join(f"{v:.1f}" for v in values)
    depth = min(9, round(3 * float(values.mean())))
    return (
        f'<span style=--e:{depth} title="{position}: '
        f'{told}">{escape(visible) or "∅"}<i>{bars(values)}</i></span>'
    )
