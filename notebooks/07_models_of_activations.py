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
# {cite:t}`engels2025` read LinearError as mostly *absent* features and what is *dense*, NonlinearError as mostly
# error that the SAE *introduces* (App. B.2), a hypothesis. On a real model nobody knows these parts. Here
# activations are simulated, all parts are known, and the reading is checked.

# %% tags=["parameters", "remove-input"]
study = "tiny"
contexts = 64  # contexts of the noise-and-ablation check

# %% tags=["hide-input"]
import numpy as np
import pandas as pd

from darkmatter_utils import Study, charts, measure, open_chapter
from darkmatter_utils.base.words import course, percent, plain, span
from darkmatter_utils.charts import Csv, Folded, Table, Words, estimates
from darkmatter_utils.charts.explorer import sandbox
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

chapter = open_chapter(7, study, contexts=contexts)
measurement = measure(chapter.study)
simulated = Study.load("world")
three = lambda value: plain(value, 3)
tenth = lambda value: percent(value, 1) if pd.notna(value) else "–"

# %% tags=["hide-input", "first-screen"]
made = worlds(simulated, quick=chapter.study.name == "nano")
check, found = ablated(measurement, contexts=contexts), matching.matched(measurement)
told = chapter.judge(c11_parts_land, c11_parts_land.Evidence(**cases(made, check))).numbers
suites = {}
for metric, part in {"fvu": "FVU", "fvu_nonlinear": "FVU_nonlinear"}.items():
    suites[f"{part}, this study"] = matching.own_suite(measurement, metric)
    suites[f"{part}, introduces nothing"] = matching.null_suite(measurement, metric)
chapter.record("null", found and {line: suite.frame().to_dict("list") for line, suite in suites.items()})
ours, theirs = (suites[f"FVU_nonlinear, {which}"] for which in ("this study", "introduces nothing"))
if found:
    more = "more" if all(theirs.values > ours.values) else "less" if all(theirs.values < ours.values) else ""
    left = f"{more} nonlinear error than ours" if more else "as much nonlinear error as ours"
    ends = f"{span(theirs.values, three)} against {span(ours.values, three)}"
    chapter.headed(f"SAEs that introduce nothing leave {left}: {ends}")
else:
    chapter.headed("Half linear, half flat: SAEs that introduce no error leave both")
null = {11: f"null that introduces nothing: FVU_nonlinear {span(theirs.values, three)}"} if found else {}
chapter.opening(c11_parts_land, control=null)

# %% tags=["hide-input", "first-screen"]
#| label: fig-matched
#| caption: Shares of the variance of x by SAE width, 95% intervals. Grey: the nonlinear part in simulated worlds
#|   where nothing is introduced, matched to the study in FVU (drawn once) and L0. (Paper: Fig. 1, App. D.)
changes, suite = {}, matching.own_suite(measurement, "fvu_nonlinear")
for which, every in {"all widths": True, f"widths of {WIDE} d_model or more": False}.items():
    row = {"this study": per_doubling(suite if every else wide(measurement, suite))}
    row["introduces nothing"] = matching.null_change(measurement, all_widths=every)
    changes[which] = row | {"difference": matching.beyond_null(measurement, all_widths=every)}
chapter.record("change per doubling", changes)
chapter.record("of the null", found and (ours.values / theirs.values).tolist())
names = {"SaeError": suites["FVU, this study"], "NonlinearError": ours}
names["null: introduces nothing"] = theirs
lines = found and pd.concat([suite.frame().assign(line=line) for line, suite in names.items()])


def said(found):
    of, row = span(ours.values / theirs.values, percent), changes["all widths"]
    each = [tenth(row[which].value) for which in ("this study", "introduces nothing")]
    return f"NonlinearError is {of} of the null's; at all widths {each[0]} a doubling, the null {each[1]}"


title = {"y_title": "share of the variance of x", "title": chapter.finding(said, found)}
charts.lines(lines, "width", "value", color="line", height=220, **title)

