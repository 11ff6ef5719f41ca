"""`darkmatter where`: from a figure's name to its cell, its numbers and its rule."""

import pytest
from throwaway import ROOT, project

from darkmatter_utils import cli
from darkmatter_utils.base.errors import BadInput
from darkmatter_utils.book.where import Script, cells, where

FIGURES = [
    cell.label
    for path in sorted((ROOT / "notebooks").glob("[0-9]*.py"))
    for cell in cells(path.read_text())
    if cell.label
]
IDEA = """
# %%
from darkmatter_utils.stats.metrics import fvu

width = 2

def idea(x, width=width):
    return fvu(x, x)

found = idea([1.0])
other = 3

# %% tags=["hide-input"]
#| label: fig-new
#| caption: One
#|   and two.
charts.lines(found, "width", "fvu")

# %%
chapter.record("what is drawn", found)
chapter.record("something else", other)
"""


def lines_of(place: str) -> list[str]:
    file, _, line = place.rpartition(":")
    return (ROOT / file).read_text().splitlines()[int(line) - 1 :]


def test_there_are_figures_and_each_has_one_name():
    assert len(FIGURES) > 40 and len(FIGURES) == len(set(FIGURES))


@pytest.mark.parametrize("label", FIGURES)
def test_every_figure_of_the_book_is_found_in_its_cell(label):
    found = where(ROOT, label)
    assert found[0].what == "figure" and lines_of(found[0].where)[0].startswith("# %%")
    assert label in "\n".join(lines_of(found[0].where)[:2])
    for place in found:
        if place.what in ("drawn by", "numbers", "rule"):
            names = ("def verdict", "def statements") if place.what == "rule" else (place.name,)
            assert any(name in line for line in lines_of(place.where)[:3] for name in names), place


def test_a_figure_leads_to_its_idea_its_numbers_and_the_keys_of_its_record(tmp_path):
    root = project(tmp_path / "p", extra=IDEA)
    found = where(root, "fig-new")
    source = (root / "notebooks" / "01_probe.py").read_text().splitlines()
    lines = {place.what: place for place in found}
    assert source[int(lines["figure"].where.split(":")[1])] == "#| label: fig-new"
    assert source[int(lines["idea"].where.split(":")[1]) - 1].startswith("def idea(x")
    assert (lines["numbers"].name, lines["drawn by"].name) == ("fvu", "lines")
    assert lines["numbers"].where.startswith("darkmatter_utils/stats/metrics.py:")
    assert lines["record"].where == "book/records/tiny/01.json" and lines["record"].name == "what is drawn"
    assert where(root, "fig-probe")[0].where == "notebooks/01_probe.py:29"


def test_an_unknown_figure_names_the_nearest(tmp_path, monkeypatch, capsys):
    root = project(tmp_path / "p")
    with pytest.raises(BadInput, match="there is no figure 'fig-prob'; nearest valid names: fig-probe"):
        where(root, "fig-prob")
    monkeypatch.chdir(root)
    assert cli.main(["where", "fig-probe"]) == 0
    assert capsys.readouterr().out.startswith("figure    notebooks/01_probe.py:29")


def test_a_name_is_followed_to_where_it_was_last_given_a_value():
    script = Script("from darkmatter_utils.stats import fits, metrics\na = fits.b()\na = metrics.c(a)\na\n")
    (cell,) = cells("# %%\n" + "x\n" * 9)
    assert script.behind(cell._replace(start=4))[0] == [
        ("darkmatter_utils.stats.metrics", "c"),
        ("darkmatter_utils.stats", "metrics"),
        ("darkmatter_utils.stats.fits", "b"),
        ("darkmatter_utils.stats", "fits"),
    ]
