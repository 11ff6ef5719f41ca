"""What a replacement costs: against clean runs, plain transformers, SAELens' own evaluation, and known
answers."""

import json
import shutil
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
import toys
from ideas import idea, play
from tokenizers import Tokenizer, models
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from darkmatter_utils import Study, measure
from darkmatter_utils.adapters.interventions import (
    Intervention,
    boundary,
    continued,
    cross_entropy,
    logits_after,
)
from darkmatter_utils.adapters.models import load_model, token_losses
from darkmatter_utils.adapters.saes import load_sae
from darkmatter_utils.base.errors import BadInput
from darkmatter_utils.claims.c08_proportional import CLAIM
from darkmatter_utils.claims.claim import HOLDS, UNKNOWN
from darkmatter_utils.decomposition.passes import ERRORS
from darkmatter_utils.experiments import cost_tables as cost_module
from darkmatter_utils.experiments.cost_adapters import adapters, left_over, train_adapter
from darkmatter_utils.experiments.cost_controls import KINDS, Controls, donors
from darkmatter_utils.experiments.cost_shares import (
    AVERAGE,
    FIRST,
    LAST,
    ORDERS,
    SHARES,
    Costs,
    against_control,
    alone,
    of_loss,
    of_size,
    over_controls,
    recovered,
    relative,
    slopes,
    won_back,
)
from darkmatter_utils.experiments.cost_tables import claim8_table, evidence
from darkmatter_utils.experiments.cost_tables import costs as chapter10
from darkmatter_utils.experiments.replacements import (
    BOTH,
    CLEAN,
    SAE,
    control,
    cost_tables,
    take,
    with_part,
)
from darkmatter_utils.studies.activations import spread
from darkmatter_utils.worlds.saes import DeadSae, ShrunkSae

CONTEXTS = 24
SITES = [
    "blocks.0.hook_resid_post",
    "blocks.1.hook_resid_post",
    "blocks.2.hook_resid_post",
    "blocks.1.hook_resid_pre",
    "blocks.1.hook_mlp_out",
    "blocks.1.attn.hook_z",
]


@pytest.fixture(scope="module")
def nano():
    return measure(toys.bare())


@pytest.fixture(scope="module")
def costs(nano):
    """Every SAE of nano, one with controls, and two nulls whose error is linear."""
    mean = torch.from_numpy(nano.extra["mean"])
    nulls = {"dead": (DeadSae("dead", mean), None), "shrunk": (ShrunkSae("shrunk", mean, gain=0.5), None)}
    made = cost_tables.anew(
        nano, ids=["w16", "w32", "w64"], contexts=CONTEXTS, controlled=["w32"], extra=nulls
    )
    return Costs(**made, replicates=200)


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def small(request, tmp_path_factory):
    """A three-block model from a config, saved as transformers saves models, with tokens."""
    torch.manual_seed(0)
    if request.param == "llama":
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=50,
                hidden_size=16,
                intermediate_size=32,
                num_hidden_layers=3,
                num_attention_heads=2,
                max_position_embeddings=32,
            )
        )
    else:
        model = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=50, n_positions=32, n_embd=16, n_layer=3, n_head=2, bos_token_id=0, eos_token_id=0
            )
        )
    words = {"<bos>": 0} | {f"w{i}": i for i in range(1, 50)}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="<bos>")), bos_token="<bos>"
    )
    folder = tmp_path_factory.mktemp(request.param)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return load_model(folder, dtype="float64"), torch.randint(1, 50, (3, 20))


def total(costs, sae, replacement, measure="ce"):
    """Mean nats per token of a replacement."""
    rows = costs.losses[(costs.losses["sae"] == sae) & (costs.losses["replacement"] == replacement)]
    return float(rows[measure].sum() / rows["tokens"].sum())


@pytest.mark.parametrize("site", SITES)
def test_running_on_from_the_site_is_exactly_what_replacing_it_does(small, site):
    model, tokens = small
    x = model.run(tokens, [site])[0][site]
    value, positions = x + torch.randn_like(x), torch.arange(4, 19)
    with model.replaced(site, lambda old: value.view_as(old)):
        wanted = model.run(tokens, [])[1]
    found = logits_after(model, site, tokens, value, positions)
    torch.testing.assert_close(found, wanted[:, positions], atol=1e-14, rtol=0)


