# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What is the error made of?
#
# On a real model nobody knows which part of an error is a feature that the SAE has not learned, and which
# part the SAE made itself. {cite:t}`engels2025` suggest that the split tells them apart: LinearError would be
# mostly *absent* features and what is *dense*, NonlinearError mostly error that the SAE *introduces* (App.
# B.2). They call it a hypothesis and state what it needs: that what is introduced is no linear function of
# $x$ at all, and that the rest lies in a linear subspace orthogonal to what the SAE has learned. Here the
# activations are simulated, all parts are known, and the reading can be checked.

# %% tags=["parameters", "remove-input"]
study = "tiny"
contexts = 64  # contexts of the noise-and-ablation check

# %% tags=["hide-input"]
import numpy as np
import pandas as pd

from darkmatter_utils import Study, charts, measure, open_chapter
from darkmatter_utils.base.words import percent, plain, span
from darkmatter_utils.charts import Folded, Table, Words, estimates
from darkmatter_utils.claims import c04_flat, c11_parts_land
from darkmatter_utils.claims.paper import points
from darkmatter_utils.experiments import matching, paper_points, worth
from darkmatter_utils.experiments.ablation import ablated, over_ablation, table_one
from darkmatter_utils.experiments.known_parts import cases, readings, world_of, worlds
from darkmatter_utils.experiments.nulls import curved_curves, flat_ranges
from darkmatter_utils.experiments.scaling import per_doubling
from darkmatter_utils.measurement.widths import WIDE, wide
from darkmatter_utils.worlds.curved import left_by_a_piece
from darkmatter_utils.worlds.known import land, tokens_of
from darkmatter_utils.worlds.saes import OracleSae

# %% tags=["hide-input"]
chapter = open_chapter(7, study, contexts=contexts)
measurement = measure(chapter.study)
simulated = Study.load("world")
made = worlds(simulated, quick=chapter.study.name == "nano")
check = ablated(measurement, contexts=contexts)
chapter.judge(c11_parts_land, c11_parts_land.Evidence(**cases(made, check)))
chapter.opening(c11_parts_land)

# %% tags=["hide-input"]
VARIANTS = {"apart": "errors of its own", "together": "errors read off the rest", "shrunk": "shrinkage only"}
goes = made["goes"]
rows = goes[goes["part"].isin(["absent", "dense", "introduced"])]
rows = rows.assign(colour=rows["part"].replace({"dense": "Dense", "introduced": "Introduced"}))
own, others = rows[rows["introduced"] == "apart"], rows[rows["introduced"] != "apart"]
# Where absent and dense parts land does not depend on what is introduced: they are shown once.
lands = pd.concat([own, others[others["part"] == "introduced"]])
by = lands["part"] + ": " + lands["introduced"].map(VARIANTS)
lands["label"] = by.where(lands["part"] == "introduced", lands["part"])


def made_of(share, estimated):
    ends = {"value": own[share], "low": own[f"{share}_low"], "high": own[f"{share}_high"]}
    return own[["colour"]].assign(label=f"{estimated}: " + own["part"], **ends)


# %% tags=["hide-input"]
#| label: fig-landing
#| caption: Both directions, in one simulated world with known parts. Left - of the variance of each true part
#|   of an SAE's error, the share that lands in LinearError; the rest lands in NonlinearError. Right - of the
#|   variance of each estimated part, the share that is each true part. Bars are 95% intervals over worlds
#|   drawn anew. For the claim, left, absent features must lie right of the right dotted line and what the SAE
#|   introduces left of the left one; right, absent features in LinearError and what is introduced in
#|   NonlinearError must lie right of the line. (Paper: Fig. 15 and Table 1 are about the left.)
margins = c11_parts_land.THRESHOLDS
makes = pd.concat([made_of("of_linear", "LinearError"), made_of("of_nonlinear", "NonlinearError")])
look = {"color": "colour", "x_domain": (-0.2, 1.1), "width": 240, "height": 220}
left = {"title": "where true parts land", "x_title": "share that lands in LinearError"}
right = {"title": "what the estimated parts are made of", "x_title": "share of the estimated part"}
charts.beside(
    charts.forest(lands, value="linear", rules=(1 - margins.lands, margins.lands), **look, **left),
    charts.forest(makes, rules=(margins.made,), **look, **right),
    shared=("color",),
)

