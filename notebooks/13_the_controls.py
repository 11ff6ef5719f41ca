# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The controls
#
# A number says something about SAEs only if it differs for what is not an SAE. The reviewers of
# {cite:t}`engels2025` asked for a dead SAE and for one that only shrinks; later work found that SAEs with a
# frozen random decoder {cite:p}`korznikov2026` and SAEs of random transformers {cite:p}`heap2025` pass tests that
# were meant for trained ones. This chapter puts all of them through the claims of the earlier chapters, takes
# the linear part of the error apart, and asks what "nonlinear" excludes.

# %% tags=["parameters", "remove-input"]
study = "tiny"
sae = None  # the trained SAE that the controls are held against; None: the one of width nearest to 8 d_model

# %% tags=["hide-input"]
import pandas as pd

from darkmatter_utils import charts, measure, open_chapter
from darkmatter_utils.base.values import Absent, Estimate
from darkmatter_utils.base.words import interval, percent, plain
from darkmatter_utils.charts import Table, Words, estimates
from darkmatter_utils.claims import q13_controls
from darkmatter_utils.experiments import controls, error_vectors, readers, worth
from darkmatter_utils.experiments.live import live
from darkmatter_utils.measurement.widths import ends, reference_sae
from darkmatter_utils.worlds.saes import RandomSae

chapter = open_chapter(13, study, sae=sae)
measurement = measure(chapter.again(also="twin"))
shown = sae or reference_sae(measurement)
narrow, wide = ends(measurement)
other = wide if wide != shown else narrow if narrow != shown else None

# %% [markdown]
# ## The idea: what needs no SAE
#
# Three reconstructions that learned nothing; of the trained SAE they are told its width, L0 and FVU. The
# *random dictionary* keeps, for each token, the few of many random directions that point most along $x$. The
# *shrunk* activation is $x$ moved towards its mean. The *dead* SAE answers with the mean. Each stands with
# its L0. The table says how much of each one's error a linear map of $x$ predicts on held-out documents of a
# few contexts, per dimension, {eq}`eq-r2`.


# %%
@chapter.idea
def reconstructions(x, mean, trained):
    random = RandomSae("random", mean, trained.width, l0=trained.l0)
    # try: l0=1, one direction a token: a linear map predicts more of what is
    #   left
    return {
        "random dictionary": random.reconstruct(x),
        # try: 0.5 * (x - mean), whatever the factor: R² stays 1
        "shrunk activation": (mean + (1 - trained.fvu**0.5) * (x - mean), x.shape[1]),
        "dead SAE": (mean.expand_as(x), 0),
    }


tried = lambda sample: controls.tried(sample, reconstructions)
Table(live(measurement, tried, of=controls.few, id=shown))

# %% tags=["hide-input"]
compared = controls.compared(
    measurement, reconstructions=reconstructions, id=shown, wide=other, more=[narrow, wide]
)
chapter.record("scores", compared["scores"].to_dict("list"))
chapter.judge(q13_controls, controls.evidence(compared["scores"]))
chapter.opening(q13_controls)

# %% tags=["hide-input"]
#| label: fig-controls
#| caption: The number behind each claim for the trained SAE (first row, and the diamond in every row), for
#|   other kinds of trained SAE, for the same SAE rescaled, for one whose decoder was frozen at random, and
#|   for controls that learned nothing (the last rows). Claimed is about a half at claim 1, a high number at
#|   2 and 3, a low one at 6, 1 at 8. Bars are 95% intervals over documents. (The paper has no such figure;
#|   its reviewers asked.)
scores = controls.told(compared["scores"])
charts.panels(
    scores,
    "panel",
    charts.forest,
    label="name",
    reference="trained",
    reference_title=controls.TRAINED,
    width=200,
)

# %% [markdown]
# Over the whole study, with every control and every claim:


