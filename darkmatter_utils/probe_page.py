"""A probe's answer for a terminal, as JSON, and as one HTML file that opens offline."""

from __future__ import annotations

import html
import json
import math
from dataclasses import asdict

from . import cache
from .metrics import Estimate
from .probe import Plan, Probe

ROWS = {
    "fvu": ("FVU", "share of x's variance that the SAE misses"),
    "fvu_linear": ("FVU, linear", "… of it, what a linear map of x predicts"),
    "fvu_nonlinear": ("FVU, nonlinear", "… of it, what is left"),
    "r2_total": ("R² of SaeError, total", "share of the error that a linear map of x predicts"),
    "r2_per_dim": ("R² of SaeError, per dimension", "the same, as the paper averages it"),
    "norm_r2 SaeError": ("R² of ‖SaeError‖²", "predicted from x by least squares"),
    "norm_r2 NonlinearError": ("R² of ‖NonlinearError‖²", "predicted from x by least squares"),
}
"""Estimates that are shown: their names and what they say."""
COLOURS = {"Sae(x)": "#3b82c4", "LinearError": "#159a80", "NonlinearError": "#dd4f3c"}


def columns(probe: Probe) -> dict[str, dict[str, Estimate]]:
    """The columns of the table: the SAE, the same as the released code computes it, and the nulls."""
    found = {"this SAE": probe.result, "as the paper's code": probe.paper}
    found |= {f"null: {name}": null for name, null in probe.nulls.items()}
    return {name: decomposition.estimates() for name, decomposition in found.items()}


def table(probe: Probe):
    """A rich table: one row an estimate, with 95% intervals over documents; the nulls beside."""
    from rich.table import Table

    found = columns(probe)
    shown = Table("", *found, title=title(probe), title_justify="left", box=None)
    for column in shown.columns[1:]:
        column.justify = "right"
    for name, (label, _) in ROWS.items():
        shown.add_row(label, *(_text(estimates[name]) for estimates in found.values()))
    shown.add_row("L0", f"{probe.l0:.1f}")
    return shown


def title(probe: Probe) -> str:
    """What was measured, in a line."""
    plan, card = probe.plan, probe.plan.sae.card
    where = plan.reads if plan.reads == plan.writes else f"{plan.reads} → {plan.writes}"
    return f"{plan.sae.id} ({card.format}, {card.architecture}, {card.d_sae:,} latents) · {plan.model.name} · {where}"


def reading(probe: Probe) -> list[str]:
    """What the numbers say, in sentences chosen by the numbers."""
    d, plan = probe.result, probe.plan
    said = [
        f"On {plan.tokens:,} tokens of {len(plan.reading.length):,} documents the SAE uses {probe.l0:.3g} latents a token "
        f"and leaves {_percent(d.fvu)} of the variance unexplained."
    ]
    if d.fvu.value > 0 and math.isfinite(d.r2_total.value):
        said.append(
            f"Of that error {_percent(d.r2_total)} is linearly predictable from the activation; the residual is "
            f"{_percent(d.fvu_nonlinear)} of the variance."
        )
    random = probe.nulls["random"]
    said.append(
        f"An untrained dictionary of the same width and L0 leaves {_percent(random.fvu)}, and {_percent(random.r2_total)} "
        "of its error is linearly predictable: a high share alone says nothing about what the SAE learned. "
        "(The mean alone leaves all, all of it linear.)"
    )
    norm = d.norm_r2["SaeError"]
    said.append(f"The norm of the error is predictable from the activation with an R² of {_text(norm)}.")
    return said


