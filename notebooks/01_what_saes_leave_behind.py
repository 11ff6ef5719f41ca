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
# fitted to them, and at the model, the text and the SAEs that made them ({cite:t}`engels2025`, §3 and §4).

# %% tags=["parameters", "remove-input"]
study = "tiny"
context = None  # which context the first figure shows; None: the one with the median error
sae = None  # which SAE; None: the one of the width suite nearest to a width of 8 d_model

# %% tags=["hide-input"]
import pandas as pd

from darkmatter_utils import charts, measure, open_chapter
from darkmatter_utils.base.values import Estimate, estimates
from darkmatter_utils.base.words import percent, plain, span
from darkmatter_utils.charts.tables import Csv, Folded, Table, Words
from darkmatter_utils.claims import q01_setting
from darkmatter_utils.claims.claim import PAPER
from darkmatter_utils.claims.protocol import relative
from darkmatter_utils.experiments import measured
from darkmatter_utils.experiments.live import live
from darkmatter_utils.measurement import about, sources
from darkmatter_utils.measurement.widths import ends, reference_sae

chapter = open_chapter(1, study, context=context, sae=sae)
measurement = measure(chapter.study)
again = measure(chapter.again())  # token by token
shown = sae or reference_sae(again)

# %% tags=["hide-input", "first-screen"]
looked = measured.by_token(again, sae=shown, context=context, ids=list(ends(again)))
chapter.judge(q01_setting, measured.setting(measurement))
left, tenth = measurement.saes.set_index("id").loc[shown, "fvu"], looked["about"]["worst tenth"]
chapter.record("left", float(left))
chapter.headed(
    f"An SAE leaves {percent(left)} of the variance of x, the worst tenth of tokens {percent(tenth)} of that"
)
chapter.opening(q01_setting)

# %% tags=["hide-input", "first-screen"]
#| label: fig-context
#| caption: Tokens of the context of median mean error, and an SAE of middle width. The bar under a token is its
#|   squared error over the variance of x; dotted: the mean over the text. (Paper: Figs. 5 and 12.)
tokens = looked["tokens"].rename(columns={"loss": "loss of the next token (nats)"})
notes = [name for name in tokens.columns if name not in ("text", "error")]
chapter.record("context", {"squared error": tokens["error"].to_list()})
said = f"No token without an error: {span(tokens['error'])} of the variance in one context, {plain(left)} on average"
settings = {"about": notes, "value_title": "squared error, in units of the variance"}
settings |= {"lines": 5, "level": left, "title": chapter.finding(said)}
charts.context_strip(tokens, {"SaeError": "error"}, **settings)

# %% [markdown]
# ## The idea: every token has an error
#
# The cell below is given activations `x` of some contexts, and their reconstructions by the SAE of the figure,
# one row a token. Each token gets one number: its squared error, in units of the variance of $x$ (the mean of
# $\lVert x - \bar x \rVert^2$, where $\bar x$ is the mean activation). Their mean is the SAE's FVU,
# {eq}`eq-fvu`.


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
#
# ## Does the error depend on where the token stands?
#
# The first tokens of a context have little before them, and the model treats them differently. A study says
# which positions are scored, its *window*: here {glue:text}`window`. The paper scores only
# {glue:text}`paper window` of each context (§4).

# %% tags=["hide-input"]
#| label: fig-position
#| caption: Mean squared error by position in the context, for the narrowest and the widest SAE that are run again;
#|   bands are 95% intervals over documents. Shaded: scored. Positions above twice the largest of these are
#|   not drawn. (New.)
chapter.glue("late over early", ratio := looked["about"]["late over early"], ".3f")
chapter.glue("window", window := looked["about"]["window"])
late = f"late over early error inside the window: {plain(ratio, 3)}"
effects = {"positions": [relative("error, late over early", 1.0, ratio)]}
chapter.protocol({"positions": f"{late} ({window} is scored)"}, effects)
places, (start, stop) = looked["positions"], chapter.study.window
inside = places["position"].between(start, stop - 1)
drawn = places[places["error"] <= 2 * places.loc[inside, "error"].max()]
chapter.record("most", most := float(places["error"].max()))
said = (
    f"Inside the window the error is level: its later half has {plain(ratio)} times that of its earlier half"
)
out = f"; before it up to {most:,.0f} times the variance of x" if len(drawn) < len(places) else ""
settings = {"window": (start, stop), "y_title": "squared error / variance of x", "height": 200}
charts.by_position(drawn, "error", color="width", title=chapter.finding(said + out), **settings)

