"""The split of a token's error: against the measurement's own table, and the parts as vectors."""

import numpy as np
import pandas as pd
import pytest

from darkmatter_utils import Study, measure
from darkmatter_utils.experiments.same_tokens import gallery
from darkmatter_utils.experiments.token_splits import PARTS, columns_of, token_splits
from darkmatter_utils.measurement.measure import stream_parts

SHOWN = 20


@pytest.fixture(scope="module")
def nano():
    return measure("nano")


@pytest.fixture(scope="module")
def strips(nano):
    return gallery(nano, count=5, shown=SHOWN)["strips"]


@pytest.fixture(scope="module")
def splits(nano, strips):
    return token_splits(nano, contexts=strips["context"].unique().tolist(), shown=SHOWN)["splits"]


def test_a_split_is_the_tables_own_over_the_mean_error(nano, strips, splits):
    assert len(splits) == 4 * len(strips) == 4 * 5 * SHOWN and set(splits["width"]) == {16, 32, 64, 128}
    scored = nano.tokens[nano.tokens["scored"]]
    for width, rows in splits.groupby("width"):
        mean = np.sqrt(scored[f"w{width}:error"].to_numpy(float)).mean()
        table = rows.merge(scored, on=["context", "position"], validate="one_to_one")
        for part in PARTS:
            assert (mean * table[part].to_numpy(float)) ** 2 == pytest.approx(
                table[f"w{width}:{part}"].to_numpy(), rel=1e-5
            )


def test_what_the_squares_leave_is_twice_the_product_of_parts_by_maps_of_other_documents(nano, splits):
    scored, maps = nano.tokens[nano.tokens["scored"]], nano.maps("w64")
    mean = np.sqrt(scored["w64:error"].to_numpy(float)).mean()
    rows = []
    for batch, parts in stream_parts(nano, ["w64"]):
        one, overall = parts["w64"], maps.overall(batch.x.double())
        of = {"context": batch.context, "position": batch.position, "of all": overall.norm(dim=1) / mean}
        of |= {"product": (one.linear * one.nonlinear).sum(dim=1) / mean**2}
        rows.append(pd.DataFrame(of))
    table = splits[splits["width"] == 64].merge(pd.concat(rows), on=["context", "position"])
    e, low, rest = (table[part].to_numpy(float) for part in PARTS)
    left = e**2 - low**2 - rest**2
    assert len(table) == 5 * SHOWN and left == pytest.approx(2 * table["product"].to_numpy(), abs=1e-5)
    assert np.abs(left).max() > 0.05, "at one token the squares alone do not add up"
    assert np.abs(table["linear"] - table["of all"]).max() > 1e-3, "the map of all documents is another"


def test_where_some_saes_can_be_run_the_others_have_their_whole_error_alone(nano, strips, splits):
    study = Study.load("nano")
    few = measure(study.at(saes=tuple(study.sae(id) for id in ("w16", "w64"))))
    contexts = strips["context"].unique().tolist()
    found = token_splits(few, contexts=contexts, shown=SHOWN)["splits"]
    both = found.merge(splits, on=["context", "position", "width"], suffixes=("", "_all"))
    assert len(both) == len(found) == 2 * len(strips)
    for part in PARTS:
        assert both[part].to_numpy() == pytest.approx(both[f"{part}_all"].to_numpy(), rel=1e-5)
    frame, saes = columns_of(strips, found)
    assert {name: len(columns) for name, columns in saes.items()} == {
        "16 latents": 3,
        "32 latents": 1,
        "64 latents": 3,
        "128 latents": 1,
    }
    assert len(frame) == len(strips) and frame["text"].equals(strips["text"])
    for name in ("16", "64"):
        assert frame[f"{name} error"].to_numpy() == pytest.approx(strips[name].to_numpy(), rel=1e-5)