def to_json(probe: Probe) -> str:
    """The fields of the decomposition, each with value, low and high, and all that they depend on."""
    answer = json.loads(probe.result.to_json())
    answer |= {
        "l0": probe.l0, "gain": probe.gain, "warnings": list(probe.warnings), "reading": reading(probe),
        "sae": probe.plan.sae.card.to_dict() | {"id": probe.plan.sae.id, "reads": probe.plan.reads, "writes": probe.plan.writes},
        "paper": json.loads(probe.paper.to_json()),
        "nulls": {name: json.loads(null.to_json()) for name, null in probe.nulls.items()},
        "request": asdict(probe.plan.request), "positions": list(probe.plan.reading.window), "versions": cache.versions(),
    }  # fmt: skip
    return json.dumps(_clean(answer), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def to_html(probe: Probe) -> str:
    """One page without script, link or image of elsewhere."""
    e, found = html.escape, columns(probe)
    shares = {"Sae(x)": 1 - probe.result.fvu.value, "LinearError": probe.result.fvu_linear.value,
              "NonlinearError": probe.result.fvu_nonlinear.value}  # fmt: skip
    whole = sum(max(share, 0) for share in shares.values()) or 1
    bar = "".join(f'<div style="width:{100 * max(share, 0) / whole:.2f}%;background:{COLOURS[name]}" '
                  f'title="{e(name)}: {share:.1%}"></div>' for name, share in shares.items())  # fmt: skip
    key = " ".join(f'<span><i style="background:{COLOURS[name]}"></i>{e(name)} {share:.1%}</span>'
                   for name, share in shares.items())  # fmt: skip
    head = "".join(f"<th>{e(name)}</th>" for name in ("", *found))
    body = "".join(
        f"<tr><td>{e(label)}<small>{e(about)}</small></td>" + "".join(f"<td>{_text(c[name])}</td>" for c in found.values())
        + "</tr>" for name, (label, about) in ROWS.items()
    )  # fmt: skip
    facts = {**probe.plan.sae.card.to_dict(), "L0 here": f"{probe.l0:.4g}", "text": probe.plan.request.text,
             "documents": len(probe.plan.reading.length), "tokens": probe.plan.tokens,
             "positions": "{}:{}".format(*probe.plan.reading.window), **cache.versions()}  # fmt: skip
    facts = {name: value for name, value in facts.items() if value not in (None, []) and name != "warnings"}
    about = "".join(f"<tr><td>{e(name)}</td><td>{e(str(value))}</td></tr>" for name, value in facts.items())
    warned = "".join(f"<li>{e(line)}</li>" for line in probe.warnings)
    said = "".join(f"<p>{e(line)}</p>" for line in reading(probe))
    return (
        f"<!doctype html>\n<html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{e(probe.plan.sae.id)}</title><style>{STYLE}</style><h1>What the SAE leaves behind</h1>"
        f"<p class=about>{e(title(probe))}</p>" + (f"<ul class=warned>{warned}</ul>" if warned else "")
        + f"<div class=bar>{bar}</div><p class=key>{key}</p>{said}<div class=wide><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div><p class=about>95% intervals over documents; out of sample by folds of "
        f"documents.</p><details><summary>What was measured</summary><table>{about}</table></details></html>\n"
    )  # fmt: skip


def plan_lines(plan: Plan) -> list[str]:
    """A dry run's facts, one a line."""
    return [f"{name}: {value:,}" if isinstance(value, int) else f"{name}: {value:.3g}" if isinstance(value, float)
            else f"{name}: {value}" for name, value in plan.facts().items() if value != []]  # fmt: skip


def _percent(estimate: Estimate) -> str:
    ends = "" if math.isnan(estimate.low) else f" [{estimate.low:.1%}, {estimate.high:.1%}]"
    return f"{estimate.value:.1%}{ends}"


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
    "body{font:16px/1.5 Inter,'Segoe UI',Arial,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1f2937}"
    "h1{font-size:1.5rem;margin:0}.about,small{color:#6b7280}small{display:block}.bar{display:flex;height:2.2rem;"
    "border-radius:4px;overflow:hidden;margin-top:1rem}.key span{margin-right:1.2rem;white-space:nowrap}.key i{display:inline-block;"
    "width:.8em;height:.8em;margin-right:.4em;border-radius:2px}table{border-collapse:collapse;font-size:.9rem}"
    "td,th{padding:.35rem .8rem .35rem 0;text-align:left;vertical-align:top;border-bottom:1px solid #e5e7eb}"
    ".wide{overflow-x:auto}.warned{border-left:4px solid #d99a1c;background:#fdf6e3;padding:.6rem 1rem .6rem 2rem}"
    "@media(prefers-color-scheme:dark){body{background:#111827;color:#e5e7eb}.warned{background:#3a2f14}"
    "td,th{border-color:#374151}.about,small{color:#9ca3af}}"
)
