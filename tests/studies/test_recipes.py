"""Studies of one's own: written, checked, prepared, measured; the paper's grid; datasets."""

import dataclasses
import json

import pytest
import toys
import yaml
from published import gemma_scope
from throwaway import ROOT

from darkmatter_utils import cli, measure
from darkmatter_utils.adapters import formats, hub, releases, texts
from darkmatter_utils.adapters import grid as sae_grid
from darkmatter_utils.adapters.models import family
from darkmatter_utils.adapters.releases import latents
from darkmatter_utils.base.errors import BadInput
from darkmatter_utils.base.words import readable
from darkmatter_utils.cli.arguments import COMING
from darkmatter_utils.measurement import estimate, prepare, sources
from darkmatter_utils.studies import recipes


@pytest.fixture()
def here(tmp_path, monkeypatch):
    toys.model(tmp_path / "model")
    toys.text(tmp_path / "text.jsonl", documents=30)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DARKMATTER_CACHE", str(tmp_path / "cache"))
    return tmp_path


def recipe(here, **changes):
    for width, l0 in ((24, 5), (48, 7)):
        gemma_scope(
            here / "toy-res" / "layer_0" / f"width_{width}" / f"average_l0_{l0}", d_in=16, d_sae=width
        )
    settings = (
        dict(
            name="mine",
            model="model",
            text="text.jsonl",
            window=[4, 32],
            bootstrap=100,
            documents=30,
            saes=["toy-res/layer_0/width_24/average_l0_5", "toy-res/layer_0/width_48/average_l0_7"],
        )
        | changes
    )
    (here / "mine.yaml").write_text(yaml.safe_dump(settings))
    return "mine.yaml"


def test_a_study_of_ones_own_from_file_to_numbers(here, capsys):
    file, lines = recipe(here), (here / "text.jsonl").read_text().splitlines()
    named = [json.dumps(json.loads(line) | {"source": "ab"[n % 2]}) for n, line in enumerate(lines)]
    (here / "text.jsonl").write_text("\n".join(named))
    assert cli.main(["measure", file]) == 2
    assert "study mine is not prepared here" in capsys.readouterr().err
    assert cli.main(["study", "check", file]) == 0
    said = capsys.readouterr().out
    assert (
        said.count("download: nothing") == 1
        and "SAE w24-l0-5: " in said
        and "all chapters about" in said
        and "840 tokens that count" in said
    )
    assert cli.main(["study", "prepare", file]) == 0
    capsys.readouterr()
    assert cli.main(["measure", file, "--json", "a.json"]) == 0
    said = capsys.readouterr().out
    assert "840 tokens of 30 documents from 2 sources, 52 tokens per dimension; intervals are over" in said
    found = json.loads((here / "a.json").read_text())
    assert [sae["id"] for sae in found["saes"]] == ["w24-l0-5", "w48-l0-7"]
    assert found["study"]["site"] == "blocks.0.hook_resid_post"
    # The same SAE measured by itself on the same text gives the same share.
    arguments = ["--documents", "30", "--positions", "4:32", "--bootstrap", "100", "--json", "b.json"]
    assert (
        cli.main(
            [
                "measure",
                "--model",
                "model",
                "--sae",
                "toy-res/layer_0/width_24/average_l0_5",
                "--text",
                "text.jsonl",
                *arguments,
            ]
        )
        == 0
    )
    alone = json.loads((here / "b.json").read_text())
    assert found["saes"][0]["fvu"] == pytest.approx(alone["fvu"]["value"], rel=1e-4)
    study = recipes.prepared(recipes.load(file))
    assert measure(str(study)).saes["id"].tolist() == ["w24-l0-5", "w48-l0-7"]
    assert sources.shares(measure(str(study))) == {"a": 0.5, "b": 0.5}


