"""Every number that a reader meets in the prose of a published page has a source, and is as that says.

A number that is typed (in Markdown, in a caption, in a string of a cell) is never looked up among the
results: it is one of the paper, a setting, or stands in `DECLARED`. So a result that is typed fails. A number
that is glued is that of its key in the record. What follows from recorded evidence is judged again; any other
sentence that a cell makes is in the record, and so are its numbers. Tables, drawings and what an idea cell
prints are no prose.
"""

import re

import pytest
from prose import (
    CITES,
    DEFINED,
    GLUE,
    account,
    cells,
    glued,
    limits,
    of_what_is_typed,
    plain,
    records,
    shown_by,
    typed,
)
from throwaway import ROOT

from darkmatter_utils.book import chapters
from darkmatter_utils.charts import evidence
from darkmatter_utils.claims import report, strips
from darkmatter_utils.experiments.paper_evidence import EVIDENCE

EDITIONS = chapters.editions(ROOT)
NAMES = [f"{edition}/{chapter.name}" for edition in EDITIONS for chapter in chapters.chapters(ROOT)]
DECLARED = {
    "fewer than 20 documents, or 5 tokens per dimension": "below which no interval is given",
    "below 20 tokens per dimension": "below which a warning is given",
    "below 5, or 20 documents": "below which no interval is given",
    "batches of 64 tokens": "one of the definitions of FVU in use",
    "L0 60": "the L0 of the paper's Fig. 1",
    "is at 60 exactly": "the same",
    "the other side of 60": "the same",
    "+ 10 components": "the predictors of a nested model",
    "share in 10 components": "a column's definition",
    "the first 100 scored tokens": "how much of a context is shown",
    "2, 8, 32, 64 features a dimension": "the worlds of the sandbox",
    "holds 25%": "the case that a figure's title is about",
    "arcs of 90°": "the case that a figure is about",
    "32 for 256": "an edit to try",
    "64 features fit into 64 dimensions": "what the edit makes",
    "or two of 329": "the SAEs of the paper's Fig. 6",
    "0.73": "6/√66, a slip in print",
    "0.905": "3/√11, which is right",
    "< 0.001": "how a small p is said",
    "by over 5%": "what a figure counts",
    "an F test at 5%": "the level of a test",
    "16 features a dimension": "the case that a figure's title is about",
    "3,584 dimensions, 50,000 rows": "the paper's synthetic check, by the released code",
}
"""Words with numbers that are no results, and what they are."""
PICTURE = re.compile(r'<svg class="strip-picture".*?</svg>', re.S)
DRAWN = re.compile(r"aria-label=\"([^\"]*)\"|<title>(.*?)</title>")


@pytest.mark.parametrize("name", NAMES)
def test_every_number_of_a_page_has_its_source(name):
    found = account(name, cells(name), records(name.split("/")[0]), DECLARED)
    assert [(said, sentence) for said, kind, sentence in found if not kind] == []


@pytest.mark.parametrize("edition", EDITIONS)
def test_the_strip_is_drawn_from_the_records(edition):
    known = records(edition)
    rows = strips.rows(report.findings(known), known, EVIDENCE)
    drawn = [words for row in rows for words in DRAWN.findall(evidence.picture(row))]
    assert len(drawn) > 100
    for page in (f"{edition}/00_index", f"{edition}/15_the_report"):
        pictures = PICTURE.findall("\n".join(map(shown_by, cells(page))))
        assert [words for picture in pictures for words in DRAWN.findall(picture)] == drawn


def moved(found):
    """A record with every number moved, those in its texts too."""
    if isinstance(found, dict):
        return {key: moved(value) for key, value in found.items()}
    if isinstance(found, list):
        return [moved(value) for value in found]
    if isinstance(found, str):
        return re.sub(r"\d(?=\W|$)", lambda digit: str((int(digit[0]) + 1) % 10), found)
    return found if isinstance(found, bool) or found is None else type(found)(1.07 * found + 1.0137)


@pytest.mark.parametrize("name", NAMES)
def test_of_another_record_hardly_a_number_of_a_page_is(name):
    known = records(name.split("/")[0])
    kinds = ("glue", "record", "judged", "quoted")
    counted = lambda found: sum(kind in kinds and said not in DEFINED for said, kind, _ in found)
    were = counted(account(name, cells(name), known, DECLARED))
    are = counted(account(name, cells(name), {n: moved(one) for n, one in known.items()}, DECLARED))
    assert are <= max(2, 0.05 * were)


@pytest.mark.parametrize("name", NAMES)
def test_a_result_that_is_typed_is_found(name):
    number, page, values = int(name.split("/")[1][:2]), cells(name), records(name.split("/")[0])
    values, shown = values[number], {key: text.strip("'") for key, text in glued(page).items()}
    missed = []
    for key in (key for one in typed(page) if not CITES.search(one) for key in GLUE.findall(one)):
        results = [n for n in plain(shown[key]) if ("." in n or "%" in n) and n not in DEFINED]
        # A result as a literal, and with another last digit: neither is looked up in the record.
        for said in [*results, *(moved(n) for n in results)]:
            cell = {"cell_type": "markdown", "source": f"What is found is {said} here.", "metadata": {}}
            last = of_what_is_typed(number, [*page, cell], values, DECLARED)[-1]
            missed += [(key, said)] if last[1] and said not in limits(number, values) else []
    assert missed == []