# %% [markdown]
# ## The idea: follow a part that you know
#
# A world writes $x = \text{learned} + \text{absent} + \text{dense}$, and an SAE of it writes
# $\mathrm{Sae}(x) = \text{learned} + \text{introduced}$. So its error is
#
# ```{math}
# :label: eq-parts
# \begin{aligned}
# \mathrm{SaeError} &= z_{\text{absent}} + z_{\text{dense}} - z_{\text{introduced}} = \sum_k s_k z_k ,\\
# \mathrm{LinearError} &= \sum_k s_k\,P z_k ,\qquad \mathrm{NonlinearError} = \sum_k s_k\,(z_k - P z_k)
# \end{aligned}
# ```
#
# with $s_k = \pm 1$ and $P z$ the best linear prediction of $z$ from $x$. A least-squares prediction is
# linear in what it predicts, so the second and third sum are exact, however the parts are correlated. Two
# questions can be asked of a part, and claim 11 needs both answers: where it lands, and how much of an estimated
# part it is. Every share is a covariance over the variance of the whole, in LinearError
#
# ```{math}
# \frac{\mathrm{Cov}(z_k, P z_k)}{\mathrm{Var}(z_k)} \ \text{(lands there)}, \qquad
# \frac{\mathrm{Cov}(s_k z_k, \mathrm{LinearError})}{\mathrm{Var}(\mathrm{LinearError})} \ \text{(is of it)},
# ```
#
# and likewise in NonlinearError. The first kind adds up to 1 over the two estimated parts, the second over the
# true parts: a covariance of two true parts is split evenly between them, so such a share can be negative. $P$
# is fitted on other documents. Below, an SAE that introduces nothing: it holds the 256 most frequent features
# of a world, with their true coefficients.

# %%
world = world_of(simulated, seed=0)
batch = tokens_of(world, documents=12)
parts = OracleSae("oracle", world, width=256).parts(batch)
known = {"absent": parts.absent, "dense": parts.dense}
landed = land(batch.x, known, batch.document, error={"absent": 1, "dense": 1})
error = landed.weights(absent=1, dense=1)
for name in landed.names:
    for part, share in landed.shares(landed.weights(**{name: 1}), error).items():
        print(f"{name}, {part}: {share:.2f}")

# %% [markdown]
# The absent features are a linear code if ever there was one: fixed directions times sparse coefficients.
# Yet much of them lands in NonlinearError, because there are more features than dimensions and no linear
# map can read one without the others. So LinearError can be mostly absent features, as the paper reads it, while
# NonlinearError is not mostly introduced: here nothing is.

# %% tags=["hide-input"]
chapter.record("goes", made["goes"].to_dict("list"))
case = simulated.sae("introduced-256")
chapter.glue("features", f"{world.features:,}")
chapter.glue("d", world.d_model)
chapter.glue("width", case.width)
kept = {
    number: {case: share for case, share in found.items() if "shrunk" not in case}
    for number, found in cases(made, check).items()
}
chapter.glue("without shrinkage", c11_parts_land.CLAIM.judge(c11_parts_land.Evidence(**kept)).word)

# %% [markdown]
# ## Four true parts, in both directions
#
# The full case: a world with {glue:text}`features` features in {glue:text}`d` dimensions, hierarchical,
# grouped by topic, of unequal frequency; with a dense part that is a linear code, a curved code, manifolds
# and noise whose size follows the token; and an SAE of {glue:text}`width` latents. It introduces errors of
# its own (wrong, missed and false coefficients), or errors that are partly read off the absent and dense
# parts, as a linear encoder's are, or nothing but shrinkage. (The last was added after the first two had
# been seen; without it the verdict is: {glue:text}`without shrinkage`.) The *learned* part is no part of the error, but the map
# $b$ reads it: LinearError holds $b\,z_{\text{learned}}$ and NonlinearError the same with the other sign.
# Its row gives $\lVert b\,z_{\text{learned}}\rVert^2 / \lVert z_{\text{learned}}\rVert^2$ in both columns;
# of the estimated parts the absent, dense and introduced part make up all.

# %% tags=["hide-input"]
share = lambda value: percent(value, 1) if pd.notna(value) else "–"
columns = {
    "true part": goes["part"],
    "the SAE introduces": goes["introduced"].map(VARIANTS),
    "variance, over that of x": goes["variance"],
    "lands in LinearError": estimates(goes, "linear"),
    "lands in NonlinearError": estimates(goes, "nonlinear"),
    "of LinearError": estimates(goes, "of_linear"),
    "of NonlinearError": estimates(goes, "of_nonlinear"),
}
table = Table(pd.DataFrame(columns), dict.fromkeys(list(columns)[2:], share))
Folded("Every part of three SAEs, in both directions", table)

