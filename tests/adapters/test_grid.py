"""The list of SAEs against the dots of the paper's own grids."""

import pytest

from darkmatter_utils.adapters.grid import choose, grid
from darkmatter_utils.claims.paper import grids

NAMES = {"Gemma 2 2B": "gemma-2-2b", "Gemma 2 9B": "gemma-2-9b"}


def dots(model: str, layer: int) -> set[tuple[str, int]]:
    """Width, as a name says it, and L0 of the SAEs of the paper's figure of a layer."""
    said = lambda width: "1m" if width > 1e6 else f"{width // 1000:.0f}k"
    rows = grids("vector R2")
    rows = rows[(rows["model"] == model) & (rows["layer"] == layer)]
    return {(said(width), int(l0)) for width, l0 in zip(rows["width"], rows["l0"], strict=True)}


@pytest.mark.parametrize(
    ("model", "layer"),
    [(model, layer) for model, *layers in (("2B", 5, 12, 19), ("9B", 9, 20, 31)) for layer in layers],
)
def test_what_can_be_had_is_what_the_papers_grids_have(model, layer):
    name = f"Gemma 2 {model}"
    had = {
        (sae.width, sae.l0)
        for sae in grid()
        if (sae.model, sae.site, sae.layer) == (NAMES[name], "res", layer) and sae.available
    }
    assert dots(name, layer) == had


def test_the_width_that_the_first_list_lacked_is_taken():
    by_width = {choice.taken.width: choice for choice in choose("gemma-2-2b", "res", 12, 60, take="around")}
    assert list(by_width) == ["16k", "32k", "65k", "131k", "262k", "524k", "1m"]
    assert [sae.l0 for sae in by_width["131k"].all] == [67, 36]
    assert by_width["131k"].taken.name == "gemma-scope-2b-pt-res/layer_12/width_131k/average_l0_67"
