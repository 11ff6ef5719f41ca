"""Numbers as words: percentages, intervals, ranges, counts; all with a true minus sign."""

from __future__ import annotations

import math
from collections.abc import Callable

COUNTS = (
    "none one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen twenty"
).split()


def percent(value: float, digits: int = 0) -> str:
    """A share as a percentage, with a true minus sign: -0.051 -> "−5%"."""
    return f"{plain(100 * value, digits)}%"


def share(value: float) -> str:
    """A share in percent, to a tenth; beyond two wholes it is a multiple: 2.5 -> "2.5 times"."""
    return (f"{value:.1%}" if abs(value) <= 2 else f"{value:,.3g} times").replace("-", "−")


def plain(value: float, digits: int = 2) -> str:
    """A number with so many digits after the point and a true minus sign; zero has no sign."""
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", "−")


def interval(estimate, style: Callable[[float], str] = plain) -> str:
    """An estimate with its interval: "0.42 [0.40, 0.44]"."""
    if math.isnan(estimate.low):
        return style(estimate.value)
    return f"{style(estimate.value)} [{style(estimate.low)}, {style(estimate.high)}]"


def span(values, style: Callable[[float], str] = plain) -> str:
    """The range of several numbers in words: "0.18 to 0.48"; one number where they read the same."""
    low, high = style(min(values)), style(max(values))
    return low if low == high else f"{low} to {high}"


def course(values, style: Callable[[float], str] = plain, *, level: float = 0.05) -> str:
    """How a series goes from its first number to its last: "falls from 0.48 to 0.39", "rises from 0.20 to
    0.40"; "stays at 0.48 to 0.49" where these two differ by less than a share ``level`` of the larger; "goes
    from 0.48 to 0.39, between 0.39 and 0.55" where it turns on its way by more than that."""
    values = list(values)
    first, last = values[0], values[-1]
    if abs(last - first) <= level * max(abs(first), abs(last)):
        return f"stays at {span(values, style)}"
    least = level * max(map(abs, values))
    back = [(b - a) * (1 if last < first else -1) for a, b in zip(values, values[1:])]
    ends = min(first, last), max(first, last)
    if max(back) > least and ends == (min(values), max(values)):
        return f"goes unevenly from {style(first)} to {style(last)}"
    if max(back) > least or max(values) > max(first, last) + least or min(values) < min(first, last) - least:
        between = f"between {style(min(values))} and {style(max(values))}"
        return f"goes from {style(first)} to {style(last)}, {between}"
    return f"{'falls' if last < first else 'rises'} from {style(first)} to {style(last)}"


def counted(part: int, whole: int, noun: str = "width") -> str:
    """How many of how many, in words: "all 6 widths", "2 of 6 widths", "none of 6 widths"."""
    if whole == 1:
        return f"the one {noun}" if part else f"no {noun}"
    return f"all {whole} {noun}s" if part == whole else f"{part or 'none'} of {whole} {noun}s"


def spelled(count: int) -> str:
    """A count as a word, up to twenty; above in digits."""
    return COUNTS[count] if count < len(COUNTS) else str(count)


def said(value, fmt: str) -> str:
    """A number in prose, "value [low, high]" for an estimate with an interval; a minus is a minus sign."""
    style = lambda number: format(number, fmt).replace("-", "\u2212")
    return interval(value, style) if hasattr(value, "low") else style(value)


def readable(size: float) -> str:
    """Bytes for people."""
    if size < 1000:
        return f"{size:,.0f} bytes"
    for unit in ("kB", "MB"):
        size /= 1000
        if size < 1000:
            return f"{size:,.1f} {unit}"
    return f"{size / 1000:,.1f} GB"


def time_of(seconds: float) -> str:
    """A time for people."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
