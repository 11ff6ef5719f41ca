"""Chapter 13's figures, tables and sentences, and the numbers that its rule takes."""

from __future__ import annotations

import pandas as pd

from .. import charts
from ..base.values import Estimate
from ..base.words import interval, percent, plain
from ..charts.tables import Html, Table, Words
from ..claims import q13_controls
from ..claims.q13_controls import CLAIMS, NULLS, as_good
from ..experiments.controls import TRAINED
from ..experiments.rank import BEST, COMPONENTS


def numbers(scores: pd.DataFrame) -> q13_controls.Evidence:
    """What the chapter's rule takes: by claim, by control, the value and the difference to the trained
    SAE."""
    told: dict[str, dict] = {}
    for row in scores[scores["name"] != TRAINED].itertuples(index=False):
        difference = Estimate(row.difference, row.difference_low, row.difference_high)
        told.setdefault(str(row.claim), {})[row.name] = {"value": _value(row), "difference": difference}
    return q13_controls.Evidence(told)


def _value(row) -> Estimate:
    return Estimate(row.value, row.low, row.high)


def panels(scores: pd.DataFrame):
    """Every control at every claim, one panel a claim; the trained SAE's number as a diamond in each row."""
    shown = []
    for claim in sorted(scores["claim"].unique()):
        mine = scores[scores["claim"] == claim]
        trained = float(mine.loc[mine["name"] == TRAINED, "value"].iloc[0])
        frame = mine.rename(columns={"name": "label"}).assign(reference=trained)
        shown.append(
            charts.forest(
                frame,
                x_title=f"claim {claim}: {CLAIMS[claim].axis} (claimed: {CLAIMS[claim].wanted})",
                width=200,
                reference_title=TRAINED,
                height=30 + 21 * len(frame),
            )
        )
    return charts.beside(*shown)


def table(scores: pd.DataFrame) -> Table:
    """One row a control: L0, FVU and each claim's number with its interval, bold where it is as good as the
    trained SAE's."""
    order = list(dict.fromkeys(scores["name"]))
    claims = sorted(scores["claim"].unique())
    rows = []
    for name in order:
        mine = scores[scores["name"] == name].set_index("claim")
        first = mine.iloc[0]
        row = {"reconstruction": name, "L0": f"{first.l0:.1f}", "FVU": plain(first.fvu, 3)}
        row |= {f"claim {claim}": _cell(name, claim, mine) for claim in claims}
        row["claim 2, simple predictors"] = plain(first.simple) if first.simple == first.simple else "–"
        rows.append(row)
    frame = pd.DataFrame(rows)
    return Table(frame, {column: lambda text: text for column in frame.columns[1:]})


def _cell(name: str, claim: int, mine: pd.DataFrame) -> str:
    if claim not in mine.index:
        return "–"
    row = mine.loc[claim]
    text = interval(_value(row))
    difference = Estimate(row.difference, row.difference_low, row.difference_high)
    good = name != TRAINED and as_good(claim, _value(row), difference)
    return Html(f"<strong>{text}</strong>") if good else text


def plainly(scores: pd.DataFrame) -> Words:
    """For each claim, which controls are as good as the trained SAE, and which are not, in a list."""
    lines = []
    for claim in sorted(scores["claim"].unique()):
        mine = scores[(scores["claim"] == claim) & (scores["name"] != TRAINED)]
        good = {
            row.name: as_good(
                claim, _value(row), Estimate(row.difference, row.difference_low, row.difference_high)
            )
            for row in mine.itertuples(index=False)
        }
        nulls = [name for name in good if name in NULLS]
        null = [name for name in nulls if good[name]]
        others = [name for name in good if name not in NULLS and good[name]]
        text = f"- **Claim {claim}**, {CLAIMS[claim].what}: "
        if null:
            text += f"as good without having learned anything: {_and(null)}."
        else:
            text += f"no control that learned nothing {'is as good' if nulls else 'can be tested'}."
        if others:
            text += f" As good, and trained in whole or in part: {_and(others)}."
        lines.append(text)
    return Words("\n".join(lines))


IN_A_LIST = {
    "trained, rescaled": "the rescaled SAE",
    "trained, one gain a latent": "the SAE with one gain a latent",
}
"""Names whose comma would part them."""
SHORT = {BEST: "best map", COMPONENTS: "top components of x"}
"""Lines of the sweep, as its legend has room for them."""


def _and(names: list[str]) -> str:
    names = [IN_A_LIST.get(name, name) for name in names]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def differences(scores: pd.DataFrame, claim: int) -> str:
    """Each control's number minus the trained SAE's at one claim, in words."""
    mine = scores[(scores["claim"] == claim) & (scores["name"] != TRAINED)]
    return "; ".join(
        f"{row.name} {interval(_difference(row), lambda v: plain(v, 3))}"
        for row in mine.itertuples(index=False)
    )


