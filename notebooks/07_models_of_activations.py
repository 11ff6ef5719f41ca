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
# On a real model nobody knows which part of an error is a feature that the SAE has not learned, and which part the SAE made
# itself. {cite:t}`engels2025` read it off the split: LinearError is mostly *absent* features (and the linear part of what is
# dense), NonlinearError is mostly error that the SAE *introduces*. Here the activations are simulated, all parts are
# known, and the reading can be checked.

# %% tags=["parameters", "remove-input"]
study = "tiny"
contexts = 64  # contexts of the noise-and-ablation check

# %% tags=["remove-input"]
from darkmatter_utils import Study, measure
from darkmatter_utils.base.words import interval, percent
from darkmatter_utils.book.chapters import open_chapter
from darkmatter_utils.charts.tables import Words
from darkmatter_utils.claims.ledger import claim, unfit
from darkmatter_utils.claims.verdicts import judged
from darkmatter_utils.experiments import matched_null
from darkmatter_utils.experiments.ablation import table_one
from darkmatter_utils.experiments.known_parts import tokens_of, world_of
from darkmatter_utils.experiments.null_curves import flat_ranges
from darkmatter_utils.experiments.readings import ablated, cases, readings, worlds
from darkmatter_utils.measurement.scaling import per_doubling
from darkmatter_utils.measurement.widths import WIDTHS, width_suite
from darkmatter_utils.pages import world_charts as show
from darkmatter_utils.pages.common import opening, rule_of
from darkmatter_utils.worlds.landing import land
from darkmatter_utils.worlds.oracle_saes import OracleSae

# %% tags=["remove-input"]
chapter = open_chapter(7, study, contexts=contexts)
measurement = measure(chapter.study)
made, check = worlds(chapter.study), ablated(measurement, contexts=contexts)
verdict = judged(chapter, 11, {"misplaced": cases(made, check)}, unfit=unfit(chapter.study))
opening(11, verdict, chapter.study)

# %% mystnb={"figure": {"caption": "Of the variance of each true part of an SAE's error, the share that lands in LinearError; the rest lands in NonlinearError. One simulated world with known parts; bars are 95% intervals over worlds drawn anew. For the claim, absent features must lie right of the right dotted line and what the SAE introduces left of the left one. See which do. (Paper: Fig. 15 and Table 1 ask the same question.)", "name": "fig-landing"}} tags=["remove-input"]
show.landing_chart(made["goes"])

# %% [markdown]
# ## The idea: follow a part that you know
#
# A world writes $x = \text{learned} + \text{absent} + \text{dense}$, and an SAE of it writes
# $\mathrm{Sae}(x) = \text{learned} + \text{introduced}$. So its error is
#
# ```{math}
# :label: eq-parts
# \mathrm{SaeError} = z_{\text{absent}} + z_{\text{dense}} - z_{\text{introduced}} = \sum_k s_k z_k ,\qquad
# \mathrm{LinearError} = \sum_k s_k\,P z_k ,\qquad \mathrm{NonlinearError} = \sum_k s_k\,(z_k - P z_k)
# ```
#
# with $s_k = \pm 1$ and $P z$ the best linear prediction of $z$ from $x$. A least-squares prediction is linear in what it predicts, so the
# second and third sum are exact, however the parts are correlated. Of part $k$'s variance the share
# $\Sigma\lVert z_k - \hat z_k\rVert^2 / \Sigma\lVert z_k - \bar z_k\rVert^2$ *lands in* NonlinearError, and the rest in LinearError;
# $\hat z_k = P z_k$ is made by a map fitted on other documents, so a part of which $x$ says nothing can come out slightly below 0 in LinearError.
# Below, an SAE that introduces nothing: it holds the 256 most frequent features of a world, with their true coefficients.

# %%
world = world_of(Study.load("world"), seed=0)
batch = tokens_of(world, documents=12)
parts = OracleSae("oracle", world, width=256).parts(batch)
landed = land(batch.x, {"absent": parts.absent, "dense": parts.dense}, batch.document,
              error={"absent": 1, "dense": 1})
for name in landed.names:
    linear, nonlinear = landed.shares(landed.weights(**{name: 1}))
    print(f"{name}: {linear:.2f} lands in LinearError, {nonlinear:.2f} in NonlinearError")

# %% [markdown]
# The absent features are a linear code if ever there was one: fixed directions times sparse coefficients. Yet much of them lands in
# NonlinearError, because there are more features than dimensions and no linear map can read one without the others.

# %% tags=["remove-input"]
chapter.record("goes", made["goes"].to_dict("list"))
chapter.record("made", made["made"].to_dict("list"))
chapter.glue("paper", claim(11).paper)
case = Study.load("world").sae("introduced-256")
chapter.glue("features", f"{world.features:,}")
chapter.glue("d", world.d_model)
chapter.glue("width", case.width)