# %% [markdown]
# ## The idea: follow a part that you know
#
# A world writes $x = \text{learned} + \text{absent} + \text{dense}$, and an SAE of it writes
# $\mathrm{Sae}(x) = \text{learned} + \text{introduced}$. So its error is
#
# ```{math}
# :label: eq-parts
# \begin{aligned}
# \mathrm{SaeError} &= z_{\text{absent}} + z_{\text{dense}} \\
#   &\quad - z_{\text{introduced}} \\
#   &= \sum_k s_k z_k ,\\
# \mathrm{LinearError} &= \sum_k s_k\,P z_k ,\\
# \mathrm{NonlinearError} &= \sum_k s_k\,(z_k - P z_k)
# \end{aligned}
# ```
#
# with $s_k = \pm 1$ and $P z$ the best linear prediction of $z$ from $x$, which is linear in $z$: the sums are
# exact. Where does a part *land*, and how much *of* an estimated part is it? The cell asks this of an SAE that
# introduces nothing: it holds the 256 most frequent features of a world, with their true coefficients.

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
# Nothing is introduced, yet there is a NonlinearError, and most of it is absent features. These are fixed
# directions times sparse coefficients; but they outnumber the dimensions, and no linear map reads one without
# the others.
#
# :::{dropdown} The two shares as formulas
# Every share is a covariance over the variance of the whole, in LinearError
#
# ```{math}
# \begin{gathered}
# \frac{\mathrm{Cov}(z_k, P z_k)}{\mathrm{Var}(z_k)} \ \text{(lands there)}, \\
# \frac{\mathrm{Cov}(s_k z_k, \mathrm{LinearError})}{\mathrm{Var}(\mathrm{LinearError})} \ \text{(is of it)},
# \end{gathered}
# ```
#
# and likewise in NonlinearError. The first add up to 1 over the estimated parts, the second over the true parts:
# a covariance of two of these is split evenly, so a share can be negative, or above 1. $P$ is fitted on other
# documents. The cell takes 12 documents and an SAE without errors of its own: its shares differ from those below.
# :::
#
# ## A null matched to this study
#
# The null of {numref}`fig-matched`: worlds of features alone, SAEs that only lack features. A search moves four
# dials until FVU, L0 and the linearity of $\lVert x\rVert^2$ are the study's. It never sees a linear or a
# nonlinear part.

# %% tags=["hide-input"]
chapter.glue("most missed", percent(matching.MISS))


def how_near(found):
    theirs, ours = (suites[f"FVU, {which}"].values for which in ("introduces nothing", "this study"))
    linear = {which: rows["linear_anew"].mean() for which, rows in found["worlds"].groupby("null")}
    near, visited = found["visited"]["near"].sum(), len(found["visited"])
    best = "" if near else ": the null is the best of each start"
    return (
        f"Of {visited} worlds {near} are matches{best}. Drawn anew, they miss the suite's FVU by "
        f"{span(theirs / ours - 1, percent)}, width by width; R² of ‖x‖² from x is "
        f"{measurement.saes['norm_x'].iloc[0]:.2f} in the study and {linear[True]:.2f} in them "
        f"({linear[False]:.2f} without what their directions have in common)."
    )


told = Words.of(found, say=how_near)
chapter.record("searched", found and len(found["visited"]))
chapter.record("how near", told)
told

# %% tags=["hide-input"]
table = pd.DataFrame(changes).T.rename_axis("FVU_nonlinear per doubling").reset_index()
table = Table(
    table if found else found, dict.fromkeys(["this study", "introduces nothing", "difference"], tenth)
)
Folded("How FVU_nonlinear changes with each doubling, here and where nothing is introduced", table)

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
styles = {"change per doubling": tenth, "FVU missed by at most": tenth, "features": "{:,.0f}".format}
Csv("The matched worlds", Table(found["worlds"][list(names)].rename(columns=names), styles))

# %% tags=["hide-input"]
chapter.record("worth", worth.null(measurement))

# %% [markdown]
# :::{dropdown} How the match is made
# The rule was written before its first slope. Its dials: how fast the features' frequency falls, how many fire on
# a token, how much a coefficient varies, how much their directions have in common. It starts from three numbers of
# features. Worlds that miss nothing by more than {glue:text}`most missed` are matches; the null is several, as
# unlike as they come, drawn anew, and its intervals are those of one more draw of one more match.
# The table's last row is the first without its common part; the null leaves it out. Chapter
# {doc}`15_the_report` has what this null would earn by the rules of claims 1 to 6 and 13.
# :::
#
# ## Level without introduced error
#
# The match is no accident. Once features outnumber dimensions, such SAEs have a level nonlinear part and a
# half-linear error over a range of widths.

