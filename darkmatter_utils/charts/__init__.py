"""How numbers look: every chart of the book, one colour per part of x everywhere, and its tables.

    from darkmatter_utils import charts
    charts.use()
    charts.lines(frame, "width", "fvu", y_title="FVU")      with the intervals fvu_low, fvu_high
    charts.Table(frame, {"FVU": percent})           with a style a column

Builders take a tidy frame and the names of its columns and return an altair chart: title, axes with units,
tooltips. Of a frame that is `Absent` they, and a table, show the reason.
"""

# ruff: noqa: F401  what this folder offers
from ..base.values import estimates
from .curves import by_position, lines, power_law, stacked_breakdown
from .rows import beside, forest, heat, layered, panels, strips
from .tables import Csv, Folded, Table, Words, wide
from .texts import Gallery, TokenBrowser, context_strip
from .theirs import paper_points
from .theme import PARTS, SEQUENCE, palette, use
from .vegalite import MIME, VegaLiteRenderer, html, render, write_script
