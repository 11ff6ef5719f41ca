"""Known parts followed through the split: exact identities, closed forms, and rules that follow their
numbers."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from darkmatter_utils import measure
from darkmatter_utils.base.errors import BadInput
from darkmatter_utils.base.values import Absent
from darkmatter_utils.claims import c11_parts_land
from darkmatter_utils.claims.claim import FAILS, HOLDS, UNKNOWN
from darkmatter_utils.decomposition.decompose import decompose
from darkmatter_utils.experiments import known_parts, matching, nulls
from darkmatter_utils.experiments.ablation import LEVELS, over_ablation, table_one
from darkmatter_utils.experiments.known_parts import ERROR, TRUE, land_sae
from darkmatter_utils.experiments.scaling import per_doubling
from darkmatter_utils.measurement.widths import one_l0, width_suite
from darkmatter_utils.stats.intervals import apart
from darkmatter_utils.studies.study import Study
from darkmatter_utils.worlds.curved import CurvedWorld, left_by_a_piece
from darkmatter_utils.worlds.known import land, tokens_of
from darkmatter_utils.worlds.saes import OracleSae
from darkmatter_utils.worlds.world import World, drawn_null

WORLD = World(
    d_model=12,
    features=60,
    context=128,
    l0=4,
    dense=0.1,
    curved=0.05,
    noise=0.05,
    manifolds=2,
    scale_token=0.3,
)
SAE = OracleSae("a", WORLD, 20, gain=0.9, wrong=0.2, missed=0.05, false_fires=0.3, interference=0.2)


@pytest.fixture(scope="module")
def batch():
    return tokens_of(WORLD, 40)


def test_the_parts_make_up_the_error_that_decompose_splits(batch):
    landed = land_sae(SAE, batch)
    whole = landed.weights(**ERROR)
    x_hat = SAE.reconstruct(batch)[0]
    found = decompose(batch.x, x_hat, document=batch.document.numpy(), bootstrap=0)
    error = batch.x - x_hat
    mean = (error.mean(dim=0) ** 2).sum() * len(batch.x) / landed.x.sum()
    assert float(landed.variance(whole)) + float(mean) == pytest.approx(found.fvu.value, rel=1e-9)
    fold = np.array([found.fold[document] for document in batch.document.tolist()])
    rest = torch.cat([e - found.maps[k](x[None]) for x, e, k in zip(batch.x, error, fold)])
    assert float((rest**2).sum() / landed.x.sum()) == pytest.approx(found.held_out["fvu_nonlinear"], rel=1e-9)
    lands = landed.shares(whole, whole)["nonlinear"] * float(landed.variance(whole))
    centred = error - error.mean(dim=0)
    assert lands == pytest.approx(float((centred * rest).sum() / landed.x.sum()), rel=1e-9)
    assert lands == pytest.approx(found.fvu_nonlinear.value, rel=0.01)


def test_shares_add_up_over_the_estimated_parts_and_over_the_true_parts(batch):
    """The convention: covariance over variance, whatever the parts' covariances; dense is the rest."""
    landed = land_sae(SAE, batch)
    whole = landed.weights(**ERROR)
    shares = pd.DataFrame([landed.shares(landed.weights(**signs), whole) for signs in TRUE.values()])
    assert (shares["linear"] + shares["nonlinear"]).to_numpy() == pytest.approx(1)
    assert shares[["of_linear", "of_nonlinear"]].sum().to_numpy() == pytest.approx(1, rel=1e-9)
    own = landed.shares(whole, whole)
    assert (own["of_linear"], own["of_nonlinear"]) == pytest.approx((1, 1))
    swapped = {name: landed.shares(-landed.weights(**TRUE["introduced"]), whole)[name] for name in own}
    mine = landed.shares(landed.weights(**TRUE["introduced"]), whole)
    assert swapped["nonlinear"] == pytest.approx(mine["nonlinear"])  # where it lands knows no sign
    assert swapped["of_nonlinear"] == pytest.approx(-mine["of_nonlinear"])


