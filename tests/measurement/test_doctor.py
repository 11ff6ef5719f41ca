"""Mistakes planted on SAEs of the embedded study, whose right settings are known; sound ones; the rule."""

import json
import shutil
from dataclasses import replace
from functools import cache

import pytest
import torch
from safetensors.torch import load_file, save_file

from darkmatter_utils.adapters.models import load_model
from darkmatter_utils.adapters.reading import read
from darkmatter_utils.adapters.saes import load_any
from darkmatter_utils.base.errors import BadInput
from darkmatter_utils.measurement import doctor
from darkmatter_utils.measurement.doctor import Diagnosis, Row, diagnose
from darkmatter_utils.measurement.mistakes import SCALES
from darkmatter_utils.measurement.one_sae import plan
from darkmatter_utils.measurement.patient import Patient, shortened
from darkmatter_utils.stats.metrics import fvu
from darkmatter_utils.studies.recipes import Request
from darkmatter_utils.studies.study import Study

TINY = Study.load("tiny").data_folder()
MODEL, SAES = str(TINY / "model"), TINY / "saes"
POST = "blocks.{}.hook_resid_post".format
ROOT_D = 128**0.5
MEAN_NORM = 143.9
"""Of tiny's activations at `POST` of layer 2."""
L0 = {"w512-l0-8": 8, "w1024-l0-4": 4, "w1024-l0-12": 12, "kind-topk": 8}


def diagnosed(sae, site=POST(2), *, l0=8, model=MODEL, models=(), documents=8, **asked):
    request = Request(model=str(model), sae=str(sae), site=site, documents=documents, **asked)
    return diagnose(request, l0=l0, models=models)


@pytest.fixture(scope="module")
def edited(tmp_path_factory):
    """A copy of a SAELens folder with other settings, and weights that a function has changed."""

    def made(source, *, cfg=None, weights=None):
        folder = shutil.copytree(source, tmp_path_factory.mktemp("planted") / source.name)
        settings = json.loads((folder / "cfg.json").read_text()) | (cfg or {})
        (folder / "cfg.json").write_text(json.dumps(settings))
        if weights:
            file = folder / "sae_weights.safetensors"
            save_file({n: w.contiguous() for n, w in weights(load_file(file)).items()}, file)
        return folder

    return made


def scaled(factor):
    """The weights of an SAE that wants its activations times a factor, the same function then."""
    enlarge = {"W_enc": 1 / factor, "W_dec": factor, "b_dec": factor}
    return lambda weights: {name: weight * enlarge.get(name, 1) for name, weight in weights.items()}


@pytest.fixture(scope="module")
def other_model(tmp_path_factory):
    """A copy of tiny's model whose matrices of some names a function has changed."""

    def made(part, change):
        folder = shutil.copytree(MODEL, tmp_path_factory.mktemp("model") / "changed")
        file = folder / "model.safetensors"
        weights = load_file(file)
        for name in (name for name, weight in weights.items() if part in name and weight.ndim == 2):
            weights[name] = change(weights[name].float()).to(weights[name].dtype)
        save_file(weights, file, metadata={"format": "pt"})
        return folder

    return made


@cache
def activations(site):
    """Of documents that no diagnosis here reads."""
    model = load_model(MODEL)
    text = read("embedded", model, documents=120, positions=(16, 255), bos=True, packed=False)
    parts = []
    for row in range(24, len(text.length)):
        tokens = torch.from_numpy(text.tokens[row : row + 1, : text.length[row]])
        parts.append(
            model.activations(tokens, site)[0][torch.from_numpy(text.counts[row, : text.length[row]])]
        )
    return torch.cat(parts)


