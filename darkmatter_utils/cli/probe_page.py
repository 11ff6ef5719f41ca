"""An answer for a terminal, as JSON, and as one HTML file that opens offline."""

from __future__ import annotations

import html
import json
import math

from ..base import cache
from ..base.values import Estimate
from ..decomposition.decompose import Decomposition
from ..measurement.answers import Answer

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
NOTHING = 1e-12
"""A part with a smaller share of the variance of x is rounding."""
WORDS = {
    "x, Sae(x)": (
        "an activation, the vector that the model computes at one token; and what the SAE makes of it"
    ),
    "SaeError": "x − Sae(x), split in two: LinearError, what a linear map of x predicts of it on documents "
    "that "
    "the map was not "
    "fitted on, and NonlinearError, the rest",
    "FVU": (
        "fraction of variance unexplained: Σ‖x − Sae(x)‖² over Σ‖x − mean x‖²; 0 is perfect, 1 is no "
        "better than the mean"
    ),
    "latents, L0": "the SAE's directions; L0 is how many of them are active on an average token",
    "as the paper's code": "the same numbers as the released code of Engels, Riggs Smith and Tegmark (arXiv "
    "2410.14670) "
    "computes "
    "them: maps without an intercept, tokens split at random. Without an intercept an R² below 0 only says "
    "that a constant would do better",
    "null: dead": "the mean of x in the place of every activation",
    "null: shrunk": "x drawn to its mean until it misses as much as the SAE does",
    "null: random": "an untrained dictionary of the SAE's width and L0",
}
"""What the page and the table speak of."""
COLOURS = {"Sae(x)": "#3b82c4", "LinearError": "#159a80", "NonlinearError": "#dd4f3c"}


def columns(answer: Answer) -> dict[str, dict[str, Estimate]]:
    """The columns of the table: the SAE, the same as the released code computes it, and the nulls."""
    found = {
        "this SAE" if "sae" in answer.about else "this reconstruction": answer.result,
        "as the paper's code": answer.paper,
    }
    found |= {f"null: {name}": null for name, null in answer.nulls.items()}
    return {name: shown(decomposition) for name, decomposition in found.items()}


def shown(decomposition: Decomposition) -> dict[str, Estimate]:
    """Its estimates; NaN for the R² of a part that is nothing but rounding, which there is nothing to predict
    of."""
    found = decomposition.estimates()
    for part, share in (("SaeError", found["fvu"]), ("NonlinearError", found["fvu_nonlinear"])):
        if share.value < NOTHING:
            found |= {name: Estimate(float("nan")) for name in found if name.endswith(f" {part}")}
    return found


def table(answer: Answer):
    """A rich table: one row an estimate, with 95% intervals over documents; the nulls beside."""
    from rich.table import Table

    found = columns(answer)
    shown = Table("", *found, title=answer.title, title_justify="left", box=None)
    for column in shown.columns[1:]:
        column.justify = "right"
    for name, (label, _) in ROWS.items():
        shown.add_row(label, *(_text(estimates[name]) for estimates in found.values()))
    if answer.l0 is not None:
        shown.add_row("L0", f"{answer.l0:.1f}")
    return shown


def reading(answer: Answer) -> list[str]:
    """What the numbers say, in sentences chosen by the numbers."""
    d, each = answer.result, "documents" if answer.about.get("documents given", True) else "blocks of rows"
    uses = (
        f"the SAE uses {answer.l0:.3g} latents a token and" if answer.l0 is not None else "the reconstruction"
    )
    said = [
        f"On {answer.tokens:,} tokens of {answer.documents:,} {each} {uses} leaves {_percent(d.fvu)} "
        f"of the variance "
        "unexplained."
    ]
    if d.fvu.value > 0 and math.isfinite(d.r2_total.value):
        said.append(
            f"Of that error {_percent(d.r2_total)} is linearly predictable from the activation; the "
            f"residual is "
            f"{_percent(d.fvu_nonlinear)} of the variance."
        )
    if "random" in answer.nulls:
        random = answer.nulls["random"]
        on = f" (on the first {random.documents:,} documents)" if random.documents < d.documents else ""
        said.append(
            f"An untrained dictionary of the same width and L0 leaves {_percent(random.fvu)}{on}, and "
            f"{_percent(random.r2_total)} of its error is linearly predictable: a high share alone "
            f"says nothing about what "
            "the SAE learned. (The mean in the place of x leaves all of the variance, and its error is "
            "wholly linear.)"
        )
    else:
        said.append(
            "The mean alone leaves all of the variance, and an activation drawn to its mean leaves as "
            "much as this "
            "reconstruction; both errors are wholly linear: a high share alone says nothing about what "
            "was learned."
        )
    norm = shown(d)["norm_r2 SaeError"]
    if not math.isnan(norm.value):
        said.append(f"The norm of the error is predictable from the activation with an R² of {_text(norm)}.")
    return said


