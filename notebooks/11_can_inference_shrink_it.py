# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Can inference shrink it?
#
# An SAE's encoder chooses, in one pass, which latents are on at a token and how strongly. Perhaps the nonlinear error is only the
# price of that haste. Section 6.1 of {cite:t}`engels2025` keeps the decoder, throws the encoder away, and searches for better
# codes token by token with *gradient pursuit* {cite:p}`blumensath2008`. Here several such searches stand beside the encoder, on the
# same tokens and with no more latents than it has, and the decomposition of {eq}`eq-split` is redone for each.

# %% tags=["parameters", "remove-input"]
study = "tiny"
contexts = 80  # how many contexts, spread evenly over the text, are searched
sae = None  # the SAE of the live cell and of the long table; None: the one nearest to a width of 8 d_model

# %% tags=["remove-input"]
from darkmatter_utils import measure
from darkmatter_utils.book.chapters import open_chapter
from darkmatter_utils.claims import c09_inference
from darkmatter_utils.experiments.inference_gaps import evidence, gaps
from darkmatter_utils.experiments.inference_scores import inference_scores
from darkmatter_utils.measurement.widths import reference_sae
from darkmatter_utils.pages.inference_pages import (  # fmt: skip
    change_lines,
    gap_chart,
    gap_table,
    inference_table,
    live,
    null_sentence,
    sentences,
    width_lines,
)
from darkmatter_utils.stats.pursuit import gradient_pursuit, omp, refit

# %% tags=["remove-input"]
chapter = open_chapter(11, study, contexts=contexts, sae=sae)
measurement = measure(chapter.study)
tables = inference_scores(measurement, contexts=contexts)
null = tables if chapter.study.world else inference_scores(measure("world"), contexts=max(20, contexts // 4))
numbers = evidence(tables)
chapter.judge(c09_inference, numbers)
chapter.opening(c09_inference)

# %% mystnb={"figure": {"caption": "The error's share of the variance of x (left) and its nonlinear part (right) over the width of the SAE, for its own encoder and for other inferences on the same dictionary, on the same tokens, at no more active latents than the encoder has; bars are 95% intervals over documents and training seeds. See how far the lines below the encoder's are from it, and whether they are as far on the right as on the left. (Paper: Fig. 10a of v1; section 6.1 of v2.)", "name": "fig-inference"}} tags=["remove-input"]
width_lines(tables)

# %% [markdown]
# ## The idea: other codes for the same dictionary
#
# A reconstruction is the decoder's bias plus a sum of rows $d_j$ of the dictionary, $\mathrm{Sae}(x) = b_\mathrm{dec} + \sum_j w_j\,d_j$. The
# encoder gives the coefficients $w_j \ge 0$; the latents with $w_j > 0$ are its *support*. `refit` keeps the support and finds the
# coefficients with the least error. `gradient_pursuit` starts from nothing: each step adds the latent with the largest inner
# product with what is left, and moves all coefficients along the gradient. `omp` (orthogonal matching pursuit) refits all of them after each
# step, of either sign. Each gets the encoder's number of latents on that token, its L0.

# %% tags=["remove-input"]
shown = sae or reference_sae(measurement)
few = live(measurement, shown)
x, dictionary, own = few.signal, few.atoms, few.own

# %%
codes = {"own encoder": own}
codes["refit on its support"] = refit(x, dictionary, own.support)
codes["gradient pursuit"] = gradient_pursuit(x, dictionary, own.l0)
codes["OMP, any sign"] = omp(x, dictionary, own.l0)
for name, found in codes.items():
    print(f"{name:22} FVU {few.fvu(found):.3f}   L0 {found.l0.double().mean():.2f}")

# %% tags=["remove-input"]
said = sentences(tables)
for key, sentence in said.items():
    chapter.glue(key, str(sentence))
chapter.glue("null", null_sentence(null))
chapter.glue("sae", shown)
chapter.glue("paper", c09_inference.CLAIM.paper)
chapter.record("scores", tables["scores"].to_dict("list"))
chapter.record("gaps", gaps(tables).to_dict("list"))

# %% [markdown]
# ## The numbers
#
# All that follows is from {glue:text}`tokens`; the linear maps are fitted and scored on these, by documents. On so few tokens the maps' own
# estimation error would pass for nonlinear error. A held-out residual is too large by it and an in-sample one too small; every number here is from the mean of
# the two that has neither fault, as the centre of every interval in this book is. Two further inferences are in the tables. *Warm start* begins with the encoder's support, joins as many new latents to it, refits, and keeps the
# largest. *Pursuit, then refit* takes the support that gradient pursuit found and refits its coefficients. For {glue:text}`sae`:

# %% tags=["remove-input"]
inference_table(tables, shown)

# %% [markdown]
# How are the L0s made equal? The authors' rule may pick a latent again, and it drops those that turn negative, so that as many *steps*
# as the encoder has latents may end with fewer; *to equal L0* steps on until the numbers are the same. A refit may set a coefficient to zero.
# {glue:text}`l0`
#
# The paper reports for the pursuit: {glue:text}`paper`. At each width of the suite, with the best of the non-negative inferences:

# %% tags=["remove-input"]
gap_table(tables)

# %% [markdown]
# ## Encoder or dictionary?
#
# The *encoder gap* is what the best inference saves. What is left is the *dictionary gap*: no inference that was tried can remove it with so
# few of these latents. {glue:text}`gap` {numref}`fig-gaps` shows both.

# %% mystnb={"figure": {"caption": "The error's share of the variance of x over the width of the SAE. At the foot, what the best non-negative inference saves, the encoder gap; above it, what the dictionary leaves under that inference, split into what is not linear in x and what is. See which of the three grows and which shrinks with the width. (Paper: Fig. 10a of v1, its breakdown with an encoder error.)", "name": "fig-gaps"}} tags=["remove-input"]
gap_chart(tables)

# %% mystnb={"figure": {"caption": "The change of FVU_nonlinear from the encoder's, in percent, for each inference over the width of the SAE; bars are 95% intervals of the paired difference, over documents and training seeds. One line is a control: the pursuit on SAEs of a simulated world that introduce nothing. See whether any line crosses the dotted one, and whether that of the control does, too. (The paper gives no interval.)", "name": "fig-change"}} tags=["remove-input"]
change_lines(tables, None if null is tables else null)

# %% [markdown]
# ## What could fool us

# %% tags=["remove-input"]
chapter.rules(c09_inference)

# %% [markdown]
# - **Greedy is no lower bound.** Pursuits choose one latent at a time; better codes may exist at the same L0. So the encoder gap is at least what
#   is shown, and the dictionary gap at most.
# - **A lower FVU need not be a better code.** A search is free to use any latents that happen to fit. {glue:text}`shared` {glue:text}`null` So a
#   fall under a pursuit does not show that the encoder had introduced what was saved.
# - **Signs.** OMP may subtract latents, which no SAE does. It is drawn to show how much the sign costs, and the rule does not count it.
# - **L0 on another footing.** With more latents on, every FVU falls. Realised numbers are in the table; an inference that ends with fewer is at a
#   disadvantage, never at an advantage.
# - **Fewer tokens.** These are not all tokens of the study: the encoder's numbers differ from those of chapters 04 and 05 by that, and by nothing else.
# - **Precision.** Codes are searched in single precision: where two latents fit almost equally well, the pick may differ from that of double
#   precision. The decomposition is made in double precision.
#
# ## Exercise
#
# Give the pursuit twice as many steps as the encoder has latents: put `2 * own.l0` in the visible cell. What does a doubled L0 buy, compared with the
# better inference?

# %% tags=["remove-input"]
chapter.close()
