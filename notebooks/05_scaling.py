# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Scaling and the floor
#
# A wider SAE has more latents to spend, at the same number of them active on a token (L0). In Fig. 1 of
# {cite:t}`engels2025` its error shrinks with the width $W$ towards a floor $c$, while the nonlinear part,
# $\mathrm{FVU_{nonlinear}}$ (what LinearError does not repair, chapter 02), stays where it is (§4.3).

# %% tags=["parameters", "remove-input"]
study = "tiny"
beyond = 16  # how many times the largest width the extrapolation goes
skip = 0  # how many of the narrowest widths the fit leaves out

# %% tags=["hide-input"]
import numpy as np
import pandas as pd

from darkmatter_utils import PowerLaw, charts, measure, open_chapter
from darkmatter_utils.base.words import interval, percent, plain, span, spelled
from darkmatter_utils.charts import Csv, Folded, Table, Words, estimates
from darkmatter_utils.claims import c04_flat, c05_floor
from darkmatter_utils.claims.claim import PAPER
from darkmatter_utils.claims.paper import points
from darkmatter_utils.claims.protocol import of_slope
from darkmatter_utils.experiments import floors, measured, paper_points, scaling
from darkmatter_utils.experiments.matching import matched, null_change, null_suite
from darkmatter_utils.measurement import sources, widths

tenths = lambda share: percent(share, 1)
three = lambda value: plain(value, 3)
misses = lambda value: f"{value:+.1f}".replace("-", "−")
titled = {"y_title": "share of the variance of x"}

# %% tags=["hide-input"]
chapter = open_chapter(5, study, beyond=beyond, skip=skip)
measurement = measure(chapter.study)
chapter.judge(c04_flat, level := scaling.flat(measurement, null_change(measurement)))
chapter.protocol({}, of_slope(level))
chapter.judge(c05_floor, floors.floor(measurement))
l0 = widths.one_l0(measurement)
total, nonlinear = (widths.width_suite(measurement, name, l0=l0) for name in ("fvu", "fvu_nonlinear"))
for width in total.widths[:skip]:
    total, nonlinear = total.without(width), nonlinear.without(width)
fit, null = floors.fit_floor(total), null_suite(measurement, "fvu_nonlinear")
judged = {"FVU": widths.wide(measurement, total), "FVU_nonlinear": widths.wide(measurement, nonlinear)}
judged = judged if len(judged["FVU"].widths) > 1 else {"FVU": total, "FVU_nonlinear": nonlinear}

# %% tags=["hide-input", "first-screen"]
change = {name: scaling.per_doubling(suite) for name, suite in judged.items()}
change["the null"] = null_change(measurement) if matched(measurement) else None
chapter.record("judged change per doubling", {name: one for name, one in change.items() if one})
by = {name: tenths(one.value) for name, one in change.items() if one}
first, all_of_it = int(judged["FVU"].widths[0]), len(judged["FVU"].widths) == len(total.widths)
chapter.record("headed from", first)
start = "Each" if all_of_it else f"From {first:,} latents on each"
if "FVU" in by:
    chapter.headed(
        f"{start} doubling of the width changes FVU by {by['FVU']}, its nonlinear part by {by['FVU_nonlinear']}"
    )
control = {4: f"null that introduces nothing: {by['the null']} a doubling"} if "the null" in by else {}
chapter.opening(c04_flat, control=control)

# %% tags=["hide-input", "first-screen"]
#| label: fig-flat
#| caption: FVU_nonlinear by SAE width; 95% intervals over documents and training seeds. Grey: matched SAEs that
#|   introduce nothing. Shaded: changes that the rule calls level, over the widths judged. Hollow, filled: the
#|   paper, other studies.
suites = {"NonlinearError": nonlinear} | ({"null: introduces nothing": null} if matched(measurement) else {})
over = pd.concat([suite.frame().assign(part=part) for part, suite in suites.items()])
flat = scaling.wedge(judged["FVU_nonlinear"], c04_flat.THRESHOLDS.flat)
theirs = chapter.beside(points("1", quantity="FVU_nonlinear", series="SAE"), "FVU_nonlinear", nulls=False)
seen = pd.concat([theirs["value"], *(drawn[end] for drawn in (over, flat) for end in ("low", "high"))])
ends = [seen.min(), seen.max()]
look = {"allowed": flat, "y_domain": (np.floor(50 * ends[0]) / 50, np.ceil(50 * ends[1]) / 50), "height": 200}