@cache
def trained(folder, x_of, site, k=8, width=256, steps=400):
    """A TopK SAE of ``x_of(activations)``, whose mean norm is about √d, in a SAELens folder."""
    x, rng = x_of(activations(site)), torch.Generator().manual_seed(0)
    rows = torch.nn.functional.normalize(torch.randn(width, x.shape[1], generator=rng), dim=1)
    weights = {"W_enc": rows.T.clone(), "b_enc": torch.zeros(width), "W_dec": rows, "b_dec": x.mean(dim=0)}
    weights = {name: torch.nn.Parameter(weight) for name, weight in weights.items()}
    optimiser = torch.optim.Adam(weights.values(), lr=3e-3)
    for _ in range(steps):
        batch = x[torch.randint(len(x), (512,), generator=rng)]
        value, latent = torch.topk((batch - weights["b_dec"]) @ weights["W_enc"] + weights["b_enc"], k)
        latents = torch.zeros(len(batch), width).scatter(1, latent, value.relu())
        (batch - latents @ weights["W_dec"] - weights["b_dec"]).pow(2).sum().backward()
        optimiser.step()
        optimiser.zero_grad()
    folder.mkdir()
    save_file({n: w.detach().contiguous() for n, w in weights.items()}, folder / "sae_weights.safetensors")
    cfg = dict(architecture="topk", k=k, d_in=x.shape[1], d_sae=width, apply_b_dec_to_input=True)
    (folder / "cfg.json").write_text(json.dumps(cfg | {"normalize_activations": "none"}))
    return folder


def named(done, words):
    """Whether the setting named first is the planted one, and the rule's numbers are kept."""
    assert done.named, done.reading()
    assert words in done.named[0].title and not done.named[0].beside, done.reading()
    for row in done.named:
        than = next(r for r in done.rows if r.title == row.beside) if row.beside else done.given
        assert row.fits and doctor.lower(row, than, done.l0)
    assert f"Most likely wrong: {done.named[0].title}." in done.reading()[1]


@pytest.mark.parametrize("sae", ["w512-l0-8", "w1024-l0-4"])
@pytest.mark.parametrize("given", [POST(3), POST(1), "blocks.2.hook_mlp_out", "blocks.2.hook_attn_out"])
def test_another_layer_or_site(sae, given):
    named(diagnosed(SAES / sae, given, l0=L0[sae]), POST(2))


@pytest.mark.parametrize("positions", [None, (8, 64)])
def test_no_bos_where_it_was_trained_with_one(edited, positions):
    sae = edited(SAES / "depth-l0-w1024", cfg={"prepend_bos": False})
    done = diagnosed(sae, POST(0), positions=positions)
    named(done, "with <bos> before each text")
    assert "without <bos>" in done.given.name


@pytest.mark.parametrize("sae", ["w512-l0-8", "w1024-l0-12"])
@pytest.mark.parametrize(
    "factor, words",
    [(ROOT_D, "activations × √d"), (ROOT_D / MEAN_NORM, "a mean norm of √d (expected_average_only_in)")],
)
def test_activations_that_are_not_scaled(edited, sae, factor, words):
    done = diagnosed(edited(SAES / sae, weights=scaled(factor)), l0=L0[sae])
    named(done, words)
    sound = diagnosed(SAES / sae, l0=L0[sae])
    assert done.named[0].fvu == pytest.approx(sound.given.fvu, rel=0.02)


def test_each_token_scaled(tmp_path):
    unit = lambda x: x * ROOT_D / x.norm(dim=1, keepdim=True)
    named(diagnosed(trained(tmp_path / "unit", unit, POST(2))), "constant_norm_rescale")


@pytest.mark.parametrize("sae", ["w512-l0-8", "w1024-l0-4"])
def test_b_dec_before_the_encoder(edited, sae):
    left = edited(SAES / sae, cfg={"apply_b_dec_to_input": False})
    named(diagnosed(left, l0=L0[sae]), "b_dec taken off before the encoder")
    folded = lambda w: w | {"b_enc": w["b_enc"] - w["b_dec"] @ w["W_enc"]}
    named(diagnosed(edited(SAES / sae, weights=folded), l0=L0[sae]), "b_dec left in before the encoder")


def test_topk_run_as_relu(edited):
    relu = edited(SAES / "kind-topk", cfg={"architecture": "standard"})
    named(diagnosed(relu), "only the 8 largest latents of a token (TopK; the stated L0)")
    unstated = diagnosed(edited(SAES / "kind-topk", cfg={"architecture": "standard", "k": None}), l0=None)
    named(unstated, "largest latents of a token (TopK; a power of 2")
    assert "No L0 is stated" in unstated.reading()[-1]


