# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Token by token
#
# Do wide SAEs fail where narrow ones fail? {cite:t}`engels2025` predict the error norm of a wide SAE at a token,
# $\lVert \mathrm{SaeError}(x) \rVert$, from that of a narrower one at the same token. (In this chapter the norm is not squared,
# as in the paper's test.) The R² of that prediction is the share of the norm's variation over tokens that the two have in
# common.

# %% tags=["parameters", "remove-input"]
study = "tiny"
pair = None  # the two SAEs of the live cell; None: the narrowest and the widest of the width suite
contexts = 40  # how many contexts the gallery shows

# %% tags=["remove-input"]
import numpy as np

from darkmatter_utils import LinearMap, Moments, measure
from darkmatter_utils.book.chapters import open_chapter
from darkmatter_utils.claims.evidence import ends
from darkmatter_utils.claims.ledger import claim, unfit
from darkmatter_utils.claims.verdicts import judged
from darkmatter_utils.experiments.neighbours import oracle_pairs, same_evidence, width_pairs
from darkmatter_utils.pages import width_pairs as pairs
from darkmatter_utils.pages.common import opening, rule_of
from darkmatter_utils.pages.galleries import SCALE, Gallery, spread_contexts
from darkmatter_utils.stats.metrics import r2_total

chapter = open_chapter(6, study, pair=pair, contexts=contexts)
measurement = measure(chapter.study)
found, oracles = width_pairs(measurement), oracle_pairs(chapter.study)
verdict = judged(chapter, 3, same_evidence(found), unfit=unfit(chapter.study))
opening(3, verdict, chapter.study)

# %% mystnb={"figure": {"caption": "$R^2$ between the error norms of two SAEs of the width suite at the same tokens, over the ratio of their widths (means over the pairs of one ratio; intervals carry documents and training seeds). At ratio 1 stand two trainings of one width that differ in the seed alone: what is lost there, no pair of widths can be asked to share. The other lines are the controls: the norms with what the norm of x, the position and the token say of them taken out of both; the same after the tokens of each document were shuffled, which leaves what documents share; and, beside a language model, oracle SAEs of a simulated world, which introduce no error. See how far the lines fall from ratio 1, and how far they stay above the shuffled one. (Paper: among Figs. 2 to 6, 11 and 12 of its first version.)", "name": "fig-ratio"}} tags=["remove-input"]
pairs.ratio_chart(found, oracles)

# %% [markdown]
# ## The idea: one SAE's error norm from another's
#
# `narrow` and `wide` hold the error norms of two SAEs at the same tokens, `size` holds $\lVert x \rVert$. Loud activations
# leave large errors in every SAE, so `size` is first taken out of both: `rest` is what a line fitted to half of the documents
# leaves. Then one rest is predicted from the other, and scored on the other half.

# %% tags=["remove-input"]
shown = list(pair or ends(measurement))
tokens = measurement.tokens[measurement.tokens["scored"]]
column = lambda name: np.sqrt(tokens[name].to_numpy(float))[:, None]
narrow, wide, size = column(f"{shown[0]}:error"), column(f"{shown[1]}:error"), column("norm2")
document = tokens["document"].to_numpy()

# %%
train = document % 2 == 0

def line(x, y):
    return LinearMap.fit(Moments(1, 1).update(x[train], y[train]))(x)

def rest(norm):
    return norm - line(size, norm)

r2 = {"as they are": r2_total(wide[~train], line(narrow, wide)[~train]),
      "‖x‖ taken out": r2_total(rest(wide)[~train], line(rest(narrow), rest(wide))[~train])}
{name: round(value, 3) for name, value in r2.items()}

# %% tags=["remove-input"]
chapter.glue("narrow", shown[0])
chapter.glue("wide", shown[-1])
chapter.glue("paper", claim(3).paper)
for kind in ("raw", "partial", "shuffled", "rank", "added"):
    chapter.record(f"pairs {kind}", found.table[found.table["kind"] == kind].drop(columns="kind").to_dict("list"))
chapter.record("seed sd", found.seed_sd)

# %% [markdown]
# Here {glue:text}`narrow` predicts {glue:text}`wide`. Over the whole study every document is held out once, and three
# things are taken out of both norms: $\lVert x \rVert$ (with its square), the position, and the token, the last two as the
# mean norm that they have in other documents, shrunk where they are rare. The paper makes the claim {glue:text}`paper`. In the table, *rank
# correlation* compares the order of the tokens only, and *means of documents* compares one mean for each document.

