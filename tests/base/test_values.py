"""Values as JSON holds them, and files that are there whole or not at all."""

import pytest

from darkmatter_utils.base.values import Absent, Estimate, from_json, to_json, whole


def test_numbers_as_json_and_back():
    found = {"a": Estimate(1 / 3, 0.25, 0.5), 2: [float("nan"), 1234567.0], "no": Absent("none")}
    assert to_json(found) == {
        "a": {"value": 0.333333, "low": 0.25, "high": 0.5},
        "2": [None, 1234570.0],
        "no": None,
    }
    assert to_json(found, digits=None)["a"]["value"] == 1 / 3
    assert from_json(to_json(found))["a"] == Estimate(0.333333, 0.25, 0.5)


def test_what_is_written_is_there_whole_or_as_it_was(tmp_path):
    file, folder = tmp_path / "file", tmp_path / "folder"
    folder.mkdir()
    (folder / "old").touch()
    for path in (file, folder):
        with pytest.raises(RuntimeError, match="killed"), whole(path) as part:
            part.mkdir()
            raise RuntimeError("killed")
    assert not file.exists() and (folder / "old").exists()
    with whole(file) as part:
        part.write_text("new")
    with whole(folder) as part:
        part.mkdir()
        (part / "new").touch()
    assert file.read_text() == "new" and [path.name for path in folder.iterdir()] == ["new"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
