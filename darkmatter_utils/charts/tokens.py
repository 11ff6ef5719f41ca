"""The token browser: text in its lines, the ground of a token as dark as its error, two SAEs side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
import pandas as pd

from ..base.values import Absent

FULL = 2.5
"""Multiples of the mean error at which a token's ground is darkest."""


class TokenBrowser:
    """Contexts to read, by two SAEs that the reader chooses; contexts are sorted by how much these disagree.

    frame: a row a token, in order: columns context, text and those of ``saes``: by an SAE, the column of
    its error's norm as a multiple of its mean and, if there, those of the error's two parts, linear and
    nonlinear. Without a script the first context is shown by the first SAE. Cost: some 12 bytes a token
    and SAE.
    """

    def __init__(self, frame: pd.DataFrame | Absent, saes: Mapping[str, Sequence[str]], *, name: str):
        self.absent = frame if isinstance(frame, Absent) else None
        self.name, self.data = name, {"saes": list(saes), "contexts": []}
        if self.absent is not None:
            return
        for context, rows in frame.groupby("context", sort=False):
            found = {"name": str(context), "words": rows["text"].tolist()}
            columns = [rows[list(of)].to_numpy(float) for of in saes.values()]
            found["values"] = [np.rint(100 * np.clip(part, 0, 99)).astype(int).tolist() for part in columns]
            self.data["contexts"].append(found)

    def _repr_html_(self) -> str:
        if self.absent is not None:
            return f"<p><em>{escape(self.absent.reason)}</em></p>"
        data = json.dumps(self.data, ensure_ascii=False).replace("</", "<\\/")
        first = self.data["contexts"][0]
        words = "".join(
            f'<span style="--e:{min(1, value[0] / 100 / FULL):.2f}">{escape(word)}</span>'
            for word, value in zip(first["words"], first["values"][0], strict=True)
        )
        about = f'<p class="tokens-about">{escape(self.data["saes"][0])}, {escape(first["name"])}</p>'
        box = f'<div class="tokens-controls"></div>{about}<div class="tokens-text">{words}</div>'
        script = f'<script type="application/json">{data}</script>'
        return f'<div class="tokens" aria-label="{escape(self.name)}">{box}{script}</div>'

    def __repr__(self) -> str:
        if self.absent is not None:
            return self.absent.reason
        return "\n".join(f"{one['name']}: {''.join(one['words'])}" for one in self.data["contexts"])
