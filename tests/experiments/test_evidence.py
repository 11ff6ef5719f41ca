"""What chapters show, held against the measurement it is made from: the study nano, measured once."""

import numpy as np
import pandas as pd
import pytest
from ideas import idea

from darkmatter_utils import measure
from darkmatter_utils.base.values import Absent, Estimate
from darkmatter_utils.base.words import plain
from darkmatter_utils.charts.tables import Folded, Html, Table
from darkmatter_utils.claims import c01_half_linear, c04_flat, c05_floor, q01_setting, q02_protocols
from darkmatter_utils.claims.claim import UNKNOWN, WORDS, unfit
from darkmatter_utils.experiments import measured, sample_size
from darkmatter_utils.experiments.error_vectors import error_vectors, half_linear
from darkmatter_utils.experiments.floors import floor
from darkmatter_utils.experiments.measured import training_curves
from darkmatter_utils.experiments.scaling import each_l0, flat
from darkmatter_utils.measurement import about
from darkmatter_utils.measurement.widths import WIDTHS, over_l0, reference_sae, suite_l0
from darkmatter_utils.stats.metrics import fvu
from darkmatter_utils.studies.saes import sample


@pytest.fixture(scope="module")
def nano():
    return measure("nano")


@pytest.fixture(scope="module")
def vectors(nano):
    return error_vectors.anew(nano, error=idea(4))


def test_a_sample_of_all_contexts_has_the_measured_fvu(nano):
    contexts = int(nano.tokens["context"].nunique())
    for row in nano.saes.itertuples():
        x, reconstruction, document, position = sample("nano", row.id, contexts=contexts)
        assert len(x) == nano.card["tokens"] and set(document) == set(nano.tokens["document"])
        assert nano.study.window[0] <= position.min() and position.max() < nano.study.window[1]
        assert fvu(x, reconstruction) == pytest.approx(row.fvu, rel=1e-4)


def test_a_sample_is_spread_over_the_text(nano):
    documents = sample("nano", nano.saes["id"].iloc[0], contexts=10).document
    assert documents.min() < 0.2 * documents.max() and len(set(documents)) > 5


def test_every_l0_is_told_and_those_with_enough_wide_widths_are_judged(nano):
    table, made = each_l0(nano), flat(nano, Estimate(-0.1, -0.11, -0.09))
    assert (table["all widths"] > 1).all() and (table["widths"] <= table["all widths"]).all()
    judged = table[table["widths"] >= WIDTHS]
    assert list(made.change.values()) == list(judged["change"]) and made.l0 == suite_l0(nano)
    assert all(width < 4 * nano.card["d_model"] for width in made.narrow) and made.narrow
    for l0, over in made.over_null.items():
        assert over.value == pytest.approx(made.change[l0].value + 0.1)


def test_errors_of_a_strip_are_in_units_of_the_variance(nano):
    sae = reference_sae(nano)
    x = sample("nano", sae, contexts=120).x
    unit = measured.unit_variance(nano, sae)
    assert unit == pytest.approx(((x - x.mean(axis=0)) ** 2).sum(axis=1).mean(), rel=1e-4)


def test_the_shown_context_has_the_median_error(nano):
    sae = reference_sae(nano)
    shown = measured.typical_context(nano, sae)
    means = nano.tokens[nano.tokens["scored"]].groupby("context")[f"{sae}:error"].mean()
    assert abs((means < means[shown]).mean() - 0.5) < 0.02


def test_the_worst_tokens_hold_more_than_their_share(nano):
    sae = reference_sae(nano)
    assert 0.1 < measured.concentration(nano, sae) < measured.concentration(nano, sae, share=0.5) < 1
    assert measured.concentration(nano, sae, share=1.0) == pytest.approx(1)


def test_errors_by_position_average_to_the_table(nano):
    sae = reference_sae(nano)
    curve = measured.positions(nano, [sae])
    assert (curve["low"] <= curve["error"]).all() and (curve["error"] <= curve["high"]).all()
    by_document = nano.tokens[nano.tokens["position"] == 5].groupby("document")[f"{sae}:error"].mean()
    here = curve.set_index("position")["error"][5]
    assert here == pytest.approx(by_document.mean() / measured.unit_variance(nano, sae))


