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
# NonlinearError is what no linear map of $x$ predicts. Does something that the model computed *before* $x$
# predict it? Section 6.2 of {cite:t}`engels2025` regresses it on the SAE reconstructions of the layer before,
# of the MLP and of the attention, and speaks of "large parts" of it (§6.2); from these sites R² is 0.14, 0.07
# and 0.04 (Fig. 9b). But an SAE's reconstruction is a nonlinear function of an activation that is mostly $x$
# itself, a block earlier. The rule asks what the claim says: is any of it predicted, beyond what shuffled
# tokens give? Beside it stands, told and not judged, as much of the raw activation of the same site.

# %% tags=["parameters", "remove-input"]
study = "tiny"
contexts = 160  # how many contexts, spread evenly over the text, are read

# %% tags=["hide-input"]
import pandas as pd

from darkmatter_utils import charts, measure, open_chapter
from darkmatter_utils.base.words import interval, plain
from darkmatter_utils.charts import Table, Words, estimates
from darkmatter_utils.claims import c10_earlier
from darkmatter_utils.experiments import paper_points
from darkmatter_utils.experiments.earlier_scores import earlier, evidence, few, targets_of, tried
from darkmatter_utils.experiments.live import live

chapter = open_chapter(12, study, contexts=contexts)
measurement = measure(chapter.study)
first = targets_of(measurement)[0]

# %% [markdown]
# ## The idea: regress NonlinearError on what came before
#
# The same fit as in chapter 04, with other inputs: what an earlier site held at the same token, `raw` its
# activation and `output` what the SAE there makes of it (`None` where there is none). The last of them is what
# the paper regresses on, the first what it is compared with. Below, each is fitted on half of the documents of
# a few contexts, at the latest residual stream before $x$, and scored on the other half; *shuffled* gives each
# token the last one's inputs of another token.


# %%
@chapter.idea
def predictors(raw, output):
    return {"raw": raw, "SAE output": output}
    # try: return {"raw": raw, "SAE output": raw.clamp(min=0)}: on nano, less
    #   than half of the MLP's lead is left


Table(live(measurement, lambda sample: tried(sample, predictors), of=few))

# %% tags=["hide-input"]
found = earlier(measurement, predictors=predictors, contexts=contexts)
chapter.judge(c10_earlier, evidence(found))
chapter.record("r2", found["r2"].to_dict("list"))
chapter.record("leads", found["leads"].to_dict("list"))
chapter.glue("sae", first)
chapter.glue("paper", c10_earlier.CLAIM.paper)
chapter.opening(c10_earlier)

# %% tags=["hide-input"]
here = paper_points.answering(found["sites"]["site"])
theirs = paper_points.earlier(here.values()).items()
theirs = pd.DataFrame(theirs, columns=["site", "value"]).assign(study="the paper: Fig. 9b")


def answers(rows):
    """Another study's, from all directions of its SAE outputs, at the site here that answers to each of its."""
    rows = rows.query("kind == 'SAE output' and part == 'NonlinearError' and metric == 'r2_per_dim'")
    rows = rows[(rows["tokens"] == "own") & (rows["sae"] == rows["sae"].iloc[0])]
    rows = rows.loc[rows.groupby("site", sort=False)["rank"].idxmax()]
    there = {site: here.get(kind) for kind, site in paper_points.answering(rows["site"]).items()}
    return rows.assign(site=rows["site"].map(there)).dropna(subset="site")[["site", "value"]]


theirs = chapter.beside(theirs, "r2", answers)

