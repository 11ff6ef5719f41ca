"""Component SAEs from training to verdict, on a small study of their own: parts, noise, FVU, detection, gaps,
chapter."""

import ast
import hashlib
import json
import linecache
import shutil
from pathlib import Path

import jupytext
import numpy as np
import pandas as pd
import pytest
import torch
import toys
import yaml
from endpoint import Server

from darkmatter_utils import Study, measure
from darkmatter_utils.base.config import DATA
from darkmatter_utils.base.errors import BadInput
from darkmatter_utils.base.values import Estimate
from darkmatter_utils.claims.c07_fewer_features import CLAIM
from darkmatter_utils.claims.claim import UNKNOWN
from darkmatter_utils.experiments import components, features
from darkmatter_utils.experiments.components import (
    MATCHED,
    NOISE,
    OWN,
    PARTS,
    SHUFFLED,
    TARGETS,
    matched_noise,
    rows,
)
from darkmatter_utils.stats.metrics import fvu
from darkmatter_utils.training import embedded
from darkmatter_utils.training.sae_training import SaeJob

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A study like nano with component documents and twelve SAEs trained on its parts: (yaml file, build
    folder, log)."""
    folder = tmp_path_factory.mktemp("parts")
    data, build = folder / "data", folder / "build"
    shutil.copytree(DATA / "nano", data)
    settings = yaml.safe_load((ROOT / "darkmatter_utils" / "studies" / "nano.yaml").read_text())
    path = folder / "parts.yaml"
    path.write_text(yaml.safe_dump(settings | dict(name="parts", data=str(data))))
    seal(data)
    study = Study.load(path)
    wanted = [
        (
            SaeJob(
                id=f"part-{i}-{seed}",
                site=study.site,
                width=64,
                l0=1.0,
                seed=seed,
                samples=40 * 128,
                batch=128,
                lr=1e-2,
            ),
            target,
        )
        for i, target in enumerate(TARGETS)
        for seed in (0, 1)
    ]
    log = []
    embedded.train_parts(study, build, wanted, log=log.append)
    entries, cards = [], {}
    for job, target in wanted:
        out, place = build / "saes" / job.id, data / "saes" / job.id
        place.mkdir()
        for name in ("cfg.json", "sae_weights.safetensors"):
            shutil.copy(out / name, place / name)
        entries.append(
            dict(id=job.id, width=job.width, l0=job.l0, site=job.site, seed=job.seed, path=f"saes/{job.id}")
            | json.loads((out / "entry.json").read_text())
        )
        cards[job.id] = dict(samples=job.samples)
    seal(data, entries, cards)
    return path, build, log, wanted


def seal(data, more=(), cards=None):
    """Write the manifest of a data folder anew."""
    old = json.loads((data / "manifest.json").read_text())
    others = [entry for entry in old["saes"] if entry.get("suite") != components.SUITE]
    files = {
        p.relative_to(data).as_posix(): dict(
            bytes=p.stat().st_size, sha256=hashlib.sha256(p.read_bytes()).hexdigest()
        )
        for p in sorted(data.rglob("*"))
        if p.is_file() and p.name != "manifest.json"
    }
    (data / "manifest.json").write_text(
        json.dumps(dict(saes=[*others, *more], files=files, sae_cards=cards or {}))
    )


@pytest.fixture(scope="module")
def measurement(made):
    return measure(Study.load(made[0]))


@pytest.fixture(scope="module")
def found(measurement):
    return rows(measurement, "w128")


@pytest.fixture(scope="module")
def tables(measurement):
    return features.features(measurement)


def test_noise_has_the_mean_and_the_covariance_and_nothing_else():
    rng = torch.Generator().manual_seed(0)
    z = (
        torch.randn(20_000, 3, generator=rng).pow(3) @ torch.randn(3, 5, generator=rng) + 7
    )  # rank 3, heavy tails
    noise = matched_noise(z, seed=1)
    assert noise.shape == z.shape and noise.dtype == torch.float32
    scale = float(torch.cov(z.T).diagonal().max())
    assert (noise.mean(0) - z.mean(0)).abs().max() < 0.05 * scale**0.5
    assert (torch.cov(noise.T) - torch.cov(z.T)).abs().max() < 0.06 * scale
    assert int((torch.linalg.eigvalsh(torch.cov(noise.double().T)) > 1e-6 * scale).sum()) == 3
    kurtosis = lambda a: float((((a - a.mean(0)) / a.std(0)) ** 4).mean())
    assert kurtosis(z) > 5 and abs(kurtosis(noise) - 3) < 0.15
    assert torch.equal(noise, matched_noise(z, seed=1))
    assert not torch.equal(noise, matched_noise(z, seed=2))
    assert abs(float(torch.corrcoef(torch.stack([noise[:, 0], z[:, 0]]))[0, 1])) < 0.03


def test_the_parts_add_up_and_leave_what_the_measurement_says(found, measurement):
    x, error, linear, nonlinear = (found.parts[name] for name in PARTS)
    assert (error - linear - nonlinear).abs().max() < 1e-5 * x.abs().max()
    row = measurement.sae("w128")
    assert fvu(x, x - error) == pytest.approx(row["fvu"], rel=1e-5)
    assert fvu(x, x - nonlinear) == pytest.approx(row["fvu_nonlinear_held_out"], rel=1e-5)
    start, stop = measurement.study.window
    assert (
        len(x) == measurement.card["tokens"] and found.position.min() >= start and found.position.max() < stop
    )


def test_an_unknown_target_names_the_valid_ones(found):
    with pytest.raises(
        BadInput, match="valid: x, SaeError, LinearError, NonlinearError, noise like LinearError"
    ):
        found.target("Error", seed=0)


def test_the_base_sae_follows_a_stated_rule():
    assert components.base_sae(Study.load("tiny"), 128) == "w1024-l0-8"
    assert components.base_sae(toys.bare(), 16) == "w64"


def test_component_documents_are_split_by_the_map_of_all_scored_ones(measurement):
    part = rows(measurement, "w64", text="component")
    assert len(part.parts["x"]) == 80 / 120 * measurement.card["tokens"]
    expected = measurement.maps("w64").overall(part.parts["x"].double())
    assert (part.parts["LinearError"] - expected).abs().max() < 1e-4


def test_the_threshold_is_of_component_rows_and_training_goes_on_from_what_is_done(made, measurement):
    path, build, log, wanted = made
    stored = {t: embedded.target_rows(build / "components", "score", t) for t in TARGETS}
    apart = {t: embedded.target_rows(build / "components", "component", t) for t in TARGETS}
    for job, target in wanted:
        card = json.loads((build / "saes" / job.id / "card.json").read_text())
        (sae, *_) = [s for s in features.load(measurement, target) if s.id == job.id]
        set_on = sae.reconstruct(torch.from_numpy(apart[target]).float())[1].double().mean()
        assert set_on == pytest.approx(1.0, abs=0.001) and 0 < card["fvu"] < 1.2
        assert 0.5 < card["l0"] < 2 and abs(card["l0"] - 1) > 1e-4, (
            "the scored rows are measured, not aimed at"
        )
        assert fvu(stored[target], sae.reconstruct(torch.from_numpy(stored[target]))[0]) == pytest.approx(
            card["fvu"], rel=1e-3
        )
    more = []
    embedded.train_parts(Study.load(path), build, wanted, log=more.append)
    assert log and not more


def test_the_embedded_suite_is_three_seeds_of_every_target_at_one_width_and_l0():
    study = Study.load("tiny")
    mine = components.entries(study)
    planned = [
        (job.id, target, job.width, job.l0, job.seed) for job, target in embedded.part_jobs(study.site)
    ]
    assert [(e.id, e.target, e.width, e.l0, e.seed) for e in mine] == planned and len(mine) == 18
    assert not {e.id for e in mine} & {e.id for e in study.selected()}, (
        "what reads parts is not measured on x"
    )


def test_documents_hold_the_squared_errors_of_every_reading(tables, found, measurement):
    documents = tables["documents"]
    assert set(documents["by"]) == {OWN, MATCHED, "1 principal components", "2 principal components"}
    for target in ("NonlinearError", "noise like LinearError"):
        z = found.target(target, seed=components.SCORED_NOISE)
        for sae in features.load(measurement, target):
            mine = documents[(documents["id"] == sae.id) & (documents["by"] == OWN)]
            z_hat, l0 = sae.reconstruct(z)
            assert mine["residual"].sum() / mine["total"].sum() == pytest.approx(fvu(z, z_hat), rel=1e-5)
            assert mine["l0"].sum() == float(l0.sum()) and mine["tokens"].sum() == len(z)
    l0 = documents.groupby(["by", "id"])[["l0", "tokens"]].sum()
    realised = (l0["l0"] / l0["tokens"])[lambda s: s > 0]
    assert realised.between(0.5, 2).all(), "all readings aim at one L0, on other documents"


def test_principal_components_are_those_of_the_other_folds(tables, found, measurement):
    from sklearn.decomposition import PCA

    fold = measurement.fold_of()
    folds = np.array([fold[int(d)] for d in found.document])
    z = found.parts["LinearError"].double().numpy()
    residual = 0.0
    for k in np.unique(folds):
        pca = PCA(2).fit(z[folds != k])
        mine = z[folds == k]
        residual += ((mine - pca.inverse_transform(pca.transform(mine))) ** 2).sum()
    documents = tables["documents"]
    mine = documents[(documents["by"] == "2 principal components") & (documents["reads"] == "LinearError")]
    assert mine["residual"].sum() == pytest.approx(residual, rel=1e-6)


def test_the_effective_rank_is_between_one_and_d():
    z = torch.randn(5000, 6, generator=torch.Generator().manual_seed(0))
    assert features.spectrum("x", z)["rank"] == pytest.approx(6, rel=0.01)
    assert features.spectrum("x", z[:, :1] @ torch.ones(1, 6))["rank"] == pytest.approx(1, rel=1e-6)


def test_latents_are_scored_once_each_and_shuffled_text_is_chance(tables):
    latents = tables["latents"]
    sizes = latents.groupby(["by", "reads", "seed"])["latent"].agg(["size", "nunique"])
    assert (sizes == 64).all().all() and set(latents["by"]) == {OWN, MATCHED, SHUFFLED}
    assert not set(latents["reads"]) & set(NOISE), "noise has no text in which a latent could be found"
    accuracy = components.detection(latents, tables["tested"], SHUFFLED)["x"].estimate
    assert abs(accuracy.value - 0.5) < 0.1 and np.isnan(accuracy.low)  # a seed has fewer than 20 latents
    assert latents.loc[latents["d1"].isna(), "explanation"].eq("").all() and latents["d1"].notna().sum() > 100


def test_fewer_latents_are_a_random_draw_that_another_explainer_gets_too(measurement):
    asked = []

    def coin(tasks):
        asked.extend(tasks)
        return [features.accuracies and _half(task) for task in tasks]

    tables = features.features(measurement, latents=5, explainer=coin)
    latents = tables["latents"]
    assert latents.groupby(["by", "reads", "seed"])["latent"].nunique().eq(5).all()
    assert (
        np.allclose(latents.filter(regex=r"^d\d+$").dropna(), 0.5) and latents["coins"].dropna().eq(1).all()
    )
    assert len(asked) == latents["d1"].notna().sum()


def _half(task):
    from darkmatter_utils.experiments.interp import Judgement

    return Judgement("a coin", np.full(len(task.tested), 0.5))


def test_joining_seeds_adds_their_spread_to_that_of_documents():
    rng = np.random.default_rng(0)
    values = {name: rng.normal(0, 0.3, 3) for name in "abcdefghij"}
    still = {name: np.repeat(v[None], 4000, 0) for name, v in values.items()}
    joined = components.by_target(values, still)
    sigma = np.sqrt(np.mean([v.var(ddof=1) for v in values.values()]))
    for name, j in joined.items():
        assert j.value == pytest.approx(values[name].mean()) and j.seeds == tuple(values[name])
        assert j.replicates.std() == pytest.approx(sigma / np.sqrt(3), rel=0.12)
    one = components.by_target({"a": np.array([1.0])}, {"a": rng.normal(1, 0.1, (4000, 1))})["a"]
    assert one.replicates.std() == pytest.approx(0.1, rel=0.05)
    same = components.by_target({k: np.full(3, 0.5) for k in "ab"}, {k: np.full((100, 3), 0.5) for k in "ab"})
    assert (same["a"] - same["b"]).estimate == Estimate(0, 0, 0)


def test_the_interval_covers_a_difference_of_trained_saes():
    rng = np.random.default_rng(1)
    hits = 0
    for trial in range(200):
        truth, documents = {"a": 0.30, "b": 0.35}, []
        for part, level in truth.items():
            for seed in range(3):
                shift = rng.normal(0, 0.01)
                total = rng.exponential(1, 40) + 0.5
                documents.append(
                    pd.DataFrame(
                        dict(
                            document=range(40),
                            residual=total * (level + shift + rng.normal(0, 0.05, 40)),
                            total=total,
                            reads=part,
                            by=OWN,
                            seed=seed,
                        )
                    )
                )
        joined = components.fvus(pd.concat(documents), OWN, ["a", "b"], seed=trial)
        gap = (joined["b"] - joined["a"]).estimate
        hits += gap.low <= 0.05 <= gap.high
    assert 180 <= hits <= 200


DECILES = [f"d{d}" for d in range(1, 11)]


def test_a_latent_counts_once_whatever_its_windows():
    about = dict(reads="x", by=OWN, seed=0)
    table = pd.DataFrame({d: [0.5, 0.9] * 50 for d in DECILES}).assign(**about)
    still = pd.DataFrame({"document": range(30)} | dict.fromkeys(DECILES, 0.0)).assign(**about)
    found = components.detection(table, still, OWN)["x"]
    assert found.value == pytest.approx(0.7)
    assert found.replicates.std() == pytest.approx(0.2 / np.sqrt(100), rel=0.1), (
        "of 100 latents, not of 1000 numbers"
    )
    moved = still.assign(**{d: np.repeat([-0.01, 0.01], 15) for d in DECILES})
    spread = components.detection(table, moved, OWN)["x"].replicates.std()
    assert spread**2 == pytest.approx(0.02**2 + 30 * 0.01**2, rel=0.1), "documents add theirs"


def test_the_interval_of_an_accuracy_covers_where_documents_are_harder_for_all_latents():
    """Latents and documents crossed: of 200 draws, each of 60 latents and 40 documents with effects of their
    own, the true mean is inside about 95%; over latents alone it would be far fewer."""
    rng, hits, alone = np.random.default_rng(2), 0, 0
    for _ in range(200):
        easy, hard = rng.normal(0, 0.05, (60, 1)), rng.normal(0, 0.05, (1, 40))
        right = 0.7 + easy + hard + rng.normal(0, 0.3, (60, 40))
        about = dict(reads="x", by=OWN, seed=0)
        by_latent = right.mean(1)
        table = pd.DataFrame({d: by_latent for d in DECILES}).assign(**about)
        pull = (right - by_latent[:, None]).mean(0) / 40
        tested = pd.DataFrame({"document": range(40)} | {d: pull for d in DECILES}).assign(**about)
        found = components.detection(table, tested, OWN)["x"].estimate
        hits += found.low <= 0.7 <= found.high
        still = components.detection(table, tested.assign(**dict.fromkeys(DECILES, 0.0)), OWN)["x"].estimate
        alone += still.low <= 0.7 <= still.high
    assert alone < 180 < hits


def test_the_documents_that_latents_are_tested_on_pull_the_accuracies_of_the_table(tables):
    tested, latents = tables["tested"], tables["latents"]
    scored = latents.groupby(["by", "reads", "seed"])["d1"].count()
    pulls = tested.groupby(["by", "reads", "seed"])[DECILES]
    assert set(pulls.groups) == set(scored[scored > 0].index)
    assert pulls.sum().abs().to_numpy().max() < 1e-9 and pulls.sum().shape[0] > 10
    assert tested[DECILES].abs().to_numpy().max() > 1e-3


def test_a_target_without_scored_latents_leaves_the_accuracy_untold(tables):
    latents = tables["latents"].copy()
    latents.loc[latents["reads"] == "NonlinearError", [f"d{d}" for d in range(1, 11)]] = np.nan
    found = components.joined(tables["documents"], latents, tables["tested"])
    numbers = components.evidence(found)
    assert numbers.accuracy_gap is None
    assert "NonlinearError" not in components.detection(latents, tables["tested"], OWN)
    assert CLAIM.judge(numbers).word == UNKNOWN
    assert not found["gaps"]["gap"].str.startswith("accuracy").any() and len(found["gaps"]) == 4


def run(study, folder, monkeypatch, **parameters):
    """Run the chapter's code cells in this process: (names, the record)."""
    monkeypatch.setenv("DARKMATTER_RECORDS", str(folder))
    names: dict = {"__name__": "__main__"}
    shown = []
    for number, cell in enumerate(jupytext.read(ROOT / "notebooks" / "09_features_in_the_error.py").cells):
        if cell.cell_type == "code":
            body, where = ast.parse(cell.source).body, f"<chapter 09, cell {number}>"
            linecache.cache[where] = (len(cell.source), None, cell.source.splitlines(True), where)
            last = body.pop() if isinstance(body[-1], ast.Expr) else None
            exec(compile(ast.Module(body, []), where, "exec"), names)
            if last is not None:
                shown.append(eval(compile(ast.Expression(last.value), where, "eval"), names))
            if "parameters" in cell.metadata.get("tags", []):
                names |= dict(study=str(study)) | parameters
    (record,) = Path(folder).rglob("09.json")
    return names, json.loads(record.read_text())["values"], shown


