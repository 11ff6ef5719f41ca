# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Can error norms be predicted?
#
# How large is the error at a token? {cite:t}`engels2025` predict the squared norm of the error,
# $\lVert \mathrm{SaeError}(x) \rVert^2$, a single number a token, by a linear function of the activation
# $x$ (their Eq. 10): they call it the *norm prediction test* (§5.1), this book the
# *norm test*. Its R² says how much of the variation of the norm over
# tokens the best prediction explains.

# %% tags=["parameters", "remove-input"]
study = "tiny"
sae = None  # the SAE of the live cell; None: the one of the width suite nearest to a width of 8 d_model
power = 2  # which power of the norm is predicted

# %% tags=["hide-input"]
import pandas as pd
import torch

from darkmatter_utils import LinearMap, Moments, charts, measure, open_chapter
from darkmatter_utils.base.words import interval, percent, plain, span
from darkmatter_utils.charts import Folded, Table, Words, estimates
from darkmatter_utils.claims import c02_norm_linear, c13_beyond_simple
from darkmatter_utils.claims.paper import grids, points
from darkmatter_utils.experiments.error_norms import ADDS, beyond_simple, error_norms, norm_linear, places
from darkmatter_utils.experiments.live import live
from darkmatter_utils.experiments.nested import ALL, ALONE, SIMPLE, TEN, X
from darkmatter_utils.measurement.widths import reference_sae
from darkmatter_utils.stats.metrics import r2_total

chapter = open_chapter(3, study, sae=sae, power=power)
measurement = measure(chapter.study)
shown = sae or reference_sae(measurement)
three = lambda value: plain(value, 3)

# %% [markdown]
# ## The idea: regress a norm on the activation
#
# `target` says what is predicted: one number a token, here a power of the norm of the error. `x` holds
# activations of a few contexts, `reconstruction` the SAE's version of them. `LinearMap` is fitted on half of
# the documents and scored on the other half by R², the share of the target's variance that it explains.
# Everything on this page predicts this same target, on all documents.


# %%
@chapter.idea
def target(x, reconstruction, power=power):
    # try: error = x, the size of the activation itself: R² rises
    error = x - reconstruction
    # try: ** 4, so that a few large errors decide: R² falls
    return error.norm(dim=1, keepdim=True) ** power


def fitted(x, reconstruction, document):
    x, reconstruction = torch.from_numpy(x), torch.from_numpy(reconstruction)
    value, train = target(x, reconstruction), document % 2 == 0
    a = LinearMap.fit(Moments(x.shape[1], 1).update(x[train], value[train]))
    # try: [train] for [~train], the rows fitted: R² rises
    return round(r2_total(value[~train], a(x[~train])), 3)


live(measurement, fitted, sae=shown)

# %% tags=["hide-input"]
found = error_norms(measurement, target=target)
chapter.judge(c02_norm_linear, norm_linear(found))
beyond = beyond_simple(found, measurement)
chapter.judge(c13_beyond_simple, beyond)
chapter.opening(c02_norm_linear, c13_beyond_simple)

# %% tags=["hide-input"]
#| label: fig-norms
#| caption: $R^2$ of the squared error norm at each width of the suite: from the activation x; from all simple
#|   predictors together (the norm of x, position, the loss of the next token, L0, the token); and from both.
#|   Bars are 95% intervals that carry documents and training seeds. The dotted line is the wording of the
#|   paper's abstract; the band is that of its §4.1. Hollow points are the paper's SAEs, from x, at the L0
#|   nearest to 60; filled ones, where there are any, other studies'. (Paper: Figs. 2, 10 and 11, the contour
#|   maps of the norm test; Fig. 13.)
R2 = "R² of the squared error norm"
# try: add "token" + ALONE: "the token": below all
said = {SIMPLE: "all simple predictors", ALL: "both together"}
rows = [found["widths"].query("model == @model").assign(model=name) for model, name in said.items()]
rows = pd.concat([found["suite"].assign(model="from x"), *rows])
domain = (min(0.0, rows["low"].min()), 1)
paper = {"reference": c02_norm_linear.THRESHOLDS.abstract, "reference_label": "abstract"}
low, high = points("text", panel="4.1", series="norm R2")["value"]
paper |= {"allowed": (low, high), "allowed_label": "the paper, §4.1"}
ours = charts.lines(rows, "width", "value", color="model", y_title=R2, y_domain=domain, **paper)
theirs = chapter.beside(grids("norm R2", l0=60), "norm R2")
charts.layered(ours, charts.paper_points(theirs, "width", y_title=R2, connect=True))

