"""What a measurement looks like: tables for a terminal, JSON, SAEBench's shape, an HTML file for offline."""

from __future__ import annotations

import json
import math
import sys
import time
from functools import partial
from pathlib import Path

from jinja2 import Environment
from rich.console import Console
from rich.table import Table

from ..base import cache, words
from ..base.values import Estimate, to_json
from ..book.blocks import data_hashes, versions
from ..decomposition.decompose import Decomposition
from ..measurement.answers import Answer
from ..measurement.doctor import Diagnosis, number
from ..measurement.two_saes import METRICS, Comparison

COLUMNS = {
    "fvu": "FVU",
    "fvu_linear": "FVU linear",
    "fvu_nonlinear": "FVU nonlinear",
    "r2_total": "R² total",
    "r2_per_dim": "R² per dim",
    "norm_error": "R² of ‖error‖²",
}
"""Metrics of a study's table, with their headings."""
SHARES = ("fvu_nonlinear", "r2_total", "r2_per_dim")
"""Those that have a held-out column beside them."""
ROWS = {
    "fvu": ("FVU", "share of x's variance that the SAE misses"),
    "fvu_linear": ("FVU, linear", "of that FVU, what a linear map of x predicts"),
    "fvu_nonlinear": ("FVU, nonlinear", "of that FVU, what is left"),
    "r2_total": ("R² of SaeError, total", "share of the error that a linear map of x predicts"),
    "r2_per_dim": ("R² of SaeError, per dimension", "the same, as the paper averages it"),
    "norm_r2 SaeError": ("R² of ‖SaeError‖²", "predicted from x by least squares"),
    "norm_r2 NonlinearError": ("R² of ‖NonlinearError‖²", "predicted from x by least squares"),
}
"""Estimates that are shown: their names and what they say."""
WORDS = {
    "x, Sae(x)": "an activation, the vector that the model computes at one token; and what the SAE makes of "
    "it",
    "SaeError": "x − Sae(x), split in two: LinearError, what a linear map of x predicts of it on documents "
    "that the map was not fitted on, and NonlinearError, the rest",
    "FVU": "fraction of variance unexplained: Σ‖x − Sae(x)‖² over Σ‖x − mean x‖²; 0 is perfect, 1 is no "
    "better than the mean",
    "held out": "as measured by maps that were fitted on other documents, with these maps' own error, about "
    "dimensions over tokens of what is left; everywhere else that is taken out, an estimate for the best map",
    "latents, L0": "the SAE's directions; L0 is how many of them are active on an average token",
    "as the paper's code": "the same numbers as the released code of Engels, Riggs Smith and Tegmark (arXiv "
    "2410.14670) computes them: maps without an intercept, tokens split at random. Without an intercept an "
    "R² below 0 only says that a constant would do better",
    "null: dead": "the mean of x in the place of every activation",
    "null: shrunk": "x drawn to its mean until it misses as much as the SAE does",
    "null: random": "an untrained dictionary of the SAE's width and L0",
}
"""What the page and the table speak of."""
COLOURS = {"Sae(x)": "#3b82c4", "LinearError": "#159a80", "NonlinearError": "#dd4f3c"}
EVALUATION = "dark_matter"
"""Its name in SAEBench: how an SAE's error splits into a linear part and a rest."""


SETTINGS = 20
"""Rows of a diagnosis that are shown."""


def say(line: str) -> None:
    """A line of the answer."""
    print(line, flush=True)


def progress(line: str) -> None:
    """A line of what is going on."""
    print(line, file=sys.stderr, flush=True)


