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
# A wider SAE has more latents to spend, at the same number of them active on a token (L0). What happens to
# the error? In Fig. 1 of {cite:t}`engels2025` the total shrinks with the width $W$ towards a floor $c$, while
# its nonlinear part, $\mathrm{FVU_{nonlinear}}$ (what LinearError does not repair, chapter 02), stays where
# it is (§4.3).

# %% tags=["parameters", "remove-input"]
study = "tiny"
beyond = 16  # how many times the largest width the extrapolation goes
skip = 0  # how many of the narrowest widths the fit leaves out

# %% tags=["hide-input"]
import numpy as np
import pandas as pd

from darkmatter_utils import PowerLaw, charts, measure, open_chapter
from darkmatter_utils.base.words import interval, percent, plain, span, spelled
from darkmatter_utils.charts import Folded, Table, Words, estimates
from darkmatter_utils.claims import c04_flat, c05_floor
from darkmatter_utils.claims.claim import PAPER
from darkmatter_utils.claims.paper import grids, points
from darkmatter_utils.experiments import floors, measured, paper_points, scaling
from darkmatter_utils.experiments.matching import matched, null_change, null_suite
from darkmatter_utils.measurement import sources, widths

tenths = lambda share: percent(share, 1)
three = lambda value: plain(value, 3)
misses = lambda value: f"{value:+.1f}".replace("-", "−")

# %% tags=["hide-input"]
chapter = open_chapter(5, study, beyond=beyond, skip=skip)
measurement = measure(chapter.study)
chapter.judge(c04_flat, scaling.flat(measurement, null_change(measurement)))
chapter.judge(c05_floor, floors.floor(measurement))
chapter.opening(c04_flat, c05_floor)

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

# %% tags=["hide-input"]
l0 = widths.one_l0(measurement)
total, nonlinear = (widths.width_suite(measurement, name, l0=l0) for name in ("fvu", "fvu_nonlinear"))
for width in total.widths[:skip]:
    total, nonlinear = total.without(width), nonlinear.without(width)
fit = floors.fit_floor(total)

# %% tags=["hide-input"]
#| label: fig-scaling
#| caption: The error's share of the variance of x over the SAE's width, at one L0. Points: measured FVU.
#|   Line: the fitted curve with its band, dashed beyond the measured widths. Dotted: the floor c. Areas: red
#|   is nonlinear, yellow what lies above floor and nonlinear part; between these two, green is the floor's
#|   (the paper's linear error), and pale red what the nonlinear part has above the floor, where linear error
#|   would be less than nothing. Intervals are 95% and carry documents and training seeds, those of curve and
#|   floor its misfit, too. Hollow: the paper's FVU with its fitted curve, and its nonlinear part;
#|   filled, where there are any, other studies'. (Paper: Fig. 1, whose SAEs are scored from position 1 on; those of Figs. 2, 10, 11 from 200 on.)
areas = charts.stacked_breakdown(floors.above_floor(total, nonlinear, fit), height=340)
curve = fit.curve(np.geomspace(total.widths[0], beyond * total.widths[-1], 60))
titled = {"y_title": "share of the variance of x"}
law = charts.power_law(total.frame(), curve, floor=fit.c, **titled)
theirs = points("1", series="SAE")
for name in ("FVU", "FVU_nonlinear"):
    theirs = chapter.beside(theirs, name, lambda rows, name=name: rows.assign(quantity=name))
theirs = charts.paper_points(theirs, "width", by="quantity", curve=drawn, **titled)
charts.layered(areas, law, theirs)

# %% [markdown]
# ## The idea: a power law with a floor
#
# With $W$ the width, the curve is
#
# ```{math}
# :label: eq-law
# \mathrm{FVU}(W) = c + a\,W^{-m}, \qquad a, c, m \ge 0
# ```
#
# (In this chapter $c$ is the floor, not the intercept of the linear map.) It falls towards $c$ as $W$ grows;
# with $c = 0$ it falls to nothing. `PowerLaw` finds the three numbers by bounded least squares, each width
# weighed by its standard error. `total` holds one FVU a width, the mean over training seeds.

# %%
errors = total.replicates.std(axis=0)
kinds = (True, False) if len(total.widths) > 2 else ()
laws = [PowerLaw.fit(total.widths, total.values, sigma=errors, floor=kind) for kind in kinds]
for law in laws:
    print(f"c = {law.c:.3f}   a = {law.a:.3f}   m = {law.m:.3f}")

