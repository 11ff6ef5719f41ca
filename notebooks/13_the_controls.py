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
# {cite:t}`engels2025` asked for a dead SAE and one that only shrinks; later work added frozen random decoders
# {cite:p}`korznikov2026` and SAEs of random transformers {cite:p}`heap2025`. Here all of them go through the
# claims.

# %% tags=["parameters", "remove-input"]
study = "tiny"
sae = None  # the trained SAE that the controls are held against; None: the one of width nearest to 8 d_model

# %% tags=["hide-input"]
import pandas as pd

from darkmatter_utils import charts, measure, open_chapter
from darkmatter_utils.base.values import Estimate
from darkmatter_utils.base.words import interval, percent, plain, span
from darkmatter_utils.charts import Csv, Table, estimates
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
three = lambda v: plain(v, 3)


def listed(names):
    names = [str(controls.IN_A_LIST.get(name, name)) for name in names]
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


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

# %% tags=["hide-input", "first-screen"]
compared = controls.compared(
    measurement, reconstructions=reconstructions, id=shown, wide=other, more=[narrow, wide]
)
chapter.record("scores", compared["scores"].to_dict("list"))
chapter.judge(q13_controls, controls.evidence(compared["scores"]))
scores = controls.told(compared["scores"])
nulls = scores[scores["name"].isin(q13_controls.NULLS)]
matched = nulls[nulls["good"]]
claims = matched["claim"].unique().tolist()
chapter.record("as good", claims)
said = f"At claim{'s' * (len(claims) > 1)} {listed(claims)} a control does as well as the trained SAE"
chapter.headed(said if claims else "No control does as well as the trained SAE")
chapter.opening(q13_controls)

# %% tags=["hide-input", "first-screen"]
#| label: fig-controls
#| caption: By how much the trained SAE (diamonds) supports each claim better than controls without a trained model
#|   or SAE (grey); 95% intervals over documents. Left of the dotted line (claim 8: of 0.1) they are as good.
SHORT = {1: "error vector", 2: "error's norm", 3: "same tokens", 6: "Nonlinear's norm", 8: "loss"}
apart = zip(nulls["claim"], estimates(nulls, "difference"))
ahead = [q13_controls.advantage(claim, difference).to_dict() for claim, difference in apart]
rows = nulls[["claim", "name"]].reset_index(drop=True).join(pd.DataFrame(ahead))
rows["label"] = rows["claim"].map(lambda claim: f"{SHORT[claim]} ({claim}): ") + rows["name"]


def said(matched):
    by_claim = [
        f"at claim {claim} the {listed(rows['name'].tolist())}, {span(rows['value'])} beside its "
        f"{plain(rows['trained'].iloc[0])}{' (lower is better)' * (claim == 6)}"
        for claim, rows in matched.groupby("claim")
    ]
    return "As good as the trained SAE: " + "; ".join(by_claim)


settings = {"x_title": "advantage of the trained SAE", "rules": [q13_controls.THRESHOLDS.r2], "height": 238}
rows, title = rows.assign(color="null", reference=0.0), chapter.finding(said, matched)
charts.forest(rows, color="color", reference_title=controls.TRAINED, title=title, **settings)

# %% tags=["hide-input"]
first = scores.drop_duplicates("name")
lacks = [name for name in controls.WANTED if name not in set(scores["name"])]
chapter.glue("sae", shown)
chapter.glue("wide", other or "none")
chapter.glue("margin", q13_controls.THRESHOLDS.r2, "g")
chapter.glue("trained fvu", float(first["fvu"].iloc[0]), ".3f")
chapter.glue("lacking", f"Not among them, for it cannot be run here: {', '.join(lacks)}." if lacks else "")
apart = scores[(scores["claim"] == 1) & (scores["name"] != controls.TRAINED)]
apart = zip(apart["name"], estimates(apart, "difference"))
chapter.glue("edge", "; ".join(f"{name} {interval(e, three)}" for name, e in apart))

# %% [markdown]
# The trained SAE is {glue:text}`sae`. At claim 2 the rule wants a high R² of the error's norm: a dead SAE's
# error is $x$ less its mean, and its norm is easier to predict. At claim 6 it wants a low one. Where an error is
# wholly linear, claims 6 and 8 have nothing to test. Kinds of trained SAE, one rescaled, and a frozen random
# decoder are in the table. {glue:text}`lacking`

# %% tags=["hide-input"]
table = first[["name", "l0", "fvu"]].merge(charts.wide(scores, "name", "column"))
table["claim 2, simple predictors"] = first["simple"].to_numpy()
bold = scores.pivot_table("good", "name", "column", "first", fill_value=False, sort=False)
styles = {"L0": lambda v: plain(v, 1), "FVU": three}
styles["claim 2, simple predictors"] = lambda v: plain(v) if v == v else "–"
table = Table(table.rename(columns={"name": "reconstruction", "l0": "L0", "fvu": "FVU"}), styles, bold=bold)
Csv("Every control, every claim", table)