# %% [markdown]
# ## Over superposition and width
#
# {numref}`fig-landing-sweep` varies how many features share the dimensions, and how many of them the SAE
# holds.

# %% tags=["hide-input"]
#| label: fig-landing-sweep
#| caption: The four shares of claim 11 over superposition and over the share of the features that the SAE
#|   holds; mean over worlds drawn anew. Top - where true parts land, of which the claim asks three quarters;
#|   bottom - what estimated parts are made of, of which it asks half. (The paper has no such figure.)
chapter.record("swept", made["swept"].to_dict("list"))
swept = made["swept"].sort_values(["held", "superposition"], ascending=[False, True])
swept = swept.assign(x=swept["superposition"].map("{:g}".format), y=swept["held"].map(percent))
FOUR = {
    "absent features that land in LinearError": ("absent", "linear"),
    "introduced error that lands in NonlinearError": ("introduced", "nonlinear"),
    "LinearError that is absent features": ("absent", "of_linear"),
    "NonlinearError that is introduced error": ("introduced", "of_nonlinear"),
}
look = {"x_title": "features / dimensions (n / d)", "y_title": "features the SAE holds", "width": 270}
look |= {"value_title": "share", "fmt": ".0%", "domain": (0, 1)}
of = {title: swept[swept["part"] == part].assign(value=swept[share]) for title, (part, share) in FOUR.items()}
charts.beside(*(charts.heat(rows, "x", "y", "value", title=title, **look) for title, rows in of.items()))

# %% [markdown]
# ## Noise and ablation on the study's own dictionary
#
# The paper's check (App. C.3): take $x' = \mathrm{Sae}(x)$ of a trained SAE as data whose features are all
# known, ablate latents (lowest mean activation first) so that they become absent features, add noise to $x'$
# (it plays *dense*) and to the reconstruction (it plays *introduced*). Here everything is out of sample,
# levels are variances, centring is per dimension, and the SAE encodes the noisy $x'$, so that it can react to
# the noise; its reaction, and $\mathrm{Sae}(\mathrm{Sae}(x)) \ne \mathrm{Sae}(x)$, count as introduced. The
# noise is isotropic, or has the covariance of $x'$.

# %% tags=["hide-input"]
#| label: fig-ablation
#| caption: The error as latents are ablated, at three pairs of noise levels - all of it, its nonlinear
#|   part, and what was truly introduced, each over the variance of x'. For the claim the nonlinear part
#|   should follow what was introduced, and the gap above it should be what is absent. (Paper: Fig. 15,
#|   top; its bottom has a grid of noise levels as heat maps.)
charts.panels(
    check and over_ablation(check["cells"]),
    "noise",
    charts.lines,
    "ablated",
    "share",
    color="part",
    columns=3,
    shared=("y", "color"),
    width=200,
    height=200,
    x_title="share of latents ablated",
    y_title="over the variance of x'",
)

# %% [markdown]
# The paper sums its check up in Table 1, by four correlations over noise levels that its caption says are those
# of Fig. 15. The two disagree: over Fig. 15's own heat maps each noise goes with its own part as in Table 1
# ({glue:text}`maps own` for {glue:text}`printed own`), but with the other part otherwise ({glue:text}`maps other`
# for {glue:text}`printed other`). Beside both stands the same on this study's dictionary; there the first of the
# other two, noise on $x'$ and the nonlinear part, is {glue:text}`here other`.
#
# A correlation does not tell how *much* lands where, and it depends on the grid: FVU is over the variance of
# $x'$ and its noise, so a louder noise on $x'$ also makes all else look smaller. The slope tells: of one unit of
# variance that was added, what shows up in the estimated part. For the claim, noise on $x'$ has a slope of 1 in
# the linear part and 0 in the nonlinear part, and introduced noise the other way round. In the heat maps of Fig.
# 15, of noise on $x'$ alone {glue:text}`paper dense` lands in the nonlinear part, and of noise on
# $\mathrm{Sae}(x')$ alone {glue:text}`paper introduced` in the linear part; the latter is about dimensions over
# rows, as of a map that is scored on the rows that it was fitted on.

