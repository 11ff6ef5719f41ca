"""What is said of the paper's points, and the slips that can be computed, against its values."""

import re
from math import sqrt

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from darkmatter_utils.base.words import plain
from darkmatter_utils.claims.paper import ERRATA, grids, points
from darkmatter_utils.claims.report import every
from darkmatter_utils.experiments import paper_points
from darkmatter_utils.experiments.norm_argument import poisson

CLAIMS = every()
FEW = r"(?<![\d.])"


def said(number: int, *values: float, digits=2, scale=1.0) -> None:
    """Numbers stand in the words of a claim on the paper's points, rounded; the sign is that of the words."""
    for value in values:
        text = plain(abs(scale * value), digits)
        assert re.search(rf"{FEW}{re.escape(text)}(?!\d)", CLAIMS[number].paper_points), text


def by(figure: str, index: str, **where) -> pd.DataFrame:
    return points(figure, **where).pivot(index=index, columns="series", values="value")


def test_the_error_vector_and_its_norm():
    r2, norm, depth = grids("vector R2")["value"], grids("norm R2")["value"], points("3")["value"]
    said(1, len(r2), digits=0)
    said(1, r2.min(), r2.max(), digits=3)
    said(1, r2.mean(), points("2", panel="b", quantity="vector R2")["value"].mean())
    said(2, len(norm), len(depth), digits=0)
    said(2, norm.min(), norm.max(), depth.min(), depth.max())
    said(2, *((found >= 0.9).mean() for found in (norm, depth)), digits=0, scale=100)


def test_other_widths_and_the_floor():
    pairs = points("4")["value"]
    said(3, pairs.min(), pairs.max())
    said(3, len(pairs), digits=0)
    change = paper_points.constancy()["change"]
    said(4, change[0], change[1], change[2:].max(), change[2:].min(), digits=1, scale=100)
    floor = paper_points.floor()
    said(5, floor.high)
    said(5, floor.predicted, floor.observed, digits=3)


def test_the_parts_and_their_features():
    medians = points("6", quantity="median").set_index("series")["value"]
    said(6, *medians, digits=3)
    two = medians.drop("NonlinearError(x)").min() - medians["NonlinearError(x)"]
    said(6, two)
    deciles = by("7", "x", quantity="accuracy").filter(regex=r"^Q", axis=0)
    gap = deciles["SAE on LinearError"] - deciles["SAE on NonlinearError"]
    assert len(gap) == 10
    said(7, gap.min(), gap.max(), gap.mean(), digits=1, scale=100)


def test_the_shares_of_the_loss():
    table = paper_points.loss_shares().set_index("part")
    nonlinear = table.loc["NonlinearError"]
    for ends in nonlinear[["least", "most"]].to_numpy():
        said(8, *ends)
    said(8, nonlinear["correlation"].min(), nonlinear["least_by_norm"].min(), nonlinear["most_by_norm"].max())
    linear = table.loc["LinearError"]
    said(8, linear["least"].min(), linear["most"].max())
    said(8, linear["least_by_norm"].min(), linear["most_by_norm"].max())


def test_what_could_shrink_it():
    table = paper_points.pursuit()
    for name in ("FVU, as drawn", "FVU_nonlinear, as drawn", "FVU_nonlinear, same tokens"):
        said(9, table[name].max(), table[name].min(), digits=1, scale=100)
    same = table["FVU_nonlinear, same tokens"].dropna()
    assert (len(same), (same < -0.1).sum()) == (6, 3)
    said(10, *points("9", panel="b", series="NonlinearError")["value"])


def test_the_synthetic_check():
    said(11, *paper_points.synthetic()["Fig. 15"])
    wrong = paper_points.landing().groupby("noise")["share"].agg(["min", "max"])
    said(11, *wrong.loc["x' noise"], wrong.loc["Sae(x') noise", "max"], digits=0, scale=100)
    assert wrong.loc["Sae(x') noise", "max"] == pytest.approx(3584 / 50_000, abs=1e-3)  # d/n: in sample