# %% tags=["hide-input"]
chapter.record("worth", worth.controls(measurement, id=shown))

# %% [markdown]
# :::{dropdown} What the rows and columns are
# The shrunk activation has the trained SAE's FVU, {glue:text}`trained fvu`, the random dictionary and the frozen
# decoder its width and L0. *Rescaled*: times the scalar that fits $x$ best; *one gain a latent*: each latent
# times its own best factor. Both undo shrinkage. Claim 3: how much of the error norm of {glue:text}`wide` each
# error norm predicts once ‖x‖, position and token are taken out. Claim 8: the share of the lost cross-entropy
# that NonlinearError wins back over its share of the squared error. The last column predicts the error's norm
# from ‖x‖, position, token and loss, without $x$: where it is as high as claim 2, that is a property of tokens.
# Chapter {doc}`15_the_report` has what the random-weights model's SAE and the dead one would earn by the rules.
# :::
#
# ## Nonlinear to whom?
#
# NonlinearError is what one reader, least squares, does not read from $x$. Others may: $x$ with all products of
# its first principal components (*quadratic*), or a network with one hidden layer on top of the linear map
# (*MLP*). All see $x$ and nothing else.

# %% tags=["hide-input"]
# try: id=narrow, whose error is larger: on nano every reader reads more of it
ladder = readers.reader_ladder(measurement, id=shown)["ladder"]
chapter.record("ladder", ladder.to_dict("list"))
best = ladder.loc[ladder["r2"].idxmax()]
linear = float(ladder.loc[ladder["reader"] == "linear (OLS)", "r2"].iloc[0])
read = float(best["gain"] / (1 - linear))
chapter.glue("best reader", best["reader"])
chapter.estimate("best gain", Estimate(best["gain"], best["gain_low"], best["gain_high"]), ".3f")
chapter.record("share read", read)
chapter.glue("unread", percent(1 - best["r2"]))
chapter.glue("read of nonlinear", percent(read))

# %% tags=["hide-input"]
#| label: fig-readers
#| caption: Share of the error that each reader predicts from x, on documents that it was neither fitted nor
#|   chosen on; bars are 95% intervals over documents. The diamond is the linear reader. Not in the paper; its
#|   reviewers asked.
name = "quadratic reader" if best["reader"] == "quadratic" else f"{best['reader']} reader"
said = f"The {name} reads {percent(read)} of what the linear one calls nonlinear: {three(best['r2'])}, not {three(linear)}"
titled = {"x_title": "R² total of the error", "title": chapter.finding(said), "height": 170}
charts.forest(
    ladder.assign(reference=linear), label="reader", value="r2", reference_title="linear (OLS)", **titled
)

# %% tags=["hide-input"]
told = {
    "reader": ladder["reader"],
    "chosen on held-out documents": ladder["chosen"].replace("", "–"),
    "R² total": estimates(ladder, "r2"),
    "R² per dimension": ladder["per_dim"],
    "gain over linear": estimates(ladder, "gain"),
}
Csv("Each reader, with what was chosen", Table(pd.DataFrame(told), dict.fromkeys(list(told)[2:], three)))

# %% [markdown]
# The best reader is {glue:text}`best reader`, {glue:text}`best gain` of the error's variance ahead of the linear
# one. It leaves {glue:text}`unread` of the error *not read from x in any way we tried*: that is all that
# "nonlinear" should be taken to say. The error is $x - \mathrm{Sae}(x)$, a function of $x$, so a reader that
# computes the SAE reads all of it.
#
# :::{dropdown} How the readers are fitted
# On documents that no number is scored on; they are chosen on a further part of them, and the MLP is stopped
# where held-out documents are read best. These numbers are held out, with what each reader loses by being fitted
# on few tokens. A larger network, more tokens or more steps might read more: the gain is a lower bound.
# :::
#
# ## What is in b?
#
# LinearError is $b\,x + c$. Chapter {doc}`04_half_linear` showed that a scalar gain explains only part of it.
# How many directions does the rest need?

# %% tags=["hide-input"]
found = error_vectors.ranks_of_b(measurement, ids=list(dict.fromkeys([narrow, shown, wide])))
chapter.record("shape", found["shape"].to_dict("list"))
sweep = found["sweep"]
chapter.record("sweep", sweep.to_dict("list"))
best = sweep[(sweep["kind"] == error_vectors.BEST) & (sweep["id"] == shown)].sort_values("rank")
reaches = lambda share: int(best.loc[best["r2"] >= share * best["r2"].iloc[-1], "rank"].iloc[0])
below = lambda share: int(best.loc[best["r2"] < share * best["r2"].iloc[-1], "rank"].iloc[-1])
chapter.record("ranks below", [below(0.5), below(0.9)])
chapter.glue("half rank", reaches(0.5))
chapter.glue("most rank", reaches(0.9))
chapter.glue("d", int(measurement.card["d_model"]))

