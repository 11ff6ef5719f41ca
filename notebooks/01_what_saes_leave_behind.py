# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What SAEs leave behind
#
# An SAE's error at a token is the vector $x - \mathrm{Sae}(x)$, also written $\mathrm{SaeError}(x)$: the
# activation $x$ minus the SAE's reconstruction of it. This chapter looks at the errors before anything is
# fitted to them, and at what made them: the model, the text and the SAEs (sections 3 and 4 of
# {cite:t}`engels2025`).

# %% tags=["parameters", "remove-input"]
study = "tiny"
context = None  # which context the first figure shows; None: the one with the median error
sae = None  # which SAE; None: the one of the width suite nearest to a width of 8 d_model

# %% tags=["hide-input"]
import pandas as pd

from darkmatter_utils import charts, measure, open_chapter
from darkmatter_utils.base.values import Estimate, estimates
from darkmatter_utils.base.words import percent, plain
from darkmatter_utils.charts.tables import Folded, Table, Words
from darkmatter_utils.claims import q01_setting
from darkmatter_utils.claims.claim import PAPER
from darkmatter_utils.experiments import measured
from darkmatter_utils.experiments.live import live
from darkmatter_utils.measurement import about, sources
from darkmatter_utils.measurement.widths import ends, reference_sae

chapter = open_chapter(1, study, context=context, sae=sae)
measurement = measure(chapter.study)
again = measure(chapter.again())  # token by token
shown = sae or reference_sae(again)
narrow, wide = ends(again)
looked = measured.by_token(again, sae=shown, context=context, ids=[narrow, wide])
chapter.judge(q01_setting, measured.setting(measurement))
chapter.opening(q01_setting)

# %% tags=["hide-input"]
#| label: fig-context
#| caption: One context of the held-out text, token by token, for one SAE of middle width. The bar under a
#|   token is its squared error in units of the variance of x, so that the mean bar over the whole text is the
#|   SAE's FVU. The context is the one whose mean error is the median of all contexts: it was not picked by
#|   hand. (Paper: Figs. 5 and 12 plot error norms for a hundred tokens in a row.)
tokens = looked["tokens"].rename(columns={"loss": "loss of the next token (nats)"})
notes = [name for name in tokens.columns if name not in ("text", "error")]
title = "squared error, in units of the variance"
charts.context_strip(tokens, {"SaeError": "error"}, about=notes, value_title=title)

# %% [markdown]
# ## The idea: every token has an error
#
# The cell below is given activations `x` of some contexts, and their reconstructions by the SAE of the figure,
# as plain arrays with one row a token. Each token gets one number: its squared error, in units of the
# variance of $x$ (the mean of $\lVert x - \bar x \rVert^2$, where $\bar x$ is the mean activation). The mean
# of these numbers is the SAE's FVU, {eq}`eq-fvu`.


# %%
def bars(x, reconstruction, document):
    error = x - reconstruction
    variance = ((x - x.mean(axis=0)) ** 2).sum(axis=1).mean()
    bars = (error**2).sum(axis=1) / variance
    return pd.Series(bars).describe().round(3).to_dict()


pd.Series(live(again, bars, sae=shown))

# %% tags=["hide-input"]
saes = measurement.saes.set_index("id")
row = saes.loc[shown]
chapter.glue("sae", shown)
chapter.glue("paper window", PAPER["window"])
chapter.glue("width", f"{row['width']:,} latents")
chapter.glue("l0", Estimate(*map(float, row[["l0", "l0_low", "l0_high"]])), ".2f")
chapter.glue("tokens", f"{measurement.card['tokens']:,} scored tokens")
chapter.glue("documents", f"{measurement.card['documents']:,} documents")
chapter.glue("fvu", f"{row['fvu']:.3f} [{row['fvu_low']:.3f}, {row['fvu_high']:.3f}]")
chapter.glue("worst tenth", looked["about"]["worst tenth"], ".0%")

# %% [markdown]
# These are a few contexts. Over all {glue:text}`tokens` of {glue:text}`documents`, the SAE
# {glue:text}`sae` ({glue:text}`width`, {glue:text}`l0` active on an average token) has an FVU of
# {glue:text}`fvu`. The tenth of the tokens with the largest errors holds {glue:text}`worst tenth` of the
# total squared error; a tenth would hold a tenth of it if all tokens were equal.