# %% [markdown]
# ## Where four true parts go
#
# The full case: a world with {glue:text}`features` features in {glue:text}`d` dimensions, hierarchical, grouped by topic, of unequal
# frequency; with a dense part that is a linear code, a curved code, manifolds and noise whose size follows the token; and an SAE of
# {glue:text}`width` latents. It introduces errors of its own (wrong, missed and false coefficients), or errors that are
# partly read off the absent and dense parts, as a linear encoder's are, or nothing but shrinkage. (The last was added after the first two had been
# seen; the verdict is the same without it.) The *learned* part is no part of the
# error, but the map $b$ reads it: LinearError holds $b\,z_{\text{learned}}$ and NonlinearError the same with the other sign. Its row gives
# $\lVert b\,z_{\text{learned}}\rVert^2 / \lVert z_{\text{learned}}\rVert^2$ in both columns.

# %% tags=["remove-input"]
show.landing_table(made["goes"])

# %% [markdown]
# The other way round: what the two estimated parts are made of. With the covariance of a part and an estimated part as its share,
# the rows below add up to $\mathrm{FVU_{linear}}$ and $\mathrm{FVU_{nonlinear}}$ (about the mean); a covariance of two true parts is split evenly
# between them, so a share can be negative.

# %% tags=["remove-input"]
show.made_table(made["made"])

# %% [markdown]
# ## Over superposition and width
#
# {numref}`fig-landing-sweep` varies how many features share the dimensions, and how many of them the SAE holds.

# %% mystnb={"figure": {"caption": "The share of a true part that lands in the wrong estimated part: absent features in NonlinearError (left), introduced error in LinearError (right), over superposition and over the share of the features that the SAE holds; mean over worlds drawn anew. Claim 11 allows a quarter. See where the left map is pale: there the paper's reading is right. (The paper has no such figure.)", "name": "fig-landing-sweep"}} tags=["remove-input"]
chapter.record("swept", made["swept"].to_dict("list"))
show.sweep_chart(made["swept"])

# %% [markdown]
# ## Noise and ablation on the study's own dictionary
#
# The paper's check: take $x' = \mathrm{Sae}(x)$ of a trained SAE as data whose features are all known, ablate latents (lowest mean activation
# first) so that they become absent features, add noise to $x'$ (it plays *dense*) and to the reconstruction (it plays *introduced*). Here everything
# is out of sample, levels are variances, centring is per dimension, and the SAE encodes the noisy $x'$, so that it can react to the
# noise; its reaction, and $\mathrm{Sae}(\mathrm{Sae}(x)) \ne \mathrm{Sae}(x)$, count as introduced. The noise is isotropic, or has the covariance of $x'$.

# %% mystnb={"figure": {"caption": "The error as latents are ablated, at three pairs of noise levels: all of it, its nonlinear part, and what was truly introduced, each over the variance of x'. For the claim the nonlinear part should follow what was introduced, and the gap above it should be what is absent. See how far the nonlinear part lies above what was introduced. (Paper: Fig. 15.)", "name": "fig-ablation"}} tags=["remove-input"]
show.NO_MODEL if check is None else show.ablation_lines(check["cells"])

# %% mystnb={"figure": {"caption": "The nonlinear part of the error over both noise levels, at the same ablation. For the claim it should grow upwards (noise on the reconstruction) and not to the right (noise on x). See whether the two directions differ. (Paper: Fig. 15, as lines.)", "name": "fig-ablation-grid"}} tags=["remove-input"]
show.NO_MODEL if check is None else show.ablation_grid(check["cells"])

# %% [markdown]
# The paper sums the grid up in a table of correlations. A correlation does not tell how *much* lands where; the slope does: of one unit of variance
# that was added, what shows up in the estimated part. For the claim, noise on $x$ has a slope of 1 in the linear part and 0 in the nonlinear
# part, and introduced noise the other way round.

# %% tags=["remove-input"]
table = None if check is None else table_one(check["cells"])
if check is not None:
    chapter.record("table 1", table.to_dict("list"))
    chapter.record("ablation shares", check["shares"].to_dict("list"))
show.NO_MODEL if table is None else show.table_one_table(table)

# %% [markdown]
# ## An SAE that introduces nothing
#
# The paper takes a nonlinear part that does not shrink with width as a sign of introduced error. The null: worlds of features alone, no dense part, no noise, and SAEs that hold the most
# frequent $W$ features with their true coefficients. They introduce nothing; all that they lack is features. First with an L0 that grows with
# $W$, in closed form, then at a fixed L0, where only the largest few coefficients of a token are kept.

# %% mystnb={"figure": {"caption": "FVU_nonlinear over width of SAEs that introduce nothing, at fixed L0, for several superpositions n/d; one panel an exponent of the frequency law (feature i fires in proportion to 1 / i to that power). All of it is absent features. See where the curves are level over several doublings. (Paper: Fig. 1 draws such a level line.)", "name": "fig-null"}} tags=["remove-input"]
for name in ("unfixed", "fixed"):
    chapter.record(f"null {name}", made[name].to_dict("list"))
show.null_chart(made["fixed"], "fvu_nonlinear", "FVU_nonlinear")