@pytest.mark.parametrize("site", SITES)
def test_replacing_by_x_itself_costs_nothing(small, site):
    model, tokens = small
    found, logits = model.run(tokens, [site])
    positions = torch.arange(4, 19)
    run = Intervention(model, site, tokens, found[site], positions)
    ce, kl = run.of(found[site][:, positions])
    clean = token_losses(logits, tokens)[:, positions]
    torch.testing.assert_close(ce, clean, atol=1e-5, rtol=0)
    torch.testing.assert_close(run.of_clean, clean, atol=1e-5, rtol=0)
    assert kl.abs().max() < 1e-12


def test_only_boundaries_between_blocks_skip_blocks():
    found = {site: boundary(site) for site in SITES}
    assert found == dict(zip(SITES, (0, 1, 2, 0, None, None)))
    assert boundary("blocks.0.hook_resid_pre") is None


def test_nothing_is_left_behind_not_even_by_an_error(small):
    model, tokens = small
    clean = model.run(tokens, [])[1]
    for site in (SITES[1], SITES[-1]):
        x = model.run(tokens, [site])[0][site]
        with pytest.raises(RuntimeError, match="on purpose"), continued(model, site, torch.zeros_like(x)):
            assert (model.bridge(tokens) - clean).abs().max() > 1e-3
            raise RuntimeError("on purpose")
        torch.testing.assert_close(model.run(tokens, [])[1], clean, atol=0, rtol=0)
    assert not any("forward" in block.original_component.__dict__ for block in model.bridge.blocks)


def test_a_later_token_cannot_change_an_earlier_loss(small):
    model, tokens = small
    site = SITES[1]
    x = model.run(tokens, [site])[0][site]
    early, late = torch.arange(2, 10), torch.arange(10, 19)
    run = Intervention(model, site, tokens, x, torch.arange(2, 19))
    patch = x[:, 2:19].clone()
    patch[:, late - 2] += torch.randn(x.shape[-1])
    ce, _ = run.of(patch)
    torch.testing.assert_close(ce[:, early - 2], run.of_clean[:, early - 2], atol=1e-12, rtol=0)
    assert (ce - run.of_clean)[:, late - 2].abs().min() > 0


def test_x_itself_costs_nothing_on_nano_and_all_parts_together_win_back_everything(nano, costs):
    scored = nano.tokens[nano.tokens["scored"] & nano.tokens["context"].isin(take(nano, CONTEXTS).rows)]
    assert total(costs, "", CLEAN) == pytest.approx(scored["loss"].mean(), abs=1e-5)
    assert total(costs, "w32", BOTH) == pytest.approx(total(costs, "", CLEAN), abs=1e-5)
    assert total(costs, "w32", BOTH, "kl") == pytest.approx(0, abs=1e-6)
    for measure_ in ("ce", "kl"):
        assert costs.estimate("w32", recovered(measure_, BOTH)).value == pytest.approx(1, abs=1e-3)
        assert costs.estimate("w32", recovered(measure_, CLEAN)).value == 1


def test_a_wholly_linear_error_is_won_back_whole_by_linear_error(costs):
    for id in ("dead", "shrunk"):
        assert total(costs, id, with_part("LinearError")) == pytest.approx(total(costs, "", CLEAN), abs=1e-5)
        assert costs.estimate(id, won_back("kl", "LinearError")).value == pytest.approx(1, abs=1e-3)
        assert costs.estimate(id, of_size("square", "LinearError")).value == pytest.approx(1, abs=1e-6)
    assert total(costs, "dead", SAE) == pytest.approx(total(costs, "", "mean of x"), abs=1e-6)


def test_shares_of_fvu_are_the_measurements_on_all_contexts(nano):
    made = cost_tables.anew(nano, ids=["w32"], contexts=10_000)
    row = nano.sae("w32")
    found = Costs(**made, replicates=100).estimate("w32", of_size("square", "LinearError")).value
    assert found == pytest.approx(row["fvu_linear_held_out"] / row["fvu"], abs=2e-6)


