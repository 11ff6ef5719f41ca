"""The table of first positions: what a loud first token does, and what the study's own window shows."""

import numpy as np
import pytest
import toys

from darkmatter_utils import decompose, measure
from darkmatter_utils.base.values import Absent
from darkmatter_utils.experiments import first_positions
from darkmatter_utils.studies.saes import sample
from darkmatter_utils.studies.study import Study


def test_rows_begin_at_bos_behind_it_and_at_the_window(tmp_path):
    plain = first_positions.windows(measured := measure("nano"), sae="w32")["windows"].set_index("first")
    loud = toys.loud(tmp_path / "data", token=0)  # <bos>, the first of every context
    found = first_positions.windows(measure(loud), sae="w32")["windows"].set_index("first")
    start, stop = measured.study.window
    for table in (plain, found):
        assert table.index.tolist() == [0, 1, start]
        contexts = table["tokens"] / (stop - table.index.to_numpy())
        assert contexts.nunique() == 1 and contexts.iloc[0] >= first_positions.CONTEXTS
        assert table["tokens"].iloc[-1] >= first_positions.PER_DIMENSION * measured.card["d_model"]
    assert found.loc[0, "loud"] == contexts.iloc[0] and found.loc[0, "times"] > 50
    assert found.loc[0, "fvu"] > 1.5 * found.loc[1, "fvu"] and found.loc[0, "loudest"] > 0.02
    assert (found.loc[1:, "loud"] == 0).all() and (plain["loud"] == 0).all()
    np.testing.assert_allclose(found.loc[1:, "fvu"], plain.loc[1:, "fvu"], rtol=0.02)
    x, hat, document, _ = sample(measured.study, "w32", contexts=int(contexts.iloc[0]))
    same = decompose(x, hat, document=document, bootstrap=0)
    assert plain.loc[start, "fvu"] == pytest.approx(same.fvu.value, rel=1e-4)
    assert plain.loc[start, "r2_total"] == pytest.approx(same.r2_total.value, rel=1e-3)
    gamma = np.linalg.norm(x.mean(0)) / np.sqrt(((x - x.mean(0)) ** 2).sum(1).mean())
    assert plain.loc[start, "gamma"] == pytest.approx(gamma, rel=1e-4)
    said = first_positions.in_words(found.reset_index())
    assert (
        f"{contexts.iloc[0]:.0f} from position 0 on, 0 from position 1 on, 0 from position {start} on" in said
    )


def test_a_simulated_study_has_none():
    class Simulated:
        study = Study.load("world")

    found = first_positions.windows.anew(Simulated, sae="oracle-64")["windows"]
    assert isinstance(found, Absent) and "every position follows one law" in found.reason
