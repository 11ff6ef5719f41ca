"""A word changed in one claim's file makes stale the chapter of that claim and the report, and no other."""

import json
import shutil

import pytest
from throwaway import ROOT

from darkmatter_utils.base import provenance
from darkmatter_utils.book import chapters, records, staleness
from darkmatter_utils.claims.report import every
from darkmatter_utils.studies.study import Study

STUDY, REPORT = "world", 15


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The book's chapters with records that follow from a copy of the package, and that copy."""
    root = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "notebooks", root / "notebooks")
    package = root / provenance.OWN
    shutil.copytree(provenance.PACKAGE, package, ignore=lambda folder, names: _not_code(folder, names))
    about = {"data": records.data_hashes(Study.load(STUDY)), "versions": records.versions(), "records": {}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(provenance, "PACKAGE", package)
        patch.setattr(provenance, "read", fresh())
        provenance._homes.cache_clear()
        for chapter in chapters.chapters(root):
            sources = provenance.closure(provenance.script(chapter.code()))
            made = about | {"cells": chapter.cells_hash(), "sources": sources}
            chapter.record(STUDY).parent.mkdir(parents=True, exist_ok=True)
            chapter.record(STUDY).write_text(json.dumps(made))
            chapter.executed(STUDY).parent.mkdir(parents=True, exist_ok=True)
            chapter.executed(STUDY).write_text("{}")
            staleness.stamp(chapter, STUDY, seconds=1)
        assert staleness.due(root, STUDY) == []
        yield root, package
    provenance._homes.cache_clear()


def _not_code(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if "." in name and not name.endswith(".py")]


def fresh():
    """`provenance.read` that reads a module anew once its file has changed."""
    read, kept = provenance.read.__wrapped__, {}

    def anew(module: str):
        path = provenance.path_of(module)
        key = module, path and path.read_bytes()
        if key not in kept:
            kept[key] = read(module)
        return kept[key]

    return anew


@pytest.mark.parametrize("number", every())
def test_a_word_of_a_claim_makes_its_chapter_and_the_report_stale(project, number):
    root, package = project
    claim = every()[number]
    (path,) = (package / "claims").glob(f"c{number:02d}_*.py")
    text = path.read_text()
    path.write_text(text.replace(claim.short, f"{claim.short[:-1]}, or so."))
    assert path.read_text() != text
    found = [chapter.number for chapter, _ in staleness.due(root, STUDY)]
    path.write_text(text)
    assert found == sorted({int(claim.chapter[:2]), REPORT})
