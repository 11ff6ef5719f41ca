"""The norm test at its poles, against closed forms, and the rule of claim 6."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LinearRegression

from darkmatter_utils import measure
from darkmatter_utils.base.errors import BadInput
from darkmatter_utils.claims import c06_norm_lowest
from darkmatter_utils.decomposition.decompose import score
from darkmatter_utils.decomposition.passes import PARTS, FirstPass, SecondPass, ThirdPass
from darkmatter_utils.experiments import matching
from darkmatter_utils.experiments import norm_test as tested
from darkmatter_utils.experiments.norm_argument import (
    agreement,
    binned,
    map_of_size,
    one_feature,
    probes,
    sparse_sum,
    theory,
)
from darkmatter_utils.experiments.norm_test import (
    FALL,
    Folds,
    evidence,
    lowest,
    matched_null,
    norm_test,
    null,
    parts_of,
    poles,
)
from darkmatter_utils.measurement.harvest import NORMS
from darkmatter_utils.studies.study import Study
from darkmatter_utils.worlds.known import tokens_of
from darkmatter_utils.worlds.saes import OracleSae
from darkmatter_utils.worlds.world import World

DOCUMENT = np.arange(4000) // 50


def size(z):
    """What chapter 08 predicts of a part."""
    return (z**2).sum(dim=1)


def r2_of(z):
    return Folds(DOCUMENT, folds=5).r2(z, z, size, replicates=0).value


def test_both_tests_are_those_of_the_passes():
    world = World(d_model=8, features=40, context=64, l0=3, scale_token=0.4, noise=0.05)
    batch = tokens_of(world, 30)
    document, x_hat = batch.document.numpy(), OracleSae("a", world, 15, wrong=0.2).reconstruct(batch)[0]
    folds = Folds(document, folds=5)
    fold_of = dict(zip(document.tolist(), folds.fold.tolist(), strict=True))
    sums = FirstPass(8, ["a"], fold_of).update(batch.x, {"a": x_hat}, document)
    second = SecondPass(sums).update(batch.x, {"a": x_hat}, document)
    known = score(ThirdPass(second).update(batch.x, {"a": x_hat}, document), "a", replicates=0)
    linear = folds.predict(batch.x, batch.x - x_hat)
    *rows, drop = tested.tests(batch.x, x_hat, linear, size, folds, replicates=0)
    of_x = known.norm_r2["SaeError"].value - known.norm_r2["NonlinearError"].value
    assert drop["part"] == FALL and drop["value"] == pytest.approx(of_x, abs=1e-8)
    for row in rows:
        table = known.norm_r2 if row["source"] == "from x" else known.norm_r2_self
        assert row["value"] == pytest.approx(table[row["part"]].value, abs=1e-8), row


def test_the_parts_add_up():
    x, x_hat, linear = (torch.randn(5, 3, dtype=torch.float64) for _ in range(3))
    parts = parts_of(x, x_hat, linear)
    assert tuple(parts) == PARTS == tuple(NORMS.values())
    assert torch.allclose(parts["Sae(x)"] + parts["LinearError"] + parts["NonlinearError"], x)


@pytest.mark.parametrize("spread", [0.0, 0.5])
def test_a_sparse_sum_of_orthonormal_features_has_the_r2_of_one_of_them(spread):
    z = sparse_sum(16, d=16, l0=2, spread=spread, tokens=4000, orthonormal=True)
    assert r2_of(z) == pytest.approx(one_feature(2 / 16, spread), abs=0.05)


def test_the_formula_of_one_feature():
    assert one_feature(0.3, 0.0) == pytest.approx(1)
    assert one_feature(1e-9, 0.7) == pytest.approx(1 / (1 + 0.7**2))
    rng = np.random.default_rng(0)
    w = (rng.random(400_000) < 0.2) * np.exp(0.3 * rng.standard_normal(400_000) - 0.045)
    assert np.corrcoef(w, w**2)[0, 1] ** 2 == pytest.approx(
        one_feature(0.2, np.sqrt(np.expm1(0.09))), abs=0.01
    )


def test_the_argument_fails_where_its_conditions_do():
    crowded = sparse_sum(16 * 16, d=16, l0=2, spread=0.0, tokens=4000)
    signed = sparse_sum(16, d=16, l0=2, spread=0.0, tokens=4000, orthonormal=True, signs="symmetric")
    assert r2_of(crowded) < 0.4 and r2_of(signed) < 0.05


def test_the_poles_are_where_construction_puts_them():
    rng = np.random.default_rng(1)
    scale = torch.from_numpy(np.exp(0.3 * rng.standard_normal((4000, 1))))
    x = scale * torch.from_numpy(1 + 0.3 * rng.standard_normal((4000, 6)))
    found = {
        (row["pole"], row["source"]): row["value"] for row in poles(x, x, size, Folds(DOCUMENT, folds=5))
    }
    own = found["NonlinearError", "from itself"]
    assert own > 0.5
    assert (
        abs(found["Gaussian, same covariance", "from itself"])
        < 0.1
        > abs(found["same rows, other tokens", "from x"])
    )
    assert found["same rows, other tokens", "from itself"] == pytest.approx(own, abs=0.05)
    assert found["same norms, random directions", "from x"] == pytest.approx(own)
    assert found["same norms, random directions", "from itself"] < 0.1


def test_the_probe_of_the_norm_is_scikit_learns():
    z = sparse_sum(8, d=12, l0=2, spread=0.5, tokens=500)
    fitted = LinearRegression().fit(z.numpy(), (z.numpy() ** 2).sum(1))
    assert map_of_size(z, size).numpy() == pytest.approx(fitted.coef_, rel=1e-6)


def test_agreement_is_free_of_scale_and_takes_every_latent():
    rng = np.random.default_rng(0)
    active = rng.random(200) + 0.5
    frame = pd.DataFrame(
        {"width": 256, "active": active, "slope": rng.random(200), "weight": 1e6 * active + 3}
    )
    table = agreement(frame, replicates=50).set_index(["against", "statistic"])
    assert table.loc[("active", "rank correlation"), "value"] == pytest.approx(1)
    assert abs(table.loc[("slope", "correlation"), "value"]) < 0.25 and (table["latents"] == 200).all()


@pytest.fixture(scope="module")
def nano():
    return measure("nano")


def test_every_sae_of_a_study_is_tested_and_counted(nano):
    found = norm_test(nano, size=size, contexts=12)
    table = found["tests"].pivot_table(index="id", columns=["source", "part"], values="value")
    assert len(table) == len(nano.saes) and not table.isna().any().any()
    known = nano.saes.set_index("id")
    for metric, part in NORMS.items():
        assert table["from x", part].to_dict() == pytest.approx(known[metric].to_dict(), rel=1e-6)
    assert lowest(found["tests"], "from itself")[1] == len(nano.saes)
    one = nano.saes.query("id == @nano.saes.id.iloc[0]")
    drawn = {name: np.asarray(table)[:, one.index] for name, table in nano.replicates.items()}
    few = SimpleNamespace(study=nano.study, saes=one, replicates=drawn, card=nano.card)
    nothing = null(few, found, size=size)
    assert not nothing and "No match is made here" in nothing.reason
    made = evidence(nano, found, nothing)
    assert made.over_null == made.null == {} and c06_norm_lowest.CLAIM.judge(made).word != "holds"


def test_the_matched_null_has_the_norms_of_the_match(nano):
    """With the published size, R² from x of every draw is what `matching.matched` found of it."""
    found = matched_null(nano, size=size)
    mine = (
        found["draws"]
        .query("source == 'from x'")
        .pivot(index=["world", "draw", "width"], columns="part", values="value")
    )
    theirs = matching.matched(nano)["draws"].set_index(["world", "draw", "width"]).loc[mine.index]
    for name in ("norm_x", "norm_error", "norm_linear", "norm_nonlinear"):
        assert mine[NORMS[name]].to_numpy() == pytest.approx(theirs[name].to_numpy(), abs=1e-6), name
    null = found["null"].set_index(["width", "part", "source"])
    own = matching.null_suite(nano, "norm_nonlinear")
    told = [null.loc[(w, "NonlinearError", "from x"), "value"] for w in own.widths]
    assert told == pytest.approx(own.values.tolist())


def test_the_size_of_a_part_is_the_chapters_to_say(nano):
    """Editing the idea changes the test of every part, from x and from itself, and what the rule takes."""
    squared, plain = (norm_test(nano, size=one, contexts=12) for one in (size, lambda z: z.norm(dim=1)))
    numbers = [evidence(nano, found, None).nonlinear for found in (squared, plain)]
    assert all(numbers[0][width].value != numbers[1][width].value for width in numbers[0])
    both = squared["tests"].merge(plain["tests"], on=["id", "part", "source"])
    assert (both["value_x"] != both["value_y"]).all() and (
        plain["poles"]["value"] != squared["poles"]["value"]
    ).all()
    with pytest.raises(BadInput, match=r"one number a token, \d+, got shape"):
        norm_test(nano, size=lambda z: z, contexts=12)


def test_the_theory_and_the_probe_follow_the_size(nano):
    small = dict(rows=500, seeds=2, ratios=(0.5,), spreads=(0.0,))
    found = {s: theory(Study.load("world"), size=s, **small)["checks"] for s in (size, one_norm)}
    assert list(found[size]["case"]) == [
        "random directions",
        "orthonormal directions",
        "either sign, orthonormal",
        "dense Gaussian",
    ]
    assert (found[one_norm]["value"] != found[size]["value"]).all() and found[size]["value"][1] > 0.9
    read = probes(nano, size=size, contexts=12)
    latents = read["latents"]
    assert (latents["fires"] > 0).all() and latents["weight"].notna().all()
    alive = latents.groupby("width").size()
    assert (alive <= alive.index).all() and set(read["curve"]["width"]) == set(alive.index)
    assert not np.allclose(latents["weight"], probes(nano, size=one_norm, contexts=12)["latents"]["weight"])


def one_norm(z):
    return z.abs().sum(dim=1)


def test_bins_hold_equally_many_latents():
    frame = pd.DataFrame({"width": 8, "active": np.arange(24.0), "weight": 2 * np.arange(24.0)})
    curve = binned(frame, bins=6)
    assert curve["active"].tolist() == [1.5 + 4 * k for k in range(6)]
    assert (curve["weight"] == 2 * curve["active"]).all()
    assert curve["weight_high"][0] - curve["weight"][0] == pytest.approx(np.std([0, 2, 4, 6]))


def test_what_the_rule_takes_is_paired(nano):
    """The gaps are differences SAE by SAE, joined over the seeds of a width."""
    found = norm_test(nano, size=size, contexts=12)
    of_x = found["tests"].query("source == 'from x'").pivot(index="id", columns="part", values="value")
    mine = nano.saes.query("main").set_index("id")["width"]
    rest = of_x["NonlinearError"]
    nothing = pd.DataFrame({"width": sorted(set(mine)), "value": 0.3, "low": 0.29, "high": 0.31})
    nothing = nothing.assign(part=FALL, source="from x")
    made = evidence(nano, found, nothing)
    for part, gap in {"LinearError": made.over_linear, "SaeError": made.over_error}.items():
        plain = (of_x[part] - rest)[mine.index].groupby(mine).mean()
        assert {w: e.value for w, e in gap.items()} == pytest.approx(plain.to_dict())
    assert {e.value for e in made.null.values()} == {0.3}
    for width, over in made.over_null.items():
        assert over.value == pytest.approx(made.over_error[width].value - 0.3)
    assert {w: e.value for w, e in made.nonlinear.items()} == pytest.approx(
        rest[mine.index].groupby(mine).mean().to_dict()
    )


def test_the_world_study_has_its_null_in_its_suite():
    main = {entry.width for entry in Study.load("world").saes if entry.main}
    assert {entry.width for entry in Study.load("world").saes if entry.kind == "introduced"} <= main