# %% tags=["hide-input"]
def listed(names):
    names = [controls.IN_A_LIST.get(name, name) for name in names]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def missing(scores):
    lacks = [name for name in controls.WANTED if name not in set(scores["name"])]
    return f"Not among them, for it cannot be run here: {', '.join(lacks)}. " if lacks else ""


bold = (
    "Numbers in bold support their claim as well as the trained SAE's, within the margin of the rule below."
)
Words(missing(scores) + bold)

# %% tags=["hide-input"]
first = scores.drop_duplicates("name")
table = first[["name", "l0", "fvu"]].merge(charts.wide(scores, "name", "column"))
table["claim 2, simple predictors"] = first["simple"].to_numpy()
bold = scores.pivot_table("good", "name", "column", "first", fill_value=False, sort=False)
styles = {"L0": lambda v: plain(v, 1), "FVU": lambda v: plain(v, 3)}
styles["claim 2, simple predictors"] = lambda v: plain(v) if v == v else "–"
table = Table(table.rename(columns={"name": "reconstruction", "l0": "L0", "fvu": "FVU"}), styles, bold=bold)
table

# %% tags=["hide-input"]
apart = scores[(scores["claim"] == 1) & (scores["name"] != controls.TRAINED)]
apart = zip(apart["name"], estimates(apart, "difference"))
chapter.glue("sae", shown)
chapter.glue("wide", other or "none")
chapter.glue("margin", q13_controls.THRESHOLDS.r2, "g")
chapter.glue("trained fvu", float(first["fvu"].iloc[0]), ".3f")
chapter.glue("edge", "; ".join(f"{name} {interval(e, lambda v: plain(v, 3))}" for name, e in apart))

# %% [markdown]
# The trained SAE is {glue:text}`sae`, with an FVU of {glue:text}`trained fvu`; the shrunk activation was
# given the same FVU, the random dictionary and the frozen decoder the same width and L0. *Rescaled* is the
# trained SAE times the scalar that fits $x$ best, and *one gain a latent* gives each latent its own best
# factor: both undo shrinkage. Claim 3 asks how much of the error norm of another SAE, {glue:text}`wide`, each
# control's error norm predicts once ‖x‖, position and token are taken out. Claim 8 is the share of the lost
# cross-entropy that NonlinearError wins back, divided by its share of the squared error. The last column is
# what ‖x‖, position, token and loss predict of the error's norm without $x$: a high claim 2 beside an equally
# high last column is a property of tokens. Where an error is wholly linear, claims 6 and 8 have nothing to
# test. Claim by claim:


# %% tags=["hide-input"]
def plainly(scores):
    lines = []
    for claim, mine in scores[scores["name"] != controls.TRAINED].groupby("claim"):
        null = mine["name"].isin(q13_controls.NULLS)
        those = lambda what, of: list(mine.loc[mine[what] & of, "name"])
        good, unknown, others = those("good", null), those("open", null), those("good", ~null)
        none = f"no control that learned nothing {'is as good' if null.any() else 'can be tested'}."
        text = f"as good without having learned anything: {listed(good)}." if good else none
        text += f" Whether as good cannot be told: {listed(unknown)}." if unknown else ""
        text += f" As good, and trained in whole or in part: {listed(others)}." if others else ""
        lines.append(f"- **Claim {claim}**, {q13_controls.CLAIMS[claim].what}: {text}")
    return Words("\n".join(lines))


plainly(scores)

# %% [markdown]
# What the random-weights model's SAE and the dead one would earn by the rules of claims 1, 2, 6 and 13, each
# as a study of one SAE, stands in chapter {doc}`15_the_report` beside every verdict.

# %% tags=["hide-input"]
chapter.record("worth", worth.controls(measurement, id=shown))

# %% [markdown]
# ## Is an SAE at rest on what it writes?
#
# If the error were noise that the SAE removes, a second pass would change nothing: Sae(Sae(x)) = Sae(x). The
# synthetic check of the paper (App. C.3) takes that for granted (chapter 07); with no noise and nothing
# ablated, its Fig. 15 has an FVU of 0.012. The size of the difference, in units of
# the first error and of $x$:

