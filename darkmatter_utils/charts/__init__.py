"""How numbers look: every chart of the book, one colour per part of x everywhere, and its tables.

    from darkmatter_utils import charts
    charts.use()
    charts.lines(frame, "width", "fvu", y_title="FVU")      with the intervals fvu_low, fvu_high
    charts.Table(frame, {"FVU": percent})           with a style a column

Builders take a tidy frame and the names of its columns and return an altair chart: title, axes with units,
tooltips. Of a frame that is `Absent` they, and a table, show the reason.
"""

from __future__ import annotations

from ..base.values import estimates
from .curves import by_position, lines, power_law, stacked_breakdown
from .rows import beside, forest, heat, layered, panels, scatter
from .tables import Folded, Html, Table, Words, wide
from .texts import Gallery, context_strip
from .theme import HEIGHT, PARTS, RAMP, SEQUENCE, WIDTH, palette, theme, use
from .vegalite import MIME, VegaLiteRenderer, html, render, write_script

__all__ = [
    "HEIGHT",
    "Folded",
    "Gallery",
    "Html",
    "Table",
    "Words",
    "estimates",
    "MIME",
    "PARTS",
    "RAMP",
    "SEQUENCE",
    "WIDTH",
    "VegaLiteRenderer",
    "beside",
    "by_position",
    "context_strip",
    "forest",
    "heat",
    "html",
    "layered",
    "lines",
    "palette",
    "panels",
    "power_law",
    "render",
    "scatter",
    "stacked_breakdown",
    "theme",
    "use",
    "wide",
    "write_script",
]
