"""What chapter 12 shows: charts and tables of how well earlier sites predict the error's parts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from .. import charts
from ..base.values import Estimate
from ..base.words import interval, plain
from ..charts.tables import Table, Words
from ..experiments.earlier import SHUFFLES
from ..experiments.earlier_scores import full_rank, targets_of
from ..experiments.earlier_sites import Inputs, earlier_sites
from ..measurement.results import Tables

NO_SITES = Words(
    "*This study has no site before the one that is decomposed: its activations are simulated, or its first "
    "block is read before anything was computed.*"
)
NO_SAES = (
    "No site before the one that is decomposed has an SAE in this study: only raw activations can be shown. "
)
PART_NAMES = ("SaeError", "LinearError", "NonlinearError")
KINDS = {"raw": "raw activation", "SAE output": "SAE output"}


class Live(NamedTuple):
    """Tokens of a few contexts for the cell that shows the idea; no token where there is no earlier site."""

    earlier: np.ndarray
    """The earlier site's SAE output, or its raw activation where it has no SAE [token, d]."""
    nonlinear: np.ndarray
    """NonlinearError at the study's own site [token, d_model]."""
    document: np.ndarray
    site: str
    """What was read, in words."""


def live(measurement, *, contexts: int = 80) -> Live | None:
    """The arrays of the live cell: the latest residual stream before the site, or failing that the latest
    site."""
    target = targets_of(measurement)[0]
    sites = earlier_sites(measurement.study, int(measurement.sae(target)["width"]))
    if not sites:
        return None
    streams = [entry for entry in sites if entry.site.endswith("hook_resid_post")]
    one = (streams or sites)[-1]
    inputs = Inputs(measurement, (target,), (one,), contexts)
    columns = inputs.columns()[f"{'sae' if one.sae else 'raw'} {one.site}"]
    split, parts = measurement.maps(target).overall, []
    for tokens in inputs.stream():
        linear = split(tokens.inputs[:, : inputs.d_model])
        parts.append(
            (
                tokens.inputs[:, columns].numpy(),
                (tokens.errors - linear).numpy(),
                np.full(len(linear), tokens.document),
            )
        )
    earlier, nonlinear, document = (np.concatenate(column) for column in zip(*parts))
    return Live(
        earlier, nonlinear, document, f"the {'SAE output' if one.sae else 'raw activation'} at {one.site}"
    )


def site_bars(tables: Tables, sae: str, *, part: str = "NonlinearError"):
    """R² of a part from each earlier site: SAE output, raw activation, and both from shuffled tokens."""
    if tables["r2"].empty:
        return NO_SITES
    rows = _rows(tables, sae, part)
    rows = rows[rows["kind"].isin(KINDS)]
    rows = rows[(rows["tokens"] == "own") | (rows["tokens"] == SHUFFLES[0])]
    order = {site: i for i, site in enumerate(tables["sites"]["site"])}
    rows = rows.assign(
        site_order=rows["site"].map(order), shuffled=rows["tokens"] != "own", trained=rows["kind"] != "raw"
    )
    rows = rows.sort_values(["site_order", "shuffled", "trained"], kind="stable")
    names = [
        KINDS[kind] + ("" if tokens == "own" else ", shuffled")
        for kind, tokens in zip(rows["kind"], rows["tokens"])
    ]
    frame = rows.assign(
        what=names, label=[f"{short(site)}: {name}" for site, name in zip(rows["site"], names)]
    )
    return charts.forest(frame, color="what", x_title=f"R² per dimension of {part}")


def part_heat(tables: Tables, sae: str):
    """R² of each part from each earlier site and the poles at the own site, the number in every cell."""
    if tables["r2"].empty:
        return NO_SITES
    table = full_rank(tables)
    rows = table[(table["sae"] == sae) & (table["tokens"] == "own") & (table["metric"] == "r2_per_dim")]
    names = []
    for kind, site in zip(rows["kind"], rows["site"]):
        names.append(
            f"{kind} (same site)"
            if not site and "all" not in kind
            else f"{kind}: {short(site)}"
            if site
            else kind
        )
    return charts.heat(
        rows.assign(inputs=names),
        "part",
        "inputs",
        "value",
        x_title="part that is predicted",
        y_title="from",
        value_title="R² per dimension",
        width=420,
    )


def rank_lines(tables: Tables):
    """R² of NonlinearError over the number of directions, SAE output beside raw activation, one view a
    site."""
    table = tables["r2"]
    if table.empty:
        return NO_SITES
    rows = table[
        table["kind"].isin(KINDS)
        & (table["part"] == "NonlinearError")
        & (table["metric"] == "r2_per_dim")
        & (table["tokens"] == "own")
        & (table["sae"] == table["sae"].iloc[0])
    ]
    views = []
    bottom, top = float(rows["low"].min()), float(rows["high"].max())
    for site in tables["sites"]["site"]:
        frame = (
            rows[rows["site"] == site]
            .sort_values(["kind", "rank"], key=_raw_first)
            .assign(what=lambda f: f["kind"].map(KINDS))
        )
        views.append(
            charts.lines(
                frame,
                "rank",
                "value",
                low="low",
                high="high",
                color="what",
                title=short(site),
                x_scale="log2",
                x_title="directions",
                y_title="R²",
                y_domain=(min(0.0, 1.1 * bottom), 1.1 * max(top, 0.01)),
                width=290,
                height=200,
            )
        )
    return charts.beside(*views, columns=2)