# %% [markdown]
# ## Error by position
#
# The first tokens of a context have little before them, and the model treats them differently. The paper
# scores only {glue:text}`paper window` of each context (§4); by the released code, the SAEs of its Fig. 1 are
# an exception: they are scored from position 1 on, and their nonlinear part lies a little below that of Fig.
# 2b. A study here says which positions count, its *window*, and {numref}`fig-position` lets you judge that
# choice: within the window, the error should no longer depend much on the position.

# %% tags=["hide-input"]
#| label: fig-position
#| caption: Mean squared error by position in the context, in units of the variance of x, for the narrowest
#|   and the widest SAE of the suite; bands are 95% intervals over documents. Shaded are the positions that
#|   are scored; the axis is logarithmic where the first tokens are far above all others. (Paper: §4 drops the first 200 positions; it has no figure of this.)
title = "squared error / variance of x"
window = chapter.study.window
charts.by_position(looked["positions"], "error", color="width", window=window, y_title=title)

# %% tags=["hide-input"]
chapter.glue("late over early", ratio := looked["about"]["late over early"], ".3f")
chapter.glue("window", window := looked["about"]["window"])
late = f"late over early error inside the window: {plain(ratio, 3)}"
chapter.protocol({"positions": f"{late} ({window} is scored)"})

# %% [markdown]
# The scored positions are {glue:text}`window`. In their later half the mean squared error of {glue:text}`sae`
# is {glue:text}`late over early` times that in their earlier half.

# %% [markdown]
# ## The study's card
#
# What was measured, on what, and how well the model predicts text that it has never seen, beside simple
# models of the same training tokens. Losses are in nats per token; lower is better.

# %% tags=["hide-input"]
Table(about.facts(measurement))

# %% tags=["hide-input"]
chapter.record("warnings", about.of_study(measurement))
chapter.record("left_out", measurement.card["left_out"])
Words(about.warning(measurement)) if about.of_study(measurement) else None

# %% [markdown]
# The interval that a verdict is judged by is over documents (and training seeds): it says what other
# documents *of the same sources* would give. Documents of one source are alike, so other sources may differ
# by more than it says; chapters {doc}`04_half_linear` and {doc}`05_scaling` leave out one source after the
# other.

# %% tags=["hide-input"]
there = measurement.documents.groupby("source").agg(documents=("document", "size"), tokens=("tokens", "sum"))
there = there.sort_values("tokens", ascending=False).reset_index()
there["share of the scored tokens"] = there["tokens"] / there["tokens"].sum()
chapter.record("sources", there.to_dict("list"))
chapter.glue("precision", about.precision(measurement))
Table(there if sources.shares(measurement) else sources.NONE, {"share of the scored tokens": percent})

# %% [markdown]
# {glue:text}`precision` Of fewer than 20 documents, or 5 tokens per dimension of $x$, this book gives no
# interval; below 20 tokens per dimension it warns.
#
# And the SAEs. *Dead latents* fire on none of the held-out text. The SAEs of the *width suite* are at one target
# L0, or as near to one as there are SAEs, and differ in width and in the seed of their training; the others
# vary L0 as well. An SAE that was trained for this book has its threshold set on other held-out documents than
# those that are scored, where it meets its target. So its L0 on the scored tokens is a measurement like any
# other: it has an interval over documents, and may miss the target.

# %% tags=["hide-input"]
columns = {"id": "SAE", "kind": "kind", "width": "width", "l0_target": "target L0", "dead": "dead latents"}
every = measurement.saes[list(columns)].rename(columns=columns)
for name, title in (("l0", "L0 on the scored tokens"), ("fvu", "FVU")):
    every[title] = estimates(measurement.saes, name)
every["in the width suite"] = measurement.saes["main"].astype(bool)
share = lambda value: "–" if pd.isna(value) else percent(value, 1)
Folded("All SAEs of the study", Table(every, {"dead latents": share, "FVU": "{:.3f}".format}))

# %% [markdown]
# ## What could fool us
#
# - **The window.** If the lines of {numref}`fig-position` were not level inside the shading, every average in
#   this book would depend on where the window begins.
# - **A few tokens.** Where a small share of the tokens holds much of the error, an average says little about
#   a typical token, and an interval that treats tokens as independent is too short. All intervals here
#   resample whole documents.
# - **The model.** SAEs of a model that predicts badly may behave in other ways than those of a good one. The
#   card puts the held-out loss beside that of a trigram.
# - **The text.** One small model and the text of its card: nothing here speaks of others.

# %% [markdown]
# ## Exercise
#
# Show another context: `papermill` this chapter with `-p context 7`, or with `-p sae` and an id of the table
# above. Is there a kind of token whose error is large for the narrowest SAE and small for the widest?

# %% tags=["hide-input"]
chapter.close()