# %% tags=["hide-input"]
chapter.record("SAEs", found["saes"][["id", "value", "low", "high", "held_out"]].to_dict("list"))
row = found["saes"].set_index("id").loc[shown]
chapter.glue("sae", shown)
chapter.glue("r2", interval(*estimates(row.to_frame().T), lambda value: f"{value:.3f}"))
theirs, depth = grids("norm R2")["value"], points("3")["value"]
chapter.glue("paper", span(theirs, three))
chapter.glue("paper mean", theirs.mean(), ".2f")
chapter.glue("paper above", percent((theirs >= 0.9).mean()))
chapter.glue("paper above over depth", percent((depth >= 0.9).mean()))
chapter.record("norm R2", found["suite"].to_dict("list"))

# %% [markdown]
# Over the whole study, for the best linear map there is, the same number for {glue:text}`sae` is
# {glue:text}`r2`. The paper has two wordings, for much larger models: "> 90%" of the error's norm (abstract),
# and "between 70% and 95%" over widths, L0s, layers and models (§4.1). Its SAEs of Figs. 2, 10 and 11 have an
# R² of {glue:text}`paper`, {glue:text}`paper mean` on average; {glue:text}`paper above` of them reach 90%. At
# each width of the suite:

# %% tags=["hide-input"]
suite = found["suite"]
columns = {"width": suite["width"], "seeds": suite["seeds"], "R² of ‖SaeError‖² from x": estimates(suite)}
Table(pd.DataFrame(columns))

# %% [markdown]
# ## Over L0
#
# L0 is the number of latents that are active on a token, on average. The paper says that the R² rises with L0
# (§4.2), and that sparser and wider SAEs are less predictable (§4.1); {numref}`fig-norm-l0` varies L0 at fixed
# widths.

# %% tags=["hide-input"]
#| label: fig-norm-l0
#| caption: $R^2$ of the squared error norm from x, against L0, one line a width. Bars are 95% intervals over
#|   documents (one trained SAE a point). Hollow points are the paper's SAEs, of all widths. (Paper: Figs. 2,
#|   10 and 11, the contour maps of the norm test.)
names = {"x_title": "L0 (active latents a token)", "y_title": R2, "x_scale": "log10"}
ours = charts.lines(found["grid"], "l0", "value", color="latents", **names)
charts.layered(ours, charts.paper_points(grids("norm R2"), "l0", **names))

# %% [markdown]
# ## Over depth
#
# The width suite reads one layer. {numref}`fig-depth` repeats the test on SAEs of the residual stream after
# every layer, at two widths. In the paper the R² is low in the first few layers, "0.8 to 0.95" in the middle,
# and drops in the last few (§4.1); {glue:text}`paper above over depth` of the points of its Fig. 3 reach 90%.