def gain_table(tables: Tables, sae: str):
    """What an earlier site adds to x: R² of the whole error from x, and its gain by each site, SAE output and
    raw."""
    if tables["r2"].empty:
        return NO_SITES
    leads, lines = tables["leads"], []
    for part in ("SaeError", "NonlinearError"):
        rows = leads[(leads["sae"] == sae) & (leads["part"] == part) & (leads["metric"] == "r2_per_dim")]
        for site in [*tables["sites"]["site"], ""]:
            here = rows[rows["site"] == site].set_index(["kind", "over"])
            names = (
                ("x and all SAE outputs", "x and all raw") if not site else ("x and SAE output", "x and raw")
            )
            line = {"part": part, "joined to x": short(site) if site else "all of them"}
            for name, title in zip(names, ("gain by its SAE output", "gain by its raw activation")):
                line[title] = _three(here.loc[(name, "x")]) if (name, "x") in here.index else "–"
            both = ("x and SAE output", "x and raw")
            line["difference"] = _three(here.loc[both]) if both in here.index else "–"
            lines.append(line)
    frame = pd.DataFrame(lines)
    return Table(frame, {name: str for name in frame.columns[2:]})


def lead_table(tables: Tables):
    """For each target SAE and earlier site: R² of NonlinearError per dimension and total, and the paired
    leads."""
    if tables["r2"].empty:
        return NO_SITES
    table, leads, lines = full_rank(tables), tables["leads"], []
    for sae in dict.fromkeys(table["sae"]):
        for entry in tables["sites"].itertuples():
            line = {"SAE": sae, "from": short(entry.site), "directions": int(entry.rank)}
            for kind, name in KINDS.items():
                for metric, word in (("r2_per_dim", "per dimension"), ("r2_total", "total")):
                    line[f"{name}, {word}"] = _pick(table, kind, entry.site, sae, metric)
            line["lead over raw"] = _pick(leads, "SAE output", entry.site, sae, "r2_per_dim", over="raw")
            line["lead over shuffled"] = _pick(
                leads, "SAE output", entry.site, sae, "r2_per_dim", over="shuffled"
            )
            lines.append(line)
    frame = pd.DataFrame(lines)
    return Table(frame, {name: str for name in frame.columns[3:]})


def sentences(tables: Tables, sae: str) -> dict[str, str]:
    """The sentences of the page that depend on the numbers, by key."""
    about = tables["about"].iloc[0]
    if tables["r2"].empty:
        return {"tokens": "no tokens at all", "poles": "", "gain": "", "context": "", "saes": ""}
    rows = _rows(tables, sae, "NonlinearError")
    pole = {
        kind: Estimate(*row)
        for kind, *row in rows[rows["site"] == ""][["kind", "value", "low", "high"]].itertuples(index=False)
    }
    said = {
        "tokens": f"{int(about['tokens']):,} tokens of {int(about['documents']):,} documents",
        "saes": "" if tables["sites"]["id"].any() else NO_SAES,
    }
    said["poles"] = (
        f"x alone predicts {plain(pole['x'].value, 3)} of NonlinearError, Sae(x) alone "
        f"{plain(pole['Sae(x)'].value, 3)}, "
        f"and both together {plain(pole['x and Sae(x)'].value, 3)}."
    )
    best = "x and all SAE outputs" if "x and all SAE outputs" in pole else "x and all raw"
    leads = tables["leads"]
    gain = leads[
        (leads["kind"] == best)
        & (leads["sae"] == sae)
        & (leads["part"] == "SaeError")
        & (leads["metric"] == "r2_per_dim")
    ].iloc[0]
    said["gain"] = (
        f"Of the whole error of {sae}, *{best}* predict {plain(pole_of(tables, sae, best).value)} "
        f"where x alone predicts "
        f"{plain(pole_of(tables, sae, 'x').value)}: a gain of {_three(gain)}."
    )
    near = rows[(rows["tokens"] == SHUFFLES[1]) & rows["kind"].isin(KINDS)]["value"]
    said["context"] = (
        f"From tokens shuffled inside their own context, the R² of NonlinearError is at most "
        f"{plain(near.max(), 3)}."
    )
    return said


def pole_of(tables: Tables, sae: str, kind: str, part: str = "SaeError") -> Estimate:
    """R² per dimension of a part from one of the models without a site of its own."""
    rows = _rows(tables, sae, part)
    row = rows[(rows["kind"] == kind) & (rows["site"] == "")].iloc[0]
    return Estimate(row["value"], row["low"], row["high"])


def short(site: str) -> str:
    """A site's name for a label: blocks.1.hook_resid_post -> 1.resid_post."""
    return site.removeprefix("blocks.").replace("hook_", "")


def _raw_first(column: pd.Series) -> pd.Series:
    return column if column.name == "rank" else column != "raw"


def _rows(tables: Tables, sae: str, part: str) -> pd.DataFrame:
    table = full_rank(tables)
    return table[(table["sae"] == sae) & (table["part"] == part) & (table["metric"] == "r2_per_dim")]


def _pick(table: pd.DataFrame, kind: str, site: str, sae: str, metric: str, **more) -> str:
    keep = (
        (table["kind"] == kind)
        & (table["site"] == site)
        & (table["sae"] == sae)
        & (table["metric"] == metric)
    )
    keep &= table["part"] == "NonlinearError"
    for name, value in (more or {"tokens": "own"}).items():
        keep &= table[name] == value
    return _three(table[keep].iloc[0]) if keep.any() else "–"


def _three(row) -> str:
    return interval(Estimate(row["value"], row["low"], row["high"]), lambda value: plain(value, 3))