# %% tags=["hide-input"]
#| label: fig-earlier
#| caption: $R^2$ per dimension of NonlinearError, by the best maps, from the sites that are computed
#|   before x: from the site's SAE output, from as many directions of its raw activation, and from each with
#|   the tokens of another document. Bars are 95% intervals over documents. Hollow: the paper's, from the SAE
#|   output of the answering site (the layer before, MLP, attention); filled, where there are any, other
#|   studies'. (Paper: Fig. 9b.)
short = lambda site: site.removeprefix("blocks.").replace("hook_", "")  # blocks.1.hook_mlp_out: 1.mlp_out
whole = found["whole"][(found["whole"]["sae"] == first) & (found["whole"]["metric"] == "r2_per_dim")]
whole = whole.assign(place=whole["site"].map(short))
end = {"own": "", "other document": ", shuffled"}
rows = whole.merge(found["kinds"])
# try: "LinearError", which is linear in x: at every site the raw activation
#   leads
rows = rows[(rows["part"] == "NonlinearError") & rows["tokens"].isin(end)]
rows = rows.assign(inputs=rows["kind"] + rows["tokens"].map(end))
theirs = theirs.assign(place=theirs["site"].map(short))
title = "R² per dimension of NonlinearError"
charts.forest(rows, label="place", color="inputs", x_title=title, theirs=theirs, height=200)

# %% [markdown]
# ## The numbers


# %% tags=["hide-input"]
def all_tokens(about):
    return f"{about['tokens'].iloc[0]:,} tokens of {about['documents'].iloc[0]:,} documents"


def lacking(sites):
    none = "No site before the one that is decomposed has an SAE in this study: only raw activations can be "
    return "" if sites["id"].any() else f"{none}shown. "


chapter.glue("tokens", Words.of(found["about"], say=all_tokens))
chapter.glue("saes", Words.of(found["sites"], say=lacking))
own = whole[(whole["site"] == "") & (whole["part"] == "NonlinearError") & (whole["kind"] == "Sae(x)")]
chapter.glue("same site", Words.of(own, say=lambda rows: plain(rows["value"].iloc[0])))

# %% [markdown]
# From {glue:text}`tokens`. A fold of documents is scored by maps fitted on the others, and LinearError and
# NonlinearError are those of the map that did not see it. The paper reports: {glue:text}`paper`. The largest
# number of Fig. 9b, 0.49, is not of an earlier site: it is of Sae(x) itself, and the text calls it "somewhat
# misleading, as the nonlinear error is partially a function of Sae(x)". Its counterpart is the row of the
# same site in {numref}`fig-earlier-parts`, {glue:text}`same site` here. {glue:text}`saes` An SAE output and a
# raw activation are compared *rank-matched*: as many principal components of the raw activation as the SAE
# output has directions in which it varies at all. Tokens are shuffled for the first SAE only.

# %% tags=["hide-input"]
rows = found["numbers"].assign(site=found["numbers"]["site"].map(short))
rows = charts.wide(rows, ["sae", "site", "rank"], "what")
three = lambda value: plain(value, 3)
Table(rows.rename(columns={"sae": "SAE", "site": "from", "rank": "directions"}), three)

# %% [markdown]
# With fewer directions of each, {numref}`fig-earlier-rank`: the principal components of the SAE output
# beside as many of the raw activation.

# %% tags=["hide-input"]
#| label: fig-earlier-rank
#| caption: $R^2$ per dimension of NonlinearError over the number of principal components that may be used,
#|   for the SAE output of an earlier site and for its raw activation; bars are 95% intervals over
#|   documents. (Paper: Fig. 9b, all directions of the SAE outputs only.)
rows = found["r2"].merge(found["kinds"])
rows = rows[(rows["part"] == "NonlinearError") & (rows["metric"] == "r2_per_dim") & (rows["tokens"] == "own")]
rows = rows[rows["sae"] == first].sort_values("rank", kind="stable").assign(site=rows["site"].map(short))
rows = rows.sort_values("site", kind="stable")
# A site without an SAE has no SAE output to draw, but the colours of the others.
nothing = dict.fromkeys(["value", "low", "high"], float("nan"))
none = rows.drop_duplicates("site").assign(kind="SAE output", **nothing)
rows = pd.concat([rows, none]) if found else rows
axes = {"x_scale": "log2", "x_title": "directions", "y_title": "R²", "shared": ("color", "y")}
size = {"width": 290, "height": 200}
charts.panels(rows, "site", charts.lines, "rank", "value", color="kind", **axes, **size)

# %% [markdown]
# ## What does it add to x?
#
# A prediction of NonlinearError shrinks the error only as far as it adds to $x$, which already gives
# LinearError. Two nested fits tell: the error from $x$ alone, and from $x$ and the earlier site together.
# Joined to $x$, a site may predict more of NonlinearError than by itself: what it shares with $x$ is then
# no longer in the way. {glue:md}`gain`

