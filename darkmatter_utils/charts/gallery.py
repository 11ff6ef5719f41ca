"""Pieces of text to read: folded strips of tokens in plain HTML, each token with a bar for every number under
it.

No script, no picture and no colour is needed to read them: the bars are characters, so a gallery is light and
works wherever a notebook is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
import pandas as pd

from ..base.values import Absent

BARS = "▁▂▃▄▅▆▇█"
"""Heights of a bar: eighths of the scale."""
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


class Gallery:
    """Tokens as folded strips: one row of the frame is a token, in order.

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
        text: str = "text",
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
        cells = [
            _token(word, min(9, round(9 * min(dark, 1.0))), values, scale, told)
            for word, dark, values, told in zip(
                frame[text],
                frame[shade],
                frame[list(bars)].to_numpy(float),
                frame[note or shade],
                strict=True,
            )
        ]
        table = pd.DataFrame({"cell": cells} | {n: frame[name].to_numpy() for n, name in enumerate(level)})
        for (summary, over, _), some in table.groupby([0, 1, 2], sort=False):
            heads = self.folds.setdefault(str(summary), {})
            heads.setdefault(str(over) if head else "", []).append("".join(some["cell"]))

    def _repr_html_(self) -> str:
        if self.absent is not None:
            return f"<p><em>{escape(self.absent.reason)}</em></p>"
        parts = [STYLE, '<div class="dark-gallery">']
        for n, (summary, heads) in enumerate(self.folds.items()):
            parts.append(
                f"<details{' open' if n < self.unfolded else ''}><summary>{escape(summary)}</summary>"
            )
            for over, strips in heads.items():
                parts += [f"<p>{escape(over)}</p>"] if over else []
                parts += [f'<div class="dark-strip">{strip}</div>' for strip in strips]
            parts.append("</details>")
        return "\n".join([*parts, "</div>"])

    def __repr__(self) -> str:
        return self.absent.reason if self.absent is not None else "\n".join(self.folds)


def _token(word: str, depth: int, values: np.ndarray, scale: float, note) -> str:
    told = " ".join([f"{note}:" if len(values) else f"{note}", *(f"{v:.1f}" for v in values)])
    marks = "".join(BARS[min(len(BARS) - 1, int(len(BARS) * v / scale))] for v in values)
    under = f"<i>{marks}</i>" if marks else ""
    return f'<span style=--e:{depth} title="{told}">{escape(_visible(word)) or "∅"}{under}</span>'


def _visible(word: str) -> str:
    if word.startswith("\n") and not word.strip():
        return "⏎"
    return word.replace("\n", "⏎").replace("\t", "⇥").replace("\r", "")
