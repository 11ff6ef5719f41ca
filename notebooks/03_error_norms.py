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
# How large is the error at a token? {cite:t}`engels2025` predict the squared norm of the error, $\lVert \mathrm{SaeError}(x)
# \rVert^2$, a single number a token, by a linear function of the activation $x$: they call it the *norm test*. Its R² says
# how much of the variation of the norm over tokens the prediction explains, on documents that were not fitted.

# %% tags=["parameters", "remove-input"]
study = "tiny"
sae = None  # the SAE of the live cell; None: the one of the width suite nearest to a width of 8 d_model
power = 2  # which power of the norm the live cell predicts

# %% tags=["remove-input"]
import numpy as np

from darkmatter_utils import LinearMap, Moments, measure
from darkmatter_utils.book.chapters import open_chapter
from darkmatter_utils.claims import c02_norm_linear, c13_beyond_simple
from darkmatter_utils.measurement.widths import reference_sae, width_suite
from darkmatter_utils.pages import depth
from darkmatter_utils.pages.common import suite_table
from darkmatter_utils.pages.figures import by_l0
from darkmatter_utils.stats.metrics import r2_total
from darkmatter_utils.studies.saes import sample

chapter = open_chapter(3, study, sae=sae, power=power)
measurement = measure(chapter.study)
models = depth.norm_models(measurement)
chapter.judge(c02_norm_linear, depth.norm_evidence(measurement, models))
chapter.judge(c13_beyond_simple, depth.beyond_evidence(measurement, models))
chapter.opening(c02_norm_linear, c13_beyond_simple)

# %% mystnb={"figure": {"caption": "$R^2$ of the squared error norm at each width of the suite: predicted from the activation x; from all simple predictors together (the norm of x, the position, the loss of the next token, the L0 at the token, and the token); and from both. Bars are 95% intervals that carry documents and training seeds. The dotted line is the paper's claim. See how near the line from x comes to it, whether x does better than the simple predictors, and how much more both know than either. (Paper: Figs. 2 and 13 of its first version.)", "name": "fig-norms"}} tags=["remove-input"]
depth.width_lines(measurement, models, c02_norm_linear.THRESHOLDS.norm)

# %% [markdown]
# ## The idea: regress a norm on the activation
#
# `x` holds activations of a few contexts, `reconstruction` the SAE's version of them. The target is one number a token, the norm to the power 2.
# `LinearMap` is fitted on half of the documents and scored on the other half by R², the share of the target's variance that
# it explains.

# %% tags=["remove-input"]
shown = sae or reference_sae(measurement)
x, reconstruction, document, _ = sample(chapter.study, shown)
d = x.shape[1]

# %%
norm = np.linalg.norm(x - reconstruction, axis=1, keepdims=True) ** power
train = document % 2 == 0
a = LinearMap.fit(Moments(d, 1).update(x[train], norm[train]))
round(r2_total(norm[~train], a(x[~train])), 3)

# %% tags=["remove-input"]
row = measurement.saes.set_index("id").loc[shown]
chapter.glue("sae", shown)
chapter.glue("r2", f"{row['norm_error']:.3f} [{row['norm_error_low']:.3f}, {row['norm_error_high']:.3f}]")
chapter.glue("paper", c02_norm_linear.CLAIM.paper)
suite = width_suite(measurement, "norm_error")
chapter.record("norm R2", suite.frame().to_dict("list"))

# %% [markdown]
# Over the whole study, with every document held out once, the same number for {glue:text}`sae` is {glue:text}`r2`. The
# paper says {glue:text}`paper`, for much larger models. At each width of the suite:

# %% tags=["remove-input"]
suite_table(suite, names={"norm_error": "R² of ‖SaeError‖² from x"})

# %% [markdown]
# ## Over L0
#
# L0 is the number of latents that are active on a token, on average. {numref}`fig-norm-l0` varies it at fixed widths.

# %% mystnb={"figure": {"caption": "$R^2$ of the squared error norm from x, against L0, one line a width. Bars are 95% intervals over documents (one trained SAE a point). See whether denser SAEs leave errors that are easier or harder to foresee. (Paper: Fig. 2, the contour map of the norm test.)", "name": "fig-norm-l0"}} tags=["remove-input"]
by_l0(measurement, "norm_error", "R² of the squared error norm")