def test_new_writes_what_check_reads(here, capsys):
    toys.sae(here / "sae")
    assert (
        cli.main(["study", "new", "own.yaml", "--model", "model", "--sae", "sae", "--text", "text.jsonl"])
        == 0
    )
    made = recipes.load("own.yaml")
    assert (made.name, made.names()) == ("own", [("", str(here / "sae"))]) and len(
        capsys.readouterr().out.splitlines()
    ) <= 10
    assert cli.main(["study", "new", "own.yaml"]) == 2
    assert "own.yaml is there already" in capsys.readouterr().err
    assert cli.main(["study", "check", "own.yaml"]) == 2
    assert "SAE sae does not say where it reads" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (dict(windw=[1, 2]), "study mine: unknown key 'windw'; nearest valid names: window"),
        (dict(saes=[]), "study mine: give either saes or grid"),
        (dict(grid={"model": "gemma-2-2b"}), "give either saes or grid"),
        (dict(saes=[], grid={"model": "gemma-2-2b"}), "study mine: grid lacks site, layer, l0"),
        (dict(window=[9, 9]), r"study mine: window \[9, 9\] is empty"),
        (dict(dtype="int8"), "study mine: dtype 'int8' is not one of"),
        (dict(saes="a"), "saes must be a list"),
        (dict(seed=-1), "study mine: seed is -1; give at least 0"),
        (dict(l0=-3), "study mine: l0 is -3; give a number above 0"),
        (dict(name="a/b"), "a study's name is letters"),
        (dict(size={"parameters": 9, "d_model": 16}), "study mine: size: vocabulary missing"),
        (dict(size={"parameters": 9, "d_model": 0, "vocabulary": 9}), "size: d_model is 0; give at least 1"),
        (dict(size={"parameters": 9, "d": 1, "vocabulary": 9}), "size: unknown key 'd'"),
        (dict(model_dtype="int8"), "study mine: model_dtype 'int8' is not one of float64, float32, bfloat16"),
        (dict(suites={"dept": ["a"]}), "study mine: unknown suite 'dept'; nearest valid names: depth"),
        (dict(suites={"depth": "a"}), "study mine: suite depth must be a list of folders or names"),
        (
            dict(saes=[], grid={"model": "gemma-2-2b", "site": "res", "layer": 12, "l0": 60, "take": "al"}),
            "study mine: grid takes 'al'; nearest valid names: all",
        ),
    ],
)
def test_mistakes_in_a_study(here, changes, says):
    with pytest.raises(BadInput, match=says):
        recipes.load(recipe(here, **changes))


def test_a_key_that_is_given_twice(here):
    file = here / recipe(here)
    file.write_text(file.read_text() + "name: other\n")
    with pytest.raises(BadInput, match="mine.yaml is not YAML: 'name' is given twice"):
        recipes.load(file)


def test_a_new_study_fits_its_model(here, capsys):
    assert (
        cli.main(
            [
                "study",
                "new",
                "own.yaml",
                "--model",
                "model",
                "--sae",
                "toy-res/layer_0/width_24/average_l0_5",
                "--text",
                "text.jsonl",
            ]
        )
        == 0
    )
    recipe(here)
    toys.text(here / "text.jsonl", documents=12, length=300)
    assert cli.main(["study", "check", "own.yaml"]) == 0
    context = json.loads((here / "model" / "config.json").read_text())["max_position_embeddings"]
    assert recipes.load("own.yaml").window == (context // 8, context)
    assert "12 documents" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ("contexts: 0", "contexts 0 1 or more"),
        ("text: nope", "no text 'nope'"),
        ("model: nope", "nope"),
        ("folds: 1000", "cannot make 1000 folds"),
        ("site: blocks.9.hook_resid_post", "blocks.9"),
        ("suite: nope", "none of its SAEs of suite 'nope'"),
        ("window: [60, 70]", "start it earlier"),
    ],
)
def test_a_ready_study_is_checked_too(here, capsys, changes, says):
    from darkmatter_utils.studies.study import STUDIES

    key = changes.partition(":")[0]
    lines = [
        line for line in (STUDIES / "nano.yaml").read_text().splitlines() if not line.startswith(f"{key}:")
    ]
    (here / "ready.yaml").write_text("\n".join([*lines, changes, ""]))
    assert cli.main(["study", "check", "ready.yaml"]) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("darkmatter: ")]
    assert len(said) == 1 and says in said[0]