@pytest.mark.parametrize(
    ("asked", "gather"),
    [
        (c01_half_linear.CLAIM, lambda nano: half_linear(error_vectors(nano, error=idea(4)))),
        (c04_flat.CLAIM, lambda nano: flat(nano, None)),
        (c05_floor.CLAIM, floor),
        (q01_setting.QUESTION, measured.setting),
        (q02_protocols.QUESTION, lambda nano: sample_size.evidence(nano, {"draws": Absent("few")}, "w64")),
    ],
)
def test_what_a_measurement_says_can_be_judged(nano, asked, gather):
    found = gather(nano)
    assert asked.judge(found, unfit=unfit(nano.study)).word == UNKNOWN
    verdict = asked.judge(found)
    assert verdict.word in WORDS and verdict.why


def test_the_error_as_published_has_the_numbers_of_the_measurement(nano, vectors):
    columns = [f"{metric}{end}" for metric in ("r2_per_dim", "r2_total") for end in ("", "_low", "_high")]
    np.testing.assert_allclose(vectors["saes"][columns], nano.saes[columns], rtol=1e-5)
    np.testing.assert_allclose(vectors["saes"]["paper"], nano.paper["r2_per_dim"], rtol=1e-5)
    shares = nano.linear_shares.columns.drop("id")
    np.testing.assert_allclose(vectors["shares"][shares], nano.linear_shares[shares], rtol=1e-5)
    np.testing.assert_allclose(vectors["shares"]["fvu"], nano.saes["fvu"], rtol=1e-5)


def test_the_evidence_for_half_linear_is_the_table(nano, vectors):
    found, main = half_linear(vectors), nano.saes.query("main")
    apart = main.assign(split=main["r2_per_dim"] - nano.paper["r2_per_dim"])
    means = apart.groupby("width")[["r2_per_dim", "split"]].mean()
    assert {width: e.value for width, e in found.r2.items()} == pytest.approx(means["r2_per_dim"].to_dict())
    assert found.split == pytest.approx(means["split"].to_dict())
    table = nano.saes.set_index("id")
    assert set(main["id"]) < set(found.saes), "every L0 of the suite's widths"
    assert {id: e.low for id, e in found.saes.items()} == pytest.approx(
        table.loc[list(found.saes), "r2_per_dim_low"].to_dict(), rel=1e-5
    )
    shares = vectors["shares"].set_index("id").loc[main["id"]]
    kept = (shares["after"] / shares["full"]).groupby(main.set_index("id")["width"]).mean()
    assert {width: e.value for width, e in found.kept.items()} == pytest.approx(kept.to_dict())
    assert all(e.low < e.value < e.high for e in found.kept.values())


def test_an_edited_error_changes_the_figure_the_table_and_what_the_rule_takes(nano, vectors):
    edited = error_vectors.anew(nano, error=idea(4, ("x - reconstruction", "x - 0.9 * reconstruction")))
    assert not edited["suite"].equals(vectors["suite"]) and not edited["by_width"].equals(vectors["by_width"])
    first, then = half_linear(vectors), half_linear(edited)
    assert all(then.r2[width].value > first.r2[width].value for width in first.r2)
    assert first.kept != then.kept and first.split != then.split


def test_a_grid_and_training_curves_are_there_or_said_to_be_absent(nano, vectors):
    assert vectors["grid"][["width", "l0_target"]].to_numpy().tolist() == [[32, 2], [32, 4], [32, 6]]
    assert set(training_curves(nano)["width"]) == {16, 32, 64, 128} and not training_curves(measure("world"))
    without = over_l0(nano.saes.query("main"))
    assert without.reason == "This study has no SAEs of one width and different L0."


def test_tables_escape_text_keep_markup_and_never_show_minus_zero():
    frame = pd.DataFrame(
        {"name": ["a<b"], "link": ["x"], "value": [-0.00001], "none": [np.nan], "on": [True]}
    )
    shown = Table(frame, {"link": lambda v: Html(f'<a href="{v}">{v}</a>'), "value": plain})._repr_html_()
    assert (
        "a&lt;b" in shown
        and '<a href="x">x</a>' in shown
        and ">0.00<" in shown
        and "–" in shown
        and "yes" in shown
    )
    assert "<details>" in Folded("more", Table(frame))._repr_html_()


def test_the_pages_words_fit_the_study(nano):
    assert "not known" in about.in_words(nano)