# %% [markdown]
# ## Over depth
#
# The width suite reads one layer. {numref}`fig-depth` repeats the test on SAEs of the residual stream after every layer, at
# two widths.

# %% mystnb={"figure": {"caption": "$R^2$ of the squared error norm at every layer, from x and from all simple predictors together, at two widths. Bars are 95% intervals over documents; each point is one trained SAE (at the layer of the width suite, its first seed). Nothing is cut off or left out: a layer where the test fails is drawn where it falls, below zero if need be. See whether the layers agree, and at which of them x does better than the simple predictors. (Paper: its figure of the norm test over depth, where failures are cut off at 0 and the axis starts at 0.4.)", "name": "fig-depth"}} tags=["remove-input"]
depth.depth_lines(measurement, models)

# %% tags=["remove-input"]
chapter.record("depth", depth.depth_frame(measurement, models).to_dict("list"))
depth.seed_words(measurement)

# %% [markdown]
# ## What does x add?
#
# Much may be known about an error's size without the activation: loud activations ($\lVert x \rVert$ large) may have large
# errors, and some tokens may be hard wherever they stand. The models of {numref}`fig-steps` are *nested*: each has all
# that the one before it has, and one thing more. In order: a constant; $\lVert x \rVert$ with its square; the position; the
# loss of the next token (a simulated world has none); the L0 at the token; the token; the ten principal components of $x$ with the largest variance; and
# all of $x$. Position and token enter as the mean error that they have in *other* documents, shrunk towards the general mean
# where they are rare.

# %% mystnb={"figure": {"caption": "Nested models at each width of the suite: $R^2$ of the squared error norm as predictors are added from left to right, on held-out documents. Bars are 95% intervals that carry documents and training seeds. See which step rises most, and how much the last one, x, still adds to everything before it. (Paper: Fig. 13 of its first version, which has each predictor alone.)", "name": "fig-steps"}} tags=["remove-input"]
depth.step_chart(measurement, models)

# %% [markdown]
# {numref}`fig-alone` shows each predictor by itself. The table has the numbers at every place that was tried. Its last column is the
# gain of $x$: the R² of the model with everything minus that of the model with everything but $x$, on the same resampled
# documents.

# %% mystnb={"figure": {"caption": "$R^2$ of the squared error norm from one predictor alone, at each width of the suite; intervals carry documents and training seeds. See which simple predictor comes nearest to x. (Paper: Fig. 13 of its first version.)", "name": "fig-alone"}} tags=["remove-input"]
depth.alone_lines(measurement, models)

# %% tags=["remove-input"]
chapter.record("nested", depth.step_frame(measurement, models).to_dict("list"))
depth.place_table(measurement, models)

# %% [markdown]
# ## What could fool us

# %% tags=["remove-input"]
chapter.rules(c02_norm_linear, c13_beyond_simple)

# %% [markdown]
# - **The norm of x.** If $\lVert x \rVert$ alone reaches nearly the same R², the norm test says that errors scale with
#   activations, not that the SAE fails in a foreseeable way.
# - **The token.** In the paper's baseline, the mean of a token is scored on the rows that made it, so a rare token predicts
#   itself. Here it comes from other folds of documents.
# - **Two comparisons.** Claim 2 asks whether $x$ *instead of* the simple predictors knows more, claim 13 also what $x$ *on
#   top of* them adds. Neither implies the other: what each knows may overlap, or not.
# - **The L0 is the SAE's answer**, not a fact about the text. It counts the latents that the SAE itself found active; so
#   claim 13 compares $x$ with $\lVert x \rVert$, position and token only.
# - **Squared norms have heavy tails.** A few very large errors can decide an R². The intervals resample documents, so a
#   single decisive document widens them.
# - **x contains the token.** A linear function of $x$ can read the token off the activation. Where $x$ does no better than the
#   token's mean, that may be all it does.
#
# ## Exercise
#
# Run this chapter with `power` 1: the visible cell then predicts the norm instead of its square. Does R² rise or fall, and
# why? With `sae`, try the narrowest and the widest SAE.

# %% tags=["remove-input"]
chapter.close()