def test_documents_that_do_not_fill_the_window(here):
    toys.text(here / "text.jsonl", documents=30, length=20)
    (here / "text.jsonl").write_text((here / "text.jsonl").read_text() + "\n" + json.dumps("w1 " * 40))
    with pytest.raises(
        BadInput,
        match="study mine: 1 documents reach position 32, too few for 5 folds; end the window earlier",
    ):
        prepare.prepare(recipes.load(recipe(here, documents=31)))


PAPER = ("gemma-2-2b", "gemma-2-9b", "gpt2", "llama-3.1-8b")


def test_the_studies_of_the_paper_can_be_read():
    assert set(PAPER) < set(recipes.names())
    for name in recipes.names():
        made = recipes.load(name)
        assert made.names() and (name not in PAPER or (made.window, made.documents) == ((200, 1023), 300))
    taken = {choice.taken.width: choice.taken.l0 for choice in recipes.load("gemma-2-9b").choices()}
    assert taken == {"16k": 58, "32k": 57, "65k": 55, "131k": 62, "262k": 50, "524k": 48, "1m": 57}


@pytest.mark.parametrize("name", recipes.names())
def test_every_sae_of_a_shipped_study_is_in_saelens_list_in_a_format_that_is_read(name):
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    listed, made = get_pretrained_saes_directory(), recipes.load(name)
    kinds = {kind for format in formats.known().values() for kind in format.RELEASES}
    places = []
    for suite, sae in made.names():
        release, _, id = sae.partition("/")
        about = listed[release]
        assert id in about.saes_map and suite in ("", *recipes.SUITES)
        assert about.conversion_func in kinds
        repository, inside, _ = hub.sae_name(sae)
        assert f"{repository}/{inside}".startswith(f"{about.repo_id}/{about.saes_map[id]}".rstrip("/"))
        assert family(about.model) == family(hub.model_name(made.model)[0])
        places.append((repository, inside))
    assert len(set(places)) == len(places)


def test_gemma_3_has_three_widths_at_one_l0_and_three_l0s_at_one_width():
    published = {sae["id"]: sae["l0"] for sae in releases.known()["gemma-scope-2-270m-pt-res"]["saes"]}
    main = [name.partition("/")[2] for suite, name in recipes.load("gemma-3-270m").names() if not suite]
    at_60 = [latents(f"gemma-scope-2-270m-pt-res/{id}") for id in main if published[id] == 60]
    assert at_60 == [1 << 14, 1 << 16, 1 << 18, 1 << 20]
    assert [published[id] for id in main if "width_65k" in id] == [20, 60, 150]


@pytest.mark.parametrize(
    ("name", "width"),
    [
        ("gemma-scope-2b-pt-res/layer_5/width_65k/average_l0_53", 1 << 16),
        ("gemma-scope-2-270m-pt-res/layer_9_width_262k_l0_medium_seed_1", 1 << 18),
        ("llama_scope_lxr_8x/l15r_8x", 1 << 15),
        ("gpt2-small-res-jb-feature-splitting/blocks.8.hook_resid_pre_98304", 98304),
        ("qwen-scope-3.5-27b-w80k-l50/layer0", 80 << 10),
        ("sae_bench_pythia70m_sweep_topk_ctx128_0730/blocks.3.hook_resid_post__trainer_2", 1 << 14),
        ("gpt2-small-res-jb/blocks.8.hook_resid_pre", None),
    ],
)
def test_how_wide_an_sae_is_by_its_name(name, width):
    assert latents(name) == width