def said(changes):
    first = judged["FVU_nonlinear"].widths[0]
    told = f"FVU_nonlinear changes by {changes['FVU_nonlinear']} a doubling from {first:,} latents on"
    return told + (f"; in the null, by {changes['the null']}" if "the null" in changes else "")


chapter.record("judged from", int(judged["FVU_nonlinear"].widths[0]))
ours = charts.lines(over, "width", "value", color="part", **look, **titled)
theirs = charts.paper_points(theirs, "width", connect=True, **titled)
charts.layered(ours, theirs, title=chapter.finding(said, by))

# %% [markdown]
# ## The idea: a power law with a floor
#
# With $W$ the width, the curve is
#
# ```{math}
# :label: eq-law
# \begin{aligned}
# \mathrm{FVU}(W) &= c + a\,W^{-m}, \\
# a, c, m &\ge 0
# \end{aligned}
# ```
#
# It falls towards the floor $c$ as $W$ grows; with $c = 0$ it falls to nothing. (Here $c$ is not the intercept of
# the linear map.) `PowerLaw` finds the three numbers by bounded least squares, each width weighed by its standard
# error. `total` holds one FVU a width, the mean over training seeds.

# %%
errors = total.replicates.std(axis=0)
kinds = (True, False) if len(total.widths) > 2 else ()
points_of = total.widths, total.values
laws = [PowerLaw.fit(*points_of, sigma=errors, floor=kind) for kind in kinds]
for law in laws:
    print(f"c = {law.c:.3f}   a = {law.a:.3f}   m = {law.m:.3f}")

# %% tags=["hide-input"]
printed = points("1", series="fit, as printed").set_index("quantity")["value"]
c, a, m = (printed[f"fit {name}"] for name in "cam")
drawn = pd.DataFrame({"width": np.geomspace(2**14, 2**20, 30)}).assign(
    value=lambda at: c + a * at["width"] ** -m
)
theirs = paper_points.floor()
chapter.glue("paper widths", PAPER["widths"])
chapter.glue("paper curve", f"c = {c:.3f}, a = {a:.3f}, m = {m:.3f}")
chapter.glue("paper mean", printed["mean FVU_nonlinear"], ".3f")
chapter.glue("paper c", f"{theirs.low:g} to {three(theirs.high)}")
chapter.glue("paper p", theirs.p, ".2f")
chapter.glue("paper predicted", theirs.predicted, ".3f")
chapter.glue("paper observed", theirs.observed, ".3f")
chapter.record("FVU", total.frame().to_dict("list"))
chapter.record("FVU_nonlinear", nonlinear.frame().to_dict("list"))
for name in "cam" if fit else "":
    chapter.record(name, getattr(fit, name))
chapter.record("mean FVU_nonlinear", float(nonlinear.values.mean()))

# %% [markdown]
# ## Where the floor is
#
# The curve, as the paper's, is fitted to all of FVU, though claim 5 speaks of the rest. A floor above the nonlinear
# part would leave linear error at every width.

# %% tags=["hide-input"]
chapter.opening(c05_floor)

# %% tags=["hide-input"]
#| label: fig-scaling
#| caption: FVU by SAE width with the fitted curve (dashed where extrapolated) and its floor c (dotted, 95% band over
#|   documents, seeds and the curve's misfit); below, in vermilion, FVU_nonlinear. Hollow: both of the paper; filled:
#|   FVU of other studies.
curve = fit.curve(np.geomspace(total.widths[0], beyond * total.widths[-1], 60))
law = charts.power_law(total.frame(), curve, floor=fit.c, **titled, height=300)
rest = charts.lines(nonlinear.frame().assign(part="NonlinearError"), "width", "value", color="part", **titled)
theirs = chapter.beside(points("1", series="SAE"), "FVU", nulls=False)
theirs = charts.paper_points(theirs, "width", curve=drawn, **titled)


def said(fit):
    mean = nonlinear.values.mean()
    lies = "lies below" if fit.c.high < mean else "lies above" if fit.c.low > mean else "cannot be told from"
    return f"The fitted floor, {interval(fit.c, three)}, {lies} the mean FVU_nonlinear, {three(mean)}"


charts.layered(rest, law, theirs, title=chapter.finding(said, fit))

# %% tags=["hide-input"]
linear = floors.fit_floor(floors.less(total, nonlinear))
against = laws[0].compare() if laws else floors.TOO_FEW
chapter.record("against c = 0", against._asdict() if laws else None)
chapter.record("floor of FVU_linear", linear.c)


