"""Vega-Lite charts as notebook outputs and parts of a page: interactive, static without JavaScript, offline.

A notebook stores the specification and a PNG (for viewers that cannot draw it). The book turns the
specification into a static SVG plus the specification itself, which one script for the whole book draws
again, interactively.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from functools import cache
from html import escape
from pathlib import Path
from typing import ClassVar

from ..base.config import STATIC
from ..base.values import to_json
from .theme import DARK

MIME = "application/vnd.vegalite.v6+json"
"""What myst-nb and JupyterLab know as Vega-Lite 6 (altair's own mimetype renderer leaves ``+json`` out)."""
LARGEST = 120_000
"""Bytes of a specification above which it does not belong into a page."""


@cache
def converter():
    """vl_convert, which draws text in the fonts that the package ships."""
    import vl_convert

    vl_convert.register_font_directory(str(STATIC / "fonts"))
    return vl_convert


def render(spec: dict, *, scale: float = 1.0, **_) -> dict:
    """The MIME bundle of a chart (specification, PNG, a line of text); altair's renderer ``darkmatter``.

    Raises ValueError when the specification exceeds 120 kB: aggregate first, a page is no place for raw
    tokens. Cost: about 0.1 s, most of it the PNG. The same chart gives the same bytes, in whatever order
    charts are made.
    """
    spec = settle(spec)
    text = json.dumps(spec)
    if len(text) > LARGEST:
        most = f"at most {LARGEST:,}: aggregate its data before drawing"
        raise ValueError(f"a chart of {len(text):,} bytes; {most}")
    png = converter().vegalite_to_png(json.dumps(spec | {"background": "white"}), scale=scale)
    title = spec.get("description") or "chart"
    return {MIME: spec, "image/png": base64.b64encode(png).decode(), "text/plain": f"<chart: {title}>"}


def settle(spec: dict) -> dict:
    """A copy of ``spec`` that depends on the chart alone: numbers rounded, names numbered, keys sorted.

    altair numbers views and parameters by a counter of the process and names data by a hash of its bytes.
    """
    spec = to_json(spec)
    names: dict[str, str] = {}
    for kind in ("view", "param", "concat"):
        found = re.findall(rf"\b{kind}_\d+", json.dumps(spec, sort_keys=True))
        names |= {old: f"{kind}_{n}" for n, old in enumerate(dict.fromkeys(found), 1)}
    names |= {old: f"data-{n}" for n, old in enumerate(spec.get("datasets", {}), 1)}
    text = json.dumps(spec, sort_keys=True)
    if names:
        longest_first = sorted(names, key=len, reverse=True)
        every = "|".join(rf"\b{re.escape(old)}\b" for old in longest_first)
        text = re.sub(every, lambda found: names[found[0]], text)
    return json.loads(text)


class VegaLiteRenderer:
    """myst-nb plug-in: a chart becomes a ``div.vl-chart`` of SVG and specification; LaTeX keeps the PNG."""

    mime_priority_overrides: ClassVar = [("html", MIME, 1)]

    @staticmethod
    def handle_mime(renderer, data, inline):
        """The docutils nodes of one output, or None when it is not a chart."""
        if data.mime_type != MIME or inline:
            return None
        from docutils import nodes

        spec = data.content if isinstance(data.content, dict) else json.loads(data.content)
        return [nodes.raw("", html(spec), format="html")]


def html(spec: dict) -> str:
    """A chart as HTML, complete without a script: its title as text, SVG, and the specification for
    ``vega-book.js``."""
    spec = dict(spec)
    # The title of the whole is text of the page, which wraps and can be read: those of panels stay.
    above = _title(spec.pop("title")) if "title" in spec else ""
    text = json.dumps(spec, sort_keys=True).replace("</", "<\\/")
    svg = converter().vegalite_to_svg(text.replace("<\\/", "</"))
    # Every SVG of vega calls its first clip path clip0: in one page each needs a name of its own.
    mark = hashlib.sha256(text.encode()).hexdigest()[:10]
    svg = re.sub(r'(id="|url\(#)(clip|gradient_)', rf"\g<1>{mark}-\g<2>", svg)
    natural = re.match(r'<svg[^>]*\bwidth="([\d.]+)"', svg)
    width = f' style="max-width:{math.ceil(float(natural[1]))}px"' if natural else ""
    label = escape(spec.get("description") or "chart")
    box = f'<div class="vl-box"{width}>{svg}</div><script type="application/json">{text}</script>'
    return f'{above}<div class="vl-chart" role="img" aria-label="{label}">{box}</div>'


def _title(title) -> str:
    text = title.get("text", "") if isinstance(title, dict) else title
    return f'<p class="vl-title">{escape(text if isinstance(text, str) else " ".join(text))}</p>\n'


def write_script(path: Path) -> None:
    """Write ``vega-book.js``: Vega, Vega-Lite, Vega-Embed and the drawing code, once a book (0.9 MB)."""
    draw = (STATIC / "draw-charts.js").read_text()
    # The bundle has top-level one-letter constants, and type="module" does not load from file://: hence
    # a function.
    text = "(() => {" + converter().javascript_bundle() + "\n" + draw + "})();\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def write_styles(path: Path) -> None:
    """Write ``charts.css``: the fonts, inside, for a page from the disk may load none beside it (0.7 MB), and
    the colours of charts where the page is dark."""
    faces = []
    for font in sorted((STATIC / "fonts").glob("*.ttf")):
        name, _, face = font.stem.partition("-")
        weight, style = (600 if face == "SemiBold" else 400), ("italic" if face == "Italic" else "normal")
        data = base64.b64encode(font.read_bytes()).decode()
        family = re.sub("(?<=[a-z])(?=[A-Z])", " ", name)
        faces.append(
            f'@font-face {{ font-family: "{family}"; font-weight: {weight}; font-style: {style}; '
            f'src: url("data:font/ttf;base64,{data}") format("truetype"); }}\n'
        )
    for light, dark in DARK.items():
        for what in ("fill", "stroke"):
            faces.append(
                f'html[data-theme="dark"] .vl-chart svg [{what}="{light}" i] {{ {what}: {dark}; }}\n'
            )
    path.write_text("".join(faces))
