"""The token browser: text in its lines, the ground of a token as dark as its error, two SAEs side by side."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
import pandas as pd

from ..base.values import Absent

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