# %% tags=["hide-input"]
landed, printed = paper_points.landing().groupby("noise")["share"], paper_points.synthetic()
chapter.glue("paper dense", span(landed.get_group("x' noise"), percent))
chapter.glue("paper introduced", span(landed.get_group("Sae(x') noise"), percent))
printed = printed.assign(true=["dense"] * 2 + ["introduced"] * 2, part=["linear", "nonlinear"] * 2)
own = (printed["true"] == "dense") == (printed["part"] == "linear")
both = lambda values: " and ".join(map(plain, values))
for key, column in {"printed": "Table 1", "maps": "Fig. 15"}.items():
    chapter.glue(f"{key} own", both(printed[column][own]))
    chapter.glue(f"{key} other", both(printed[column][~own]))

# %% tags=["hide-input"]
table, across = check and table_one(check["cells"]), printed
chapter.record("table 1", table.to_dict("list"))
chapter.record("ablation shares", check["shares"].to_dict("list"))
if check:
    other = table.query("true == 'dense' and estimated == 'nonlinear'")["correlation"]
    here = table.pivot(index=["true", "estimated"], columns="kind", values=["correlation", "slope"])
    here = here.set_axis([f"{what} here, {kind}" for what, kind in here.columns], axis=1).reset_index()
    across = across.merge(here.rename(columns={"estimated": "part"}), on=["true", "part"])
chapter.glue("here other", span(other) if check else "–")
across = across.drop(columns=["true", "part"])
Table(across, dict.fromkeys(list(across)[2:], plain))

# %% [markdown]
# ## An SAE that introduces nothing
#
# The paper takes a nonlinear part that does not shrink with width as a sign of introduced error (App. B.2).
# It also has the case that speaks against it. In App. D the authors sum {glue:text}`paper features` random
# directions in {glue:text}`paper dimensions` dimensions, about {glue:text}`paper active` at a time, mask
# some of them, and add no noise: what the masked sum and a linear estimate explain together "formed a
# parabola (with minimum variance explained in the middle region), as opposed to a straight line". So the
# nonlinear part rises, is level at its top, and falls, with nothing introduced. They judge random vectors to
# be "a bad synthetic test case" and set it aside.
#
# This section takes their case up as a null. Worlds of features alone, no dense part, no noise, and SAEs that
# hold the most frequent $W$ features with their true coefficients: they introduce nothing; all that they lack
# is features. First with an L0 that grows with $W$, as in App. D but in closed form, then at a fixed L0,
# where only the largest few coefficients of a token are kept. What this book adds to App. D is the closed
# form, the fixed L0 and, below, worlds that are matched to the study, and features that bend; whether random
# directions are too crude a model is a fair question here, too.

# %% tags=["hide-input"]
#| label: fig-null
#| caption: FVU_nonlinear over width of SAEs that introduce nothing, at fixed L0, for several superpositions
#|   n/d; one panel an exponent of the frequency law (feature i fires in proportion to 1 / i to that power).
#|   All of it is absent features. Broad lines - the longest range of widths over which the slope counts as
#|   flat. (Paper: App. D has this null in words, "a parabola"; Fig. 1 draws a level line.)
for name in ("unfixed", "fixed"):
    chapter.record(f"null {name}", made[name].to_dict("list"))
ranges = {name: flat_ranges(made[name]) for name in ("fixed", "unfixed")}
curves = made["fixed"].merge(ranges["fixed"], on=["superposition", "law"])
between = curves["width"].between(curves["slope_start"], curves["slope_stop"])
curves = curves.assign(
    n=curves["superposition"].map("n/d = {:g}".format),
    panel=curves["law"].map("exponent {:g}".format),
    flat=between & (curves["slope_factor"] > 1),
)
look = {"color": "n", "columns": 3, "shared": ("x", "y", "color"), "width": 190, "height": 190}
title = "FVU_nonlinear"
charts.panels(curves, "panel", charts.lines, "width", "fvu_nonlinear", broad="flat", y_title=title, **look)

# %% tags=["hide-input"]
#| label: fig-null-r2
#| caption: The linear share of the error of the same SAEs ($R^2$ total), with the same level ranges of
#|   FVU_nonlinear as broad lines; the dotted line is at one half. (Paper: Figs. 2, 10 and 11; per dimension,
#|   a quarter to three quarters in Fig. 2, and about half on average in Gemma 2 9B at layer 20.)
title = "R² of the error"
charts.panels(
    curves,
    "panel",
    charts.lines,
    "width",
    "r2_total",
    broad="flat",
    y_title=title,
    y_domain=(0, 1),
    reference=0.5,
    **look,
)