# %% tags=["hide-input"]
#| label: fig-null
#| caption: SAEs that introduce nothing, four latents active, n features in d dimensions; feature i fires in
#|   proportion to 1/i. Broad: the longest range of widths whose slope is flat. (Paper: Figs. 1 and 2; App. D in
#|   words.)
for name in ("unfixed", "fixed"):
    chapter.record(f"null {name}", made[name].to_dict("list"))
ranges = {name: flat_ranges(made[name]) for name in ("fixed", "unfixed")}
chapter.record("flat ranges", {name: table.to_dict("list") for name, table in ranges.items()})
curves = made["fixed"].merge(ranges["fixed"], on=["superposition", "law"]).query("law == 1")
between = curves["width"].between(curves["slope_start"], curves["slope_stop"])
curves = curves.assign(
    n=curves["superposition"].map("n/d = {:g}".format), flat=between & (curves["slope_factor"] > 1)
)
top = ranges["fixed"].query("law == 1").sort_values("slope_factor", kind="stable").iloc[-1]
said = f"With nothing introduced, at n/d = {top['superposition']:g} the slope of FVU_nonlinear is flat over "
said += (
    f"{top['slope_factor']:g} times the width (each doubling over {top['steps_factor']:g}); the linear share "
)
said += f"of the error goes from {top['r2_start']:.2f} to {top['r2_stop']:.2f}"
draw = lambda y, name, **more: charts.lines(
    curves, "width", y, color="n", broad="flat", y_title=name, width=290, height=220, **more
)
pair = draw("fvu_nonlinear", "FVU_nonlinear"), draw("r2_total", "R² of the error", y_domain=(0, 1))
charts.beside(*pair, shared=("color",), title=chapter.finding(said))

# %% tags=["hide-input"]
chapter.glue("flat", percent(c04_flat.THRESHOLDS.flat))
for key, value in zip(("features", "dimensions", "active"), points("text", panel="D")["value"]):
    chapter.glue(f"paper {key}", f"{value:,.0f}")
names = {"superposition": "n/d", "law": "exponent", "slope_start": "flat from", "slope_stop": "to"}
names |= {"slope_factor": "times", "steps_factor": "times, every doubling"}
names |= {"r2_start": "R² at its start", "r2_stop": "at its end"}
table = Table(ranges["fixed"][list(names)].rename(columns=names), {"flat from": str, "to": str})
Csv("How far FVU_nonlinear is level, in every world, at a fixed L0", table)

# %% [markdown]
# :::{dropdown} The case is the paper's own (App. D)
# The paper takes a nonlinear part that does not shrink with width as a sign of introduced error (App. B.2). In
# App. D the authors sum {glue:text}`paper features` random directions in {glue:text}`paper dimensions`
# dimensions, about {glue:text}`paper active` at a time, mask some, and add no noise: what masked sum and linear
# estimate explain together "formed a parabola (with minimum variance explained in the middle region), as opposed
# to a straight line". They judge random vectors "a bad synthetic test case" and set it aside, which may be as
# fair here. This book adds the closed form (an L0 that grows with the width), the fixed L0 (a token's largest
# few coefficients), the match and features that bend. *Flat* is claim 4's measure: over the range the slope
# changes the curve by at most {glue:text}`flat` with each doubling; *every doubling* asks it of each step, and 1
# is nowhere.
# :::
#
# ## Where four true parts land
#
# Now an SAE of {glue:text}`width` latents that does introduce error, in a world of {glue:text}`features` features
# in {glue:text}`d` dimensions with a dense part. What it introduces lands where the paper says. The converse
# fails.

# %% tags=["hide-input"]
VARIANTS = {"apart": "errors of its own", "together": "errors read off the rest", "shrunk": "shrinkage only"}
goes = made["goes"]
chapter.record("goes", goes.to_dict("list"))
case = simulated.sae("introduced-256")
for key, value in {"features": world.features, "d": world.d_model, "width": case.width}.items():
    chapter.glue(key, value, ",")
kept = {
    number: {case: value for case, value in one.items() if "shrunk" not in case}
    for number, one in cases(made, check).items()
}
of_own = sum("own dictionary" in case for case in cases(made, check)["linear"])
chapter.glue("cases", f"{of_own} of the cases are ablations, the others worlds")
chapter.glue("without shrinkage", c11_parts_land.CLAIM.judge(c11_parts_land.Evidence(**kept)).word)