def test_sae_lens_own_evaluation_gives_the_same_numbers(nano):
    from sae_lens import SAE as Theirs
    from sae_lens.evals import get_recons_loss
    from sae_lens.training.activation_scaler import ActivationScaler

    study = nano.study.at(window=(1, 1 << 30))
    whole = replace(nano, study=study)
    taken, folder = take(whole, CONTEXTS), study.data_folder()
    entry = study.sae("w32")
    sae = Theirs.load_from_disk(folder / entry.path, dtype="float32")
    model = load_model(folder / study.model, dtype="float32")
    theirs = get_recons_loss(
        sae,
        model.bridge,
        ActivationScaler(),
        taken.tokens,
        compute_kl=True,
        compute_ce_loss=True,
        ignore_tokens=[0],
        hook_name=study.site,
    )
    assert (taken.tokens[:, 1:] != 0).all()  # so that what they leave out is <bos>, as the stream does
    ours = Costs(**cost_tables.anew(whole, ids=["w32"], contexts=CONTEXTS), replicates=100)
    for name, replacement, measure_ in (("ce_loss_with_sae", SAE, "ce"), ("kl_div_with_sae", SAE, "kl")):
        wanted = float(theirs[name][:, 1 : taken.tokens.shape[1] - 1].double().mean())
        assert total(ours, "w32", replacement, measure_) == pytest.approx(wanted, abs=1e-6)
    wanted = float(theirs["ce_loss_without_sae"][:, 1:].double().mean())
    assert total(ours, "", CLEAN) == pytest.approx(wanted, abs=1e-6)


def test_sae_lens_gives_the_same_loss_token_by_token_when_all_is_replaced(nano):
    from sae_lens import SAE as Theirs
    from sae_lens.evals import get_recons_loss
    from sae_lens.training.activation_scaler import ActivationScaler

    study, taken = nano.study, take(nano, 6)
    entry = study.sae("w16")
    sae = load_sae(entry.id, study.data_folder() / entry.path, d_model=16, dtype="float32")
    model = load_model(study.data_folder() / study.model, dtype="float32")
    theirs = get_recons_loss(
        Theirs.load_from_disk(study.data_folder() / entry.path, dtype="float32"),
        model.bridge,
        ActivationScaler(),
        taken.tokens,
        compute_kl=True,
        compute_ce_loss=True,
        hook_name=study.site,
    )
    x, positions = taken.x.float(), torch.arange(taken.tokens.shape[1] - 1)
    run = Intervention(model, study.site, taken.tokens, x, positions)
    x_hat = sae.reconstruct(x.flatten(0, 1))[0].view_as(x)
    ce, kl = run.of(x_hat[:, positions])
    torch.testing.assert_close(ce, theirs["ce_loss_with_sae"], atol=1e-5, rtol=0)
    torch.testing.assert_close(kl, theirs["kl_div_with_sae"][:, :-1], atol=1e-5, rtol=0)


def test_controls_have_the_norm_of_the_part_and_come_from_other_documents():
    torch.manual_seed(0)
    x = torch.randn(4000, 6, dtype=torch.float64) * torch.tensor([5.0, 3, 1, 1, 1, 0.1])
    document, part = np.repeat(np.arange(8), 500), torch.randn(4000, 6)
    tokens = torch.arange(4000)
    made = Controls(x, document, tuple(KINDS), seed=0)
    for kind in KINDS:
        direction = made.direction(kind, part, tokens)
        torch.testing.assert_close(direction.norm(dim=1), torch.ones(4000), atol=1e-5, rtol=0)
    assert (document[made.other.numpy()] != document).all()
    spread_of = {kind: made.direction(kind, part, tokens).var(dim=0) for kind in KINDS}
    assert spread_of["isotropic"].max() / spread_of["isotropic"].min() < 1.2
    assert spread_of["covariance"].argsort().tolist()[0] == 5 and spread_of["covariance"].argmax() == 0
    cosine = (made.direction("difference", part, tokens) * (x[made.other] - x)).sum(dim=1)
    torch.testing.assert_close(cosine, (x[made.other] - x).norm(dim=1), atol=1e-5, rtol=1e-5)
    permuted = made.direction("permuted", part, tokens)
    torch.testing.assert_close(
        permuted, -part[made.other] / part[made.other].norm(dim=1, keepdim=True), atol=1e-6, rtol=0
    )


