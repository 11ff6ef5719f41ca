"""Which tokens are read of a text: one <bos>, and texts that repeat others."""

import json

import numpy as np
import pytest
import toys

from darkmatter_utils.adapters.models import load_model
from darkmatter_utils.adapters.reading import RUN, read
from darkmatter_utils.adapters.texts import texts
from darkmatter_utils.base.errors import BadInput

HOW = dict(documents=300, positions=(4, 32), bos=True, packed=False)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(toys.model(tmp_path_factory.mktemp("model") / "toy"))


def put(path, lines):
    path.write_text("\n".join(json.dumps({"text": line}) for line in lines))
    return str(path)


def lines(path, **how):
    return [json.loads(line)["text"] for line in toys.text(path, **how).read_text().splitlines()]


@pytest.mark.parametrize("packed", [False, True])
def test_a_text_that_begins_with_bos_gets_no_other(model, tmp_path, packed):
    plain = lines(tmp_path / "plain.jsonl", documents=20, length=40)
    opened = put(tmp_path / "opened.jsonl", [f"<bos> {line}" for line in plain])
    how = HOW | dict(packed=packed)
    before, after = (read(source, model, **how) for source in (str(tmp_path / "plain.jsonl"), opened))
    np.testing.assert_array_equal(before.tokens, after.tokens)
    assert (after.tokens[:, 0] == 0).all() and (after.tokens[:, 1:] != 0).all()


def near(plain):
    """Texts of one document that are not the same, by what they differ in."""
    one = plain[0]
    yield "their beginning", [f"{a} {one}" for a in one.split()[:10]]
    yield "their end", [f"{one} {a}" for a in one.split()[:10]]
    yield "their length", [" ".join(one.split()[:n]) for n in range(20, 30)]
    yield "their place", [" ".join((one + " " + plain[1]).split()[n:]) for n in range(10)]
    yield "nothing", [one] * 10


def test_texts_that_repeat_others_but_for_some_words_are_counted(model, tmp_path):
    plain = lines(tmp_path / "plain.jsonl", documents=40)
    assert read(str(tmp_path / "plain.jsonl"), model, **HOW).repeated == 0
    for what, alike in near(plain):
        assert read(put(tmp_path / "near.jsonl", alike), model, **HOW).repeated == 0.9, what
    half = read(put(tmp_path / "half.jsonl", plain + plain), model, **HOW)
    assert half.repeated == 0.5
    shared = " ".join(plain[0].split()[: RUN + 3])  # a heading that all have makes none the other's copy
    headed = put(tmp_path / "headed.jsonl", [f"{shared} {line}" for line in plain])
    assert read(headed, model, **HOW | dict(positions=(4, 60))).repeated == 0


@pytest.mark.parametrize("line", ["[" * 100_000, '{"text": 1' + "0" * 5000 + "}", '{"text": NaN}'])
def test_a_line_that_no_reader_of_json_takes_is_named(tmp_path, line):
    (tmp_path / "text.jsonl").write_text(line)
    with pytest.raises(BadInput, match="text.jsonl, line 1, (is not JSON|holds float)"):
        texts(str(tmp_path / "text.jsonl"), limit=2)