# %% tags=["hide-input"]
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
#| caption: Left, the share of each true part in LinearError (the rest is in NonlinearError); right, the share of
#|   each estimated part that is each true part. 95% intervals over worlds. Dotted: claim 11's margins. (Paper:
#|   Fig. 15, Table 1.)
margins = c11_parts_land.THRESHOLDS
makes = pd.concat([made_of("of_linear", "LinearError"), made_of("of_nonlinear", "NonlinearError")])
look = {"color": "colour", "width": 340, "height": 200, "x_domain": (0, 1)}
left = {"title": "where true parts land", "x_title": "share that lands in LinearError"}
right = {"title": "what the estimated parts are made of", "x_title": "share of the estimated part"}
of = own.set_index("part")
shrunk = goes.query("introduced == 'shrunk' and part == 'introduced'")["nonlinear"].iloc[0]
said = f"{percent(of['nonlinear']['introduced'])} of errors of its own, {percent(shrunk)} of shrinkage, lands in "
said += f"NonlinearError; yet that is {percent(of['of_nonlinear']['introduced'])} introduced, "
said += f"{percent(of['of_nonlinear']['absent'])} absent"
charts.beside(
    charts.forest(lands, value="linear", rules=(1 - margins.lands, margins.lands), **look, **left),
    charts.forest(makes, rules=(margins.made,), **look, **right),
    shared=("color",),
    title=chapter.finding(f"{said} features"),
)

# %% tags=["hide-input"]
goes = goes[(goes["introduced"] == "apart") | (goes["part"] == "introduced")]
columns = {
    "true part": goes["part"],
    "the SAE introduces": goes["introduced"].map(VARIANTS),
    "variance, over that of x": goes["variance"],
    "lands in LinearError": estimates(goes, "linear"),
    "lands in NonlinearError": estimates(goes, "nonlinear"),
    "of LinearError": estimates(goes, "of_linear"),
    "of NonlinearError": estimates(goes, "of_nonlinear"),
}
table = Table(pd.DataFrame(columns), dict.fromkeys(list(columns)[2:], tenth))
Csv("Every part of three SAEs, in both directions", table)

# %% [markdown]
# :::{dropdown} The world, the three SAEs and the learned part
# The features are hierarchical, grouped by topic, of unequal frequency; the dense part is a linear code, a curved
# code, manifolds and noise whose size follows the token. The SAE introduces errors of its own (wrong, missed and
# false coefficients), errors partly read off the other parts, as a linear encoder's are, or nothing but
# shrinkage. (The last was added after the first two had been seen; without it the verdict is:
# {glue:text}`without shrinkage`.) The *learned* part is no part of the error, but the map $b$ reads it:
# LinearError holds $b\,z_{\text{learned}}$, NonlinearError the same with the other sign. Its row has
# $\lVert b\,z_{\text{learned}}\rVert^2 / \lVert z_{\text{learned}}\rVert^2$ twice.
# :::
#
# ## Over superposition and width
#
# The reading is right where features hardly outnumber dimensions, and wrong where they do.

# %% tags=["hide-input"]
#| label: fig-landing-sweep
#| caption: Two shares of claim 11 in simulated worlds by features over dimensions (n/d), a line for each share of
#|   them that the SAE holds; means over worlds. Dotted: the claim's margins. (Not in the paper.)
chapter.record("swept", made["swept"].to_dict("list"))
swept = made["swept"].sort_values(["held", "superposition"])
swept = swept.assign(held=swept["held"].map("holds {:.0%}".format))
look = {"x_title": "features / dimensions (n / d)", "x_scale": "log2", "y_domain": (0, 1), "width": 290}


def draw(part, share, name, margin):
    rows = swept[swept["part"] == part][["superposition", "held", share]]
    named = {"y_title": name, "reference": margin, "height": 220}
    return charts.lines(rows, "superposition", share, color="held", **named, **look)


panels = (
    draw("absent", "linear", "of absent features, in LinearError", margins.lands),
    draw("introduced", "of_nonlinear", "of NonlinearError, introduced", margins.made),
)
quarter = swept[swept["held"] == "holds 25%"]
middle = lambda part, share: course(quarter[quarter["part"] == part][share], percent)
said = f"As features crowd, the share of absent ones that lands in LinearError {middle('absent', 'linear')}, "
said += f"the introduced share of NonlinearError {middle('introduced', 'of_nonlinear')} (a quarter held)"
charts.beside(*panels, shared=("color",), title=chapter.finding(said))

