"""Chapter 14 on the nano study: the numbers of its page."""

import json

import pytest
from throwaway import ROOT

from darkmatter_utils import measure
from darkmatter_utils.book import chapters, running


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    root = tmp_path_factory.mktemp("page")
    for name in ("notebooks", "book"):
        (root / name).mkdir()
    (root / "_toc.yml").write_text("")
    source = chapters.pick(ROOT, 14).source
    (root / "notebooks" / source.name).write_bytes(source.read_bytes())
    path = running.run(chapters.pick(root, 14), study="nano", log=str)
    record = json.loads((root / "build" / "nano" / "records" / "14.json").read_text())
    return record["values"], path.read_text()


def test_the_folder_and_the_function_give_the_same_numbers(page):
    values, text = page
    assert values["folder"]["fvu"]["value"] == pytest.approx(values["fvu"]["value"], rel=1e-3)
    assert values["fvu_linear"]["value"] + values["fvu_nonlinear"]["value"] == pytest.approx(
        values["fvu"]["value"], rel=1e-4
    )
    assert values["folder"]["random"]["value"] > values["fvu"]["value"]
    assert ", the number above" in text and "Traceback" not in text


def test_principal_components_leave_a_linear_error(page):
    values, _ = page
    assert values["components"]["r2_total"]["value"] == pytest.approx(1, abs=1e-6)


def test_it_is_the_share_that_the_study_measures(page):
    values, _ = page
    whole = measure("nano").saes.set_index("id").loc[values["sae"]]
    assert values["fvu"]["value"] == pytest.approx(whole["fvu"], rel=0.2)


def test_one_of_the_papers_widths_was_withdrawn(page):
    values, text = page
    assert values["withdrawn"] == 1 and "withdrawn since" in text
