"""A chapter's idea as an argument: what its digest follows, and what it refuses; results that are keyed by
it."""

import re

import numpy as np
import pandas as pd
import pytest
from cells import cell
from throwaway import ROOT

from darkmatter_utils.base import ideas
from darkmatter_utils.base.cache import kept
from darkmatter_utils.base.errors import BadInput
from darkmatter_utils.base.values import Absent

TARGET = "def target(x, power=2):\n    return norm(x) ** power\n"
NORM = "def norm(x):\n    return np.linalg.norm(x, axis=1)\n"


def test_comments_docstrings_and_layout_do_not_count():
    told = 'def target(x, power=2):\n    """Say."""\n    # why\n    return norm(x)**power\n'
    assert ideas.digest(cell(NORM + TARGET)) == ideas.digest(cell(NORM + told))


@pytest.mark.parametrize(
    "edited",
    [
        NORM + TARGET.replace("** power", "* power"),
        NORM + TARGET.replace("power=2", "power=3"),
        NORM.replace("axis=1", "axis=0") + TARGET,
        NORM + TARGET.replace("power=2", "power=np.ones(2)"),
    ],
)
def test_source_defaults_and_helpers_count(edited):
    assert ideas.digest(cell(NORM + TARGET)) != ideas.digest(cell(edited))


def test_a_variable_of_the_notebook_is_refused_by_name():
    with pytest.raises(BadInput, match=r"target uses the notebook's variable 'scale'.*scale=scale"):
        ideas.digest(cell("def target(x):\n    return scale * x\n", scale=2.0))
    with pytest.raises(BadInput, match="'scale'"):
        ideas.digest(
            cell("def helper(x):\n    return scale * x\n\ndef target(x):\n    return helper(x)\n", scale=2)
        )


def test_functions_of_the_package_count_by_the_definitions_behind_them():
    from darkmatter_utils import LinearMap
    from darkmatter_utils.stats.metrics import fvu

    source = "def target(x, y):\n    return score(x, y)\n"
    assert ideas.digest(cell(source, score=fvu)) == ideas.digest(cell(source, score=fvu))
    assert ideas.digest(cell(source, score=fvu)) != ideas.digest(cell(source, score=LinearMap.fit))


def test_by_name_what_the_package_does_inside_does_not_count(monkeypatch):
    from darkmatter_utils.stats.metrics import fvu, r2_total

    source, named = "def target(x, y):\n    return score(x, y)\n", dict(by_name=True)
    mine = cell(source, score=fvu)
    before = ideas.digest(mine), ideas.digest(mine, **named), ideas.digest(fvu, **named)
    monkeypatch.setattr(ideas.provenance, "key", lambda found: "another code")
    after = ideas.digest(mine), ideas.digest(mine, **named), ideas.digest(fvu, **named)
    assert before[0] != after[0] and before[1:] == after[1:]
    assert ideas.digest(fvu, **named) != ideas.digest(r2_total, **named)
    other = cell(source.replace("score(x", "2 * score(x"), score=fvu)
    assert ideas.digest(other, **named) != ideas.digest(mine, **named)


class Subject:
    name = "nobody"

    def key(self):
        return {"study": 1}


@kept
def table(subject, *, target=None, width=3):
    Subject.calls += 1
    if width == 0:
        return Absent("This study has no width.")
    return {"values": pd.DataFrame({"v": target(np.ones((width, 4)))})}


def test_a_result_is_computed_once_for_each_idea_and_setting(tmp_path, monkeypatch):
    monkeypatch.setenv("DARKMATTER_CACHE", str(tmp_path))
    Subject.calls = 0
    first = table(Subject(), target=cell(NORM + TARGET))
    again = table(Subject(), target=cell(NORM + "# another line\n" + TARGET))
    pd.testing.assert_frame_equal(first["values"], again["values"])
    assert Subject.calls == 1 and first["values"]["v"].tolist() == [4.0] * 3
    assert table(Subject(), target=cell(NORM + TARGET.replace("power=2", "power=1")))["values"]["v"][0] == 2.0
    assert len(table(Subject(), target=cell(NORM + TARGET), width=4)["values"]) == 4
    assert Subject.calls == 3


def test_what_is_absent_is_false_says_why_and_stays_absent_whatever_is_asked_of_it(tmp_path, monkeypatch):
    monkeypatch.setenv("DARKMATTER_CACHE", str(tmp_path))
    found = table(Subject(), target=cell(NORM + TARGET), width=0)
    assert not found and found["values"]["v"].reason == "This study has no width."
    assert list(found["values"]) == [] and found["values"].assign(v=1).query("v > 0") is found


@kept
def tables(subject):
    return {"values": pd.DataFrame({"v": [1.0]}), "pairs": Absent("This study has no pairs.")}


def test_a_table_that_is_absent_is_kept_beside_the_others(tmp_path, monkeypatch):
    monkeypatch.setenv("DARKMATTER_CACHE", str(tmp_path))
    for _ in range(2):
        found = tables(Subject())
        assert found["pairs"].reason == "This study has no pairs." and len(found["values"]) == 1


def test_a_chapter_with_an_idea_names_three_changes_to_try_and_their_effects():
    sources = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "notebooks").glob("*.py"))]
    with_idea = [source for source in sources if "\n@chapter.idea\n" in source]
    assert len(with_idea) == 8
    for source in with_idea:
        tries = re.findall(r"# try: (.+)", source)
        assert len(tries) >= 3 and all(": " in one for one in tries), "a change, then what to expect"