# %% tags=["hide-input"]
again = compared["again"]
chapter.record("again", again.to_dict("list"))
none = Absent(
    "The SAEs of this study read simulated features, not activations: they cannot be applied twice."
)
names = {"error": "share of Σ‖SaeError‖²", "x": "share of the variance of x"}
told = {words: estimates(again, name) for name, words in names.items()}
Table(pd.DataFrame({"SAE": again["name"]} | told) if len(again) else none, lambda v: percent(v, 1))

# %% [markdown]
# ## What is in b?
#
# LinearError is $b\,x + c$. Chapter 04 showed that a scalar gain $g$ explains only part of it. Here is the
# rest of $b$. Its trace over $d$ says how much of $x$'s own direction the error takes, every direction
# counted alike; $g$ counts loud ones more. The *effective rank* is that of LinearError's covariance
# $b^\top \mathrm{cov}(x)\, b$ with eigenvalues $\lambda_i$:
#
# ```{math}
# :label: eq-effective-rank
# \frac{(\sum_i \lambda_i)^2}{\sum_i \lambda_i^2}
# ```
#
# It is $d$ if all directions carry as much, and 1 if one carries all. The last column is the share of
# LinearError's variance that the first ten principal components of $x$ predict. Intervals are jackknife
# intervals over folds of documents.

# %% tags=["hide-input"]
found = error_vectors.ranks_of_b(measurement, ids=list(dict.fromkeys([narrow, shown, wide])))
chapter.record("shape", found["shape"].to_dict("list"))
shape = found["shape"].merge(measurement.saes[["id", "fvu"]])
names = {
    "gain": "scalar gain g",
    "trace": "trace(b) / d",
    "rank": "effective rank",
    "top": "share in 10 components of x",
}
told = {words: estimates(shape, name) for name, words in names.items()}
three = lambda v: plain(v, 3)
styles = {"FVU": three, names["gain"]: three, names["trace"]: three}
styles |= {names["rank"]: lambda v: plain(v, 1), names["top"]: percent}
Table(pd.DataFrame({"width": shape["width"], "FVU": shape["fvu"]} | told), styles)

# %% tags=["hide-input"]
#| label: fig-sweep
#| caption: $R^2$ total of the error from the best linear map of each rank for each
#|   SAE, and from the first principal components of $x$ for one; bars are 95% intervals over documents.
#|   (The paper has no such figure.)
sweep = found["sweep"]
chapter.record("sweep", sweep.to_dict("list"))
drawn = sweep[(sweep["kind"] == error_vectors.BEST) | (sweep["id"] == shown)].sort_values(
    "kind", kind="stable"
)
short = drawn["kind"].map({error_vectors.BEST: "best map", error_vectors.COMPONENTS: "top components of x"})
drawn = drawn.assign(line=short + drawn["width"].map(", width {:,}".format))
charts.lines(drawn, "rank", "r2", color="line", x_scale="log2", y_title="R² total of the error")

# %% tags=["hide-input"]
best = sweep[(sweep["kind"] == error_vectors.BEST) & (sweep["id"] == shown)].sort_values("rank")
reaches = lambda share: int(best.loc[best["r2"] >= share * best["r2"].iloc[-1], "rank"].iloc[0])
chapter.glue("half rank", reaches(0.5))
chapter.glue("most rank", reaches(0.9))
chapter.glue("d", int(measurement.card["d_model"]))

# %% [markdown]
# For {glue:text}`sae`, half of the linear R² needs a map of rank {glue:text}`half rank`, and nine tenths of
# it one of rank {glue:text}`most rank`, of {glue:text}`d` (the ranks tried are powers of two). The mean is
# not in these curves: R² is about it.
#
# ## Nonlinear in what sense?
#
# NonlinearError is what one reader, least squares, does not read from $x$. Other readers may. All of these
# see $x$ and nothing else, are fitted on documents that no number is scored on, and are chosen on a further
# part of them: a scalar gain, the best map of low rank, least squares, ridge, $x$ with all products of its
# first principal components (*quadratic*), and a network with one hidden layer on top of the linear map
# (*MLP*), stopped where held-out documents are read best. What is tuned has no best map to be corrected to:
# these numbers are held out, with what each reader loses by being fitted on few tokens, their intervals too.

