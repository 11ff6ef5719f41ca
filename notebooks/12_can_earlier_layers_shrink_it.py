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
# NonlinearError is what no linear map of $x$ predicts. Does something that the model computed *before* $x$?
# Section 6.2 of {cite:t}`engels2025` regresses it on SAE outputs of the layer before, of the MLP and of the
# attention. But an SAE output is a nonlinear function of an activation that is mostly $x$ itself. So the raw
# activation stands beside it.

# %% tags=["parameters", "remove-input"]
study = "tiny"
contexts = 160  # how many contexts, spread evenly over the text, are read

# %% tags=["hide-input"]
import pandas as pd

from darkmatter_utils import charts, measure, open_chapter
from darkmatter_utils.base.words import counted, percent, plain, span
from darkmatter_utils.charts import Csv, Table, Words
from darkmatter_utils.claims import c10_earlier
from darkmatter_utils.claims.protocol import fewer, of_controls
from darkmatter_utils.experiments import paper_points
from darkmatter_utils.experiments.earlier_scores import all_of, earlier, evidence, few, targets_of, tried
from darkmatter_utils.experiments.live import live

chapter = open_chapter(12, study, contexts=contexts)
measurement = measure(chapter.study)
first = targets_of(measurement)[0]
three = lambda value: plain(value, 3)

# %% [markdown]
# ## The idea: regress NonlinearError on what came before
#
# The fit of chapter 04 with other inputs: what an earlier site held at the same token, `raw` its activation and
# `output` what the SAE there makes of it (`None` where there is none). The last is what the paper regresses on,
# the first what it is compared with. Each is fitted on half of the documents of a few contexts, at the latest
# residual stream before $x$, and scored on the other half; *shuffled* gives each token the last one's inputs of
# another token.


# %%
@chapter.idea
def predictors(raw, output):
    return {"raw": raw, "SAE output": output}
    # try: return {"raw": raw, "SAE output": raw.clamp(min=0)}: on nano, less
    #   than half of the MLP's lead is left


Table(live(measurement, lambda sample: tried(sample, predictors), of=few))

# %% tags=["hide-input", "first-screen"]
found = earlier(measurement, predictors=predictors, contexts=contexts)
chapter.judge(c10_earlier, evidence(found))
chapter.record("r2", found["r2"].to_dict("list"))
chapter.record("leads", found["leads"].to_dict("list"))
chapter.glue("sae", first)
chapter.glue("paper", c10_earlier.CLAIM.paper)
whole = found["whole"][(found["whole"]["sae"] == first) & (found["whole"]["metric"] == "r2_per_dim")]
rest = whole[whole["part"] == "NonlinearError"]


def values(rest, kind, tokens="own"):
    return rest.loc[(rest["kind"] == kind) & (rest["tokens"] == tokens), "value"]


def joined(rest):
    raw, output = (percent(values(rest, all_of(kind)).max()) for kind in ("raw", "SAE output"))
    return f"Joined to x, earlier SAE outputs predict {output} of NonlinearError, raw activations {raw}"


def control(rest):
    return f"control: shuffled tokens {span(values(rest, 'SAE output', 'other document'), three)}"


there = rest["kind"].isin(["SAE output"]).any()  # not where only raw activations can be had
of_outputs = rest if there else found and rest[:0]
chapter.headed(joined, of_outputs)
chapter.opening(c10_earlier, control={10: control(rest)} if there else {})

# %% tags=["hide-input"]
sampled = fewer(found["about"]["tokens"].max(), measurement.card["tokens"])
chapter.protocol({}, of_controls(evidence(found), tokens=sampled))

# %% tags=["hide-input"]
short = lambda site: site.removeprefix("blocks.").replace("hook_", "")  # blocks.1.hook_mlp_out: 1.mlp_out
kinds = {"SAE output": "SAE output", "raw": "raw activation"}
series = {(kind, "own"): kinds.get(kind, kind) for kind in found["kinds"]["kind"]} if found else {}
series |= {(all_of(kind), tokens): name for (kind, tokens), name in series.items()}
series[("SAE output", "other document")] = "control: shuffled"
# try: "LinearError", which is linear in x: at every site the raw activation
#   leads
rows = whole[whole["part"] == "NonlinearError"]
rows = rows.assign(
    inputs=[series.get(key) for key in zip(rows["kind"], rows["tokens"])] if found else None,
    place=rows["site"].map(short).replace("", "x and all of them"),
)
rows = rows.dropna(subset="inputs").sort_values("site", key=lambda sites: sites == "", kind="stable")