def to_json(answer: Answer) -> str:
    """The fields of the decomposition, each with value, low and high, and all that they depend on."""
    found = json.loads(answer.result.to_json())
    found |= {
        "title": answer.title,
        "l0": answer.l0,
        "gain": answer.gain,
        "warnings": list(answer.warnings),
        "reading": reading(answer),
        "paper": json.loads(answer.paper.to_json()),
        "nulls": {name: json.loads(null.to_json()) for name, null in answer.nulls.items()},
        "versions": cache.versions(),
    }
    return json.dumps(_clean(found | answer.about), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def to_html(answer: Answer) -> str:
    """One page without script, link or image of elsewhere."""
    e, found = html.escape, columns(answer)
    shares = {
        "Sae(x)": 1 - answer.result.fvu.value,
        "LinearError": answer.result.fvu_linear.value,
        "NonlinearError": answer.result.fvu_nonlinear.value,
    }
    bar = "".join(
        (
            f'<div style="width:{100 * share:.2f}%;background:{COLOURS[name]}" title="{e(name)}: '
            f'{_share(share)}"></div>'
        )
        for name, share in shares.items()
    )
    key = " ".join(
        f'<span><i style="background:{COLOURS[name]}"></i>{e(name)} {_share(share)}</span>'
        for name, share in shares.items()
    )
    drawn = f"<div class=bar>{bar}</div><p class=key>{key}</p>"
    if min(shares.values()) < 0:  # parts that do not add up to a whole are no bar
        drawn = "<p class=about>The parts of the variance are not drawn: one of them is below 0.</p>"
    words = "".join(
        f"<dt>{e(word)}</dt><dd>{e(meaning)}</dd>"
        for word, meaning in WORDS.items()
        if not word.startswith("null: ") or word in found
    )
    head = "".join(f"<th>{e(name)}</th>" for name in ("", *found))
    body = "".join(
        f"<tr><td>{e(label)}<small>{e(about)}</small></td>"
        + "".join(f"<td>{_text(c[name])}</td>" for c in found.values())
        + "</tr>"
        for name, (label, about) in ROWS.items()
    )
    facts = answer.facts | {"documents": answer.documents, "tokens": f"{answer.tokens:,}"} | cache.versions()
    if answer.l0 is not None:
        facts = {"L0 here": f"{answer.l0:.4g}"} | facts
    facts = {name: value for name, value in facts.items() if value not in (None, []) and name != "warnings"}
    about = "".join(f"<tr><td>{e(name)}</td><td>{e(str(value))}</td></tr>" for name, value in facts.items())
    warned = "".join(f"<li>{e(line)}</li>" for line in answer.warnings)
    said = "".join(f"<p>{e(line)}</p>" for line in reading(answer))
    return (
        f"<!doctype html>\n<html lang=en><meta charset=utf-8><meta name=viewport "
        f"content='width=device-width'>"
        f"<title>{e(answer.title)}</title><style>{STYLE}</style><h1>What the SAE leaves behind</h1>"
        f"<p class=about>{e(answer.title)}</p>"
        + (f"<ul class=warned>{warned}</ul>" if warned else "")
        + f"{drawn}{said}<div class=wide><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div><p class=about>In brackets: 95% intervals, for which "
        f"documents were drawn anew. Every "
        f"map was fitted on other documents than it is scored on, but for the column of the paper's code.</p>"
        f"<details open><summary>Words</summary><dl>{words}</dl></details><details><summary>What was "
        f"measured</summary><table>{about}</table></details></html>\n"
    )


def _percent(estimate: Estimate) -> str:
    ends = "" if math.isnan(estimate.low) else f" [{_share(estimate.low)}, {_share(estimate.high)}]"
    return f"{_share(estimate.value)}{ends}"


def _share(value: float) -> str:
    """A share in percent; beyond two wholes it is a multiple."""
    return (f"{value:.1%}" if abs(value) <= 2 else f"{value:,.3g} times").replace("-", "\u2212")


def _text(estimate: Estimate) -> str:
    if math.isnan(estimate.value):
        return "–"
    ends = "" if math.isnan(estimate.low) else f" [{estimate.low:.3f}, {estimate.high:.3f}]"
    return f"{estimate.value:.3f}{ends}".replace("-", "\u2212")


def _clean(value):
    if isinstance(value, dict):
        return {key: _clean(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


STYLE = (
    "body{font:16px/1.5 Inter,'Segoe UI',Arial,sans-serif;max-width:60rem;margin:2rem auto;padding:0 "
    "1rem;color:#1f2937}"
    "h1{font-size:1.5rem;margin:0}.about,small{color:#6b7280}small{display:block}.bar{display:flex;height:2.2rem;"
    "border-radius:4px;overflow:hidden;margin-top:1rem}.key "
    "span{margin-right:1.2rem;white-space:nowrap}.key i{display:inline-block;"
    "width:.8em;height:.8em;margin-right:.4em;border-radius:2px}table{border-collapse:collapse;font-size:.9rem}"
    "dt{font-weight:600}dd{margin:0 0 .5rem "
    "0}@media(max-width:600px){td,th{padding-right:.5rem;font-size:.82rem}}"
    "td,th{padding:.35rem .8rem .35rem 0;text-align:left;vertical-align:top;border-bottom:1px solid #e5e7eb}"
    ".wide{overflow-x:auto}.warned{border-left:4px solid #d99a1c;background:#fdf6e3;padding:.6rem 1rem "
    ".6rem 2rem}"
    "@media(prefers-color-scheme:dark){body{background:#111827;color:#e5e7eb}.warned{background:#3a2f14}"
    "td,th{border-color:#374151}.about,small{color:#9ca3af}}"
)