# %% tags=["hide-input"]
# try: == "LinearError": every gain is 0, for x gives all of it
gains = found["gains"][(found["gains"]["sae"] == first) & (found["gains"]["part"] != "LinearError")]
rows = charts.wide(gains.assign(site=gains["site"].map(short)), ["part", "site"], "what")
Table(rows.rename(columns={"site": "joined to x"}), three)

# %% tags=["hide-input"]
#| label: fig-earlier-parts
#| caption: $R^2$ per dimension of each part of the error, by the best maps, from every set of inputs.
#|   The rows of the same site are algebra: $\mathrm{Sae}(x) = x - \mathrm{SaeError}(x)$, so that both
#|   together give the error exactly. (Paper: Fig. 9b, the same three targets.)
rows = whole[whole["tokens"] == "own"]
same = rows["kind"].isin(["x", "Sae(x)", "x and Sae(x)"])
place = rows["place"].where(rows["place"] == "", ": " + rows["place"]).where(~same, " (same site)")
titles = {"x_title": "part that is predicted", "y_title": "from", "value_title": "R² per dimension"}
charts.heat(rows.assign(inputs=rows["kind"] + place), "part", "inputs", "value", width=420, **titles)


# %% tags=["hide-input"]
def poles(whole):
    own = whole[(whole["site"] == "") & (whole["part"] == "NonlinearError")].set_index("kind")["value"]
    x, hat, both = (plain(own[kind], 3) for kind in ("x", "Sae(x)", "x and Sae(x)"))
    return f"x alone predicts {x} of NonlinearError, Sae(x) alone {hat}, and both together {both}."


def gain(whole, gains):
    own = whole[(whole["site"] == "") & (whole["part"] == "SaeError")].set_index("kind")["value"]
    lead = gains[(gains["site"] == "all of them") & (gains["part"] == "SaeError")]
    return (
        f"Of the whole error of {first}, *{own.index[-1]}* predict {plain(own.iloc[-1])} where x alone "
        f"predicts {plain(own['x'])}: a gain of {interval(estimates(lead)[-1], three)}."
    )


def in_context(whole):
    near = whole[(whole["tokens"] == "same context") & (whole["part"] == "NonlinearError")]["value"].max()
    return (
        f"From tokens shuffled inside their own context, the R² of NonlinearError is at most {three(near)}."
    )


chapter.glue("poles", Words.of(whole, say=poles))
chapter.glue("gain", Words.of(whole, gains, say=gain))
chapter.glue("context", Words.of(whole, say=in_context))

# %% [markdown]
# ## What could fool us

# %% tags=["hide-input"]
chapter.rules(c10_earlier)

# %% [markdown]
# - **Algebra.** At the same site, {glue:text}`poles` These are algebra: the first is 0, by the definition of
#   NonlinearError, and the last 1, because $\mathrm{SaeError}(x) = x - \mathrm{Sae}(x)$.
# - **The stream carries x along.** An earlier residual stream is $x$ without what the blocks between have
#   added. A nonlinear function of it, such as an SAE's output, predicts a nonlinear function of $x$ for
#   that reason alone; no circuit need be behind it.
# - **More inputs.** A fit with more inputs has more to fit by chance. What it so loses on held-out tokens, and
#   gains on its own, is taken out of every number: the shuffled rows, of tokens that have nothing to do with
#   the inputs, show what is left of it. Raw activation and SAE output of a site have equally many.
# - **Shuffled within a context.** Tokens of the same context share its subject, and so may their errors.
#   {glue:text}`context`
# - **Which map?** Were each token split by the map of its own fold, the maps' errors would enter fits and
#   scores with opposite signs. Here one map splits both, for each fold that is scored.
#
# ## Exercise
#
# In the visible cell, replace `output` by `raw.clamp(min=0)`, or by `raw**2`: nonlinear functions that
# nobody trained. How much of the lead of an SAE output do they have?

# %% tags=["hide-input"]
chapter.close()