# %% tags=["hide-input"]
#| label: fig-depth
#| caption: $R^2$ of the squared error norm at every layer, from x and from all simple predictors together, at
#|   two widths. Bars are 95% intervals over documents; each point is one trained SAE. Nothing is cut off or
#|   left out: a layer where the test fails is drawn where it falls, below zero if need be. Hollow points are
#|   the paper's, from x. (Paper: Fig. 3, whose axis starts at 0.4: two points of Llama's last layer lie below
#|   it, one of them set to 0 because R² was negative or 0.)
said = {X: "from x", SIMPLE: "simple predictors"}
order = {"by": ["width", "layer", "model"], "ascending": [True, True, False]}
depth = found["layers"].query("model in @said").sort_values(**order)
what = [f"{said[row.model]}, {row.width:,} latents" for row in depth.itertuples()]
depth = depth.assign(what=what, at=depth["layer"] / measurement.card.get("layers"))
domain = (min(0.0, depth["low"].min()), 1) if len(depth) else None
names = {"x_scale": "linear", "x_title": "after layer (share of the model's layers)", "y_title": R2}
ours = charts.lines(depth, "at", "value", color="what", y_domain=domain, **names)
theirs = points("3").assign(latents=lambda at: at["width"].map("{:,.0f} latents".format))
charts.layered(ours, charts.paper_points(theirs, "x", by="latents", connect=True, **names))

# %% tags=["hide-input"]
columns = ["layer", "width", "what", "value", "low", "high"]
chapter.record("depth", depth[columns].to_dict("list"))
left_out = "between seeds of one width, at the layer of the width suite, this R² has a standard deviation of"
say = lambda seeds: (
    f"These intervals leave out the chance of training: {left_out} {plain(seeds['sd'][0], 3)}."
)
Words.of(found["seeds"], say=say) if len(depth) else None

# %% [markdown]
# ## What does x add?
#
# Much may be known about an error's size without the activation: loud activations ($\lVert x \rVert$ large)
# may have large errors, and some tokens may be hard wherever they stand. {numref}`fig-alone` has each
# predictor by itself. $\lVert x \rVert$ stands for itself and its square; position and token enter as the
# mean error that they have in *other* documents, shrunk towards the general mean where they are rare.

# %% tags=["hide-input"]
#| label: fig-alone
#| caption: $R^2$ of the squared error norm from one predictor alone, at each width of the suite (above); 95%
#|   intervals carry documents and training seeds. Below, the paper's, by layer, for SAEs of 131k latents.
#|   (Paper: Fig. 13, where a token's mean is scored on the rows that made it.)
alone = found["widths"][found["widths"]["model"].str.endswith(ALONE)]
alone = alone.assign(model=alone["model"].str.removesuffix(ALONE).replace("x", "all of x"))
domain = (min(0.0, alone["low"].min()), max(0.1, alone["high"].max()))
ours = charts.lines(alone, "width", "value", color="model", y_title=R2, y_domain=domain)
theirs = charts.paper_points(points("13"), "layer", by="series", y_title=R2, connect=True, height=260)
charts.beside(ours, theirs, columns=1)

# %% [markdown]
# The models of {numref}`fig-steps` are *nested*: each has all that the one before it has, and one thing more.
# In order: a constant; $\lVert x \rVert$; the position; the loss of the next token (a simulated world has
# none); the L0 at the token; the token; the ten principal components of $x$ with the largest variance; and
# all of $x$.

# %% tags=["hide-input"]
#| label: fig-steps
#| caption: Nested models at each width of the suite: $R^2$ of the squared error norm as predictors are added
#|   from left to right, each with its best weights. Bars are 95% intervals that carry documents and training
#|   seeds. (Paper: Fig. 13 has each predictor alone, none jointly.)
steps = list(found["steps"]["step"])
short = {step: "+ " * (n > 0) + step for n, step in enumerate(steps)}
short |= {steps[0]: "constant", TEN: "+ 10 components"}
nested = found["widths"].query("model in @steps")
latents = [f"{width:,} latents" for width in nested["width"]]
drawn = nested.assign(at=nested["model"].map(short), latents=latents)
domain = (min(0.0, nested["low"].min()), 1)
names = {"x_scale": "names", "x_title": "after adding", "y_title": R2, "y_domain": domain}
charts.lines(drawn, "at", "value", color="latents", **names)