# %% mystnb={"figure": {"caption": "The linear share of the error of the same SAEs (R\u00b2 total). See which of the level stretches above have an error that is about half linear. (Paper: Fig. 2 has about half.)", "name": "fig-null-r2"}} tags=["remove-input"]
show.null_chart(made["fixed"], "r2", "R² of the error", y_domain=(0, 1), reference=0.5)

# %% tags=["remove-input"]
chapter.glue("flat", show.FLATNESS)
ranges = {name: flat_ranges(made[name]) for name in ("fixed", "unfixed")}
chapter.record("flat ranges", {name: table.to_dict("list") for name, table in ranges.items()})
show.range_table(ranges["fixed"])

# %% [markdown]
# *Flat by slope* is the measure of claim 4: the slope over that range changes the curve by at most {glue:text}`flat` with each doubling. *Flat at every doubling*
# asks the same of each step. With an L0 that grows:

# %% tags=["remove-input"]
show.range_table(ranges["unfixed"])

# %% [markdown]
# ## A null matched to this study
#
# Which of those worlds is like the study? The rule of the match looks at FVU and L0 only: among a grid of worlds with the study's number of dimensions,
# take the one whose SAEs, at the suite's widths and L0, come nearest to the suite's FVU. {numref}`fig-matched` then compares what the match did not look at.

# %% mystnb={"figure": {"caption": "FVU and FVU_nonlinear over width: the study's suite, and SAEs of the matched world that introduce nothing; 95% intervals. See whether the nonlinear part of the null has the same height, and the same slope. (Paper: Fig. 1.)", "name": "fig-matched"}} tags=["remove-input"]
suite = width_suite(measurement, "fvu_nonlinear")
fits = measurement.study.model is not None and len(suite.widths) >= WIDTHS
curve = matched_null.null_curve(measurement) if fits else None
show.matched_chart(measurement, curve, matched_null.null_suite) if fits else Words(
    "*No match is made here: the study's suite consists of such SAEs, or is no suite.*")

# %% tags=["remove-input"]
changes = {"this study": per_doubling(suite), "introduces nothing": matched_null.null_change(measurement)} if len(suite.widths) >= WIDTHS else {}
chapter.record("change per doubling", changes)
words = [f"{who}: {interval(e, lambda v: percent(v, 1))}" for who, e in changes.items()]
if fits:
    chapter.record("match", matched_null.match(measurement).iloc[0].to_dict())
Words("Change of FVU_nonlinear per doubling of the width: " + "; ".join(words) + "." if words else "")

# %% [markdown]
# A match is not unique. The nearest few worlds, one draw of each:

# %% tags=["remove-input"]
others = matched_null.sensitivity(measurement) if fits else None
if fits:
    chapter.record("other matches", others.to_dict("list"))
show.matches_table(others) if fits else Words("")

# %% [markdown]
# ## What this means, and what it does not
#
# - **It does mean** that neither a half-linear error nor a level nonlinear part shows that an SAE introduces error: SAEs that introduce
#   nothing have both, over some range of widths, when features share dimensions.
# - **It does mean** that "LinearError is absent features" needs an assumption: that there are few more features than dimensions. A linear
#   map reads an absent feature only as far as the others leave room.
# - **It does not mean** that real SAEs introduce nothing. An SAE's own errors, where they are not shrinkage, do land in NonlinearError; but so does much else.
# - **It does not mean** that the paper's curve is this null. The null's curve rises, is level, and falls; a wide enough range of widths can
#   tell it from a level line, and a null that is matched in FVU and L0 can still have another height or slope: {numref}`fig-matched`.

# %% [markdown]
# ## What could fool us
#
# Estimators first: those of this book against the population values, which these worlds have in closed form, for SAEs that introduce nothing.

# %% tags=["remove-input"]
chapter.record("estimators", made["estimators"].to_dict("list"))
show.estimator_table(made["estimators"])

# %% [markdown]
# The estimators find what they are defined to find. (FVU counts a constant error, too, which the closed form leaves out: hence its small
# excess.) What goes wrong is the reading of them:

# %% tags=["remove-input"]
wrong = readings(made)
chapter.record("readings", wrong.to_dict("list"))
show.readings_table(wrong)

# %% tags=["remove-input"]
rule_of(11)

# %% [markdown]
# - **A world is a model.** Features here have random directions and positive coefficients. Real features need not. The check on the study's own dictionary
#   has real directions and real coefficients, but takes the SAE's latents for features.
# - **Oracles are too good.** A trained SAE of the same width learns other features, and spends latents on frequent combinations of them.
# - **The dense part has no column of its own.** The paper reads its linear part from LinearError and the rest from NonlinearError. The rule judges absent
#   and introduced only; the table shows the dense part, piece by piece.
# - **Out of sample costs a little.** A map with $d^2$ numbers, fitted on few tokens, loses about $d$ / tokens of a part's variance: the shares slightly below 0.
#
# ## Exercise
#
# In the visible cell, make the world less crowded: `World(d_model=64, features=64, l0=12.0)` from `darkmatter_utils.worlds.world`, and an oracle of 32 features. Where do
# the absent features go now? Then let `land` take a part that is a function of $x$ but not a linear one, such as `batch.x ** 2`.

# %% tags=["remove-input"]
chapter.close()