# %% tags=["hide-input"]
#| label: fig-sweep
#| caption: R² total of the error from the best linear map of each rank (powers of two), and from as many of the
#|   first principal components of x, for one SAE; bars are 95% intervals over documents. Not in the paper.
kinds = {
    error_vectors.BEST: "best map of the rank",
    error_vectors.COMPONENTS: "control: first components of x",
}
drawn = sweep[sweep["id"] == shown].assign(line=lambda rows: rows["kind"].map(kinds))
d = int(measurement.card["d_model"])
said = (
    f"Half of the linear R² takes a rank between {below(0.5)} and {reaches(0.5)} of {d}, nine tenths one "
    f"between {below(0.9)} and {reaches(0.9)}"
)
titled = {"x_scale": "log2", "y_title": "R² total of the error", "height": 220}
charts.lines(drawn, "rank", "r2", color="line", title=chapter.finding(said), **titled)

# %% tags=["hide-input"]
shape = found["shape"].merge(measurement.saes[["id", "fvu"]])
names = {
    "gain": "scalar gain g",
    "trace": "trace(b) / d",
    "rank": "effective rank",
    "top": "share in 10 components of x",
}
told = {words: estimates(shape, name) for name, words in names.items()}
styles = {"FVU": three, names["gain"]: three, names["trace"]: three}
styles |= {names["rank"]: lambda v: plain(v, 1), names["top"]: percent}
table = Table(pd.DataFrame({"width": shape["width"], "FVU": shape["fvu"]} | told), styles)
Csv("Gain, trace and effective rank of b, by width", table)


# %% tags=["hide-input"]
def moved(again):
    style = lambda v: percent(v, 1)
    both = zip(again["name"], estimates(again, "error"), estimates(again, "x"))
    each = [
        f"{name}, {interval(error, style)} of Σ‖SaeError‖² and {interval(x, style)} of the variance of x"
        for name, error, x in both
    ]
    none = "the SAEs of this study read simulated features, not activations, and cannot be applied twice"
    return "; ".join(each) or none


chapter.record("again", compared["again"].to_dict("list"))
chapter.glue("second pass", moved(compared["again"]))

# %% [markdown]
# :::{dropdown} The columns of this table
# The trace of $b$ over $d$ counts every direction alike, the scalar gain $g$ loud ones more. The *effective rank*
# is that of LinearError's covariance $b^\top \mathrm{cov}(x)\, b$ with eigenvalues $\lambda_i$:
#
# ```{math}
# :label: eq-effective-rank
# \frac{(\sum_i \lambda_i)^2}{\sum_i \lambda_i^2}
# ```
#
# The last column is the share of LinearError's variance that the first ten principal components of $x$ predict.
# Intervals: jackknife over folds of documents. A row is a width's first seed; chapter 04 has means over seeds.
# :::
#
# :::{dropdown} Is an SAE at rest on what it writes?
# If the error were noise that the SAE removes, Sae(Sae(x)) would be Sae(x), as the paper's synthetic check (App.
# C.3, Fig. 15: FVU of 0.012) takes for granted (chapter {doc}`07_models_of_activations`). A second pass moves
# the reconstruction by: {glue:text}`second pass`.
# :::
#
# ## What would change our mind

# %% tags=["hide-input"]
chapter.rules(q13_controls)

# %% [markdown]
# - **As good is not the same.** A control can reach a claim's number for another reason than the trained SAE.
#   The rule says only that the number does not tell them apart.
# - **FVU differs.** A frozen decoder and a random dictionary at this L0 leave far more of $x$ than a trained SAE.
#   Claim 1's R² rises with the FVU by algebra ({eq}`eq-gain`), so a high number there is cheap.
# - **One seed.** Each control was trained once; its interval carries documents, not seeds.
#
# :::{dropdown} The margin, and another model's activations
# As good means: better by less than {glue:text}`margin` of an R², interval and all. At claim 1, whose range a
# control and the trained SAE may both lie in or both miss, it is the difference that counts. The SAE of the
# random-weights model reads other activations of the same tokens; its loss would be that of a model that
# predicts nothing, so claim 8 leaves it out.
# :::
#
# ## Try it
#
# `darkmatter run 13 -p sae SAE`, with the narrowest SAE of the width suite for `SAE`: some minutes. Does the best
# reader read more or less of its error than of this one's?
#
# :::{dropdown} Answer
# More, as does every reader: a narrow SAE leaves more of $x$, and what it leaves is more linear in $x$
# (chapter {doc}`04_half_linear`).
# :::

# %% tags=["hide-input"]
chapter.close()