def test_controls_that_cannot_be_made_say_why():
    with pytest.raises(BadInput, match="at least two documents"):
        donors(np.zeros(5, int), seed=0)
    with pytest.raises(BadInput, match="unknown kind of control 'isotopic'.*isotropic"):
        Controls(torch.zeros(2, 2), np.arange(2), ["isotopic"], seed=0)


def by_hand(**losses) -> Costs:
    """Costs of one SAE from its losses by replacement, {name: [document]}, and a 3-4-5 error in every
    document."""
    rows = [
        (("" if name == CLEAN else "a"), name, d, 10, value, value)
        for name, values in losses.items()
        for d, value in enumerate(values)
    ]
    sizes = [
        ("a", d, part, square, square**0.5)
        for d in range(len(losses[CLEAN]))
        for part, square in zip(ERRORS, (25.0, 9.0, 16.0))
    ]
    return Costs(
        pd.DataFrame(rows, columns=["sae", "replacement", "document", "tokens", "ce", "kl"]),
        pd.DataFrame(sizes, columns=["sae", "document", "part", "square", "norm"]),
        replicates=100,
    )


def test_shares_by_hand():
    lin, non = with_part("LinearError"), with_part("NonlinearError")
    made = by_hand(**{CLEAN: [10.0, 30.0], SAE: [20.0, 50.0], lin: [16.0, 42.0], non: [14.0, 38.0]})
    value = lambda statistic: made.estimate("a", statistic).value
    assert value(won_back("ce", "NonlinearError")) == pytest.approx(18 / 30)
    assert value(won_back("ce", "LinearError")) == pytest.approx(12 / 30)
    assert value(alone("ce", "NonlinearError")) == pytest.approx(1 - 12 / 30)
    assert value(of_size("square", "NonlinearError")) == pytest.approx(16 / 25)
    assert value(of_size("norm", "NonlinearError")) == pytest.approx(2 / 5)
    assert value(of_size("square", "NonlinearError", order=LAST)) == pytest.approx(16 / 25)
    assert value(relative("ce", "NonlinearError", order=FIRST)) == pytest.approx((18 / 30) / (16 / 25))
    assert value(relative("ce", "NonlinearError", order=LAST)) == pytest.approx((18 / 30) / (16 / 25))


def test_only_the_mean_of_both_orders_adds_up_over_the_parts():
    """Parts that make good what the other lacks: 70% and 90% first, 10% and 30% last."""
    lin, non = with_part("LinearError"), with_part("NonlinearError")
    made = by_hand(**{CLEAN: [10.0, 10.0], SAE: [20.0, 20.0], lin: [13.0, 13.0], non: [11.0, 11.0]})
    shares = {o: [made.estimate("a", of_loss("ce", p, order=o)).value for p in ERRORS[1:]] for o in ORDERS}
    assert shares == {
        FIRST: pytest.approx([0.7, 0.9]),
        LAST: pytest.approx([0.1, 0.3]),
        AVERAGE: pytest.approx([0.4, 0.6]),
    }
    for name in SHARES:
        values = [made.estimate("a", SHARES[name](part, AVERAGE)).value for part in ERRORS[1:]]
        assert sum(values) == pytest.approx(1) or name == "relative", name


def test_a_share_that_is_the_same_in_every_document_has_no_interval():
    """Sums that vary tenfold between documents, resampled together, leave no doubt about their ratio."""
    scale = np.tile([1.0, 10, 3, 7, 2], 4)
    lin, non = with_part("LinearError"), with_part("NonlinearError")
    made = by_hand(**{CLEAN: scale, SAE: 3 * scale, lin: 2 * scale, non: 1.5 * scale})
    found = made.estimate("a", won_back("ce", "NonlinearError"))
    assert (found.low, found.value, found.high) == pytest.approx((0.75, 0.75, 0.75))


