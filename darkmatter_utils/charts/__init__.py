"""How numbers look: every chart of the book, one colour per part of x everywhere, and its tables.

    from darkmatter_utils import charts
    charts.use()
    charts.lines_with_intervals(frame, "width", "fvu", low="fvu_low", high="fvu_high", y_title="FVU")

Builders take a tidy frame and the names of its columns and return an altair chart: title, axes with units,
tooltips.
"""

from __future__ import annotations

from .curves import by_position, lines_with_intervals, power_law, stacked_breakdown
from .rows import beside, forest, heat, scatter
from .strip import context_strip
from .theme import HEIGHT, PARTS, RAMP, SEQUENCE, WIDTH, palette, theme, use
from .vegalite import MIME, VegaLiteRenderer, html, render, write_script

__all__ = [
    "HEIGHT",
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
    "lines_with_intervals",
    "palette",
    "power_law",
    "render",
    "scatter",
    "stacked_breakdown",
    "theme",
    "use",
    "write_script",
]
