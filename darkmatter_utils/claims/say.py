"""How numbers of a claim's evidence are said in a few words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ..base.values import Estimate
from ..base.words import interval, percent, plain, span


def values(estimates: Mapping[Any, Estimate]) -> list[float]:
    """The values of estimates."""
    return [e.value for e in estimates.values()]


def minus(estimate: Estimate | None) -> Estimate | None:
    """The estimate of the opposite effect."""
    return estimate and Estimate(-estimate.value, -estimate.high, -estimate.low)


three = partial(plain, digits=3)
"""Three digits after the point."""
tenths = partial(percent, digits=1)
"""A percentage with one digit after the point."""


def one(style: Callable[[float], str] = plain) -> Callable[[Any], str]:
    """How a number is said: with its interval, where it has one."""

    def say(value: Estimate | float | None) -> str:
        if value is None:
            return ""
        return interval(value, style) if isinstance(value, Estimate) else style(value)

    return say


def by_width(style: Callable[[float], str] = plain) -> Callable[[Mapping], str]:
    """How numbers by width are said: the narrowest and the widest."""

    def say(found: Mapping[int, Estimate | float]) -> str:
        if len(found) < 2:
            return by_name(style)(found)
        return " to ".join(
            f"{one(style)(found[width])} at {width:,.0f}" for width in (min(found), max(found))
        )

    return say


def by_name(style: Callable[[float], str] = plain) -> Callable[[Mapping], str]:
    """How numbers by name are said: one by one; of more than four, their range."""

    def say(found: Mapping[Any, Estimate | float] | None) -> str:
        if found and len(found) > 4:
            return span([v.value if isinstance(v, Estimate) else v for v in found.values()], style)
        return ", ".join(f"{name} {one(style)(v)}" for name, v in (found or {}).items())

    return say