# %% tags=["hide-input"]
chapter.glue("flat", percent(c04_flat.THRESHOLDS.flat))
for key, value in zip(("features", "dimensions", "active"), points("text", panel="D")["value"]):
    chapter.glue(f"paper {key}", f"{value:,.0f}")
chapter.record("flat ranges", {name: table.to_dict("list") for name, table in ranges.items()})
factors = lambda name, sense: span(ranges[name][f"{sense}_factor"], "{:g}".format)
Words(
    f"At fixed L0, FVU_nonlinear is flat by the slope over a factor of {factors('fixed', 'slope')} in "
    f"width, from world to world, and at every doubling over a factor of {factors('fixed', 'steps')} (1: "
    f"nowhere). With an L0 that grows: {factors('unfixed', 'slope')}, and {factors('unfixed', 'steps')}."
)

# %% [markdown]
# *Flat by the slope* is the measure of claim 4: the slope over that range changes the curve by at most
# {glue:text}`flat` with each doubling. *Flat at every doubling* asks the same of each step.
#
# ## A null matched to this study
#
# Which of those worlds is like the study? A rule, written before its own first slope, moves four dials of a world
# of features: how fast their frequency falls, how many fire on a token, how much a coefficient varies, and how
# much of their directions all have in common. From three numbers of features it looks for SAEs that introduce
# nothing and have, at the suite's widths and L0, the suite's FVU, in a world whose $\lVert x\rVert^2$ is as
# linear in $x$ as the study's. It sees no linear or nonlinear part of an error, and no norm of one. All worlds
# it passes that miss nothing by more than {glue:text}`most missed` count as matches; the null is several of
# them, as unlike as they come, drawn anew. Its intervals are those of one more draw of one more match.
# {numref}`fig-matched` compares what the match did not look at.

# %% tags=["hide-input"]
#| label: fig-matched
#| caption: FVU and FVU_nonlinear over width - the study's suite, and SAEs of the matched worlds that
#|   introduce nothing; 95% intervals. (Paper: Fig. 1, and App. D for SAEs that introduce nothing.)
found = matching.matched(measurement)
suites = {}
for metric, part in {"fvu": "FVU", "fvu_nonlinear": "FVU_nonlinear"}.items():
    suites[f"{part}, this study"] = matching.own_suite(measurement, metric)
    suites[f"{part}, introduces nothing"] = matching.null_suite(measurement, metric)
lines = found and pd.concat([suite.frame().assign(line=line) for line, suite in suites.items()])
charts.lines(lines, "width", "value", color="line", y_title="share of the variance of x")

# %% tags=["hide-input"]
chapter.glue("most missed", percent(matching.MISS))
chapter.record("null", found and {line: suite.frame().to_dict("list") for line, suite in suites.items()})


def how_near(found):
    theirs, ours = (suites[f"FVU, {which}"].values for which in ("introduces nothing", "this study"))
    linear = {which: rows["linear_anew"].mean() for which, rows in found["worlds"].groupby("null")}
    near, visited = found["visited"]["near"].sum(), len(found["visited"])
    level = suites["FVU_nonlinear, this study"].values / suites["FVU_nonlinear, introduces nothing"].values
    return (
        f"Of {visited} worlds {near} are matches{'' if near else ': the null is the best of each start'}. "
        f"Drawn anew, they miss the suite's FVU by {span(theirs / ours - 1, share)}, width by width; R² of ‖x‖² "
        f"from x is {measurement.saes['norm_x'].iloc[0]:.2f} in the study and {linear[True]:.2f} in them. "
        f"Without what the directions have in common it would be {linear[False]:.2f}. The study's FVU_nonlinear "
        f"is {span(level)} of the null's."
    )


Words.of(found, say=how_near)

# %% tags=["hide-input"]
suite, changes = matching.own_suite(measurement, "fvu_nonlinear"), {}
for which, every in {"all widths": True, f"widths of {WIDE} d_model or more": False}.items():
    row = {"this study": per_doubling(suite if every else wide(measurement, suite))}
    row["introduces nothing"] = matching.null_change(measurement, all_widths=every)
    changes[which] = row | {"difference": matching.beyond_null(measurement, all_widths=every)}