# %% tags=["hide-input", "first-screen"]
#| label: fig-earlier
#| caption: R² per dimension of NonlinearError from each earlier site alone, and from x with all of them; bars are
#|   95% intervals over documents. Control: inputs of another document. Hollow, filled: the paper
#|   (Fig. 9b), other studies.
here = paper_points.answering(found["sites"]["site"])
theirs = pd.DataFrame(paper_points.earlier(here.values()).items(), columns=["site", "value"])


def alone(rest):
    outputs, raw = (span(values(rest, kind)) for kind in ("SAE output", "raw"))
    shuffled = span(values(rest, "SAE output", "other document"))
    return f"Alone, an SAE output has an R² of {outputs}, a raw activation {raw}, shuffled tokens {shuffled}"


theirs = theirs.assign(study="the paper: Fig. 9b", place=theirs["site"].map(short))
chapter.record("drawn", rows[["site", "inputs", "place", "value"]].to_dict("list") if found else None)
theirs = chapter.beside(
    theirs, "drawn", lambda rows: rows[rows["inputs"].eq("SAE output") & rows["site"].eq("")]
)
titled = {"x_title": "R² per dimension of NonlinearError", "title": chapter.finding(alone, of_outputs)}
charts.forest(rows, label="place", color="inputs", theirs=theirs, height=200, **titled)


# %% tags=["hide-input"]
def all_tokens(about):
    return f"{about['tokens'].iloc[0]:,} tokens of {about['documents'].iloc[0]:,} documents"


def lacking(sites):
    none = "No site before the one that is decomposed has an SAE in this study: only raw activations can be "
    return "" if sites["id"].any() else f"{none}shown. "


def poles(whole):
    own = whole[(whole["site"] == "") & (whole["part"] == "NonlinearError")].set_index("kind")["value"]
    x, hat, both = (plain(own[kind], 3) for kind in ("x", "Sae(x)", "x and Sae(x)"))
    return f"x alone predicts {x} of NonlinearError, Sae(x) alone {hat}, and both together {both}."


def in_context(whole):
    near = whole[(whole["tokens"] == "same context") & (whole["part"] == "NonlinearError")]["value"].max()
    return (
        f"From tokens shuffled inside their own context, the R² of NonlinearError is at most {three(near)}."
    )


chapter.glue("tokens", Words.of(found["about"], say=all_tokens))
chapter.glue("saes", Words.of(found["sites"], say=lacking))
own = whole[(whole["site"] == "") & (whole["part"] == "NonlinearError") & (whole["kind"] == "Sae(x)")]
chapter.glue("same site", Words.of(own, say=lambda rows: plain(rows["value"].iloc[0])))
chapter.glue("poles", Words.of(whole, say=poles))
chapter.glue("context", Words.of(whole, say=in_context))

# %% [markdown]
# From {glue:text}`tokens`. The paper reports: {glue:text}`paper`; those are of SAE outputs alone. Joined to $x$,
# a site may predict more than by itself: what it shares with $x$ is no longer in the way. {glue:text}`saes`
#
# The largest number of Fig. 9b, 0.49, is not of an earlier site: it is of Sae(x) itself, which the text calls
# "somewhat misleading"; its counterpart here is {glue:text}`same site`.

# %% tags=["hide-input"]
rows = found["numbers"].assign(site=found["numbers"]["site"].map(short))
rows = charts.wide(rows, ["sae", "site", "rank"], "what")
names = {"sae": "SAE", "site": "from", "rank": "directions"}
Csv("R² from each site, for two SAEs", Table(rows.rename(columns=names), three))

# %% tags=["hide-input"]
# try: == "LinearError": every gain is 0, for x gives all of it
gains = found["gains"][(found["gains"]["sae"] == first) & (found["gains"]["part"] != "LinearError")]
rows = charts.wide(gains.assign(site=gains["site"].map(short)), ["part", "site"], "what")
Csv("What each site adds to x", Table(rows.rename(columns={"site": "joined to x"}), three))