def how_sure(alone, found):
    p = f"= {three(found.p)}" if found.p >= 0.001 else "< 0.001"
    return (
        f"Fitted to FVU_linear by itself the curve has its floor at {interval(alone, three)}; at "
        f"{total.widths[-1]:,} latents FVU_linear is {three(total.values[-1] - nonlinear.values[-1])}. Against a "
        f"curve with c = 0 the fit with a floor has a likelihood ratio (twice the logarithm) of "
        f"{found.likelihood_ratio:.1f} (p {p})."
    )


told = Words.of(linear.c, against, say=how_sure)
chapter.record("FVU_linear", [float(one) for one in total.values - nonlinear.values])
chapter.record("how sure", told)
told

# %% tags=["hide-input"]
numbers = {"floor c": fit.c, "scale a": fit.a, "exponent m": fit.m, "misfit": fit.misfit}
numbers = pd.DataFrame({"": list(numbers), "value": list(numbers.values())}) if fit else fit
Folded("The three numbers of the curve", Table(numbers, {"value": three}))

# %% tags=["hide-input"]
draws = {"documents_only": "Documents alone", "replicates": "documents and seeds"}
errors = {
    words: np.log(np.hstack([getattr(total, name), getattr(nonlinear, name)])).std(axis=0)
    for name, words in draws.items()
}
leave = [f"{words} leave a standard error of {span(values, tenths)}" for words, values in errors.items()]
chapter.glue("standard errors", f"{'; '.join(leave)}, as a share of FVU or FVU_nonlinear, over the widths.")

# %% [markdown]
# :::{dropdown} What the intervals carry, and the paper's own floor
# The interval of a number that compares *trained* SAEs must carry other documents and another seed of the
# training. Every replicate resamples the documents, the same draw for all SAEs, and shifts every width by a draw
# of the difference between seeds; then the curve is fitted again. {glue:text}`standard errors` That takes the
# curve as true. So each interval of a fitted number is widened by how much the curve misses widths left out (the
# root mean square of the misses, where above 1), and reaches to the ends of the same for the curve without the
# narrowest width, and without the two narrowest.
#
# The paper fits {glue:text}`paper widths` and prints {glue:text}`paper curve`, with {glue:text}`paper mean` as
# the mean of the nonlinear part (Fig. 1); that the first stays above the second "implies the presence of linear
# error even at very large SAE width" (§4.3). Claim 5 is judged by that argument, and by the curve fitted to
# $\mathrm{FVU_{linear}}$ alone. The paper gives no intervals; by an F test at 5% (ours), its seven points allow
# any $c$ from {glue:text}`paper c`, and against $c = 0$ p is {glue:text}`paper p`.
# :::
#
# ## Can it predict a width it has not seen?
#
# A curve with three free numbers follows a handful of points easily. So leave out a width, fit the rest, and
# predict it.

# %% tags=["hide-input"]
#| label: fig-left-out
#| caption: By how many standard errors each width misses what the curve fitted to the others says of it, with a
#|   floor and without; first and last are extrapolations. Shaded: two standard errors. (Not in the paper.)
missed = floors.left_out(total)
chapter.record("left out", missed.to_dict("list"))
kinds = {"with a floor": "miss", "control: no floor (c = 0)": "miss_c0"}
drawn = fit and pd.concat(
    [missed[["width"]].assign(miss=missed[name], fit=fit_) for fit_, name in kinds.items()]
)


def said(missed):
    most = [f"{missed[name].abs().max():.1f}" for name in kinds.values()]
    return f"Predicted from the others, a width is missed by up to {most[0]} standard errors; with no floor, by up to {most[1]}"


look = {"allowed": (-2.0, 2.0), "y_title": "missed by (standard errors)", "height": 220}
chapter.record("most missed", [missed[name].abs().max() for name in kinds.values()] if fit else None)
charts.lines(drawn, "width", "miss", color="fit", title=chapter.finding(said, missed), **look)

# %% tags=["hide-input"]
names = {"fvu": "FVU", "predicted": "predicted, with a floor", "miss": "missed by (SE)"}
names |= {"predicted_c0": "predicted, c = 0", "miss_c0": "c = 0 missed by (SE)"}
styles = {name: misses if "missed" in name else three for name in names.values()}
Csv("Every width left out, with a floor and without", Table(missed.rename(columns=names), styles))