# %% tags=["hide-input"]
#| label: fig-sandbox
#| caption: Simulated worlds to try. Left, where each true part lands; right, FVU_nonlinear of SAEs that introduce
#|   nothing, at the nearest of 2, 8, 32, 64 features a dimension. The share held is of the left, the exponent of
#|   the right.
landed = made["swept"].query("superposition == 16 and held == 0.25 and part == 'absent'")["linear"]
chapter.record("sandbox", [16, landed.to_list()])
said = lambda landed: (
    f"With 16 features a dimension, a quarter held, {percent(landed.iloc[0])} of the absent lands in LinearError"
)
sandbox(
    made["swept"][["superposition", "held", "part", "linear", "nonlinear"]],
    made["fixed"][["superposition", "law", "width", "fvu_nonlinear"]],
    title=chapter.finding(said, landed),
)

# %% tags=["hide-input"]
FOUR = {
    "absent features that land in LinearError": ("absent", "linear"),
    "introduced error that lands in NonlinearError": ("introduced", "nonlinear"),
    "LinearError that is absent features": ("absent", "of_linear"),
    "NonlinearError that is introduced error": ("introduced", "of_nonlinear"),
}
rows = {part: swept[swept["part"] == part].reset_index() for part in ("absent", "introduced")}
table = rows["absent"][["superposition", "held"]].rename(columns={"superposition": "n / d"})
table = table.assign(**{name: rows[part][share] for name, (part, share) in FOUR.items()})
Csv("All four shares of claim 11 in these worlds", Table(table, dict.fromkeys(FOUR, percent)))

# %% [markdown]
# ## On the study's own dictionary
#
# The paper's check (App. C.3): $x' = \mathrm{Sae}(x)$ of a trained SAE is data whose features are all known.
# Ablated latents, lowest mean activation first, are absent features; noise on $x'$ plays *dense*, noise on the
# reconstruction *introduced*.

# %% tags=["hide-input"]
#| label: fig-ablation
#| caption: The share of each estimated part's variance that is what claim 11 reads it as, by the share of the widest
#|   SAE's latents ablated; 95% intervals over documents. Dashed: noise with the covariance of x'. Dotted:
#|   half. (Paper: Fig. 15.)
own = check["shares"]
read = {
    "absent share of LinearError": ("absent", "of_linear"),
    "introduced share of NonlinearError": ("introduced", "of_nonlinear"),
}
ends = {"": "value", "_low": "low", "_high": "high"}
picked = lambda part, share: own[own["part"] == part].rename(
    columns={share + e: to for e, to in ends.items()}
)
drawn = check and pd.concat([picked(*of).assign(what=what) for what, of in read.items()])


def said(drawn):
    each = {what: rows["value"] for what, rows in drawn.query("kind == 'isotropic'").groupby("what")}
    told = [f"{what} {course(values, percent)}" for what, values in each.items()]
    return f"As latents are ablated, the {', the '.join(told)}"


look = {"color": "what", "dash": "kind", "y_title": "share of the estimated part", "reference": margins.made}
look |= {"x_scale": "linear", "x_title": "share of latents ablated", "height": 240}
charts.lines(drawn, "ablated", "value", title=chapter.finding(said, drawn), **look)

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
chapter.record("over ablation", check and over_ablation(check["cells"]).to_dict("list"))
if check:
    other = table.query("true == 'dense' and estimated == 'nonlinear'")["correlation"]
    here = table.pivot(index=["true", "estimated"], columns="kind", values=["correlation", "slope"])
    here = here.set_axis([f"{what} here, {kind}" for what, kind in here.columns], axis=1).reset_index()
    across = across.merge(here.rename(columns={"estimated": "part"}), on=["true", "part"])
chapter.glue("here other", span(other) if check else "–")
across = across.drop(columns=["true", "part"])
Folded(
    "Table 1: the paper's correlations, here with slopes",
    Table(across, dict.fromkeys(list(across)[2:], plain)),
)