@pytest.mark.parametrize("name", recipes.names())
def test_what_a_shipped_study_takes_is_said_without_a_network(name, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    assert cli.main(["study", "check", name]) == 0
    said = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines() if ": " in line)
    size = recipes.load(name).size
    assert f"{size['parameters']:,} parameters" in said["model"]
    assert "not known (there is no folder" in said["download"] and "all chapters about" in said["compute"]
    assert f"weights of the model {readable(4 * size['parameters'])}, of the SAEs " in said["memory"]
    assert said["store"].startswith("about ")


@pytest.mark.parametrize("name", recipes.names())
def test_the_readme_has_what_check_says_of_a_gpu(name, monkeypatch):
    monkeypatch.setattr(estimate, "here", lambda device: device == "cpu")
    made = dataclasses.replace(recipes.load(name), device="cuda")
    said = dict(line.split(": ", 1) for line in prepare.far(made, []))
    row = next(
        line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith(f"| `{name}`")
    )
    *_, chapters, device, host, disk, _ = (cell.strip() for cell in row.split("|"))
    assert said["compute"].endswith(f"all chapters about {chapters}")
    assert said["memory"].startswith(f"about {device} on cuda, {host} beside it: ")
    assert said["store"].startswith(f"about {disk}: ")


def test_around_an_l0_each_width_has_an_sae_on_both_sides():
    for choice in sae_grid.choose("gemma-2-9b", "res", 20, 60, take="around"):
        l0s = sorted(sae.l0 for sae in choice.all)
        assert len(l0s) == 2 and l0s[0] < 60 < l0s[1] and choice.taken.l0 in l0s
    every = sae_grid.choose("gemma-2-9b", "res", 20, 60, take="all")
    assert sum(len(choice.all) for choice in every) == 34
    assert every[4].sentence.startswith("width 262k: L0 50 is taken as nearest to 60 (and 11, 259)")


def test_what_was_withdrawn_is_named():
    grid = sae_grid.grid()
    assert len(grid) == 2374 and sum(not sae.available for sae in grid) == 26
    by_width = {choice.paper.width: choice for choice in sae_grid.choose("gemma-2-9b", "res", 20, 60)}
    assert (
        by_width["262k"].sentence
        == "width 262k: L0 50 is taken as nearest to 60; L0 64, on the paper's first list, was withdrawn"
    )
    assert by_width["16k"].sentence == "width 16k: L0 58 is taken as nearest to 60, as in the paper"
    with pytest.raises(BadInput, match="has no res at layer 99 of gemma-2-9b; layers 0 to"):
        sae_grid.choose("gemma-2-9b", "res", 99, 60)
    with pytest.raises(BadInput, match="no model 'gemma-2-9'; nearest valid names: gemma-2-9b"):
        sae_grid.choose("gemma-2-9", "res", 20, 60)


def test_documents_of_a_dataset(here):
    """The library's own streaming, from a folder instead of the hub."""
    (here / "set").mkdir()
    (here / "set" / "train.jsonl").write_text(
        "\n".join(json.dumps({"text": "w1 " * n, "source": f"book {n % 3}"}) for n in range(1, 40))
    )
    found = list(texts.stream(str(here / "set")))
    assert sorted(map(len, found)) == [3 * n for n in range(1, 40)] and found != sorted(found, key=len)
    assert found == list(texts.stream(str(here / "set")))
    long = texts.dataset_documents(
        str(here / "set"), count=5, long_enough=lambda text: len(text) > 60, about={}
    )
    assert long == [text for text in found if len(text) > 60][:5]
    (here / "set" / "train.jsonl").unlink()
    again = texts.dataset_documents(str(here / "set"), count=5, long_enough=len, about={})
    assert again == long and [text.source for text in again] == [text.source for text in long]
    assert {text.source for text in found} == {"book 0", "book 1", "book 2"}
    assert texts.is_dataset("monology/pile-uncopyrighted") and not texts.is_dataset("text.jsonl")
    assert not texts.is_dataset("folder/text.jsonl") and not texts.is_dataset("embedded")


def test_the_help_names_every_recipe():
    assert sorted(COMING) == recipes.names()