def test_the_chapter_on_a_study_with_components(made, tmp_path, monkeypatch, tables):
    names, values, shown = run(made[0], tmp_path, monkeypatch, latents=None, contexts=8)
    numbers = components.evidence(tables)
    assert values["evidence"]["7"]["numbers"]["fvu_gap"]["value"] == pytest.approx(
        numbers.fvu_gap.value, rel=1e-5
    )
    assert (
        values["verdicts"]["7"]["word"]
        == CLAIM.judge(numbers).word
        == CLAIM.from_record(values["evidence"]["7"]).word
    )
    own = values["FVU"]
    assert own["NonlinearError"]["estimate"]["value"] - own["LinearError"]["estimate"][
        "value"
    ] == pytest.approx(values["evidence"]["7"]["numbers"]["fvu_gap"]["value"], abs=1e-5)
    assert len(own) == len(TARGETS) and all(len(one["seeds"]) == 2 for one in own.values())
    left = next(one for one in shown if isinstance(one, dict))
    assert [key.partition(", ")[0] for key in left] == ["NonlinearError"] * 2 + [
        "noise like NonlinearError"
    ] * 2
    pages = "".join(one._repr_html_() for one in shown if hasattr(one, "_repr_html_"))
    assert pages.count("<details><summary>") >= 6 and len(pages) < 400_000
    text = " ".join(map(repr, shown))
    assert all(target in text for target in TARGETS) and "effective rank" in text
    changed = json.loads(json.dumps(values))
    changed["evidence"]["7"]["numbers"] |= dict(
        fvu_gap=dict(value=0.2, low=0.1, high=0.3), fvu_excess=dict(value=-0.2, low=-0.3, high=-0.1)
    )
    verdict = CLAIM.from_record(changed["evidence"]["7"])
    assert "0.200 [0.100, 0.300]" in verdict.why and "−0.200 [−0.300, −0.100]" in verdict.why