# %% tags=["remove-input"]
pairs.ratio_table(found, "raw", "partial", "rank", "partial rank", "document")

# %% mystnb={"figure": {"caption": "$R^2$ between the error norms of every pair of widths: as they are (left), and with the norm of x, position and token taken out of both (right). Each cell is a mean over training seeds; on the diagonal are two seeds of one width, where there are several (the same SAE twice would be 1). See how fast it fades away from the diagonal, and what the right table takes from the left. (Paper: the heat map of its first version, among Figs. 2 to 6.)", "name": "fig-pairs"}} tags=["remove-input"]
pairs.pair_heat(found, "raw", "partial", titles=("as they are", "taken out"))

# %% tags=["remove-input"]
pairs.seed_pair_words(found)

# %% [markdown]
# ## Which part of the error is it?
#
# The error has a linear part, predicted from $x$, and a nonlinear rest (chapter 04). Each part has a norm of its own at every token.
# How well does the norm of either part carry over to another width?

# %% tags=["remove-input"]
pairs.ratio_table(found, "linear", "nonlinear", "partial")

# %% tags=["remove-input"]
pairs.level_words(measurement)

# %% [markdown]
# The first version of the paper says more: that the norm of the narrow SAE's *nonlinear* error helps to predict the wide
# one's error beyond the norm of its whole error. With $S_1$ the squares that a prediction from the error norm leaves on
# held-out documents, and $S_2$ those left when $\lVert \mathrm{NonlinearError} \rVert$ is a second predictor,
# {numref}`fig-added` shows $1 - S_2 / S_1$.

# %% mystnb={"figure": {"caption": "The share of the leftover squares that the norm of the narrower SAE's NonlinearError removes, beyond its error norm. On the diagonal: two seeds of one width. For the same SAE twice nothing is left over, and the share is not defined; such cells stay empty. See whether any pair of widths gains as much as the diagonal. (Paper: the second heat map of its first version, among Figs. 2 to 6; the final version no longer makes this claim.)", "name": "fig-added"}} tags=["remove-input"]
pairs.pair_heat(found, "added", style=".1%")

# %% tags=["remove-input"]
pairs.added_words(found)

# %% [markdown]
# ## Contexts to read
#
# The contexts below were not picked by hand. All contexts of full length are ordered by their mean error (over tokens, and
# over the widths of the suite), and {glue:text}`shown contexts` are taken at equal steps from the smallest to the largest. Each shows its
# first 100 scored tokens. Under a token there is one bar for each width, from the narrowest SAE on the left to the widest on the
# right: its error norm in units of that SAE's own mean; a full bar is {glue:text}`full bar` times the mean or more, and the number is in
# the tooltip. Bars that are all high, or all low, are agreement.

# %% tags=["remove-input"]
ids = pairs.suite_ids(measurement)
chosen = spread_contexts(measurement, ids, count=contexts)
chapter.glue("shown contexts", len(chosen))
chapter.glue("full bar", f"{SCALE:g}")
chapter.record("contexts", chosen)
Gallery(measurement, ids, chosen)

# %% [markdown]
# ## What could fool us

# %% tags=["remove-input"]
rule_of(3)

# %% [markdown]
# - **Loud tokens.** A large $\lVert x \rVert$ gives a large error to every SAE. It is taken out of both norms, with its square;
#   a stronger bend than that would stay in.
# - **Rare tokens.** The mean of a token seen a few times is mostly noise and is shrunk away; what such tokens have in common
#   stays in the rest. It counts as agreement, and as the claim means it, it is: both fail on rare tokens.
# - **Documents.** If only whole documents were hard or easy, shuffling their tokens would change nothing. The line of
#   shuffled tokens in {numref}`fig-ratio` shows what that leaves.

# %% tags=["remove-input"]
pairs.oracle_words(oracles)

# %% [markdown]
# - **The ceiling.** Two trainings of one width are not equal either. How far a pair of widths falls short of ratio 1 in
#   {numref}`fig-ratio` is what the difference in width costs.
#
# ## Exercise
#
# Run this chapter with `pair` set to two seeds of one width, such as `["w128-l0-8", "w128-l0-8-seed1"]`. How much of the
# visible cell's R² is left when $\lVert x \rVert$ is taken out? Then open the last context of the gallery: what are the
# tokens on which every width fails?

# %% tags=["remove-input"]
chapter.close()