def test_orthogonal_parts_of_known_size_have_known_shares():
    """Absent: half of it linear in x; introduced: no function of x; the two are independent."""
    rng = np.random.default_rng(1)
    x, free, made = (rng.standard_normal((20_000, 4)) for _ in range(3))
    parts = {"absent": 2 * (x + free), "introduced": 3 * made}
    landed = land(x, parts, np.arange(len(x)) // 50, error={"absent": 1, "introduced": -1})
    whole = landed.weights(absent=1, introduced=-1)
    absent = landed.shares(landed.weights(absent=1), whole)
    introduced = landed.shares(landed.weights(introduced=-1), whole)
    assert list(absent.values()) == pytest.approx([1 / 2, 1 / 2, 1, 4 / 13], abs=0.02)
    assert list(introduced.values()) == pytest.approx([0, 1, 0, 9 / 13], abs=0.02)


def test_a_part_of_which_x_says_nothing_lands_nowhere_on_average():
    """The maps' own estimation error, d / tokens of the part, is in no share, few as the tokens are."""
    rng, found = np.random.default_rng(2), []
    for _ in range(60):
        x, z = rng.standard_normal((2, 400, 20))
        landed = land(x, {"z": z}, np.arange(400) // 4, error={"z": 1})
        found.append(landed.shares(landed.weights(z=1), landed.weights(z=1))["linear"])
    assert abs(np.mean(found)) < 20 / 400 / 10


def test_a_linear_part_lands_in_the_linear_error_and_noise_in_the_nonlinear_one():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((6000, 5)) + 100.0
    read, noise = x @ rng.standard_normal((5, 5)), rng.standard_normal((6000, 5))
    landed = land(
        x, {"read": read, "noise": noise}, np.arange(6000) // 60, error={"read": 1, "noise": 1}, learned=x
    )
    both = landed.weights(read=1, noise=1)
    linear = lambda **signs: landed.shares(landed.weights(**signs), both)["linear"]
    assert linear(read=1) == pytest.approx(1) and abs(linear(noise=1)) < 0.01
    assert linear(read=1, noise=1) == pytest.approx(
        landed.variance(landed.weights(read=1)) / landed.variance(landed.weights(read=1, noise=1)), abs=0.02
    )
    assert landed.leaked() == pytest.approx(
        float(((read - read.mean(0)) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()), rel=0.05
    )


def test_the_error_of_an_absent_feature_lands_as_the_closed_form_says():
    world = World(d_model=16, features=120, l0=4, context=256)
    truth, landed = world.truth(30), land_sae(OracleSae("a", world, 30), tokens_of(world, 60))
    absent = landed.weights(absent=1)
    found = landed.shares(absent, landed.weights(**ERROR))
    assert found["linear"] == pytest.approx(truth.linear["absent"], abs=0.02)
    nonlinear = found["nonlinear"] * float(landed.variance(absent))
    assert nonlinear == pytest.approx(truth.fvu_nonlinear, rel=0.05)
    # It introduces nothing: no share of it, and none of the estimated parts is it.
    introduced = landed.shares(landed.weights(introduced=-1), landed.weights(**ERROR))
    assert np.isnan([introduced["linear"], introduced["nonlinear"]]).all()
    assert (introduced["of_linear"], introduced["of_nonlinear"]) == (0, 0)
    assert found["of_nonlinear"] == pytest.approx(1)


def test_an_unknown_part_is_named():
    landed = land(np.eye(8), {"a": np.eye(8)}, np.arange(8), error={}, folds=2)
    with pytest.raises(BadInput, match="no part 'b'; there are a"):
        landed.weights(b=1)


def test_the_measured_null_agrees_with_its_closed_form():
    world = nulls.null_world(2, 1.0)
    found = nulls.oracles(world, [16, 64], l0=None, documents=24).saes
    for row in found.itertuples():
        truth = world.truth(row.width)
        assert (row.fvu_nonlinear, row.r2_total) == pytest.approx(
            (truth.fvu_nonlinear, truth.r2_total), abs=0.03
        )
        assert row.fvu == pytest.approx(truth.fvu, abs=0.02)  # its bias takes the error's mean


def test_a_null_that_introduces_nothing_is_half_linear_and_level_somewhere():
    ranges = nulls.flat_ranges(nulls.unfixed(superposition=(16,), laws=(1.0,)))
    row = ranges.iloc[0]
    assert row["slope_factor"] >= 8 and row["r2_start"] > 0.5 > row["r2_stop"]


def test_ranges_of_curves_that_are_known():
    widths = [16, 32, 64, 128, 256]
    level = pd.DataFrame(
        {"superposition": 8, "law": 1.0, "width": widths, "fvu_nonlinear": 0.1, "r2_total": 0.5}
    )
    halving = level.assign(law=2.0, fvu_nonlinear=[0.5**k for k in range(5)])
    flat, none = nulls.flat_ranges(pd.concat([level, halving])).to_dict("records")
    assert (flat["slope_factor"], flat["steps_factor"], flat["change"]) == (16, 16, pytest.approx(0))
    assert (none["slope_factor"], none["steps_factor"]) == (1, 1)


def test_less_superposition_puts_more_of_what_is_absent_into_the_linear_error():
    swept = known_parts.sweep(seeds=1, documents=12, superposition=(1, 16), held=(1 / 4,))
    absent = swept[swept["part"] == "absent"].set_index("superposition")["linear"]
    introduced = swept[swept["part"] == "introduced"]["linear"]
    assert absent[1] > absent[16] + 0.3 and introduced.abs().max() < 0.1
    own, made = swept.assign(kind="matched", ablated=0.5), {"swept": swept}
    made["goes"] = swept.assign(introduced="apart")
    found = known_parts.cases(made, {"shares": own})
    assert list(found) == list(c11_parts_land.Evidence._fields)
    for by_case in found.values():
        assert set(by_case) == {
            "n/d 1, 8 held",
            "n/d 16, 128 held",
            "world, introduced apart",
            "own dictionary, matched noise, 50% ablated",
        }
    without = known_parts.cases(made, Absent("No model."))
    assert len(without["absent"]) == 3
    assert found["absent"]["n/d 1, 8 held"].value == pytest.approx(absent[1])


def test_shrinkage_is_introduced_and_yet_linear():
    goes = known_parts.case_table(Study.load("world"), seeds=2, documents=8)
    rows = goes.set_index(["part", "introduced"])
    assert rows.loc[("introduced", "shrunk"), "linear"] > 0.3
    assert rows.loc[("introduced", "apart"), "linear"] < 0.1
    parts = rows.loc[["absent", "dense", "introduced"]].groupby("introduced")
    assert parts[["of_linear", "of_nonlinear"]].sum().to_numpy() == pytest.approx(1)
    for share in ("linear", "nonlinear", "of_linear", "of_nonlinear"):
        there = goes[goes[share].notna() & (goes["part"] != "SaeError")]
        assert there[share].between(there[f"{share}_low"], there[f"{share}_high"]).all()


@pytest.mark.parametrize(
    ("width", "errors", "gone", "words"),
    [
        (60, {"wrong": 0.3, "false_fires": 0.3}, "absent", [FAILS, HOLDS, HOLDS, UNKNOWN]),
        (20, {}, "introduced", [HOLDS, FAILS, UNKNOWN, FAILS]),
    ],
)
def test_claim_11_where_nothing_is_absent_and_where_nothing_is_introduced(width, errors, gone, words):
    """Of a part that is not there nothing can land, and no estimated part is made of it."""
    drawn = [replace(WORLD, dense=0, curved=0, noise=0, manifolds=0, seed=seed) for seed in range(4)]
    landings = [land_sae(OracleSae("a", world, width, **errors), tokens_of(world, 60)) for world in drawn]
    rows = pd.DataFrame([known_parts.row_of(part, landings, signs) for part, signs in TRUE.items()])
    made = {"goes": rows.assign(introduced="apart"), "swept": rows.assign(superposition=5, width=width)}
    evidence = c11_parts_land.Evidence(**known_parts.cases(made, Absent("No model.")))
    assert getattr(evidence, gone) == {} and all(evidence.linear) and len(evidence.linear) == 2
    assert [one.word for one in c11_parts_land.CLAIM.judged(evidence)] == words
    assert c11_parts_land.CLAIM.judge(evidence).numbers["introduced"] is False


def test_the_world_study_is_its_own_null():
    study = Study.load("world")
    main = [entry for entry in study.saes if entry.main]
    assert {entry.kind for entry in main} == {"oracle"} and len(main) >= 4
    l0 = [
        float(
            OracleSae("a", known_parts.world_of(study, seed=0), e.width, **e.dials)
            .reconstruct(tokens_of(known_parts.world_of(study, seed=0), 2))[1]
            .double()
            .mean()
        )
        for e in (main[0], main[-1])
    ]
    assert max(l0) / min(l0) < 1.05


def test_slopes_and_correlations_of_a_grid_that_is_known():
    levels = [(a, b) for a in (0.0, 0.1, 0.2) for b in (0.0, 0.1, 0.2)]
    cells = pd.DataFrame(
        [
            {
                "kind": "isotropic",
                "ablated": 0.5,
                "dense": a,
                "introduced": b,
                "x": 1 + a,
                "linear": 0.3 * a,
                "nonlinear": 0.7 * a + b,
            }
            for a, b in levels
        ]
    )
    table = table_one(cells).set_index(["true", "estimated"])
    assert table.loc[("dense", "linear"), "slope"] == pytest.approx(0.3)
    # As in Fig. 15: of standard deviations with FVUs, which are over the variance of x' and its noise.
    dense, introduced = np.array(levels).T
    alone = np.corrcoef(np.sqrt(dense), dense / (1 + dense))[0, 1]
    assert table.loc[("dense", "linear"), "correlation"] == pytest.approx(alone) and alone > 0.95
    assert table.loc[("introduced", "linear"), "correlation"] == pytest.approx(0)
    both = np.corrcoef(np.sqrt(introduced), (0.7 * dense + introduced) / (1 + dense))[0, 1]
    assert table.loc[("introduced", "nonlinear"), "correlation"] == pytest.approx(both)
    assert table.loc[("introduced", "nonlinear"), "slope"] == pytest.approx(1)


def test_three_pairs_of_noise_as_latents_are_ablated():
    levels = [(a, b) for a in LEVELS for b in LEVELS]
    grid = pd.DataFrame(levels, columns=["dense", "introduced"]).assign(kind="isotropic", ablated=0.1)
    grid = grid.assign(linear=grid["dense"], nonlinear=grid["introduced"], reaction=0.01)
    found = over_ablation(grid).set_index(["noise", "part"])["share"]
    assert found["no noise", "SaeError"] == 0 and found["more on x", "SaeError"] == LEVELS[3] + LEVELS[1]
    assert found["more on Sae(x)", "Introduced"] == pytest.approx(LEVELS[3] + 0.01)


WIDTHS = (32, 64, 128, 256)


@pytest.fixture(scope="module")
def suite():
    """A study that introduces nothing, its dials known, and what is matched to it."""
    dials = {"exponent": 1.6, "l0": 8.8, "spread": 0.65, "common": 0.25}
    world = World(d_model=16, features=768, seed=100, **dials)
    return nulls.oracles(world, WIDTHS, l0=4, documents=60, replicates=100)


@pytest.fixture(scope="module")
def found(suite):
    return matching.matched.anew(suite, draws=2, documents=24, evaluations=25)


def test_the_rule_of_the_match_sees_no_part_and_no_norm_of_an_error(suite, found):
    seen = set(found["visited"].columns)
    mine = {"start", "features", *matching.DIALS, "linear", "missed", "distance", "near"}
    each = {f"{name} {width}" for name in ("fvu", "l0", "missed") for width in WIDTHS}
    assert seen == mine | each
    assert matching.Target._fields == ("d_model", "widths", "fvu", "l0", "linear")
    assert found["visited"]["distance"].is_monotonic_increasing and len(found["visited"]) == 3 * 25


def test_a_match_finds_a_world_like_the_one_that_made_the_suite(suite, found):
    """FVU, L0 and the linearity of the squared norm in the draws that the match has not seen."""
    target, anew = matching.target_of(suite), found["draws"].query("world == 0")
    fvu = anew.groupby("width")["fvu"].mean().to_numpy()
    assert found["visited"]["missed"].min() < 0.05
    assert fvu == pytest.approx(np.array(target.fvu), rel=0.1)
    assert found["visited"]["linear"].iloc[0] == pytest.approx(target.linear, abs=0.03)
    assert set(found["draws"]["seed"]).isdisjoint(range(matching.SEEDS))


def test_what_all_directions_share_is_what_makes_the_squared_norm_linear(found):
    linear = found["worlds"].groupby("null")["linear_anew"].mean()
    assert linear[True] > linear[False] + 0.1
    assert (found["worlds"].query("not null")["common"] == 0).all()


def test_those_that_stand_for_all_are_near_and_far_apart(found):
    visited = found["visited"].assign(near=lambda table: table["missed"] <= table["missed"].quantile(0.3))
    chosen = matching.spread_out(visited, most=3)
    assert chosen["near"].all() and len(chosen) == 3
    assert chosen.iloc[0]["distance"] == visited[visited["near"]]["distance"].min()
    at = lambda table: np.column_stack([table[n] / step for n, (_, step) in matching.DIALS.items()])
    at_all = lambda table: np.column_stack([at(table), np.log2(table["features"])])
    gaps = np.linalg.norm(at_all(visited[visited["near"]]) - at_all(chosen.head(1)), axis=1)
    assert np.linalg.norm(at_all(chosen)[1] - at_all(chosen)[0]) == pytest.approx(gaps.max())
    none = matching.spread_out(visited.assign(near=False))
    assert sorted(none["start"]) == [0, 1, 2]


def test_the_null_of_a_suite_that_introduces_nothing_has_its_slope(suite, found):
    own = matching.own_suite(suite, "fvu_nonlinear")
    null = matching.drawn_suite(found, "fvu_nonlinear", like=own)
    assert null.replicates.shape == own.replicates.shape and (null.widths == own.widths).all()
    beyond = apart(per_doubling(own), per_doubling(null))
    assert beyond.low < 0 < beyond.high
    drop = matching.drawn_suite(found, matching.DROP, like=own)
    cells = found["draws"][found["draws"]["world"].isin(np.flatnonzero(found["worlds"]["null"]))]
    gap = (cells["norm_error"] - cells["norm_nonlinear"]).groupby(cells["width"]).mean()
    assert drop.values == pytest.approx(gap.to_numpy())
    mine = matching.own_suite(suite, matching.DROP)
    assert mine.values == pytest.approx((suite.saes["norm_error"] - suite.saes["norm_nonlinear"]).to_numpy())


def test_a_simulated_study_is_its_own_null():
    world = measure("world")
    assert not matching.matched(world)
    assert matching.beyond_null(world) is None
    own = matching.own_suite(world, "fvu_nonlinear")
    assert matching.null_change(world, all_widths=True) == per_doubling(own)
    assert matching.null_change(world) == per_doubling(own.at([256, 512, 1024, 2048]))


def test_simulated_studies_for_the_calibration():
    """Each is a suite that introduces nothing, another by its seed, and rules over widths take it as one."""
    worlds, widths = [drawn_null(seed, d_model=16, widest=512) for seed in (1, 2)], [64, 128, 256, 512]
    one, two = (nulls.oracles(world, widths, l0=6, documents=24, replicates=50) for world in worlds)
    assert one.world != two.world and one.saes["width"].tolist() == widths
    change = per_doubling(width_suite(one, "fvu_nonlinear", l0=one_l0(one)))
    assert change.low < change.value < change.high
    assert one.replicates["norm_error"].shape == (50, 4)


def test_a_curved_world_without_an_arc_is_the_flat_one():
    flat = World(d_model=12, features=60, context=64, l0=4)
    world, batch = CurvedWorld(flat, 0.0), CurvedWorld(flat, 0.0).document(3)
    assert torch.allclose(batch.x, flat.document(3).x)
    sae = OracleSae("a", flat, 20)
    assert torch.allclose(world.reconstruct(batch, 20, pieces=3), sae.reconstruct(batch.flat)[0])
    truth, known = world.truth(20), flat.truth(20)
    assert truth[:2] == pytest.approx((known.fvu, known.fvu_nonlinear)) and truth.curvature == 0


@pytest.mark.parametrize(("pieces", "held"), [(1, 30), (3, 30), (1, 100), (4, 100)])
def test_the_closed_form_of_a_curved_world_equals_a_simulation(pieces, held):
    world = CurvedWorld(World(d_model=12, features=100, context=256, l0=5, exponent=0.8), 2.0)
    batches = [world.document(i) for i in range(60)]
    x = torch.cat([batch.x for batch in batches])
    x_hat = torch.cat([world.reconstruct(batch, held, pieces=pieces) for batch in batches])
    found = decompose(x, x_hat + (x - x_hat).mean(0), document=np.arange(60).repeat(256), bootstrap=0)
    truth = world.truth(held, pieces=pieces)
    assert found.fvu.value == pytest.approx(truth.fvu, rel=0.05)
    assert found.fvu_nonlinear.value == pytest.approx(truth.fvu_nonlinear, rel=0.05)


def test_what_one_direction_leaves_of_an_arc_is_of_second_order():
    assert left_by_a_piece(0.0) == 0 and left_by_a_piece(2 * np.pi) == pytest.approx(0.5)
    assert left_by_a_piece(0.01) == pytest.approx(0.01**2 / 12, rel=1e-4)
    angle = (np.arange(10_000) + 0.5) / 10_000 - 0.5
    assert left_by_a_piece(1.3) == pytest.approx((np.sin(1.3 * angle) ** 2).mean(), rel=1e-6)


def test_curvature_makes_a_floor_that_splitting_lowers():
    """Held in full, a flat world leaves nothing; a curved one a floor, with four latents a sixteenth."""
    world = CurvedWorld(World(d_model=32, features=256, l0=6), 0.5)
    one, four = (world.truth(256, pieces=m) for m in (1, 4))
    assert one.fvu == pytest.approx(one.curvature) and one.fvu > 0.01
    assert one.fvu / four.fvu == pytest.approx(16, rel=0.02)
    with pytest.raises(BadInput, match="arc is 7"):
        CurvedWorld(World(), 7)
    with pytest.raises(BadInput, match="topics is 4"):
        CurvedWorld(World(topics=4))


@pytest.mark.parametrize(("between", "groups", "draws"), [(1.0, 6, 3), (0.0, 6, 3), (1.0, 4, 1)])
def test_one_more_draw_of_one_more_group_is_covered(between, groups, draws):
    rng, inside = np.random.default_rng(7), []
    for trial in range(400):
        group = between * rng.standard_normal(groups + 1)
        y = group[:-1, None] + 0.5 * rng.standard_normal((groups, draws))
        low, high = np.percentile(matching.one_more(y, 1000, seed=trial), [2.5, 97.5])
        inside.append(low <= group[-1] + 0.5 * rng.standard_normal() <= high)
    assert 0.92 <= np.mean(inside) <= 0.99


def test_one_more_draw_keeps_what_numbers_share_and_needs_two_groups():
    y = np.random.default_rng(0).standard_normal((5, 2, 1)) * [1.0, 2.0]
    drawn = matching.one_more(y, 100)
    assert drawn.shape == (100, 2) and drawn[:, 1] == pytest.approx(2 * drawn[:, 0])
    assert (
        np.isfinite(matching.one_more(y[:1], 10)).all() and np.isnan(matching.one_more(y[:1, :1], 10)).all()
    )
