# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Can earlier layers shrink it?
#
# NonlinearError is what no linear map of $x$ predicts. Does something that the model computed *before* $x$ predict it? Section 6.2 of
# {cite:t}`engels2025` regresses it on the SAE reconstructions of the layer before, of the attention and of the MLP, and finds much
# of it there. But an SAE's reconstruction is a nonlinear function of an activation that is mostly $x$ itself, a block earlier. So each one
# stands here beside the raw activation of the same site, and beside tokens that were shuffled.

# %% tags=["parameters", "remove-input"]
study = "tiny"
contexts = 160  # how many contexts, spread evenly over the text, are read

# %% tags=["remove-input"]
import numpy as np

from darkmatter_utils import LinearMap, Moments, measure
from darkmatter_utils.book.chapters import open_chapter
from darkmatter_utils.charts.tables import Words
from darkmatter_utils.claims import c10_earlier
from darkmatter_utils.experiments.earlier_scores import earlier_scores, evidence, targets_of
from darkmatter_utils.pages.earlier_pages import (  # fmt: skip
    gain_table,
    lead_table,
    live,
    part_heat,
    rank_lines,
    sentences,
    site_bars,
)
from darkmatter_utils.stats.metrics import r2_per_dim

# %% tags=["remove-input"]
chapter = open_chapter(12, study, contexts=contexts)
measurement = measure(chapter.study)
tables = earlier_scores(measurement, contexts=contexts)
first, second = (targets_of(measurement) * 2)[:2]
chapter.judge(c10_earlier, evidence(tables, first))
chapter.opening(c10_earlier)

# %% mystnb={"figure": {"caption": "$R^2$ per dimension of NonlinearError, on held-out documents, from the sites that are computed before x: from the site's SAE output, from as many directions of its raw activation, and from each with the tokens of another document. Bars are 95% intervals over documents. See whether the SAE output is to the right of the raw activation of its own site. (Paper: Fig. 10b of v1; section 6.2 of v2.)", "name": "fig-earlier"}} tags=["remove-input"]
site_bars(tables, first)

# %% [markdown]
# ## The idea: regress NonlinearError on what came before
#
# The same fit as in chapter 04, with other inputs: what an earlier site held at the same token. It is fitted on half of the documents of a
# few contexts and scored on the other half; `shuffled` gives each token the inputs of another one.

# %% tags=["remove-input"]
few = live(measurement)

# %%
if few is not None:
    train, target = few.document % 2 == 0, few.nonlinear
    order = np.random.default_rng(0).permutation(len(target))
    for name, z in {few.site: few.earlier, "shuffled": few.earlier[order]}.items():
        fit = LinearMap.fit(Moments(z.shape[1], target.shape[1]).update(z[train], target[train]))
        print(f"{name}: R² {r2_per_dim(target[~train], fit(z[~train])):.3f}")

# %% tags=["remove-input"]
for key, sentence in sentences(tables, first).items():
    chapter.glue(key, sentence)
chapter.glue("sae", first)
chapter.glue("paper", c10_earlier.CLAIM.paper)
chapter.record("r2", tables["r2"].to_dict("list"))
chapter.record("leads", tables["leads"].to_dict("list"))
Words(lacking) if (lacking := sentences(tables, first)["saes"]) else None

# %% [markdown]
# ## The numbers
#
# From {glue:text}`tokens`. A fold of documents is scored by maps fitted on the others, and LinearError and NonlinearError are those of the map
# that did not see it. The paper reports: {glue:text}`paper`. An SAE output and a raw activation are compared *rank-matched*: as many principal
# components of the raw activation as the SAE output has directions in which it varies at all. Tokens are shuffled for the first SAE only.

# %% tags=["remove-input"]
lead_table(tables)

# %% [markdown]
# With fewer directions of each, {numref}`fig-earlier-rank`: the principal components of the SAE output beside as many of the raw activation.

# %% mystnb={"figure": {"caption": "$R^2$ per dimension of NonlinearError over the number of principal components that may be used, for the SAE output of an earlier site and for its raw activation; bars are 95% intervals over documents. See whether one line stays above the other at every number of directions. (The paper shows all directions of the SAE outputs only.)", "name": "fig-earlier-rank"}} tags=["remove-input"]
rank_lines(tables)

# %% [markdown]
# ## What does it add to x?
#
# A prediction of NonlinearError shrinks the error only as far as it adds to $x$, which already gives LinearError. Two nested fits tell: the
# error from $x$ alone, and from $x$ and the earlier site together. Joined to $x$, a site may predict more of NonlinearError than by itself: what it shares with
# $x$ is then no longer in the way. {glue:text}`gain`

# %% tags=["remove-input"]
gain_table(tables, first)

# %% mystnb={"figure": {"caption": "$R^2$ per dimension of each part of the error, on held-out documents, from every set of inputs. The rows of the same site are algebra: Sae(x) = x \u2212 SaeError, so that both together give the error exactly. See what the earlier sites know of LinearError, and what of NonlinearError. (Paper: Fig. 10b of v1, with all three targets.)", "name": "fig-earlier-parts"}} tags=["remove-input"]
part_heat(tables, first)

# %% [markdown]
# ## What could fool us

# %% tags=["remove-input"]
chapter.rules(c10_earlier)

# %% [markdown]
# - **Algebra.** At the same site, {glue:text}`poles` These are poles, not findings: the first is 0, but for what a fit
#   loses to chance, by the definition of NonlinearError, and the last 1, because $\mathrm{SaeError}(x) = x - \mathrm{Sae}(x)$.
# - **The stream carries x along.** An earlier residual stream is $x$ without what the blocks between have added. A nonlinear function of it, such as an SAE's
#   output, predicts a nonlinear function of $x$ for that reason alone; no circuit need be behind it.
# - **More inputs.** A fit with more inputs loses more to chance on held-out tokens, about inputs over tokens of what is left: the shuffled rows show how much,
#   below 0. Raw activation and SAE output of a site have equally many.
# - **Shuffled within a context.** Tokens of the same context share its subject, and so may their errors. {glue:text}`context`
# - **Which map?** Were each token split by the map of its own fold, the maps' errors would enter fits and scores with opposite signs. Here one map
#   splits both, for each fold that is scored.
#
# ## Exercise
#
# In the visible cell, replace `few.earlier` by its absolute value, or by `few.earlier ** 2`: nonlinear functions that nobody trained. How much of the lead of an SAE output do
# they have?

# %% tags=["remove-input"]
chapter.close()