# %% tags=["hide-input"]
against = laws[0].compare() if laws else floors.TOO_FEW
chapter.record("against c = 0", against._asdict() if laws else None)
Words.of(
    against,
    say=lambda found: (
        f"Against a curve with c = 0, the fit with a floor has a likelihood ratio (twice the logarithm) of "
        f"{found.likelihood_ratio:.1f} (p {f'= {three(found.p)}' if found.p >= 0.001 else '< 0.001'})."
    ),
)

# %% [markdown]
# ## How sure is the floor?
#
# The interval of a number that compares *trained* SAEs must carry two kinds of chance: other documents, and
# another seed of the training. Every replicate below resamples the documents, the same draw for all SAEs, and
# shifts every width by a draw of the difference between seeds, estimated where a width was trained from
# several seeds. Then the curve is fitted again.
#
# That takes the curve as true. So each interval of a fitted number is widened by how much the curve misses
# widths that were left out (below: the root mean square of the misses, where that is above 1), and it reaches
# to the ends of the same for the curve without the narrowest width, and without the two narrowest.

# %% tags=["hide-input"]
chapter.record("FVU", total.frame().to_dict("list"))
chapter.record("FVU_nonlinear", nonlinear.frame().to_dict("list"))
for name in "cam" if fit else "":
    chapter.record(name, getattr(fit, name))
draws = {"documents_only": "Documents alone", "replicates": "documents and seeds"}
errors = {
    words: np.log(np.hstack([getattr(total, name), getattr(nonlinear, name)])).std(axis=0)
    for name, words in draws.items()
}
leave = [f"{words} leave a standard error of {span(values, tenths)}" for words, values in errors.items()]
Words(f"{'; '.join(leave)}, as a share of FVU or FVU_nonlinear, over the widths.")

# %% tags=["hide-input"]
numbers = {"floor c": fit.c, "scale a": fit.a, "exponent m": fit.m, "misfit": fit.misfit}
Table(pd.DataFrame({"": list(numbers), "value": list(numbers.values())}) if fit else fit)

# %% tags=["hide-input"]
linear = floors.fit_floor(floors.less(total, nonlinear))
chapter.record("floor of FVU_linear", linear.c)
Words.of(
    linear.c,
    fit.c,
    say=lambda alone, c: (
        f"The mean FVU_nonlinear is {three(nonlinear.values.mean())}, the floor {interval(c, three)}. The curve "
        f"fitted to FVU_linear by itself has its floor at {interval(alone, three)}, at "
        f"{total.widths[-1]:,} latents FVU_linear is {three(total.values[-1] - nonlinear.values[-1])}."
    ),
)

# %% [markdown]
# The paper fits the same curve to {glue:text}`paper widths` and prints {glue:text}`paper curve`, with
# {glue:text}`paper mean` as the mean of the nonlinear part (Fig. 1); that the first stays above the second
# "implies the presence of linear error even at very large SAE width" (§4.3). Claim 5 is judged by that
# argument, and by the curve fitted to $\mathrm{FVU_{linear}}$ alone. The paper gives no intervals. Its seven
# points by themselves leave the floor open: by an F test at 5% (ours), $c$ can be anything from
# {glue:text}`paper c`, and against $c = 0$ p is {glue:text}`paper p`.
#
# ## Can it predict a width it has not seen?
#
# A curve with three free numbers follows a handful of points easily. The test is to leave out a width, fit
# the rest, and predict it. The *miss* is the distance between prediction and measurement, in standard errors
# of that distance (over the replicates).

# %% tags=["hide-input"]
#| label: fig-left-out
#| caption: FVU at each width (points, with 95% intervals that carry documents and training seeds) and what
#|   the curve fitted to the other widths says of it (diamonds). The first and the last width are
#|   extrapolations. (The paper has no such test; below it is made on the points of its Fig. 1.)
missed = floors.left_out(total)
label = [f"{width:,} latents" for width in total.widths]
beside = total.frame().assign(label=label, reference=missed["predicted"]) if fit else fit
charts.forest(beside, x_title="FVU", reference_title="predicted from the other widths")

