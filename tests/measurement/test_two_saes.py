"""Two SAEs on the same tokens: against other code, at both poles, with pairs whose difference is known."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from test_probe import NANO, SITE, ask, model, text  # noqa: F401  fixtures

from darkmatter_utils import decompose
from darkmatter_utils.adapters.models import load_model
from darkmatter_utils.base.errors import BadInput
from darkmatter_utils.cli import main
from darkmatter_utils.measurement import formulas
from darkmatter_utils.measurement.one_sae import plan
from darkmatter_utils.measurement.shards import activations
from darkmatter_utils.measurement.two_saes import METRICS, compare, compared, of_arrays

SAES = NANO / "saes"


@pytest.fixture(scope="module")
def pair(ask):  # noqa: F811
    return compare(ask(SAES / "w16"), ask(SAES / "w64"))


def test_either_side_is_what_decompose_says_of_it(ask, pair):  # noqa: F811
    for side, name in enumerate(("w16", "w64")):
        planned = plan(ask(SAES / name))
        x, hat, l0 = activations(planned, print)
        document = np.repeat(planned.reading.document, planned.reading.scored)
        alone = decompose(x, hat, document=document, bootstrap=100)
        for metric in ("fvu", "fvu_linear", "fvu_nonlinear"):
            mine, theirs = pair.table[metric][side], getattr(alone, metric)
            assert (mine.value, mine.low, mine.high) == pytest.approx(
                (theirs.value, theirs.low, theirs.high), rel=1e-9
            )
        assert pair.table["l0"][side].value == pytest.approx(l0.mean())
        assert pair.tokens == len(x) and pair.documents == len(np.unique(document))
    for first, second, gap in pair.table.values():
        assert gap.value == pytest.approx(second.value - first.value, abs=1e-12)
        assert gap.low < gap.value < gap.high


def test_the_loss_is_that_of_the_model_by_itself(ask, model, pair):  # noqa: F811
    """Of transformers' model, whose block puts out the reconstruction."""
    planned = plan(ask(SAES / "w16"))
    reading, (_, hat, _) = planned.reading, activations(planned, print)
    plain, edges = load_model(model).bridge.original_model, np.concatenate([[0], reading.scored.cumsum()])
    lost, count = np.zeros(2), 0
    for row in range(len(reading.length)):
        length = min(int(reading.length[row]), reading.window[1])
        tokens = torch.from_numpy(reading.tokens[row : row + 1, :length])
        mine = torch.from_numpy(reading.counts[row, :length])

        def put(module, given, out, mine=mine, row=row):
            whole = out[0] if isinstance(out, tuple) else out
            made = whole.clone()
            made[0, mine] = torch.from_numpy(hat[edges[row] : edges[row + 1]])
            return (made, *out[1:]) if isinstance(out, tuple) else made

        for i in range(2):
            hook = plain.model.layers[0].register_forward_hook(put) if i else None
            with torch.no_grad():
                logits = plain(tokens).logits[0, :-1]
            if hook:
                hook.remove()
            each = torch.nn.functional.cross_entropy(logits, tokens[0, 1:], reduction="none")
            lost[i] += float(each[mine[:-1]].double().sum())
        count += int(mine[:-1].sum())
    assert pair.table["loss"][0].value == pytest.approx((lost[1] - lost[0]) / count, rel=1e-4)


def test_a_copy_whose_latents_are_permuted_does_not_differ(ask, tmp_path):  # noqa: F811
    shutil.copytree(SAES / "w16", tmp_path / "copy")
    file = tmp_path / "copy" / "sae_weights.safetensors"
    state = load_file(file)
    order = torch.randperm(len(state["W_dec"]), generator=torch.Generator().manual_seed(0))
    swapped = {
        name: (
            value[:, order] if name == "W_enc" else value if name == "b_dec" else value[order]
        ).contiguous()
        for name, value in state.items()
    }
    save_file(swapped, file)
    done = compare(ask(SAES / "w16"), ask(tmp_path / "copy"))
    assert done.verdict() == "no difference in FVU; no difference in loss"
    assert done.names == ("w16", "copy")
    same = compare(ask(SAES / "w16"), ask(SAES / "w16"), loss=False)
    assert same.verdict() == "no difference in FVU" and same.names == ("A", "B")


def test_the_verdict_names_the_better_one_or_the_most_that_there_may_be(pair):
    gap = pair.table["fvu"][2]
    better = pair.names[gap.value < 0]
    assert pair.verdict().startswith(f"{better} has the lower FVU, by {abs(gap.value):.4f} [")
    sums = _drawn(np.random.default_rng(0), 60, better=0.0)
    first, second, gap = compared(sums, bootstrap_of=300, seed=0)["fvu"]
    assert gap.low < 0 < gap.high
    told = pair.__class__(("a", "b"), {"fvu": (first, second, gap)}, 1, 1, {}, (), {}).verdict()
    assert told == f"no difference in FVU larger than {max(-gap.low, gap.high):.2g}"


@pytest.mark.parametrize("documents", [60, 200])
def test_over_a_thousand_simulated_pairs_the_interval_covers_the_truth(documents):
    far = _drawn(np.random.default_rng(99), 400_000, better=0.02)
    of = METRICS["fvu"][1]
    totals = {name: value.sum(axis=0) for name, value in far.items()}
    truth, hit = of(totals, "b") - of(totals, "a"), 0
    for seed in range(1000):
        gap = compared(_drawn(np.random.default_rng(seed), documents, better=0.02), bootstrap_of=400, seed=0)
        hit += gap["fvu"][2].low <= truth <= gap["fvu"][2].high
    assert 930 <= hit <= 970