class _Console(Console):
    """Whoever reads may leave: `cli.main` knows what to do."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def show(table: Table) -> None:
    """Print a table; one that is piped into a file is not folded at 80 columns."""
    _Console(width=None if sys.stdout.isatty() else 200, highlight=False).print(table)


def study_table(saes, *, title: str) -> Table:
    """A row an SAE of a study, every number with its 95% interval over documents; held-out ones beside."""
    headings = [
        head for name, words in COLUMNS.items() for head in (words, "held out")[: 1 + (name in SHARES)]
    ]
    shown = _table("SAE", "kind", "width", "L0", *headings, title=title, left=2)
    for _, row in saes.iterrows():
        numbers = []
        for name in COLUMNS:
            numbers.append(Estimate(*(row[f"{name}{end}"] for end in ("", "_low", "_high"))))
            numbers += [Estimate(row[f"{name}_held_out"])] * (name in SHARES)
        width, l0 = f"{row['width']:,}" if row["width"] else "–", _text(Estimate(row["l0"]), 1)
        shown.add_row(str(row["id"]), str(row["kind"]), width, l0, *map(_text, numbers))
    return shown


def study_json(study, saes, warnings, loud: dict | None) -> str:
    """The same numbers with warnings, the study's settings, hashes of its data and versions, and what
    ``loud`` tokens do, if there are any."""
    about = {
        "study": study.to_dict(),
        "data": data_hashes(study),
        "versions": versions(),
        "saes": to_json(saes.to_dict("records")),
        "warnings": list(warnings),
    } | ({"loud": to_json(loud)} if loud else {})
    return _dumped(about, sort_keys=True)


def table(answer: Answer) -> Table:
    """A row an estimate, with 95% intervals over documents; the released code's and the nulls' beside."""
    found = answer.columns()
    shown = _table("", *found, title=answer.title, left=1)
    for name, (label, _) in ROWS.items():
        shown.add_row(label, *(_text(estimates[name]) for estimates in found.values()))
    if answer.l0 is not None:
        shown.add_row("L0", f"{answer.l0:.1f}")
    return shown


def answer_json(answer: Answer) -> str:
    """The fields of the decomposition, each with value, low and high, and all that they depend on."""
    found = _fields(answer.result) | {
        "title": answer.title,
        "l0": answer.l0,
        "gain": answer.gain,
        "warnings": list(answer.warnings),
        "reading": answer.reading(),
        "paper": _fields(answer.paper),
        "nulls": {name: _fields(null) for name, null in answer.nulls.items()},
        **({"given_input": to_json(answer.given, digits=None)} if answer.given else {}),
        "versions": cache.versions(),
    }
    return _dumped(to_json(found | answer.about, digits=None))


def comparison(done: Comparison) -> Table:
    """A row a metric: A, B, and B less A."""
    shown = _table("", *done.names, f"{done.names[1]} less {done.names[0]}", title=done.about["site"], left=1)
    for name, row in done.table.items():
        shown.add_row(METRICS[name][0], *(_text(one, 1 if name == "l0" else 4) for one in row))
    for name, pair in done.printed.items():
        each = (*pair, pair[1] - pair[0])
        shown.add_row(f"FVU as {name} prints it", *(words.plain(value, 4) for value in each))
    return shown


def comparison_json(done: Comparison) -> str:
    """The same numbers, the verdict, warnings, and all that they depend on."""
    found = {
        "names": list(done.names),
        "verdict": done.verdict(),
        "table": {name: dict(zip(("a", "b", "difference"), row)) for name, row in done.table.items()},
        "printed": {name: dict(zip(("a", "b"), pair)) for name, pair in done.printed.items()},
        "tokens": done.tokens,
        "documents": done.documents,
        "warnings": list(done.warnings),
        "versions": cache.versions(),
    }
    return _dumped(to_json(found | done.about, digits=None))


def diagnosis(done: Diagnosis) -> Table:
    """A row a setting, by FVU, the SAE as given among them; those of a high FVU are left out."""
    told = [row for row in done.rows if row.named or not row.beside]
    title = f"{done.about['sae']['id']} · what was tried" + f" · stated L0 {done.l0:g}" * bool(done.l0)
    shown = _table("", "setting", "FVU", "L0", "", title=title, left=2)
    for row in sorted([done.given, *told[:SETTINGS]], key=lambda row: row.fvu):
        mark, off = "→" if row is done.given else "named" * row.named, "another L0" * (not row.fits)
        shown.add_row(mark, row.title, number(row.fvu), words.plain(row.l0, 1), off)
    if len(told) > SETTINGS:
        shown.add_row("", f"{len(told) - SETTINGS} more of a higher FVU (all are in --json)")
    return shown


def diagnosis_json(done: Diagnosis) -> str:
    """The same numbers, what is named, warnings, and all that they depend on."""
    found = {
        "given": vars(done.given),
        "named": [row.title for row in done.named],
        "reading": done.reading(),
        "settings": [vars(row) for row in done.rows],
        "l0": done.l0,
        "tokens": done.tokens,
        "documents": done.documents,
        "warnings": list(done.warnings),
        "versions": cache.versions(),
    }
    return _dumped(to_json(found | done.about, digits=None))


def saebench(answer: Answer, *, now: float | None = None) -> str:
    """One result as SAEBench tabulates it: configuration, metrics by category, each with its interval's ends.

    ``now``: seconds since 1970, for its time; the clock's if not given.
    """
    card, asked = answer.about.get("sae", {}), answer.about.get("request", answer.about)
    result = answer.result
    own = {"protocol": result.protocol, "folds": len(result.maps), "ridge": list(result.linear_map.ridge)}
    found = {
        "eval_type_id": EVALUATION,
        "eval_config": {k: v for k, v in asked.items() if k != "sae"} | own,
        "eval_id": cache.key_of(title=answer.title, metrics=_metrics(result)),
        "datetime_epoch_millis": int((time.time() if now is None else now) * 1000),
        "eval_result_metrics": {
            "decomposition": _metrics(result),
            "paper_protocol": _metrics(answer.paper),
            **{f"null_{name}": _metrics(null) for name, null in answer.nulls.items()},
            "sparsity": {"l0": answer.l0},
        },
        "eval_result_details": [
            {
                "tokens": answer.result.tokens,
                "documents": answer.result.documents,
                "warnings": list(answer.warnings),
            }
        ],
        "sae_bench_commit_hash": "not of SAEBench",
        "versions": cache.versions(),
        "sae_lens_id": card.get("id"),
        "sae_lens_release_id": asked.get("sae"),
        "sae_lens_version": cache.versions().get("sae-lens"),
        "sae_cfg_dict": card,
    }
    return _dumped(to_json(found, digits=None))


def page(answer: Answer) -> str:
    """One HTML page without script, link or image of elsewhere."""
    found, result = answer.columns(), answer.result
    facts = {"L0 here": None if answer.l0 is None else f"{answer.l0:.4g}"} | answer.facts
    facts |= {"documents": answer.result.documents, "tokens": f"{answer.result.tokens:,}"} | cache.versions()
    parts = 1 - result.fvu.value, result.fvu_linear.value, result.fvu_nonlinear.value
    template = Path(__file__).with_name("page.html").read_text("utf-8")
    shown = Environment(autoescape=True, trim_blocks=True).from_string(template)
    return shown.render(
        answer=answer,
        parts=list(zip(COLOURS.items(), parts)),
        whole=min(parts) >= 0,  # parts that do not add up to a whole are no bar
        columns=found,
        rows=[(*about, [_text(column[name]) for column in found.values()]) for name, about in ROWS.items()],
        words={w: said for w, said in WORDS.items() if not w.startswith("null: ") or w in found},
        facts={n: value for n, value in facts.items() if value not in (None, []) and n != "warnings"},
        share=words.share,
    )


def _table(*headings: str, title: str, left: int) -> Table:
    """left: so many columns hold text, the others numbers."""
    shown = Table(*headings, title=title, title_justify="left", box=None)
    for column in shown.columns[left:]:
        column.justify = "right"
    return shown


def _text(estimate: Estimate, digits: int = 3) -> str:
    nothing = math.isnan(estimate.value)
    return "–" if nothing else words.interval(estimate, partial(words.plain, digits=digits))


def _dumped(value, **how) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False, **how) + "\n"


def _fields(result: Decomposition) -> dict:
    return json.loads(result.to_json())


def _metrics(result: Decomposition) -> dict[str, float]:
    found = {}
    for name, estimate in result.estimates().items():
        plain = name.replace(" ", "_").replace("(x)", "")
        found |= {plain: estimate.value, f"{plain}_low": estimate.low, f"{plain}_high": estimate.high}
    return found