# %% tags=["hide-input"]
chapter.record("left out", missed.to_dict("list"))
names = {"fvu": "FVU", "predicted": "predicted, with a floor", "miss": "missed by (SE)"}
names |= {"predicted_c0": "predicted, c = 0", "miss_c0": "c = 0 missed by (SE)"}
styles = {name: misses if "missed" in name else three for name in names.values()}
Folded("Every width left out, with a floor and without", Table(missed.rename(columns=names), styles))

# %% [markdown]
# On the paper's own points (Fig. 1), the curve through the six narrower widths predicts
# {glue:text}`paper predicted` for the widest, which has {glue:text}`paper observed`.
#
# ## Is the nonlinear part flat?
#
# The paper draws a horizontal line at the mean (Fig. 1). It calls the nonlinear part approximately constant at
# its two middle layers (§4.3); at the other four it "decreases some as width is scaled" (captions of Figs. 10
# and 11; App. A.2 calls it uncertain, there are few SAEs). {numref}`fig-flat` asks by how much
# $\mathrm{FVU_{nonlinear}}$ changes with each doubling of the width. "Flat" has to mean something: here, less
# than a stated share per doubling, and less than another in all. An interval inside that range shows flatness;
# a slope that is merely "not significant" would not. The claim is about any fixed L0, and about dictionaries
# with many more latents than dimensions ($m \gg d$, §3): it is judged at each L0 at which enough widths of
# {glue:text}`wide` $d_\mathrm{model}$ or more can be compared.

# %% tags=["hide-input"]
#| label: fig-flat
#| caption: FVU (purple) and its nonlinear part (red) over width, with 95% intervals that carry documents and
#|   training seeds. The grey wedge holds every line through the middle of the nonlinear part that changes by
#|   less than the allowed share with each doubling. Hollow points are FVU_nonlinear of the paper's SAEs at
#|   the L0 nearest to 60. Yellow: FVU_nonlinear of matched SAEs that introduce nothing, whose interval is that
#|   of one more draw (chapter 07). (Paper: Fig. 1, where the red line is drawn flat; Figs. 2, 10 and 11.)
suites = {"SaeError": total, "NonlinearError": nonlinear}
suites |= {"absent": null_suite(measurement, "fvu_nonlinear")} if matched(measurement) else {}
flat = scaling.wedge(nonlinear, c04_flat.THRESHOLDS.flat)
over = pd.concat([suite.frame().assign(part=part) for part, suite in suites.items()])
allowed = {"allowed": flat, "allowed_label": "less than the allowed share"}
ours = charts.lines(over, "width", "value", color="part", **allowed, **titled)
charts.layered(ours, charts.paper_points(grids("FVU_nonlinear", l0=60), "width", connect=True, **titled))

# %% tags=["hide-input"]
both = {"FVU": total, "FVU_nonlinear": nonlinear}
chapter.record("change per doubling", {name: scaling.per_doubling(suite) for name, suite in both.items()})
changes = pd.DataFrame({name: pd.Series(scaling.changes(suite)) for name, suite in both.items()})
changes = changes.rename_axis("change per doubling, over all widths").reset_index()
Table(changes, dict.fromkeys(both, tenths))

# %% tags=["hide-input"]
table = scaling.each_l0(measurement)
chapter.record("each L0", table.to_dict("list"))
table = table.drop(columns=["steps", "p"])
names = {"l0": "L0", "widths": f"widths of {widths.WIDE} d_model or more", "change": "change per doubling"}
names |= {"whole": "in all", "misfit": "χ² / freedom of the line", "change_all": "change, all widths"}
percents = ("change per doubling", "in all", "change, all widths")
styles = dict.fromkeys(percents, tenths) | {"L0": "{:.3g}".format, names["misfit"]: "{:.3g}".format}
Table(table.rename(columns=names), styles)

# %% [markdown]
# At an L0 with fewer than {glue:text}`least` such widths the table is all there is: the rule does not judge
# it. The same number from the paper's own grids, with an interval of the line through its points (ours), the
# change over the grid's whole range of widths, and what a doubling of L0 adds to the number. The nonlinear
# part is level at the model, the layer and the L0 of Fig. 1; elsewhere it falls as the width grows, and the
# more so the larger the L0.