# %% tags=["hide-input"]
chapter.record("warnings", about.of_study(measurement))
chapter.record("left_out", measurement.card["left_out"])
there = measurement.documents.groupby("source").agg(documents=("document", "size"), tokens=("tokens", "sum"))
there = there.sort_values("tokens", ascending=False).reset_index()
there["share of the scored tokens"] = there["tokens"] / there["tokens"].sum()
chapter.record("sources", there.to_dict("list"))
chapter.glue("precision", about.precision(measurement))

# %% [markdown]
# ## The model, the text and the SAEs
#
# {glue:text}`precision` The card below puts the model's loss on held-out text (nats per token; lower is
# better) beside those of simple models of the same training tokens.

# %% tags=["hide-input"]
Words(about.warning(measurement)) if about.of_study(measurement) else None

# %% tags=["hide-input"]
Folded("The study's card: the model, the text and the losses", Table(about.facts(measurement)))

# %% tags=["hide-input"]
shares = there if sources.shares(measurement) else sources.NONE
Folded("The sources of the text", Table(shares, {"share of the scored tokens": percent}))

# %% tags=["hide-input"]
columns = {"id": "SAE", "kind": "kind", "width": "width", "l0_target": "target L0", "dead": "dead latents"}
every = measurement.saes[list(columns)].rename(columns=columns)
for name, title in (("l0", "L0 on the scored tokens"), ("fvu", "FVU")):
    every[title] = estimates(measurement.saes, name)
every["in the width suite"] = measurement.saes["main"].astype(bool)
share = lambda value: "–" if pd.isna(value) else percent(value, 1)
Csv("All SAEs of the study", Table(every, {"dead latents": share, "FVU": "{:.3f}".format}))

# %% [markdown]
# :::{dropdown} What these tables say: suites, dead latents, L0, intervals
# *Dead latents* fire on none of the held-out text. The SAEs of the *width suite* differ in width and in the seed
# of their training, at one target L0 or as near to one as there are SAEs; the others vary L0 as well. An SAE that
# was trained for this book has its threshold set on other held-out documents, so its L0 on the scored tokens is a
# measurement, with an interval, and may miss the target.
#
# The interval that a verdict is judged by is over documents (and training seeds): it says what other
# documents *of the same sources* would give. Other sources may differ by more; chapters
# {doc}`04_half_linear` and {doc}`05_scaling` leave out one source after the other. Of fewer than 20
# documents, or 5 tokens per dimension of $x$, this book gives no interval; below 20 tokens per dimension it
# warns.
#
# By the paper's released code the SAEs of its Fig. 1 are an exception to its window: they are scored from
# position 1 on, and their nonlinear part lies a little below that of Fig. 2b.
# :::
#
# ## What would change our mind

# %% tags=["hide-input"]
chapter.rules(q01_setting)

# %% [markdown]
# - **The window.** If the lines of {numref}`fig-position` were not level inside the shading, every average in
#   this book would depend on where the window begins.
# - **A few tokens.** If a small share of the tokens held much of the error, an average would say little about
#   a typical token. All intervals here resample whole documents, for tokens are not independent.
# - **The model and the text.** SAEs of a model that predicts badly may behave in other ways than those of a
#   good one; and nothing here speaks of other models and texts.
#
# ## Try it
#
# `darkmatter run 01 --study tiny -p context 7` (some minutes) shows another context. Do its errors look
# different?
#
# :::{dropdown} Answer
# The words do, the bars hardly: errors of tokens differ by several times within any context, and the mean of
# one context is near that of the next.
# :::

# %% tags=["hide-input"]
chapter.close()
