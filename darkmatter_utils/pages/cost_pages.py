"""What chapter 10 gathers and says in words and tables; in a study without a language model it says that."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from ..base.values import Estimate
from ..base.words import interval, percent, plain, span
from ..charts.tables import Table, Words
from ..claims import c08_proportional
from ..decomposition.passes import ERRORS
from ..experiments.cost_contexts import model_after, take
from ..experiments.cost_shares import Costs, alone, both_orders, by_width, lost, recovered, slopes, won_back
from ..experiments.cost_tables import claim8_table, main_ids, mean_and_clean, share_rows
from ..experiments.costs import SAE, kept_costs, parts_of, with_part
from ..experiments.loss_adapters import kept_adapters, left_over
from ..measurement.measure import Measurement
from ..measurement.widths import reference_sae

NOTHING = "*Not in this study: its activations are simulated, and there is no language model to run on.*"
SHOWN_SHARES = {
    "ce": "of the loss (CE)",
    "kl": "of the divergence (KL)",
    "variance": "of FVU",
    "norm": "of the norm",
}
"""Shares that the figures draw, by name, and how they say them."""


@dataclass(frozen=True)
class Found:
    """Everything that the chapter shows of a study that has a language model."""

    measurement: Measurement
    costs: Costs
    adapted: Costs | None
    """`costs` with the adapters of the SAE that is shown; None where no document is left to make them on."""
    shares: pd.DataFrame
    """`cost_tables.share_rows`."""
    shown: str
    """Id of the SAE that single figures show."""
    over_l0: list[str]
    """SAEs of one width and several L0."""
    curve: pd.DataFrame
    """The trained adapter's loss at every step."""


def gather(
    measurement: Measurement, *, sae: str | None, contexts: int, training: int, steps: int
) -> Found | None:
    """Run everything that the chapter shows, or read it from the cache; None where there is no language
    model."""
    study = measurement.study
    if study.model is None:
        return None
    suite, first, over = main_ids(measurement)
    shown = sae or reference_sae(measurement)
    ids = list(dict.fromkeys([*suite, *over, shown]))
    made = Costs(
        **kept_costs(measurement, ids, contexts=contexts, controlled=first),
        replicates=study.bootstrap,
        seed=study.seed,
    )
    adapted, curve = None, pd.DataFrame({"step": [], "loss": []})
    if len(left_over(measurement, take(measurement, contexts).document)[1]):
        adapters = kept_adapters(measurement, shown, contexts=contexts, training=training, steps=steps)
        adapted, curve = made.with_losses(adapters["losses"]), adapters["curve"]
    return Found(measurement, made, adapted, share_rows(measurement, made), shown, over, curve)


def told(function: Callable) -> Callable:
    """The function, or a sentence where there is nothing to show."""
    return functools.wraps(function)(
        lambda found, *args: Words(NOTHING) if found is None else function(found, *args)
    )


def live(measurement: Measurement, id: str | None, *, contexts: int = 4):
    """(model, contexts, {name: what is put in the place of x}) for the visible cell; (None, None, {}) without
    a model."""
    if measurement.study.model is None:
        return None, None, {}
    taken = take(measurement, contexts)
    part = parts_of(measurement, [id], taken, {})[id]
    x = taken.flat.float()
    error, linear, nonlinear = (part[name] for name in ERRORS)
    made = {
        "x": x,
        "Sae(x)": x - error,
        "Sae(x) + LinearError": x - nonlinear,
        "Sae(x) + NonlinearError": x - linear,
    }
    shape = (len(taken.rows), len(taken.positions), -1)
    return model_after(measurement.study), taken, {name: patch.view(shape) for name, patch in made.items()}


@told
def what_was_run(found: Found) -> Words:
    """How many contexts, documents and tokens were run, what is replaced and what is scored; what is lost at
    most."""
    losses = found.costs.losses
    clean, first = losses[losses["replacement"] == "x"], mean_and_clean(found.costs)
    start, stop = found.measurement.study.window
    length = found.measurement.card["context"]
    return Words(
        f"**What was run.** {found.measurement.card['contexts']:,} contexts were measured; every "
        f"replacement was run on "
        f"a fixed sample of them at equal distances, of {len(clean)} documents, "
        f"{int(clean['tokens'].sum()):,} tokens in all "
        f"(the intervals say what that leaves open). x is replaced at the scored positions, "
        f"{max(start, 1)} to "
        f"{min(stop, length - 1) - 1}; earlier ones stay as they are. The loss is counted at the same "
        f"positions, each "
        f"that of predicting the next token. The clean model loses {plain(first['clean'])} nats per "
        f"token, and "
        f"{plain(first['mean'])} with the mean of x in the place of x. The four kinds of control were "
        f"run for the first "
        "seed of each width."
    )


