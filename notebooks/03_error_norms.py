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
from darkmatter_utils.chapters import open_chapter
from darkmatter_utils.claims import claim
from darkmatter_utils.evidence import predictors_by_width, reference_sae, verdict_of
from darkmatter_utils.figures import by_l0, grid_heat, norm_lines
from darkmatter_utils.metrics import r2_total
from darkmatter_utils.pages import opening, rule_of, suite_table
from darkmatter_utils.samples import sample
from darkmatter_utils.tables import Table
from darkmatter_utils.widths import width_suite
from darkmatter_utils.words import plain

chapter = open_chapter(3, study, sae=sae, power=power)
measurement = measure(chapter.study)
predictors = predictors_by_width(measurement)
verdict = verdict_of(2, measurement, predictors=predictors)
chapter.record("verdict", {"word": verdict.word, "why": verdict.why, "numbers": verdict.numbers})
opening(2, verdict, chapter.study)

# %% mystnb={"figure": {"caption": "$R^2$ of the squared error norm at each width of the suite: predicted from the activation x, and from all simple predictors together (the norm of x, the position, the token, the loss of the next token, and the L0 at the token). Bars are 95% intervals; those of x carry documents and training seeds. The dotted line is the paper's claim. See how near the line from x comes to it, and whether x does better than the simple predictors. (Paper: Figs. 2 and 13 of its first version.)", "name": "fig-norms"}} tags=["remove-input"]
norm_lines(measurement, predictors)

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
chapter.glue("paper", claim(2).paper)
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

# %% mystnb={"figure": {"caption": "The same $R^2$ on the grid of widths and L0s, each cell one SAE (the mean, where several seeds were trained). See which way it rises. (Paper: Fig. 2, as contours.)", "name": "fig-norm-grid"}} tags=["remove-input"]
grid_heat(measurement, "norm_error", "R² of the squared error norm")

# %% [markdown]
# ## Against simple predictors
#
# Much may be known about an error's size without the activation: loud activations ($\lVert x \rVert$ large) may have large
# errors, and some tokens may be hard wherever they stand. Each predictor of {numref}`fig-simple` gets its own out-of-fold fit: $\lVert x
# \rVert$ with its square; the mean error of the position, and of the token, in other documents, shrunk towards the general
# mean where they are rare; the loss of the next token; the number of active latents.

# %% mystnb={"figure": {"caption": "$R^2$ of the squared error norm from each simple predictor alone, from all of them, and from x, at each width of the suite (simple predictors: the first seed of each width). See which simple predictor comes nearest to x. (Paper: Fig. 13 of its first version, over layers.)", "name": "fig-simple"}} tags=["remove-input"]
norm_lines(measurement, predictors, each=True)

# %% tags=["remove-input"]
chapter.record("predictors", predictors.to_dict("list"))
wide = predictors.pivot_table(index="width", columns="predictor", values="r2", sort=False).reset_index()
Table(wide, {name: lambda value: plain(value, 3) for name in wide.columns if name != "width"})

# %% [markdown]
# ## What could fool us

# %% tags=["remove-input"]
rule_of(2)

# %% [markdown]
# - **The norm of x.** If $\lVert x \rVert$ alone reaches nearly the same R², the norm test says that errors scale with
#   activations, not that the SAE fails in a foreseeable way.
# - **The token.** In the paper's baseline, the mean of a token is scored on the rows that made it, so a rare token predicts
#   itself. Here it comes from other folds of documents.
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