# %% [markdown]
# :::{dropdown} Correlations, slopes, and how this check differs from the paper's
# Table 1 has four correlations over noise levels, by its caption those of Fig. 15. Over Fig. 15's own heat maps
# each noise goes with its own part as in Table 1 ({glue:text}`maps own` for {glue:text}`printed own`), with the
# other part otherwise ({glue:text}`maps other` for {glue:text}`printed other`). Here the first of the other two,
# noise on $x'$ and the nonlinear part, is {glue:text}`here other`.
#
# A correlation does not tell how *much* lands where, and depends on the grid: a louder noise on $x'$ adds to the
# variance that FVU is over. The slope is what shows up in the estimated part of one unit of variance added. For
# the claim, noise on $x'$ has a slope of 1 in the linear part and 0 in the nonlinear, introduced noise the other
# way round. In Fig. 15, of noise on $x'$ alone {glue:text}`paper dense` lands in the nonlinear part, of noise on
# $\mathrm{Sae}(x')$ alone {glue:text}`paper introduced` in the linear part: about dimensions over rows, as of a
# map scored on the rows that it was fitted on.
#
# Here all is out of sample, levels are variances, and the SAE encodes the noisy $x'$; its reaction, and
# $\mathrm{Sae}(\mathrm{Sae}(x)) \ne \mathrm{Sae}(x)$, count as introduced. Noise is isotropic, or has the
# covariance of $x'$ (matched).
# :::
#
# ## A rival: features that bend
#
# Let a feature be an arc of a circle, $u(\theta) = \cos\theta\, f + \sin\theta\, g$ with $\theta$ uniform over
# the arc; circles have been found in language models {cite:p}`engels2024`. An SAE that holds it with one direction
# leaves $\sin\theta$, at whatever width. Nothing is introduced.

# %% tags=["hide-input"]
#| label: fig-curved
#| caption: FVU and FVU_nonlinear of SAEs that introduce nothing; features are arcs of a circle, with one latent a
#|   feature or four; closed form, no fixed L0. An arc of 0° is straight. (Not in the paper.)
curves = curved_curves()
chapter.record("curved", curves.to_dict("list"))
shown = curves.melt(["arc", "pieces", "width"], ["fvu", "fvu_nonlinear"], "metric")
shown = shown.assign(
    panel=shown["metric"].map({"fvu": "FVU", "fvu_nonlinear": "FVU_nonlinear"}),
    arc=shown["arc"].map("arc {:g}°".format),
    latents=shown["pieces"].map({1: "one latent a feature", 4: "four latents a feature"}),
)
straight, bent = (curves.query("arc == @arc and pieces == 1 and width >= 128") for arc in (0, 90))
each = [course(rows["fvu_nonlinear"], three) for rows in (bent, straight)]
said = f"Of arcs of 90° FVU_nonlinear {each[0]} over {len(bent) - 1} doublings, of straight features it {each[1]}"
look = {"color": "arc", "dash": "latents", "columns": 2, "width": 290, "height": 220}
look |= {"shared": ("x", "color"), "y_title": "share of the variance of x", "title": chapter.finding(said)}
charts.panels(shown, "panel", charts.lines, "width", "value", **look)

# %% tags=["hide-input"]
chapter.record("doublings", len(bent) - 1)
chapter.glue("bent left", percent(left_by_a_piece(np.pi / 2)))
chapter.glue("bent floor", bent["fvu"].iloc[-1], ".2f")
chapter.glue("bent range", f"{bent['width'].iloc[0]:,} to {bent['width'].iloc[-1]:,}")
ends = lambda rows: f"{rows['fvu_nonlinear'].iloc[0]:.3f} to {rows['fvu_nonlinear'].iloc[-1]:.3f}"
chapter.glue("bent level", ends(bent))
chapter.glue("straight level", ends(straight))