# %% [markdown]
# :::{dropdown} How this is fitted and compared
# A fold of documents is scored by maps fitted on the others, and LinearError and NonlinearError are those of the
# map that did not see it: one map splits every token of a fold. An SAE output and a raw activation are compared
# *rank-matched*: as many principal components of the raw activation as the SAE output has directions in which it
# varies at all. Tokens are shuffled for the first SAE only. A prediction shrinks the error only as far as it adds
# to $x$, which already gives LinearError; two nested fits tell.
# :::
#
# ## Which part is predicted?

# %% tags=["hide-input"]
#| label: fig-earlier-parts
#| caption: R² per dimension of the error and of its two parts, each from an earlier site's SAE output alone; bars
#|   are 95% intervals over documents. Paper: Fig. 9b, the same three targets.
rows = whole[(whole["kind"] == "SAE output") & (whole["tokens"] == "own")]
rows = rows.assign(place=rows["site"].map(short))


def said(rows):
    span_of = {part: span(mine["value"], percent) for part, mine in rows.groupby("part")}
    ends = "an earlier SAE output predicts {LinearError} of LinearError, {NonlinearError} of NonlinearError"
    return ends.replace("an", "An", 1).format(**span_of)


titled = {"x_title": "R² per dimension", "title": chapter.finding(said, rows)}
charts.forest(rows, label="place", color="part", height=190, **titled)

# %% [markdown]
# LinearError is a linear map of $x$, and an earlier residual stream is $x$ without what the blocks between have
# added: that it is predicted is no surprise.
#
# ## Does the SAE do more than the raw activation?

# %% tags=["hide-input"]
#| label: fig-earlier-rank
#| caption: R² per dimension of NonlinearError from the principal components of a site's SAE output, less that
#|   from as many of its raw activation. Paper: Fig. 9b has all directions of the SAE outputs only.
rows = found["r2"][(found["r2"]["part"] == "NonlinearError") & (found["r2"]["metric"] == "r2_per_dim")]
rows = rows[(rows["sae"] == first) & (rows["tokens"] == "own") & rows["kind"].isin(["SAE output", "raw"])]
rows = rows.pivot_table("value", ["site", "rank"], "kind", sort=False).reset_index()
lead = rows.assign(lead=rows["SAE output"] - rows["raw"], place=rows["site"].map(short)) if there else rows
lead = lead.dropna(subset="lead").sort_values(["site", "rank"], kind="stable") if there else rows
chapter.record("lead by rank", lead[["site", "rank", "lead"]].to_dict("list") if there else None)


def said(lead):
    last = lead.groupby("place", sort=False)["lead"].last()
    ahead = int((last > 0).sum())
    chapter.record("ahead", [ahead, len(last)])
    return f"With all directions the SAE output leads at {counted(ahead, len(last), 'site')}, by up to {three(last.max())}"


titled = {"x_title": "directions", "y_title": "lead of the SAE output, R²", "height": 200}
titled["title"] = chapter.finding(said, lead if there else rows[:0])
charts.lines(lead, "rank", "lead", color="place", x_scale="log2", **titled) if there else rows

# %% [markdown]
# ## What would change our mind

# %% tags=["hide-input"]
chapter.rules(c10_earlier)

# %% [markdown]
# - **The stream carries x along.** A nonlinear function of an earlier residual stream, such as an SAE's output,
#   predicts a nonlinear function of $x$ for that reason alone; no circuit need be behind it.
# - **More inputs.** A fit with more inputs has more to fit by chance. What it so loses or gains is taken out of
#   every number: the shuffled rows show what is left of it. Raw activation and SAE output have equally many.
# - **Shuffled within a context.** Tokens of the same context share its subject. {glue:text}`context`
#
# :::{dropdown} At the same site it is algebra
# {glue:text}`poles` The first is 0 by the definition of NonlinearError, the last 1 because
# $\mathrm{SaeError}(x) = x - \mathrm{Sae}(x)$.
# :::
#
# ## Try it
#
# Put `raw.clamp(min=0)`, a nonlinear function that nobody trained, in place of `output` in the visible cell, then
# `darkmatter run 12`. How much of an SAE output's lead does it have?
#
# :::{dropdown} Answer
# About a tenth of it in the live cell on `tiny`: what the SAE learned does the rest.
# :::

# %% tags=["hide-input"]
chapter.close()