def test_a_quadratic_loss_is_proportional_in_every_order_and_so_is_every_control(nano):
    """Costs equal to the squared norms: slope 1 for the error and for every control, whatever the parts'
    correlation, and no more cost than a control's. What the old rule called "does not hold"."""
    ids = ["w16", "w32", "w64"]
    tables = cost_tables.anew(nano, ids=ids, contexts=40, controlled=ids)
    sizes = tables["sizes"].set_index(["sae", "part", "document"])["square"]
    losses = tables["losses"].copy()
    part_of = {
        SAE: "SaeError",
        with_part("LinearError"): "NonlinearError",
        with_part("NonlinearError"): "LinearError",
    }
    part_of |= {control(kind, part): part for kind in KINDS for part in ERRORS}
    losses["ce"] = losses["kl"] = [
        sizes.get((sae, part_of.get(name), d), 0.0)
        for sae, name, d in losses[["sae", "replacement", "document"]].itertuples(index=False)
    ]
    made = Costs(losses, tables["sizes"], replicates=200)
    for measure_, order in product(("ce", "kl"), ORDERS):
        found = slopes(nano, made, measure=measure_, order=order)
        assert set(found) == {"", *KINDS}
        for e in found.values():
            assert (e.low, e.value, e.high) == pytest.approx((1, 1, 1))
    ratio = over_controls(nano, made)
    assert set(ratio) == set(KINDS) and [e.value for e in ratio.values()] == pytest.approx([1] * 4)
    row = claim8_table(made, ids)
    assert row[["relative", "relative_first", "relative_last"]].to_numpy() == pytest.approx(np.ones((3, 3)))


def test_a_cost_over_a_controls_is_that_of_the_sums_at_each_width_averaged(nano, costs):
    kind = "permuted"
    own, other = (
        total(costs, "w32", name) - total(costs, "", CLEAN)
        for name in (with_part("LinearError"), control(kind, "NonlinearError"))
    )
    one = costs.estimate("w32", against_control("NonlinearError", kind))
    assert one.value == pytest.approx(own / other)
    assert over_controls(nano, costs)[kind].value == pytest.approx(one.value), "of the one SAE that has any"


def test_an_adapter_undoes_what_is_linear_in_the_reconstruction(nano):
    """Sae(x) = x minus a constant: the bias alone can mend it, and the training finds it by the loss."""
    taken = take(nano, 24)
    model = load_model(nano.study.data_folder() / nano.study.model, dtype="float32")
    x = taken.x[:, taken.positions].float()
    shift = 2 * x.flatten(0, 1).std(dim=0)
    adapter = train_adapter(model, taken, x - shift, steps=60, lr=3e-2)
    run = Intervention(model, nano.study.site, taken.tokens, taken.x.float(), taken.positions)
    clean, broken, mended = (
        run.of_clean.mean(),
        run.of(x - shift)[0].mean(),
        run.of(adapter(x - shift))[0].mean(),
    )
    assert clean < broken and mended < (clean + broken) / 2


def test_adapters_are_made_on_other_documents_and_scored_on_the_same(nano, costs, tmp_path):
    made = adapters.anew(nano, loss=idea(10), sae="w32", contexts=CONTEXTS, training=16, steps=3)
    assert set(made["losses"]["document"]) == set(costs.documents)
    joined = costs.with_losses(made["losses"])
    assert np.isfinite(joined.estimate("w32", recovered("kl", "adapter, least squares")).value)
    source, left = left_over(nano, costs.documents)
    assert source.study.text == "component" and len(left) == len(source.contexts.document)
    data = shutil.copytree(toys.nano(), tmp_path / "data")
    tokens = {k: v for k, v in np.load(data / "tokens.npz").items() if k.startswith("score")}
    np.savez(data / "tokens.npz", **tokens)
    nano = replace(
        nano, study=replace(nano.study, data=str(data))
    )  # no other text: the documents that are left
    source, left = left_over(nano, costs.documents)
    assert len(left) and not set(source.contexts.document[left]) & set(costs.documents)
    assert not len(left_over(nano, np.arange(1000))[1])


def test_contexts_are_spread_and_checked_against_what_was_measured(nano, tmp_path):
    assert spread(10, 3).tolist() == [0, 4, 9] and spread(3, 99).tolist() == [0, 1, 2]
    with pytest.raises(BadInput, match="is simulated"):
        take(replace(nano, study=Study.load("world")), 4)
    table = nano.tokens.copy()
    table.loc[5, "token"] += 1
    shutil.copytree(nano.folder, tmp_path / "other")
    table.to_parquet(tmp_path / "other" / "tokens.parquet")
    with pytest.raises(BadInput, match="not the one that was measured"):
        take(replace(nano, folder=tmp_path / "other"), 4)