@pytest.mark.parametrize("k", [8, 16])
def test_a_topk_sae_that_leaves_less_with_all_its_latents(tmp_path, edited, k):
    """With ten times the latents it was trained for, FVU is near the right one, or below."""
    sae = trained(tmp_path / "topk", lambda x: x / 12, POST(2), k=k)
    in_weights = lambda w: w | {"W_enc": w["W_enc"] / 12, "W_dec": w["W_dec"] * 12, "b_dec": w["b_dec"] * 12}
    relu = edited(sae, cfg={"architecture": "standard"}, weights=in_weights)
    done = diagnosed(relu, POST(2), l0=k)
    assert done.given.l0 > 3 * k
    named(done, f"only the {k} largest latents of a token")


@pytest.mark.parametrize("sae", ["w512-l0-8", "w1024-l0-4"])
def test_weights_that_are_not_centred(other_model, sae):
    """The last block before the site also writes a number into every dimension, which centring takes out."""
    rng = torch.Generator().manual_seed(0)
    moved = other_model("layers.2.mlp.down_proj", lambda w: w + torch.randn(w.shape[1], generator=rng) / 2)
    named(diagnosed(SAES / sae, l0=L0[sae], model=moved), "less its mean over dimensions")


def test_the_norms_weights_folded_or_not(tmp_path):
    sae = trained(tmp_path / "in", lambda x: x, "blocks.2.mlp.hook_in")
    named(diagnosed(sae, "blocks.2.ln2.hook_normalized"), "blocks.2.mlp.hook_in")


@pytest.mark.parametrize("sae", ["w512-l0-8", "w1024-l0-4"])
def test_another_model(other_model, sae):
    rng = torch.Generator().manual_seed(0)
    other = other_model("", lambda w: torch.randn(w.shape, generator=rng) * w.std())
    named(diagnosed(SAES / sae, l0=L0[sae], model=other, models=[MODEL]), f"model {MODEL}")
    assert not diagnosed(SAES / sae, l0=L0[sae], models=[str(other)]).named


def test_two_mistakes(edited):
    left = edited(SAES / "w512-l0-8", cfg={"apply_b_dec_to_input": False})
    done = diagnosed(left, POST(3))
    assert POST(2) in done.named[0].title and "b_dec taken off" in done.named[0].title
    assert done.named[0].fvu == pytest.approx(diagnosed(SAES / "w512-l0-8").given.fvu)


@pytest.mark.parametrize(
    "sae, site",
    [
        ("w128-l0-8", POST(2)),
        ("w1024-l0-12", POST(2)),
        ("kind-topk", POST(2)),
        ("kind-l1", POST(2)),
        ("depth-l3-w1024", POST(3)),
        ("site-mlp-w1024", "blocks.2.hook_mlp_out"),
        ("site-z-w1024", "blocks.2.attn.hook_z"),
    ],
)
@pytest.mark.parametrize("stated", [True, False])
def test_of_a_sound_one_nothing_is_named(sae, site, stated):
    done = diagnosed(SAES / sae, site, l0=L0.get(sae, 8) if stated else None)
    assert not done.named and len(done.rows) > 25
    assert f"None of {len(done.rows)} settings" in done.reading()[1]
    assert done.given.fvu == pytest.approx(plain(sae, site), rel=1e-6)


def plain(sae, site):
    """FVU by a loop over the documents, without a diagnosis."""
    model, parts = load_model(MODEL), []
    text = read("embedded", model, documents=8, positions=(32, 255), bos=True, packed=False)
    for tokens, length, counts in zip(text.tokens, text.length, text.counts):
        x = model.activations(torch.from_numpy(tokens[None, :length]), site)[0]
        parts.append(x[torch.from_numpy(counts[:length])])
    x = torch.cat(parts)
    return fvu(x, load_any(SAES / sae).reconstruct(x)[0])


def test_the_site_asked_for_stands_and_that_of_the_sae_is_tried(edited):
    said = {"hook_name": POST(3), "hook_layer": 3, "model_name": "another/one"}
    sae = edited(SAES / "depth-l3-w1024", cfg=said)
    done = diagnosed(sae, POST(0))
    assert POST(0) in done.given.name and POST(3) in done.named[0].title
    assert any("it is of another/one" in line for line in done.warnings)
    assert not diagnosed(sae, None).named