def _drawn(rng, documents, *, better):
    """Sums over documents of unequal length and loudness; B misses ``better`` less than A, on average."""
    n = rng.integers(50, 500, size=documents).astype(float)
    loud = np.exp(0.4 * rng.normal(size=documents))
    x = rng.normal(size=(documents, 4)) * (np.sqrt(n) * loud)[:, None]
    xx = 4 * n * loud**2 * (1 + 0.1 * rng.normal(size=documents))
    a = 0.2 * xx * np.exp(0.3 * rng.normal(size=documents))
    b = a * (1 - better + 0.15 * rng.normal(size=documents))
    same = {f"l0 {side}": n for side in "ab"} | {"left a": a / 2, "left b": b / 2}
    return {"n": n, "x": x, "xx": xx, "error a": a, "error b": b} | same


def test_sums_over_arrays_give_the_difference_that_was_put_in():
    rng = np.random.default_rng(0)
    document = np.repeat(np.arange(40), 50)
    x = rng.normal(size=(2000, 6)) + 3
    noise = rng.normal(size=x.shape)
    sums = of_arrays(x, [x - 0.3 * noise, x - 0.2 * noise], document, folds=5, seed=0)
    table = compared(sums, bootstrap_of=200, seed=0)
    assert table["fvu"][2].value == pytest.approx((0.04 - 0.09) * (noise**2).sum() / _about(x), rel=1e-9)
    assert table["l0"][0].value == 0 and "loss" not in table


def _about(x):
    return ((x - x.mean(axis=0)) ** 2).sum()


def test_formulas_of_others_at_both_poles_and_between():
    rng = np.random.default_rng(0)
    x, cuts = rng.normal(size=(300, 8)) * np.linspace(0.1, 2, 300)[:, None], [100, 170]
    halves = np.split(x, cuts)
    means = np.concatenate([np.broadcast_to(part.mean(axis=0), part.shape) for part in halves])
    for name, formula in formulas.KNOWN.items():
        assert formula(x, x, cuts) == 0
        if name != "saelens-6.18":
            assert formula(x, means, cuts) == pytest.approx(1)
    hat = x + 0.3 * rng.normal(size=x.shape)
    error = ((x - hat) ** 2).sum(axis=1)
    ratio = np.concatenate([((part - part.mean(axis=0)) ** 2).sum(axis=1) for part in halves])
    assert formulas.saebench_legacy(x, hat, cuts) == pytest.approx((error / ratio).mean())
    by_batch = [e.sum() / r.sum() for e, r in zip(np.split(error, cuts), np.split(ratio, cuts))]
    assert formulas.sparsify(x, hat, cuts) == pytest.approx(np.mean(by_batch))
    # As SAELens 6.18 computes it, step by step in torch.
    parts = [(torch.from_numpy(a), torch.from_numpy(b)) for a, b in zip(halves, np.split(hat, cuts))]
    squares = torch.stack([a.pow(2).sum(dim=-1).mean(dim=0) for a, _ in parts]).mean(dim=0)
    per_dimension = torch.cat([a.pow(2).mean(dim=0) for a, _ in parts]).mean(dim=0)
    left = torch.stack([(a - b).pow(2).sum(dim=-1).mean(dim=0) for a, b in parts]).mean(dim=0)
    assert formulas.saelens_6_18(x, hat, cuts) == pytest.approx(float(left / (squares - per_dimension**2)))


def test_the_command(ask, model, text, tmp_path, capsys):  # noqa: F811
    how = ["--model", model, "--site", SITE, "--text", str(text), "--positions", "4:32", "--bootstrap", "100"]
    asked = ["compare", str(SAES / "w16"), str(SAES / "w64"), *how]
    out = tmp_path / "numbers.json"
    assert main([*asked, "--formulas", "sparsify,saebench-legacy", "--json", str(out)]) == 0
    said, numbers = capsys.readouterr().out, json.loads(out.read_text())
    assert numbers["verdict"] in said.replace("\n", " ") and "FVU as sparsify prints it" in said
    assert set(numbers["table"]) == set(METRICS) and set(numbers["printed"]) == {
        "sparsify",
        "saebench-legacy",
    }
    assert main([*asked, "--no-loss", "--json", "-"]) == 0
    assert set(json.loads(capsys.readouterr().out)["table"]) == set(METRICS) - {"loss"}


@pytest.mark.parametrize(
    "change, told",
    [
        (["--formulas", "sparsfy"], "unknown formula 'sparsfy'; nearest valid names: sparsify"),
        (["--site", "blocks.9.hook_resid_post"], "blocks.9"),
        (["--json", "/nowhere/numbers.json"], "there is no folder /nowhere"),
        (["--folds", "1"], "folds"),
    ],
)
def test_what_cannot_be_compared_is_told_in_a_line(model, text, change, told, capsys):  # noqa: F811
    how = {"--model": model, "--site": SITE, "--text": str(text), "--positions": "4:32", "--bootstrap": "100"}
    how |= dict(zip(change[::2], change[1::2]))
    words = [word for pair in how.items() for word in pair]
    assert main(["compare", str(SAES / "w16"), str(SAES / "w64"), *words]) == 2
    err = capsys.readouterr().err.strip().splitlines()
    assert told in err[-1]
    assert main(["compare", str(SAES / "w16"), str(SAES / "w64")]) == 2
    assert "--model is missing" in capsys.readouterr().err


def test_saes_of_two_sites_are_refused(ask):  # noqa: F811
    with pytest.raises(BadInput, match="compared where both are about one site"):
        compare(ask(SAES / "w16"), ask(SAES / "w64", site="blocks.0.hook_resid_pre"))