chapter.record("change per doubling", changes)
table = pd.DataFrame(changes).T.rename_axis("FVU_nonlinear per doubling").reset_index()
Table(table if found else found, dict.fromkeys(["this study", "introduces nothing", "difference"], share))

# %% [markdown]
# A match is not unique. These stand for all of them; the last row is the first without its common part, which
# the null leaves out.

# %% tags=["hide-input"]
if found:
    chapter.record("match", found["worlds"].to_dict("list"))
names = {
    "features": "features",
    "exponent": "exponent",
    "fires": "fires a token",
    "spread": "spread",
    "common": "common",
    "linear_anew": "R² of ‖x‖²",
    "missed_anew": "FVU missed by at most",
    "change": "change per doubling",
    "r2_narrow": "R², narrowest",
    "r2_wide": "R², widest",
}
styles = {"change per doubling": share, "FVU missed by at most": share, "features": "{:,.0f}".format}
Table(found["worlds"][list(names)].rename(columns=names), styles)

# %% [markdown]
# What this null would earn by the rules of claims 1 to 6 and 13, its SAEs in the place of the study's, stands
# in chapter {doc}`15_the_report` beside every verdict.

# %% tags=["hide-input"]
chapter.record("worth", worth.null(measurement))

# %% [markdown]
# ## A rival: features that bend
#
# Absent features are one way to a level nonlinear part without introduced error. Curvature is another. Let a
# feature be an arc of a circle in a plane of its own, $u(\theta) = \cos\theta\, f + \sin\theta\, g$ with
# $\theta$ uniform over the arc; circles have been found in language models {cite:p}`engels2024`. An SAE that
# holds it with one direction reads $\cos\theta$ exactly and leaves $\sin\theta$, at whatever width: of the
# feature's second moment, for an arc of $\delta$,
#
# ```{math}
# :label: eq-curvature
# \mathrm{E}\sin^2\theta = \frac12 - \frac{\sin\delta}{2\delta} = \frac{\delta^2}{12} + O(\delta^4) .
# ```
#
# With $m$ latents a feature, one for each $m$-th of the arc, $\delta$ falls to $\delta/m$, and the width grows
# to $m$ times as much, at the same L0. Nothing is introduced, and all of it is in closed form.

# %% tags=["hide-input"]
#| label: fig-curved
#| caption: FVU and FVU_nonlinear over width of SAEs that introduce nothing, in a world whose features are arcs
#|   of a circle, with one latent a feature or four; closed form, no fixed L0. An arc of 0° is the world of
#|   straight features. (The paper has no such world.)
curves = curved_curves()
chapter.record("curved", curves.to_dict("list"))
shown = curves.melt(["arc", "pieces", "width"], ["fvu", "fvu_nonlinear"], "metric")
shown = shown.assign(
    panel=shown["metric"].map({"fvu": "FVU", "fvu_nonlinear": "FVU_nonlinear"}),
    arc=shown["arc"].map("arc {:g}°".format),
    latents=shown["pieces"].map({1: "one latent a feature", 4: "four latents a feature"}),
)
look = {"color": "arc", "dash": "latents", "columns": 2, "width": 290, "height": 220}
look |= {"shared": ("x", "color"), "y_title": "share of the variance of x"}
charts.panels(shown, "panel", charts.lines, "width", "value", **look)

# %% tags=["hide-input"]
straight, bent = (curves.query("arc == @arc and pieces == 1 and width >= 128") for arc in (0, 90))
chapter.glue("bent left", percent(left_by_a_piece(np.pi / 2)))
chapter.glue("bent floor", bent["fvu"].iloc[-1], ".2f")
chapter.glue("bent range", f"{bent['width'].iloc[0]:,} to {bent['width'].iloc[-1]:,}")
ends = lambda rows: f"{rows['fvu_nonlinear'].iloc[0]:.3f} to {rows['fvu_nonlinear'].iloc[-1]:.3f}"
chapter.glue("bent level", ends(bent))
chapter.glue("straight level", ends(straight))

# %% [markdown]
# With arcs of 90° and one latent a feature, each held feature leaves {glue:text}`bent left` of itself. FVU falls
# towards a floor, {glue:text}`bent floor` when all features are held; no feature is absent from it. From
# {glue:text}`bent range` latents FVU_nonlinear goes from {glue:text}`bent level`; of straight features, from
# {glue:text}`straight level`. With four latents a feature the floor is a fraction, at four times the width. So a
# floor, and a nonlinear part that hardly shrinks, can also mean that features are no directions.