@told
def loss_table(found: Found, measure: str = "ce") -> Table:
    """Nats per token that each replacement costs at each width of the suite, with intervals over documents
    and seeds."""
    names = {
        SAE: "Sae(x)",
        with_part("LinearError"): "Sae(x) + LinearError",
        with_part("NonlinearError"): "Sae(x) + NonlinearError",
    }
    suites = {
        title: by_width(found.measurement, found.costs, lost(measure, name)) for name, title in names.items()
    }
    first = next(iter(suites.values()))
    frame = pd.DataFrame({"width": first.widths, "seeds": first.seeds})
    for title, suite in suites.items():
        frame[title] = [interval(e, lambda v: plain(v, 3)) for e in suite.estimates().values()]
    return Table(frame, dict.fromkeys(suites, str))


@told
def shares_table(found: Found, part: str) -> Table:
    """A part's shares at every width: of FVU, of the norm, of the loss and of the divergence."""
    titles = {
        "variance": "share of FVU",
        "norm": "of the norm",
        "ce": "of the loss, won back",
        "ce_alone": "of the loss, alone",
        "kl": "of the divergence, won back",
    }
    here = found.shares[(found.shares["part"] == part) & (found.shares["kind"] == "")]
    frame = pd.DataFrame({"width": sorted(here["width"].unique())})
    for name, title in titles.items():
        rows = here[here["share"] == name].sort_values("width").itertuples()
        frame[title] = [interval(row, percent) for row in rows]
    return Table(frame, dict.fromkeys(titles.values(), str))


@told
def orders_table(found: Found) -> Table:
    """The slope of claim 8 by loss and by divergence, in every order of giving back; what the rule would say
    of each."""
    rows = []
    for measure, title in (("ce", "loss (CE)"), ("kl", "divergence (KL)")):
        for share, order in (
            (won_back, "added to Sae(x) (the paper's)"),
            (alone, "taken from x"),
            (both_orders, "mean of both"),
        ):
            found_slopes = slopes(found.measurement, found.costs, measure=measure, share=share)
            rows.append(
                {
                    "measured by": title,
                    "NonlinearError is": order,
                    "slope": _or_dash(found_slopes.slope),
                    "slope of the controls": span([e.value for e in found_slopes.controls.values()]),
                    "the rule would say": c08_proportional.verdict(found_slopes).word,
                }
            )
    return Table(pd.DataFrame(rows), {"slope": str, "slope of the controls": str})


@told
def controls_table(found: Found) -> Table:
    """The slope of the error on the SAEs that have controls, of every kind of control, and how far apart they
    are."""
    numbers = slopes(found.measurement, found.costs)
    rows = [
        {
            "vectors": kind,
            "slope": _or_dash(numbers.controls[kind]),
            "the error's minus this": _or_dash(apart),
        }
        for kind, apart in numbers.apart.items()
    ]
    return Table(
        pd.DataFrame(rows, columns=["vectors", "slope", "the error's minus this"]),
        {"slope": str, "the error's minus this": str},
    )


@told
def over_a_hundred(found: Found) -> Words:
    """What both parts win back, one by one, added up, over the widths of the suite."""

    def together(s):
        return sum(won_back("ce", part)(s) for part in ERRORS[1:])

    sums = by_width(found.measurement, found.costs, together).estimates()
    return Words(
        f"Added up, the two parts win back {span([e.value for e in sums.values()], percent)} of what "
        f"is lost, over the "
        "widths. Were the loss a quadratic form of what is missing and the parts independent of each "
        "other, that would be "
        "100%. Where it is more, either part makes good some of what the other lacks, and a part's "
        "share depends on "
        "whether it is given back first or last."
    )


@told
def adapters_said(found: Found) -> Words:
    """What the adapters win back, beside LinearError."""
    here = found.adapted
    if here is None:
        return Words(NO_ADAPTERS)
    lines = {
        name: [here.estimate(found.shown, recovered(measure, name)) for measure in ("ce", "kl")]
        for name in _ADAPTED
    }
    said = "; ".join(
        (
            f"{label} {interval(lines[name][0], percent)} of the loss and "
            f"{interval(lines[name][1], percent)} of the divergence"
        )
        for name, label in _ADAPTED.items()
    )
    return Words(
        f"For {found.shown}, which costs {interval(here.estimate(found.shown, lost('ce', SAE)))} nats "
        f"per token, "
        f"{said}."
    )


NO_ADAPTERS = (
    "*Every document of this study is scored, so none is left to make an adapter on: it takes more "
    "documents.*"
)
_ADAPTED = {
    with_part("LinearError"): "LinearError wins back",
    "adapter, least squares": "the least-squares adapter",
    "adapter, trained on the loss": "the adapter trained on the loss",
}


def _or_dash(estimate: Estimate | None) -> str:
    return "–" if estimate is None else interval(estimate)


def recorded(chapter, found: Found | None) -> None:
    """Write what the chapter shows into its record."""
    if found is None:
        return
    chapter.record("shares", found.shares.to_dict("list"))
    chapter.record("claim 8 by SAE", claim8_table(found.costs).to_dict("list"))
    chapter.record("losses", mean_and_clean(found.costs))
    chapter.record(
        "adapters",
        found.adapted
        and {
            f"{measure} {name}": found.adapted.estimate(found.shown, recovered(measure, name))
            for measure in ("ce", "kl")
            for name in _ADAPTED
        },
    )