def _difference(row) -> Estimate:
    return Estimate(row.difference, row.difference_low, row.difference_high)


def missing(scores: pd.DataFrame) -> str:
    """What the study lacks of the controls, as a sentence; "" where it has all."""
    have = set(scores["name"])
    wanted = ("TopK SAE", "L1 SAE", "frozen random decoder", "random-weights model")
    lacks = [name for name in wanted if name not in have]
    if not lacks:
        return ""
    return f"This study has no {_and(lacks).replace(' and ', ' and no ')}, so those rows are absent."


def again_table(again: pd.DataFrame):
    """Size of Sae(Sae(x)) − Sae(x) beside the error's and x's."""
    if again.empty:
        return Words(
            "*The SAEs of this study read a simulated world's features, not activations: they cannot be "
            "applied twice.*"
        )
    frame = pd.DataFrame({"SAE": again["name"]})
    for name, words in (("error", "share of Σ‖SaeError‖²"), ("x", "share of the variance of x")):
        frame[words] = [
            interval(Estimate(*row), lambda v: percent(v, 1))
            for row in again[[name, f"{name}_low", f"{name}_high"]].to_numpy()
        ]
    return Table(frame, dict.fromkeys(frame.columns[1:], str))


def shape_table(shape: pd.DataFrame, saes: pd.DataFrame) -> Table:
    """One row an SAE: what b is like, with jackknife intervals, beside the FVU."""
    joined = shape.merge(saes[["id", "fvu"]], on="id")
    frame = pd.DataFrame({"width": joined["width"], "FVU": [plain(v, 3) for v in joined["fvu"]]})
    names = {
        "gain": "scalar gain g",
        "trace": "trace(b) / d",
        "rank": "effective rank",
        "top": "share in 10 components of x",
    }
    styles = {"rank": lambda v: plain(v, 1), "top": percent}
    for name, words in names.items():
        frame[words] = [
            interval(Estimate(*row), styles.get(name, lambda v: plain(v, 3)))
            for row in joined[[name, f"{name}_low", f"{name}_high"]].to_numpy()
        ]
    return Table(frame, dict.fromkeys(frame.columns[1:], str))


def sweep_lines(sweep: pd.DataFrame, shown: str):
    """R² of the error by rank: the best map of each rank for every SAE, and the top components of x for
    one."""
    best = sweep[sweep["kind"] == BEST]
    other = sweep[(sweep["kind"] == COMPONENTS) & (sweep["id"] == shown)]
    label = [f"{SHORT[row.kind]}, width {row.width:,}" for row in pd.concat([best, other]).itertuples()]
    frame = pd.concat([best, other]).assign(line=label)
    return charts.lines(
        frame,
        "rank",
        "r2",
        low="low",
        high="high",
        color="line",
        x_scale="log2",
        x_title="rank",
        y_title="R² total of the error",
    )


def rank_for(sweep: pd.DataFrame, id: str, share: float) -> int:
    """The least rank tried at which the best map reaches a share of what the full map reaches."""
    mine = sweep[(sweep["kind"] == BEST) & (sweep["id"] == id)].sort_values("rank")
    return int(mine.loc[mine["r2"] >= share * mine["r2"].iloc[-1], "rank"].iloc[0])


def ladder_forest(ladder: pd.DataFrame):
    """R² total of the error by reader; the diamond is the linear reader's."""
    linear = float(ladder.loc[ladder["reader"] == "linear (OLS)", "r2"].iloc[0])
    frame = ladder.rename(columns={"reader": "label"}).assign(reference=linear)
    return charts.forest(
        frame,
        value="r2",
        low="r2_low",
        high="r2_high",
        reference_title="linear (OLS)",
        x_title="R² total of the error, held-out documents",
    )


def ladder_table(ladder: pd.DataFrame) -> Table:
    """Each reader's R², what was chosen for it, and its gain over the linear one on the same documents."""
    with_ends = lambda name: [
        interval(Estimate(*row), lambda v: plain(v, 3))
        for row in ladder[[name, f"{name}_low", f"{name}_high"]].to_numpy()
    ]
    frame = pd.DataFrame(
        {
            "reader": ladder["reader"],
            "chosen on held-out documents": ladder["chosen"].replace("", "–"),
            "R² total": with_ends("r2"),
            "R² per dimension": [plain(v, 3) for v in ladder["per_dim"]],
            "gain over linear": with_ends("gain"),
        }
    )
    return Table(frame, dict.fromkeys(frame.columns[2:], str))


def best_reader(ladder: pd.DataFrame) -> pd.Series:
    """The reader with the largest R²."""
    return ladder.loc[ladder["r2"].idxmax()]