# %% [markdown]
# On the paper's own points the curve through the six narrower widths predicts {glue:text}`paper predicted` for
# the widest, which has {glue:text}`paper observed`.
#
# ## Is the nonlinear part flat?
#
# "Flat" has to mean something: here, less than a stated share per doubling, and less than another in all. An
# interval inside that range shows flatness; a slope that is merely "not significant" would not. The claim is
# about dictionaries with many more latents than dimensions ($m \gg d$, §3) at any fixed L0: it is judged over
# widths of {glue:text}`wide` $d_\mathrm{model}$ or more, at each L0 with at least {glue:text}`least` of them.

# %% tags=["hide-input"]
both = {"FVU": total, "FVU_nonlinear": nonlinear}
chapter.record("change per doubling", {name: scaling.per_doubling(suite) for name, suite in both.items()})
changes = pd.DataFrame({name: pd.Series(scaling.changes(suite)) for name, suite in both.items()})
changes = changes.rename_axis("change per doubling, over all widths").reset_index()
Csv("Every single doubling", Table(changes, dict.fromkeys(both, tenths)))

# %% tags=["hide-input"]
table = scaling.each_l0(measurement)
chapter.record("each L0", table.to_dict("list"))
table = table.drop(columns=["steps", "p"])
names = {"l0": "L0", "widths": f"widths of {widths.WIDE} d_model or more", "change": "change per doubling"}
names |= {"whole": "in all", "misfit": "χ² / freedom of the line", "change_all": "change, all widths"}
percents = ("change per doubling", "in all", "change, all widths")
styles = dict.fromkeys(percents, tenths) | {"L0": "{:.3g}".format, names["misfit"]: "{:.3g}".format}
Folded(
    "The change at each L0; the rule judges those with enough widths",
    Table(table.rename(columns=names), styles),
)

# %% tags=["hide-input"]
names = {"grid": "the paper's grid", "figure": "Fig.", "change": "change per doubling of the width, at L0 60"}
names |= {"whole": "change over all its widths", "by_l0": "added by a doubling of L0"}
theirs = paper_points.constancy()
theirs["change"] = estimates(theirs, "change")
theirs = Table(theirs[list(names)].rename(columns=names), dict.fromkeys(list(names.values())[2:], tenths))
Folded("The same number from the paper's own grids", theirs)

# %% tags=["hide-input"]
chapter.glue("reference", widths.reference_sae(measurement))
over = lambda m: widths.wide(m, widths.width_suite(m, "fvu_nonlinear", l0=widths.one_l0(m)))
slope = lambda m: scaling.per_doubling(over(m)).value
one = lambda m: m.sae(widths.reference_sae(m))["fvu_nonlinear"]
styles = {"FVU_nonlinear": three, "change per doubling": tenths}
many = len(over(measurement).widths) > 1
by_source = sources.told(measurement, dict(zip(styles, (one, slope) if many else (one,))))
chapter.record("sources", by_source.to_dict("list") if len(by_source) else None)
styles |= {f"{name}, of that source alone": style for name, style in styles.items()}
Folded("The change without each source of text", Table(by_source, styles | {"tokens": percent}))

# %% [markdown]
# :::{dropdown} The paper's grids, and other sources of text
# The paper draws a horizontal line at the mean (Fig. 1). It calls the nonlinear part approximately constant at its
# two middle layers (§4.3); at the other four it "decreases some as width is scaled" (captions of Figs. 10 and 11;
# App. A.2 calls it uncertain, there are few SAEs). In its own grids, with an interval of the line through the
# points (ours), the nonlinear part is level at the model, the layer and the L0 of Fig. 1; elsewhere it falls as
# the width grows, the more so the larger the L0.
#
# Verdicts are judged by intervals over documents and training seeds: other documents of the same sources. The
# last table has a 95% interval over sources (jackknife, weighted by tokens), of the nonlinear part of
# {glue:text}`reference` and of the change that the rule takes.
# :::
#
# ## What would change our mind

# %% tags=["hide-input"]
chapter.rules(c04_flat, c05_floor)

# %% tags=["hide-input"]
own, (low, high) = widths.suite_rows(measurement)["l0"], widths.suite_l0(measurement)
said = f"The L0 of the suite's SAEs goes from {own.min():.1f} to {own.max():.1f} here, "
if l0 is not None:
    missing = len(set(widths.suite_rows(measurement)["width"])) - len(total.widths) - skip
    said += (
        f"so every number of this chapter is read at L0 {low:.1f}: log FVU is taken as a parabola in log L0 "
        "through the three SAEs of each width that lie nearest, and its distance from a straight line, at "
        f"most {tenths(nonlinear.bent.max(initial=0))} of FVU_nonlinear, is in the interval. {missing} of the "
        f"widths have no two SAEs around that L0 within a factor of {widths.BRACKET:g}, and are left out."
    )