def test_the_chapter_asks_a_language_model_behind_an_endpoint(made, tmp_path, monkeypatch):
    def script(words, times):
        if "say whether" not in words:
            return 200, {}, "It responds to w7."
        return (
            200,
            {},
            json.dumps([int("w7" in piece) for piece in words.split("\n\n")[-1].splitlines()])
            if times % 2
            else "well",
        )

    monkeypatch.setenv("DARKMATTER_CACHE", str(tmp_path / "cache"))
    server = Server(script)
    try:
        asked = []
        for turn in range(2):
            names, values, shown = run(
                made[0],
                tmp_path / str(turn),
                monkeypatch,
                explainer="m",
                endpoint=server.url,
                latents=1,
                contexts=4,
            )
            asked.append(sum(server.asked.values()))
        said = " ".join(str(one) for one in [*shown, *values.values()])
        assert "the language model `m`" in said and "0 could not be read and 0 never came" in said
        assert asked[0] > 20 and asked[1] == asked[0], "the second run asks nothing"
        explanations = names["found"]["latents"]["explanation"]
        assert set(explanations) <= {"", "It responds to w7."}
    finally:
        server.stop()


@pytest.mark.parametrize("study", ["nano", "world"])
def test_a_study_without_components_says_so(study, tmp_path, monkeypatch):
    asked = toys.bare_file(tmp_path / "nano.yaml") if study == "nano" else study
    names, values, shown = run(asked, tmp_path, monkeypatch)
    assert values["verdicts"]["7"]["word"] == UNKNOWN and "FVU" not in values
    said = " ".join(str(one) for one in shown)
    assert ("is simulated" if study == "world" else "no suite named components") in said
    assert not any("NonlinearError, " in key for one in shown if isinstance(one, dict) for key in one)


def test_the_numbers_speak_of_every_target(tables):
    found = tables["numbers"]
    fvu = found[found["quantity"] == "FVU"]
    assert set(fvu.loc[fvu["by"] == OWN, "reads"]) == set(TARGETS) == set(tables["targets"]["reads"])
    assert len(found[found["quantity"] == "accuracy"]) == len(PARTS) + 2 + 1
    curve = found[found["quantity"].str.startswith("accuracy ")]
    assert len(curve) == 10 * (len(PARTS) + 3) and not (curve["low"] > curve["value"]).any()
    own = components.fvus(tables["documents"], OWN, PARTS)
    kept = tables["gaps"].set_index("gap").loc["FVU"]
    assert kept["value"] == own["NonlinearError"].value - own["LinearError"].value
    seeds = tables["seeds"].query("quantity == 'FVU' and by == @OWN and reads == 'x'")["value"]
    assert tuple(seeds) == own["x"].seeds
    reach = tables["reach"].query("by == @OWN and reads == 'x'")["share"]
    assert reach.is_monotonic_decreasing and set(tables["gallery"]["by"]) == {OWN, MATCHED}
