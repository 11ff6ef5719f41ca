"""In every published record each estimate lies inside of its interval, with room unless it is exact."""

import json

import pytest
from room import without_room
from throwaway import ROOT

RECORDS = sorted(path for path in (ROOT / "book" / "records").glob("*/*.json") if path.stem.isdigit())


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_no_published_estimate_is_at_an_end_of_its_interval(path):
    assert not without_room(json.loads(path.read_text())["values"])
