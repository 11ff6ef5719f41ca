"""What is computed from the paper's own points, against what it prints and against plain fits."""

import numpy as np
import pytest
from scipy import stats as scipy_stats
from scipy.optimize import curve_fit

from darkmatter_utils.claims.paper import grids, points
from darkmatter_utils.claims.report import every
from darkmatter_utils.experiments import paper_points
from darkmatter_utils.experiments.paper_evidence import EVIDENCE
from darkmatter_utils.stats.intervals import coefficients


def test_the_values_are_what_the_paper_prints():
    printed = points("1", series="fit, as printed").set_index("quantity")["value"]
    drawn = points("1", series="SAE", quantity="FVU_nonlinear")["value"]
    assert drawn.mean() == pytest.approx(printed["mean FVU_nonlinear"], abs=5e-4)
    inputs = points("9", panel="b", series="NonlinearError")["value"].tolist()
    assert sorted(inputs) == [0.04, 0.07, 0.14, 0.49]
    assert points("Table 1", series="x' noise", x="estimated Dense")["value"].item() == 0.9842
    with pytest.raises(KeyError, match="no 2 with panel='c'"):
        points("2", panel="c")


def test_grids_have_the_sizes_and_ends_of_the_text():
    vector = [
        points(*place[:1], panel=place[1], quantity="vector R2") for place in paper_points.GRIDS.values()
    ]
    assert [len(one) for one in vector] == [34, 40, 18, 16, 18, 16]
    r2 = np.concatenate([one["value"] for one in vector])
    assert (r2.min(), r2.max()) == pytest.approx((0.165, 0.749), abs=1e-3)  # the text: 15% and 72%


def test_the_floor_is_the_papers_fit_and_is_not_identified():
    found = paper_points.floor()
    printed = points("1", series="fit, as printed").set_index("quantity")["value"]
    fit = found.fit
    assert (fit.c, fit.m) == pytest.approx((printed["fit c"], printed["fit m"]), rel=0.02)
    drawn = points("1", series="SAE", quantity="FVU")
    mine, _ = curve_fit(
        lambda w, c, a, m: c + a * w**-m, drawn["width"] / 2**17, drawn["value"], p0=(0.1, 0.1, 0.3)
    )
    assert (fit.c, fit.m) == pytest.approx((mine[0], mine[2]), rel=1e-3)
    assert found.low == 0 and found.high > 0.21  # all the way from nothing to the lowest point
    assert (found.f, found.p) == pytest.approx((5.57, 0.0776), rel=0.01)
    assert (found.predicted, found.observed) == pytest.approx((0.228, 0.2146), abs=5e-4)
    assert found.misfit_p < 0.01
    assert paper_points.floor("pursuit").p > 0.3


def test_constancy_holds_at_one_layer_and_one_l0():
    table = paper_points.constancy().set_index("grid")
    flat = table[(table["low"] < 0) & (table["high"] > 0)]
    assert flat.index.tolist() == ["Gemma 2 9B, layer 20"]
    assert (table["by_l0_high"] < 0).all()  # at every layer it falls more where L0 is larger
    assert table["whole"].round(2).tolist() == [0.01, -0.1, -0.15, -0.2, -0.33, -0.38]


def test_the_pursuit_lowers_fvu_nonlinear_more_on_the_same_tokens():
    table = paper_points.pursuit()
    same = table["FVU_nonlinear, same tokens"].dropna()
    assert len(same) == 6 and (same < -0.04).all() and same.min() == pytest.approx(-0.132, abs=1e-3)
    assert table["FVU_nonlinear, as drawn"].max() > 0


def test_proportional_is_true_of_linear_error():
    table = paper_points.loss_shares().set_index(["part", "sweep"])
    assert table.loc["LinearError", "correlation"].min() > 0.98
    assert table.loc[("NonlinearError", "L0"), "correlation"] < -0.8
    assert (
        table.loc["NonlinearError", "slope"].between(0.9, 1).all()
    )  # which a slope through the origin hides


def test_table_1_does_not_follow_from_fig_15():
    table = paper_points.synthetic().set_index(["noise", "estimated"])
    assert (table["Table 1"] - table["Fig. 15"]).abs().max() > 0.18
    assert table["Fig. 15"].round(3).tolist() == [0.971, -0.047, 0.178, 0.917]


def test_noise_lands_in_the_other_part_too():
    share = paper_points.landing().set_index(["noise", "level"])["share"]
    assert share["x' noise"].between(0.25, 0.41).all()
    assert (
        share["Sae(x') noise"].between(0.065, 3584 / 50000 + 1e-3).all()
    )  # d/n, of a fit on the rows scored