# %% [markdown]
# The last column of the table is the gain of $x$: the R² of the model with everything minus that of the model
# with everything but $x$, on the same resampled documents. The best single predictor of a place is the one of
# the largest R² there. The largest of several R² that are near one another is too large by their noise: claim
# 13 holds $x$ against the one that is best on the documents of *other* folds, chosen anew in every resample.

# %% tags=["hide-input"]
chapter.record("nested", nested.rename(columns={"model": "step"}).to_dict("list"))
wanted = {"from x": X, "from all simple predictors": SIMPLE}
wanted |= {"with 10 components of x": TEN, ADDS: ADDS}
numbers = {name: list(places(found, model).values()) for name, model in wanted.items()}
best = {"best single predictor": beyond.best.values()}
best["from it"] = [places(found, step + ALONE)[place] for place, step in beyond.best.items()]
table = pd.DataFrame({"": list(beyond.best)} | best | numbers)
Folded("Every width and layer that was tried", Table(table, {ADDS: lambda value: plain(value, 3)}))

# %% [markdown]
# ## What could fool us

# %% tags=["hide-input"]
chapter.rules(c02_norm_linear, c13_beyond_simple)

# %% tags=["hide-input"]
theirs = points("13").pivot(index="layer", columns="series", values="value")
simple = theirs.drop(columns="activation")
chapter.glue("paper l0", simple["SAE L0"].max(), ".2f")
chapter.glue("paper l0 best", int((simple.idxmax(axis=1) == "SAE L0").sum()))
chapter.glue("paper layers", len(simple))
chapter.glue("own norm", measurement.saes["norm_x"].iloc[0], ".2f")
chapter.glue("paper own norm", points("6", series="x", quantity="median")["value"].item(), ".2f")
chapter.glue("paper gap", span((theirs["activation"] - simple.max(axis=1)).loc[5:]))

# %% [markdown]
# - **The norm of x.** If $\lVert x \rVert$ alone reaches nearly the same R², the norm test says that errors
#   scale with activations, not that the SAE fails in a foreseeable way.
# - **The token.** In the paper's baseline, the mean of a token is scored on the rows that made it, so a rare
#   token predicts itself. Here it comes from other folds of documents.
# - **Three comparisons.** The guard of claim 2 holds $x$ against all simple predictors *together*; claim 13,
#   as the paper does, against the best *single* one, and its guard asks what $x$ adds *on top of* all of
#   them. None implies another: what each knows may overlap, or not.
# - **The L0 is the SAE's answer**, not a fact about the text: it counts the latents that the SAE itself found
#   active. In the paper it is the strongest single predictor at {glue:text}`paper l0 best` of
#   {glue:text}`paper layers` layers, with an R² of up to {glue:text}`paper l0` (Fig. 13); so it is one of
#   those that claim 13 holds against $x$. {numref}`fig-alone` shows it, there and here.
# - **It depends on the layer.** At the first two layers the token alone does better than $x$ in the paper (Fig.
#   13), which says so and cites {cite:t}`lad2024` (App. A.3); from layer 5 on $x$ is ahead of the best single
#   predictor by {glue:text}`paper gap`. So the first layers are shown here, and not judged.
# - **How linear is $\lVert x \rVert^2$ itself?** From $x$, its R² is {glue:text}`own norm` here and
#   {glue:text}`paper own norm` in the paper (Fig. 6, median). Where a model's own norms are less linear than
#   that, those of an error need not be more so: a low R² may be of the model, not of the SAE.
# - **Squared norms have heavy tails.** A few very large errors can decide an R². The intervals resample
#   documents, so a single decisive document widens them.
# - **x contains the token.** A linear function of $x$ can read the token off the activation. Where $x$ does
#   no better than the token's mean, that may be all it does.
#
# ## Exercise
#
# Run this chapter with `power` 1: everything then predicts the norm instead of its square. Does R² rise or
# fall, and why? With `sae`, try the narrowest and the widest SAE in the visible cell.

# %% tags=["hide-input"]
chapter.close()