@pytest.mark.parametrize("l0", [0.0, -8, float("nan"), float("inf")])
def test_an_l0_that_is_none(l0):
    with pytest.raises(BadInput, match="number above 0"):
        diagnosed(SAES / "w512-l0-8", l0=l0)


def test_the_rule_at_its_edges():
    given = Row("", "as given", 0.6, 8.0, fits=True)
    lower = lambda fvu, than=given, l0=8.0: doctor.lower(replace(given, fvu=fvu, l0=l0), than, 8.0)
    assert lower(0.399) and not lower(0.401) and not lower(0.1, l0=0.0)
    far = replace(given, fvu=float("inf"))
    assert lower(0.99, far) and not lower(1.0, far)
    more, fewer = (replace(given, l0=l0, fits=False) for l0 in (72.0, 2.0))  # √9 = 3: at 8 latents it is 1.8
    assert lower(0.999, more) and not lower(1.0, more) and lower(0.399, fewer) and not lower(0.401, fewer)
    assert doctor.near(8 * 1.3, 8) and doctor.near(8 / 1.3, 8) and doctor.near(1e9, None)
    assert not doctor.near(8 * 1.31, 8) and not doctor.near(8 / 1.31, 8)


def test_a_lower_fvu_at_another_l0_is_told_but_not_named():
    given = Row("", "as given", 0.6, 8.0, fits=True)
    done = Diagnosis(given, (Row("scale", "twice", 0.2, 20.0, fits=False),), 8.0, 100, 5, (), {})
    none, other = done.reading()[1:]
    assert "None of 1 settings" in none and "within 1.3 × the stated 8" in none
    assert "Lower, but at another L0: twice: FVU 0.200, L0 20.0" in other
    some = Row("site", "site near", 0.5, 8.0, fits=True)
    told = Diagnosis(given, (some,), 8.0, 100, 5, (), {}).reading()[2]
    assert told == "The lowest, which is not enough to name it: site near: FVU 0.500, L0 8.0."
    off = replace(given, l0=72.0, fits=False)
    topk = Row("latents", "TopK", 0.55, 8.0, fits=True, named=True)
    said = Diagnosis(off, (topk,), 8.0, 100, 5, (), {}).reading()
    assert said[1:] == [
        "Most likely wrong: TopK. That gives FVU 0.550 in the place of 0.600, at L0 8.0.",
        "FVU falls about with the root of L0: at the stated one that would be 1.800.",
    ]


@pytest.mark.parametrize("name", SCALES)
def test_what_is_done_to_activations_is_undone(name):
    x = torch.randn(50, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3 + 1
    given, back = SCALES[name](x, x)
    torch.testing.assert_close(back(given), x, rtol=1e-4, atol=1e-4)


def test_a_variant_is_the_formula():
    sae, x = (
        load_any(SAES / "w512-l0-8"),
        30 * torch.randn(40, 128, generator=torch.Generator().manual_seed(0)),
    )
    assert sae.changed().digest == sae.digest
    stored = load_file(SAES / "w512-l0-8" / "sae_weights.safetensors")
    weights = {name: weight.float() for name, weight in stored.items()}
    topk = sae.changed(weights={"threshold": None}, architecture="topk", k=5)
    value, latent = ((x - weights["b_dec"]) @ weights["W_enc"] + weights["b_enc"]).topk(5)
    latents = torch.zeros(40, 512).scatter(1, latent, value.relu())
    torch.testing.assert_close(topk.reconstruct(x)[0], latents @ weights["W_dec"] + weights["b_dec"])
    assert topk.kind == "topk" and sae.kind == "jumprelu"


@pytest.mark.parametrize("bos", [True, False])
def test_with_and_without_bos_the_same_tokens_count(edited, bos):
    sae = edited(SAES / "w512-l0-8", cfg={"prepend_bos": bos})
    request = Request(model=MODEL, sae=str(sae), site=POST(2), documents=6, positions=(0, 256))
    patient = Patient(shortened(plan(request), request), lambda line: None)
    assert patient.given.bos is bos and patient.can_open
    (one, _, counts), (other, _, also) = patient._tokens(True), patient._tokens(False)
    assert torch.equal(one[counts], other[also]) and one.shape[1] == other.shape[1] + 1
    assert (one[:, 0] == patient.plan.model.tokenizer.bos_token_id).all() and not counts[:, 0].any()