# %% tags=["hide-input"]
names = {"grid": "the paper's grid", "figure": "Fig.", "change": "change per doubling of the width, at L0 60"}
names |= {"whole": "change over all its widths", "by_l0": "added by a doubling of L0"}
theirs = paper_points.constancy()
theirs["change"] = estimates(theirs, "change")
Table(theirs[list(names)].rename(columns=names), dict.fromkeys(list(names.values())[2:], tenths))

# %% [markdown]
# The intervals that verdicts are judged by are over documents and training seeds: other documents of the same
# sources. With a 95% interval over sources (jackknife, weighted by tokens), and without each of them, the
# nonlinear part of {glue:text}`reference` and the change per doubling that the rule takes:

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
Table(by_source, styles | {"tokens": percent})

# %% [markdown]
# ## What could fool us

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
# - **A flat line need not mean introduced error.** An SAE that introduces no error and only lacks features
#   can leave a nonlinear part that is flat over a range of widths. Run this chapter with `-p study world`:
#   its suite consists of such SAEs. The authors saw this themselves: with random directions as features, some
#   of them masked, and no noise, the variance that is explained "formed a parabola", least in the middle, "as
#   opposed to a straight line" (App. D). They set random vectors aside as a bad test case. Chapter
#   {doc}`07_models_of_activations` takes the case further.
# - **A slope is a summary.** The interval of the change per doubling takes the trend as a straight line of
#   logarithms. A part that first rises and then falls can have a small slope: the table of single doublings
#   shows what the slope hides, χ² how far the line is from the points. A small change at every doubling adds
#   up, so the rule asks for the change in all, too; and the narrowest widths can hide what the wide ones do.
# - **A curve is a summary, too.** Documents and seeds say little of how sure $c$ is: a curve that is not
#   quite true has a sharp floor, and another one once a width is left out. The interval is widened for that,
#   by a convention.
# - **Few widths.** A floor is an extrapolation: it lies beyond every width that was trained, and a curve that
#   bends for another reason looks like one with a floor.
# - **Two fits, one sum.** $\mathrm{FVU}$ and $\mathrm{FVU_{linear}}$ are fitted one by one, and their floors
#   need not differ by a level nonlinear part. Where the floor of FVU lies below the nonlinear part, FVU cannot
#   come down to it unless that part falls, too.
# - **L0 drifts with width.** For Fig. 1 the paper picks, at every width, the SAE whose L0 comes nearest to
#   60: by the L0 in its name one of them (524k, 48) misses it {glue:text}`paper off`; the figure chooses by
#   realised L0, by the code, which is not printed (§4.3). Figs. 2, 10 and 11 have several L0s at a width.
#   {glue:text}`one L0`
# - **The range is wide.** A curve may fall by {glue:text}`whole range` in all and count as level. Layer 31 of
#   Gemma 2 9B ({glue:text}`paper 9b 31`, Fig. 11) would, of which the paper says that it "decreases some";
#   layer 19 of 2B ({glue:text}`paper 2b 19`, Fig. 10) would not, by a hair.
# - **Training.** A wider SAE needs more training, and here all widths got the same number of tokens, the
#   widest the fewest per latent. One that is not trained to the end raises the right end of the curve, and
#   with it the floor, and draws the slope of the nonlinear part towards 0. {numref}`fig-training` shows how
#   FVU fell while they were trained.

# %% tags=["hide-input"]
#| label: fig-training
#| caption: FVU on activations not trained on yet, while the SAEs of the suite were trained, one line a width
#|   (first seed). The learning rate falls towards the end, which flattens every line. (The paper uses SAEs
#|   that others trained.)
curves = measured.training_curves(measurement)
names = {"x_title": "training tokens", "y_title": "FVU"}
charts.lines(curves, "tokens", "fvu", color="latents", x_scale="linear", **names)

# %% tags=["hide-input"]
late = measured.last_third(curves)
chapter.record("late fall", late.to_dict())
by_width = lambda fall: ", ".join(f"{percent(share, 2)} at {width:,}" for width, share in fall.items())
Words.of(late, say=lambda fall: f"Over the last third of the training FVU fell by {by_width(fall)} latents.")

# %% [markdown]
# ## Exercise
#
# Run this chapter with `skip` 1: the fit leaves out the narrowest width. A floor that is real should stay
# where it is. Does it? Then fit the nonlinear part: replace `total` by `nonlinear` in the visible cell.

# %% tags=["hide-input"]
chapter.close()