# %% [markdown]
# :::{dropdown} What a bent feature leaves, in a formula
# Of the feature's second moment, for an arc of $\delta$, one direction leaves
#
# ```{math}
# :label: eq-curvature
# \begin{aligned}
# \mathrm{E}\sin^2\theta &= \frac12 - \frac{\sin\delta}{2\delta} \\
#   &= \frac{\delta^2}{12} + O(\delta^4) .
# \end{aligned}
# ```
#
# With $m$ latents a feature $\delta$ falls to $\delta/m$, and the width grows to $m$ times as much. With arcs of
# 90° and one latent, each held feature leaves {glue:text}`bent left` of itself, and FVU falls towards
# {glue:text}`bent floor` when all are held, a fraction of it with four. From {glue:text}`bent range` latents
# FVU_nonlinear goes from {glue:text}`bent level`; of straight features, from {glue:text}`straight level`. A
# floor, and a nonlinear part that hardly shrinks, can also mean that features are no directions.
# :::
#
# ## What this means, and what it does not
#
# - **It does mean** that neither a half-linear error nor a level nonlinear part shows introduced error.
# - **It does mean** that the two directions are two questions. Introduced error lands in NonlinearError, unless it
#   is shrinkage; whether NonlinearError is *mostly* introduced depends on how much else lands there.
# - **It does not mean** that real SAEs introduce nothing.
# - **It does not mean** that the paper's curve is this null, which rises, is level and falls; even a matched null
#   can have another height or slope ({numref}`fig-matched`).
# - **It does not mean** that only two readings are left ({numref}`fig-curved`).
#
# :::{dropdown} Why the two directions need not agree
# A linear map reads an absent feature only as far as the others leave room: LinearError can be mostly absent
# features while most of these lie in NonlinearError. That both agree needs few more features than dimensions.
# With more, the second assumption of App. B.2 cannot hold, a subspace orthogonal to the learned features. (Its
# first: what is introduced is no linear function of $x$ at all.)
# :::
#
# ## What would change our mind

# %% tags=["hide-input"]
chapter.rules(c11_parts_land)

# %% [markdown]
# - **A world is a model.** Its features have random directions and positive coefficients. The study's own
#   dictionary has real ones, but takes latents for features.
# - **Oracles are too good.** A trained SAE learns other features, and frequent combinations of them.
# - **Half is a round number.** What an estimated part is made of depends on how much of each there is: a small
#   ablation leaves next to nothing to be absent ({glue:text}`cases`). Where a part lands depends on that much less.

# %% tags=["hide-input"]
tests = made["estimators"].copy()
chapter.record("estimators", tests.to_dict("list"))
tests["inside"] = tests["truth"].between(tests["low"], tests["high"])
tests["off"] = tests["value"] - tests["truth"]
names = {"fvu": "FVU", "fvu_linear": "FVU_linear", "fvu_nonlinear": "FVU_nonlinear"}
names |= {"r2_total": "R² total", "r2_per_dim": "R² per dimension"}
metric = tests.groupby("metric")
mean = (
    metric[["truth", "value", "off"]]
    .mean()
    .set_axis(["truth, mean", "estimate, mean", "mean difference"], axis=1)
    .assign(largest=metric["off"].agg(lambda off: off.abs().max()))
)
inside = [f"{i} of {n}" for i, n in zip(metric["inside"].sum(), metric.size())]
summary = mean.assign(**{"truth inside the interval": inside}).loc[list(names)].rename(index=names)
table = Table(summary.rename_axis("estimator").reset_index(), dict.fromkeys(mean, three), left=())
Csv("The estimators against the population values of these worlds", table)

# %% tags=["hide-input"]
wrong = readings(made)
chapter.record("readings", wrong.to_dict("list"))
off = lambda value: percent(value) if pd.notna(value) else "–"
table = Table(wrong, {"estimated": three, "true": three, "off by": off})
Folded("What each reading of App. B.2 gets wrong in the full case", table)

# %% [markdown]
# :::{dropdown} What these two tables say, and the dense part
# The estimators find what they are defined to find: the maps' own estimation error is taken out (chapter
# {doc}`02_how_to_measure_it`). FVU and FVU_linear count a constant error, too, which the closed form leaves out.
# What goes wrong is the reading. The dense part has no column: the paper counts it to LinearError for the most
# part (App. B.2), the rule judges absent and introduced only.
# :::
#
# ## Try it
#
# In the visible cell, make the world less crowded: after its first line put the two below, and 32 for 256.
# Where do the absent features go now?
#
# ```python
# from darkmatter_utils import World
# world = World(d_model=64, features=64, l0=12.0)
# ```
#
# :::{dropdown} Answer
# All of them land in LinearError, and NonlinearError is empty: 64 features fit into 64 dimensions, and a linear
# map reads each without the others. (Shares of what is empty are printed as `nan`.)
# :::

# %% tags=["hide-input"]
chapter.close()