def test_the_last_layer_of_llama_and_the_simple_predictors():
    depth = points("3")
    said(12, *depth[(depth["layer"] == 31) & depth["series"].str.startswith("Llama")]["value"])
    table = by("13", "x").rename(index=int).sort_index()
    lead = table.pop("activation") - table.max(axis=1)
    said(13, lead[5:].min(), lead[5:].max(), lead[5:].mean(), table.loc[5, "SAE L0"])
    assert lead.index[lead < 0].tolist() == [0, 1] and table.loc[:1].idxmax(axis=1).eq("token identity").all()
    assert table.idxmax(axis=1).eq("SAE L0").sum() > len(table) / 2


def slip(where: str, words: str = "") -> str:
    """What an erratum says is right, and what it changes."""
    (found,) = (one for one in ERRATA if one.where == where and words in one.printed)
    return f"{found.right}; {found.changes}"


def test_every_slip_is_whole():
    assert len({(one.where, one.printed) for one in ERRATA}) == len(ERRATA)
    for one in ERRATA:
        assert re.match(r"\(\d|§\d|Figs?\. \d|App\. [A-E]|Table 1", one.where)
        assert all(one) and one.printed != one.right


def test_the_labels_of_fig_8_are_in_another_order_than_its_bars():
    drawn = points("8", panel="L0", series="NonlinearError", quantity="R2 share")
    drawn = drawn.assign(label=drawn["x"].astype(int)).sort_values("label")
    other = drawn[drawn["label"] != drawn["l0"]]
    printed = [one.printed for one in ERRATA if one.where == "Fig. 8, right"]
    assert printed == [f"L0 {', '.join(map(str, other['label']))}"]
    assert slip("Fig. 8, right").startswith(", ".join(f"{l0:.0f}" for l0 in other["l0"]))
    assert drawn.sort_values("l0")["value"].is_monotonic_increasing
    assert not drawn["value"].is_monotonic_increasing


def test_ranges_in_the_text_against_the_figures():
    r2, depth = grids("vector R2")["value"], points("3")["value"]
    assert all(f"{100 * end:.1f}%" in slip("§4.2") for end in (r2.min(), r2.max())) and (r2 > 0.72).sum() == 2
    words = slip("§4.1", "70%")
    assert f"{depth.min():.2f} to {depth.max():.2f}" in words and (depth < 0.7).sum() == 3
    assert f"{points('16')['value'].max():.1f}%" in slip("App. E")
    equal = points("2", panel="a", quantity="vector R2", width=16384, l0=82)["value"].item()
    assert f"R² {equal:.2f}" in slip("§5.2", "parts of equal size")


def test_the_points_of_fig_1_are_of_other_tokens_than_those_of_fig_2():
    first = points("1", series="SAE", quantity="FVU_nonlinear").set_index("width")["value"]
    second = points("2", panel="b", quantity="FVU_nonlinear")
    second = second[second["l0"] == second["width"].map(paper_points.PURSUED)].set_index("width")["value"]
    off = (first / second - 1).dropna()
    assert len(off) == 6 and off.between(-0.056, -0.048).all() and "5% below" in slip("Fig. 1")


def moments(rate: float) -> tuple[float, float, float]:
    """Of a Poisson variable, summed up: Cov(w, w²), Var(w) and Var(w²)."""
    k = np.arange(100.0)
    p = stats.poisson.pmf(k, rate)
    one, two, three, four = (float(p @ k**power) for power in (1, 2, 3, 4))
    return three - one * two, two - one**2, four - two**2


@pytest.mark.parametrize("rate", [0.3, 1.0, 2.5])
def test_the_poisson_case_of_appendix_c(rate):
    covariance, variance, of_square = moments(rate)
    assert covariance / variance == pytest.approx(2 * rate + 1)  # E w²/E w is rate + 1
    assert of_square == pytest.approx(4 * rate**3 + 6 * rate**2 + rate)  # printed with a third power twice
    assert poisson(rate) == pytest.approx(covariance**2 / (variance * of_square))


def test_its_correlation_is_higher_than_printed():
    right, printed = sqrt(poisson(1)), points("text", panel="C.1")["value"].item()
    assert right == pytest.approx(3 / sqrt(11)) and printed == 0.73
    words = slip("App. C.1", "ρ")
    assert f"ρ = 6/√44 ≈ {right:.3f}" in words and f"R² is {right**2:.2f}, not {printed**2:.2f}" in words