elif high > low * (1 + widths.ONE_L0):
    said += "and no L0 lies between two SAEs of every width, so nothing can be read at one L0."
else:
    said = f"Here the SAEs of the suite are at one L0 as they are: {low:.2f} to {high:.2f}."
chapter.glue("one L0", said)

# %% tags=["hide-input"]
chapter.glue("paper off", PAPER["off L0"])
chapter.glue("wide", spelled(widths.WIDE))
chapter.glue("least", spelled(widths.WIDTHS))
chapter.glue("whole range", c04_flat.THRESHOLDS.whole, ".0%")
lines = paper_points.constancy().set_index("grid")
for key, grid in (("paper 9b 31", "Gemma 2 9B, layer 31"), ("paper 2b 19", "Gemma 2 2B, layer 19")):
    change, whole = lines.loc[grid, ["change", "whole"]]
    chapter.glue(key, f"{change:.1%} a doubling, {whole:.1%} in all".replace("-", "−"))

# %% [markdown]
# - **A flat line need not mean introduced error.** SAEs that introduce nothing have one, too, over a range of
#   widths (chapter {doc}`07_models_of_activations`): run this chapter with `-p study world`.
# - **Few widths.** A floor lies beyond every width that was trained, and a curve that bends for another reason
#   looks like one with a floor.
# - **Training.** All widths got the same number of tokens, the widest the fewest per latent. One that is not
#   trained to the end raises the right end of the curve and the floor, and draws the slope of the nonlinear part
#   towards 0.

# %% tags=["hide-input"]
#| label: fig-training
#| caption: FVU on activations not trained on yet, while the suite's SAEs were trained, one line a width (first
#|   seed). The learning rate falls towards the end. (The paper uses SAEs that others trained.)
curves = measured.training_curves(measurement)
late = measured.last_third(curves)
chapter.record("late fall", late.to_dict())


def said(late):
    each = [f"{tenths(-late.iloc[at])} at {late.index[at]:,}" for at in (0, -1)]
    return f"The last third of the training changed FVU by {each[0]} and by {each[1]} latents"


chapter.record("late change", (-late).to_list() if len(late) else None)
names = {"x_title": "training tokens", "y_title": "FVU", "title": chapter.finding(said, late), "height": 220}
charts.lines(curves, "tokens", "fvu", color="latents", x_scale="linear", **names)

# %% [markdown]
# :::{dropdown} More that could fool us
# - **A slope is a summary.** A part that first rises and then falls can have a small slope: single doublings show
#   what it hides, χ² how far the line is from the points. Small changes add up, so the rule asks for the change
#   in all, too.
# - **A curve is a summary, too.** Documents and seeds say little of how sure $c$ is: a curve that is not quite
#   true has a sharp floor, and another one once a width is left out. The interval is widened for that, by a
#   convention.
# - **Two fits, one sum.** $\mathrm{FVU}$ and $\mathrm{FVU_{linear}}$ are fitted one by one; their floors need not
#   differ by a level nonlinear part. Where the floor of FVU lies below the nonlinear part, FVU cannot come down to
#   it unless that part falls, too.
# - **L0 drifts with width.** For Fig. 1 the paper picks, at every width, the SAE whose L0 comes nearest to 60: by
#   the L0 in its name one of them (524k, 48) misses it {glue:text}`paper off`; the figure chooses by realised L0,
#   by the code, which is not printed (§4.3). {glue:text}`one L0`
# - **The range is wide.** A curve may fall by {glue:text}`whole range` in all and count as level. Layer 31 of
#   Gemma 2 9B ({glue:text}`paper 9b 31`, Fig. 11) would, of which the paper says that it "decreases some"; layer
#   19 of 2B ({glue:text}`paper 2b 19`, Fig. 10) would not, by a hair.
# :::
#
# ## Try it
#
# `darkmatter run 05 -p skip 1`: the fit leaves out the narrowest width. Does the floor stay where it is?
#
# :::{dropdown} Answer
# It hardly moves, and stays inside its interval. But the likelihood ratio against $c = 0$ falls by more than half:
# the narrowest width is what bends the curve most.
# :::

# %% tags=["hide-input"]
chapter.close()