def test_both_directions_of_fig_15():
    """Where parts land holds everywhere; what an estimated part is made of turns with how much was put in."""
    found = paper_points.made_and_lands()
    assert [len(by) for by in found.values()] == [10, 10, 20, 20]
    of_linear, lands, of_nonlinear, introduced = found.values()
    # Its curves as read: without ablation FVU .1260 and FVU_nonlinear .1060, half ablated .1743 and .1088.
    half = "50% ablated, Sae(x') noise 1, x' noise 0.6"
    assert of_linear[half] == pytest.approx(1 - (0.1260 - 0.1060) / (0.1743 - 0.1088), abs=1e-3)
    assert lands[half] == pytest.approx(1 - (0.1088 - 0.1060) / (0.1743 - 0.1260), abs=1e-3)
    assert all(of_nonlinear[f"x' noise 0, Sae(x') noise {n}"] == pytest.approx(1) for n in range(1, 5))
    alone = paper_points.landing().query('noise == "Sae(x\') noise"')["share"]
    mine = [introduced[f"x' noise 0, Sae(x') noise {n}"] for n in range(1, 5)]
    assert mine == pytest.approx((1 - alone).tolist())
    judged = every()[11].judged(EVIDENCE[11](), points=True)
    assert [one.word for one in judged] == ["partly", "partly", "holds", "holds"]


def test_points_for_charts_are_those_of_the_figures():
    parts = paper_points.norms().set_index("part")["value"]
    assert parts.idxmin() == "NonlinearError" and parts["SaeError"] - parts.min() == pytest.approx(
        0.03, abs=2e-3
    )
    probe = paper_points.probe().set_index(paper_points.probe()["x"].astype(int))
    ratio = (probe["weight"] / probe["active"]).sort_index()
    assert ratio.loc[100:1000].mean() == pytest.approx(1.16, abs=0.05) and ratio.loc[7500:].mean() > 2
    found = paper_points.detection().pivot(index="decile", columns="reads", values="found")
    assert (found["LinearError"] - found["NonlinearError"]).mean() == pytest.approx(0.0318, abs=1e-4)
    shares = paper_points.shares("L0").set_index(["part", "l0"])
    assert shares.loc[("NonlinearError", 11), ["ce", "variance"]].tolist() == pytest.approx([0.6328, 0.2815])
    inferred = paper_points.inferred().groupby(["quantity", "by"]).size()
    assert inferred.to_dict() == {
        ("FVU", "encoder"): 7,
        ("FVU", "pursuit"): 7,
        ("FVU_nonlinear", "encoder"): 6,
        ("FVU_nonlinear", "pursuit"): 7,
    }
    sites = ["blocks.0.hook_resid_post", "blocks.1.hook_resid_post", "blocks.2.attn.hook_z", "x.hook_mlp_out"]
    assert paper_points.earlier(sites) == dict(zip(sites[1:], [0.14, 0.04, 0.07]))


def test_of_each_grid_and_width_the_sae_nearest_to_an_l0():
    every, near = grids("norm R2"), grids("norm R2", l0=60)
    assert len(every) == 142 and len(near) == 2 * 7 + 4 * 3
    fig_2b = near.query("figure == '2' and panel == 'b'").set_index("width")["l0"]
    assert fig_2b.to_dict() == {2**14: 58, 2**15: 57, 2**16: 55, 2**17: 62, 2**18: 50, 2**19: 48, 2**20: 57}


def test_coefficients_are_those_of_a_plain_regression():
    rng = np.random.default_rng(0)
    x = rng.normal(size=30)
    y = 2 + 3 * x + rng.normal(size=30)
    plain = scipy_stats.linregress(x, y)
    _, slope = coefficients(np.column_stack([np.ones(30), x]), y)
    reach = scipy_stats.t.ppf(0.975, 28) * plain.stderr
    assert (slope.value, slope.low, slope.high) == pytest.approx(
        (plain.slope, plain.slope - reach, plain.slope + reach)
    )


@pytest.mark.parametrize(
    ("number", "word"),
    [(n, "holds") for n in (3, 4, 5, 6, 7, 10, 13)] + [(n, "partly") for n in (1, 2, 8, 9, 11)],
)
def test_what_the_papers_own_points_earn(number, word):
    verdict = every()[number].judge(EVIDENCE[number](), points=True)
    assert verdict.word == word and "not measured" not in verdict.why


def test_the_papers_points_tell_of_one_family():
    evidence = EVIDENCE[12]()
    verdict = every()[12].judge(evidence, points=True)
    assert verdict.word == "cannot be told here" and verdict.numbers["families"] == 1
    of_13 = [cell for cell in evidence.cells if cell["effect"] == every()[13].effect.words]
    assert len(of_13) == 36 and all(cell["sign"] == 1 for cell in of_13)