def test_one_row_an_sae_for_claim_8(costs):
    table = claim8_table(costs, ["w16", "w32", "w64"]).set_index("sae")
    assert np.isfinite(table.loc["w32", "against_permuted"]) and np.isnan(
        table.loc["w16", "against_permuted"]
    )
    np.testing.assert_allclose(table["relative"], table["share"] / table["variance"])
    for id, row in table.iterrows():
        first = costs.estimate(id, won_back("ce", "NonlinearError")).value
        last = costs.estimate(id, alone("ce", "NonlinearError")).value
        assert row["share"] == pytest.approx((first + last) / 2)


@pytest.mark.parametrize("study", ["nano", "world"])
def test_the_chapter_says_the_same_as_its_record(study, tmp_path, monkeypatch):
    monkeypatch.setenv("DARKMATTER_RECORDS", str(tmp_path))
    asked = toys.bare_file(tmp_path / "nano.yaml") if study == "nano" else study
    scope = play(10, study=asked, contexts=12, training=8, steps=2)
    record = json.loads((tmp_path / study / "10.json").read_text())["values"]
    found, verdict = scope["found"], CLAIM.from_record(record["evidence"]["8"])
    assert record["verdicts"]["8"]["word"] == verdict.word == UNKNOWN
    if study == "world":
        assert "simulated" in verdict.why and not found
    else:
        numbers, taken = record["evidence"]["8"]["numbers"], evidence(found)
        assert numbers["slope"]["value"] == pytest.approx(taken.slope.value, rel=1e-5)
        assert len(record["shares"]["value"]) == 2 * 3 * 3 * (len(SHARES) + len(KINDS))
        assert list(taken.orders) == [FIRST, LAST] and set(taken.controls) == set(KINDS)
        assert list(taken.saes) == found["by_sae"]["sae"].tolist() == ["w16", "w32", "w64"]
        assert set(taken.over_control) == set(KINDS)
        word = CLAIM.judge(taken).word
        assert word != HOLDS, "random weights: no loss to share"


HEAT = ("log_softmax(logits,", "log_softmax(heat * logits,")


@pytest.mark.parametrize(
    "edits",
    [
        [("-torch.log_softmax", "-torch.softmax")],
        [HEAT, ("tokens):", "tokens, heat=0.5):")],
        [
            HEAT,
            ("heat * logits", "heated(logits)"),
            ("@chapter", "def heated(x):\n    return x / 2\n@chapter"),
        ],
    ],
    ids=["source", "default", "helper"],
)
def test_another_loss_changes_the_main_figure_and_what_the_rule_takes(nano, edits):
    """Also where only a default, or a helper that the function calls, is another."""
    settings = {"contexts": 8, "training": 4, "steps": 1}
    found, edited = (chapter10(nano, loss=loss, **settings) for loss in (idea(10), idea(10, *edits)))
    assert (edited["against_variance"]["value"] != found["against_variance"]["value"]).all()
    assert evidence(edited).slope != evidence(found).slope
    np.testing.assert_array_equal(
        edited["against_variance"]["variance"], found["against_variance"]["variance"]
    )


def test_of_a_large_model_controls_are_at_three_widths_and_contexts_of_every_source(monkeypatch):
    nano = measure("nano")
    suite = sorted(cost_module.main_ids(nano)[0])
    assert cost_module.runs(nano, suite, 12) == (suite, suite, 12)
    monkeypatch.setattr(cost_module, "LARGE", 0)
    run, controlled, contexts = cost_module.runs(nano, suite, 12)
    widths = nano.saes.set_index("id").loc[run, "width"].tolist()
    assert widths == sorted(set(nano.saes[nano.saes["main"]]["width"]))
    assert {run[0], run[-1]} <= set(controlled) <= set(run) and len(controlled) <= 3
    assert contexts == max(12, 10 * nano.documents["source"].nunique())
    told = chapter10.anew(nano, loss=cross_entropy, contexts=12, training=8, steps=2)["about"].iloc[0]
    some = ", ".join(f"{width:,}" for width in nano.saes.set_index("id").loc[controlled, "width"])
    assert told.controlled.startswith(f"the SAEs of {some} latents")
    assert told.documents >= 1
