"""The three systems of colour do not meet, and the parts of x stay apart for who sees no red or no green."""

from itertools import combinations

import numpy as np
import pytest

from darkmatter_utils.charts import theme

LEAST = 15.0
"""ΔE (CIE 1976) that two parts differ by at least."""
SIGHT = {  # Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB
    "full": np.eye(3),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
}
XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
WHITE = np.array([0.95047, 1.0, 1.08883])


def lab(colour: str, sight: np.ndarray) -> np.ndarray:
    """A hex colour in CIELAB, as it is seen."""
    rgb = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    ratio = XYZ @ np.clip(sight @ linear, 0, 1) / WHITE
    f = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("ground", ["light", "dark"])
@pytest.mark.parametrize("sight", SIGHT)
def test_any_two_parts_differ(sight, ground):
    parts = theme.PARTS if ground == "light" else {p: theme.DARK.get(c, c) for p, c in theme.PARTS.items()}
    seen = {part: lab(colour, SIGHT[sight]) for part, colour in parts.items()}
    near = [(a, b) for a, b in combinations(seen, 2) if np.linalg.norm(seen[a] - seen[b]) < LEAST]
    assert near == []


def test_known_colours_have_their_known_place():
    assert np.allclose(lab("#ffffff", SIGHT["full"]), [100, 0, 0], atol=0.02)
    assert np.allclose(lab("#ff0000", SIGHT["full"]), [53.24, 80.09, 67.20], atol=0.05)


def test_the_systems_do_not_meet():
    systems = [list(theme.PARTS.values()), theme.SEQUENCE, theme.GREYS, theme.RAMP]
    every = [colour.lower() for system in systems for colour in system]
    assert len(set(every)) == len(every)


def test_what_is_ordered_is_on_the_ramp_and_a_control_is_grey():
    names, colours = theme.palette(["4,096 latents", "128 latents", "16k"])
    assert names[0] == "128 latents" and set(colours) <= set(theme.RAMP)
    names, colours = theme.palette(["LinearError", "null: shrunk", "a reader"])
    told = dict(zip(names, colours, strict=True))
    assert told["null: shrunk"] in theme.GREYS and told["a reader"] in theme.SEQUENCE