# %% [markdown]
# ## What this means, and what it does not
#
# - **It does mean** that neither a half-linear error nor a level nonlinear part shows that an SAE
#   introduces error: SAEs that introduce nothing have both, over some range of widths, when features share
#   dimensions. For the level part the authors' App. D says the same of random directions.
# - **It does mean** that the two directions are two questions. LinearError can be mostly absent features while
#   most of what is absent lies in NonlinearError: a linear map reads an absent feature only as far as the others
#   leave room. That both agree needs few more features than dimensions. (With more, the second assumption of
#   App. B.2 cannot hold, a subspace orthogonal to the learned features.)
# - **It does not mean** that real SAEs introduce nothing. An SAE's own errors, where they are not
#   shrinkage, do land in NonlinearError; whether it is *mostly* they depends on how much else lands there.
# - **It does not mean** that the paper's curve is this null. The null's curve rises, is level, and falls; a
#   wide enough range of widths can tell it from a level line, and a null that is matched in FVU, L0 and the
#   linearity of $\lVert x\rVert^2$ can still have another height or slope: {numref}`fig-matched`.
# - **It does not mean** that only two readings are left. A floor of curvature ({numref}`fig-curved`) is neither
#   introduced error nor an absent feature.

# %% [markdown]
# ## What could fool us
#
# Estimators first: those of this book against the population values, which these worlds have in closed
# form, for SAEs that introduce nothing.

# %% tags=["hide-input"]
found = made["estimators"].copy()
chapter.record("estimators", found.to_dict("list"))
found["inside"] = found["truth"].between(found["low"], found["high"])
found["off"] = found["value"] - found["truth"]
names = {"fvu": "FVU", "fvu_linear": "FVU_linear", "fvu_nonlinear": "FVU_nonlinear"}
names |= {"r2_total": "R² total", "r2_per_dim": "R² per dimension"}
metric = found.groupby("metric")
mean = (
    metric[["truth", "value", "off"]]
    .mean()
    .set_axis(["truth, mean", "estimate, mean", "mean difference"], axis=1)
    .assign(largest=metric["off"].agg(lambda off: off.abs().max()))
)
inside = [f"{i} of {n}" for i, n in zip(metric["inside"].sum(), metric.size())]
summary = mean.assign(**{"truth inside the interval": inside}).loc[list(names)].rename(index=names)
three = lambda value: plain(value, 3)
Table(summary.rename_axis("estimator").reset_index(), dict.fromkeys(mean, three), left=())

# %% [markdown]
# The estimators find what they are defined to find: the maps' own estimation error is taken out of each
# (chapter {doc}`02_how_to_measure_it`). FVU counts a constant error, too, which the closed form leaves out:
# hence its small excess, and that of FVU_linear, where a constant lands. What goes wrong is the reading of
# them:

# %% tags=["hide-input"]
wrong = readings(made)
chapter.record("readings", wrong.to_dict("list"))
off = lambda value: percent(value) if pd.notna(value) else "–"
Table(wrong, {"estimated": three, "true": three, "off by": off})

# %% tags=["hide-input"]
chapter.rules(c11_parts_land)

# %% [markdown]
# - **A world is a model.** Features here have random directions and positive coefficients. Real features need
#   not, which is why App. D sets its own case aside. The check on the study's own dictionary has real
#   directions and real coefficients, but takes the SAE's latents for features.
# - **Oracles are too good.** A trained SAE of the same width learns other features, and spends latents on
#   frequent combinations of them.
# - **The dense part has no column of its own.** The paper counts it to LinearError for the most part
#   (App. B.2). The rule judges absent and introduced only; the table shows the dense part,
#   piece by piece.
# - **Half is a round number.** What an estimated part is made of depends on how much of each part there is: an
#   ablation of few latents leaves little to be absent, a louder noise makes the dense part larger. Where a part
#   lands depends on that much less.
#
# ## Exercise
#
# In the visible cell, make the world less crowded: `World(d_model=64, features=64, l0=12.0)` from
# `darkmatter_utils`, and an oracle of 32 features. Where do the absent features go now, and what is left of
# NonlinearError? Then let `land`
# take a part that is a function of $x$ but not a linear one, such as `batch.x ** 2`.

# %% tags=["hide-input"]
chapter.close()
