"""Which code a result follows from: laws of digests, on packages made for the test, and facts of this one."""

import textwrap

import pytest

from darkmatter_utils.base import provenance
from darkmatter_utils.base.provenance import Name


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A function that writes modules of a package and returns the closure of a name in it."""
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path)

    def closure(modules: dict[str, str], module: str, name: str) -> set[str]:
        for path in tmp_path.rglob("*.py"):
            path.unlink()
        for path, text in {"__init__.py": "_HOMES = {}\n", **modules}.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(textwrap.dedent(text))
        provenance.read.cache_clear()
        provenance._homes.cache_clear()
        return set(provenance.closure([Name(module, name)]).values())

    yield closure
    provenance.read.cache_clear()
    provenance._homes.cache_clear()


PLAIN = {
    "a/__init__.py": "",
    "a/x.py": "from .y import helper\n\ndef f(v):\n    return helper(v)\n\ndef other():\n    return 1\n",
    "a/y.py": "SCALE = 2\n\ndef helper(v):\n    return SCALE * v\n\ndef unused():\n    return 0\n",
}


def test_docstrings_comments_and_layout_do_not_count(package):
    told = PLAIN | {
        "a/x.py": (
            '"""Doc."""\nfrom .y import helper  # why\n\n\ndef f(v):\n    """Say."""\n    return (\n       '
            " helper(v)\n    )\n"
        )
    }
    assert package(PLAIN, "a.x", "f") == package(told, "a.x", "f")


def test_a_move_does_not_count(package):
    moved = {
        "a/__init__.py": "",
        "b/__init__.py": "",
        "b/z.py": "from ..a.w import helper\n\ndef f(v):\n    return helper(v)\n",
        "a/w.py": PLAIN["a/y.py"],
    }
    assert package(PLAIN, "a.x", "f") == package(moved, "b.z", "f")


def test_what_is_used_counts_and_what_is_not_does_not(package):
    before = package(PLAIN, "a.x", "f")
    assert before == package(PLAIN | {"a/y.py": PLAIN["a/y.py"].replace("return 0", "return 3")}, "a.x", "f")
    assert before != package(
        PLAIN | {"a/y.py": PLAIN["a/y.py"].replace("SCALE = 2", "SCALE = 3")}, "a.x", "f"
    )
    assert before != package(
        PLAIN | {"a/x.py": PLAIN["a/x.py"].replace("helper(v)", "helper(-v)")}, "a.x", "f"
    )


def test_names_reached_through_modules_inside_functions_and_packages_count(package):
    modules = PLAIN | {
        "a/x.py": "def f(v):\n    from . import y\n    from .. import c\n    return y.helper(c.g(v))\n",
        "c/__init__.py": "from .d import g\n",
        "c/d.py": "def g(v):\n    return v\n",
    }
    before = package(modules, "a.x", "f")
    assert before != package(modules | {"c/d.py": "def g(v):\n    return -v\n"}, "a.x", "f")
    assert before != package(modules | {"a/y.py": "def helper(v):\n    return 0\n"}, "a.x", "f")


def test_statements_that_act_count_with_whatever_is_used_of_their_module(package):
    acting = PLAIN | {"a/y.py": PLAIN["a/y.py"] + "\nTABLE = {}\nTABLE['a'] = 1\n"}
    assert package(acting, "a.x", "f") != package(PLAIN, "a.x", "f")


def test_who_lists_a_folder_uses_every_module_of_it(package):
    modules = {
        "base/__init__.py": "",
        "base/config.py": "def modules(folder):\n    return []\n",
        "k/__init__.py": "",
        "k/every.py": "from ..base.config import modules\n\ndef names():\n    return modules('k')\n",
        "k/one.py": "WORDS = 'a'\n",
    }
    assert package(modules, "k.every", "names") != package(
        modules | {"k/one.py": "WORDS = 'b'\n"}, "k.every", "names"
    )


def test_a_script_uses_what_its_cells_name():
    names = provenance.script(
        "from darkmatter_utils import measure\nfrom darkmatter_utils import charts\n"
        "m = measure('tiny')\ncharts.heat(m)\n"
    )
    assert Name("measurement.measure", "measure") in names and Name("charts", "heat") in names


def test_a_measurement_follows_from_no_trainer_no_recipe_no_machinery_and_no_words():
    from darkmatter_utils.measurement.harvest import compute

    folders = {name.partition(".")[0] for name in provenance.of(compute)}
    assert folders == {"base", "stats", "decomposition", "worlds", "adapters", "studies", "measurement"}
    modules = {name.rpartition(".")[0] for name in provenance.of(compute)}
    assert (
        not {"studies.recipes", "base.words", "adapters.formats.llama_scope", "adapters.formats.gemma_scope"}
        & modules
    )
    assert {"decomposition.passes", "stats.moments", "stats.fits", "studies.activations"} <= modules