# %% tags=["hide-input"]
# try: id=narrow, whose error is larger: on nano every reader reads more of it
ladder = readers.reader_ladder(measurement, id=shown)["ladder"]
chapter.record("ladder", ladder.to_dict("list"))
best = ladder.loc[ladder["r2"].idxmax()]
linear = float(ladder.loc[ladder["reader"] == "linear (OLS)", "r2"].iloc[0])
chapter.glue("best reader", best["reader"])
chapter.estimate("best gain", Estimate(best["gain"], best["gain_low"], best["gain_high"]), ".3f")
chapter.glue("unread", percent(1 - best["r2"]))
chapter.glue("read of nonlinear", percent(best["gain"] / (1 - linear)))

# %% tags=["hide-input"]
#| label: fig-readers
#| caption: How much of the error each reader predicts from $x$ on held-out documents, $R^2$ total with 95%
#|   intervals over documents; the diamond is the linear reader. (The paper has no such figure; its reviewers
#|   asked.)
charts.forest(
    ladder.assign(reference=linear),
    label="reader",
    value="r2",
    reference_title="linear (OLS)",
    x_title="R² total of the error, held-out documents",
)

# %% tags=["hide-input"]
told = {
    "reader": ladder["reader"],
    "chosen on held-out documents": ladder["chosen"].replace("", "–"),
    "R² total": estimates(ladder, "r2"),
    "R² per dimension": ladder["per_dim"],
    "gain over linear": estimates(ladder, "gain"),
}
Table(pd.DataFrame(told), dict.fromkeys(list(told)[2:], three))

# %% [markdown]
# The best reader is {glue:text}`best reader`; it reads {glue:text}`best gain` more of the error's variance
# than the linear one: of what the linear reader calls nonlinear, {glue:text}`read of nonlinear`. It leaves
# {glue:text}`unread` of the error. That part is *not read from x in any way we tried*, which is all that
# "nonlinear" should be taken to say. It is not unreadable: the error is $x - \mathrm{Sae}(x)$, a function of
# $x$, so a reader that computes the SAE reads all of it.
#
# ## What could fool us

# %% tags=["hide-input"]
chapter.rules(q13_controls)

# %% [markdown]
# - **A margin.** As good means: better by less than {glue:text}`margin` of an R², interval and all, whatever
#   the value itself. At claim 1, whose range a control and the trained SAE may both lie in or both miss, it
#   is the difference that counts: {glue:text}`edge`.
# - **As good is not the same.** A control can reach a claim's number for another reason than the trained SAE.
#   The rule says that the number alone does not tell them apart, not that they are alike.
# - **FVU differs.** A frozen decoder and a random dictionary at this L0 leave far more of $x$ unexplained
#   than a trained one. Claim 1's R² rises with the FVU by algebra ({eq}`eq-gain` in chapter 04), so a high
#   number there is cheap.
# - **Other activations.** The SAE of the random-weights model reads another distribution. Its row shares
#   tokens and documents with the others, not activations, and its loss would be that of a model that predicts
#   nothing, so claim 8 leaves it out.
# - **One seed.** Each control was trained once; its interval carries documents, not seeds.
# - **A short ladder.** A larger network, more tokens or more steps might read more: the gain is a lower
#   bound.
#
# ## Exercise
#
# In the visible cell, let the random dictionary keep one direction a token (the line after `# try:`): it
# leaves more of $x$, and a linear map predicts more of what it leaves. Then run this chapter with `sae` set
# to the narrowest and to the widest SAE of the suite. Which controls come closer to the trained one, and does
# the MLP read more or less of the error?

# %% tags=["hide-input"]
chapter.close()
