# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # How to measure it
#
# Every result of this book is a share of variance: how much of $x$ an SAE leaves unexplained, how much of that
# a linear map predicts. Ways to compute such shares do not agree. This appendix fixes ours, checks it where
# the answer is known, and puts the released code's protocol of {cite:t}`engels2025` beside it.

# %% tags=["parameters", "remove-input"]
study = "tiny"
sae = None  # the SAE of the live arrays; None: the one of the width suite nearest to a width of 8 d_model
draws = 100  # draws of few documents, at each size

# %% tags=["hide-input"]
import altair as alt
import numpy as np
import pandas as pd

from darkmatter_utils import LinearMap, Moments, charts, decompose, measure, open_chapter
from darkmatter_utils.base.words import counted, percent, plain, share, span
from darkmatter_utils.charts import Csv, Folded, Table, Words, estimates
from darkmatter_utils.claims import q02_protocols
from darkmatter_utils.claims.protocol import difference, fewer, relative
from darkmatter_utils.decomposition.released import TRAIN_SHARE
from darkmatter_utils.experiments import calibration, coverage, first_positions, measured, sample_size
from darkmatter_utils.experiments.live import live
from darkmatter_utils.experiments.simulated_suites import SEED_SD
from darkmatter_utils.measurement.widths import reference_sae
from darkmatter_utils.stats.intervals import FEWEST, LEAST
from darkmatter_utils.stats.loud import CUT
from darkmatter_utils.stats.metrics import fvu, r2_per_dim, r2_total

# %% tags=["hide-input"]
chapter = open_chapter(2, study, sae=sae, draws=draws)
measurement = measure(chapter.study)
again = measure(chapter.again())  # token by token
shown = sae or reference_sae(again)
chapter.glue("sae", shown)


def definitions(x, reconstruction, document):
    squares, total = ((x - reconstruction) ** 2).sum(axis=0), ((x - x.mean(axis=0)) ** 2).sum(axis=0)
    batches = [fvu(x[r], reconstruction[r]) for r in np.array_split(np.arange(len(x)), len(x) // 64)]
    return {
        "pooled over dimensions, divided once (this book)": squares.sum() / total.sum(),
        "mean over dimensions of each one's ratio": (squares / total).mean(),
        "mean over batches of 64 tokens of each one's ratio": np.mean(batches),
        "centred by one scalar mean for all dimensions": squares.sum() / ((x - x.mean()) ** 2).sum(),
        "not centred at all": squares.sum() / (x**2).sum(),
    }


# %% tags=["hide-input", "first-screen"]
found = sample_size.sweep(again, sae=shown, draws=draws)
chapter.judge(q02_protocols, sample_size.evidence(again, found, shown), unfit="")
defined = live(again, definitions, sae=shown)
chapter.record("definitions", defined)
chapter.headed(lambda defined: f"One SAE, five definitions of FVU: {span(defined.values())}", defined)
chapter.opening(q02_protocols)

# %% tags=["hide-input", "first-screen"]
#| label: fig-definitions
#| caption: FVU of one SAE by five definitions that are all in use, on the same tokens of a few contexts. Dotted:
#|   this book's, summed over tokens and dimensions and divided once. (The paper has no such figure.)
pooled, by_dimension, _, by_scalar, _ = defined.values()
said = f"Pooled, FVU is {plain(pooled)}; a mean over dimensions {plain(by_dimension)}; centred by one scalar {plain(by_scalar)}"
short = [
    "pooled (this book)",
    "mean over dimensions",
    "mean over batches",
    "centred by one scalar",
    "not centred",
]
dots = pd.DataFrame({"label": short, "value": list(defined.values()), "low": np.nan, "high": np.nan})
settings = {"x_title": "FVU", "x_domain": (0, 1.1 * dots["value"].max()), "rules": (pooled,), "height": 150}
charts.forest(dots.sort_values("value"), title=chapter.finding(said), **settings)

# %% [markdown]
# ## The idea: FVU, and its two poles
#
# The fraction of variance unexplained, {eq}`eq-fvu`, sums the squared error over all tokens and dimensions
# and divides once by the summed squared distance from the mean. A perfect reconstruction scores 0, the mean
# activation in place of every reconstruction 1. `x` holds activations of a few contexts, one row a token,
# `reconstruction` what the SAE {glue:text}`sae` makes of them.


# %%
def fraction_unexplained(x, reconstruction):
    left = ((x - reconstruction) ** 2).sum()
    spread = ((x - x.mean(axis=0)) ** 2).sum()
    return left / spread


def at_both_poles(x, reconstruction, document):
    mean = np.broadcast_to(x.mean(axis=0), x.shape)
    return [float(fraction_unexplained(x, guess).round(6)) for guess in (x, reconstruction, mean)]


live(again, at_both_poles, sae=shown)

# %% [markdown]
# The three numbers are those of a perfect reconstruction, of the SAE, and of the mean. The other definitions
# of {numref}`fig-definitions`: a mean over dimensions gives a quiet dimension as much weight as a loud one. A
# mean over batches divides by each batch's own spread. One scalar mean counts the constant differences between
# dimensions as variance that the SAE explains.
#
# ## R², twice
#
# R² says how much of a target a prediction explains: 1 for a perfect one, 0 for the target's mean. The target
# here is the error $e = \mathrm{SaeError}(x)$ with $d$ dimensions, and $\hat e$ its prediction from $x$. There
# are two ways to make one number of $d$ dimensions; chapter {doc}`04_half_linear` gives both:
#
# ```{math}
# :label: eq-r2
# \begin{aligned}
# R^2_{\mathrm{total}} &= 1 - \frac{\sum_j \sum (e_j - \hat e_j)^2}{\sum_j \sum (e_j - \bar e_j)^2} \\
# R^2_{\mathrm{per\,dim}} &= \frac1d \sum_j R^2_j, \\
# R^2_j &= 1 - \frac{\sum (e_j - \hat e_j)^2}{\sum (e_j - \bar e_j)^2}
# \end{aligned}
# ```
#
# The inner sums run over tokens, $j$ over dimensions, and $\bar e$ is the mean error. In
# $R^2_{\mathrm{total}}$ a dimension counts by its variance; in $R^2_{\mathrm{per\,dim}}$, the paper's number
# (§4), every dimension counts the same.


# %% tags=["hide-input"]
def predicted(x, reconstruction, document):
    error, train, d = x - reconstruction, document % 2 == 0, x.shape[1]
    prediction = LinearMap.fit(Moments(d, d).update(x[train], error[train]))(x[~train])
    target, mean = error[~train], np.broadcast_to(x.mean(axis=0), x.shape)
    centre = np.broadcast_to(target.mean(axis=0), target.shape)
    guesses = {"the error itself": target, "a linear map of x": prediction, "its mean": centre}
    scores = [(name, r2_total(target, guess), r2_per_dim(target, guess)) for name, guess in guesses.items()]
    return {"r2": scores, "fvu": [fvu(x, guess) for guess in (x, reconstruction, mean)]}


found_live = live(again, predicted, sae=shown)
poles = pd.DataFrame(found_live["r2"], columns=["prediction of SaeError", "R² total", "R² per dimension"])
chapter.record("poles", {"fvu": found_live["fvu"], "r2": poles.iloc[:, 1:].round(9).to_numpy() + 0.0})
Folded(
    "R² of a perfect prediction, of a linear map, and of the mean",
    Table(poles, dict.fromkeys(poles.columns[1:], lambda value: plain(value, 4))),
)

# %% [markdown]
# ## Loud tokens
#
# :::{dropdown} Why a study's window begins behind the first tokens
# Language models give a few tokens a norm far beyond all others, above all the first of a context, an *attention
# sink*. A share of the variance is then about these few. That is why a study's window begins behind them. The
# table decomposes the same contexts from position 0, which is `<bos>`, from 1, and from the first position of
# the window. $\gamma$ is $\lVert \bar x \rVert$ over the root of the mean $\lVert x - \bar x \rVert^2$.
# :::

# %% tags=["hide-input"]
loud = first_positions.windows(again, sae=shown)["windows"]
chapter.record("windows", loud.to_dict("records") if len(loud) else None)
said = Words.of(loud, say=first_positions.in_words)
chapter.record("loud tokens in words", said)
said

# %% tags=["hide-input"]
titles = {"first": "from position", "tokens": "tokens", "loud": f"louder than {CUT:g} × the median norm"}
titles |= {"loudest": f"variance in the loudest {share(first_positions.LOUDEST)}", "gamma": "γ"}
table = loud.assign(**{name: estimates(loud, name) for name in ("fvu", "r2_total", "r2_per_dim")})
titles |= {"fvu": "FVU", "r2_total": "R² total", "r2_per_dim": "R² per dimension"}
styles = dict.fromkeys(["γ", "FVU", "R² total", "R² per dimension"], lambda value: plain(value, 3))
table = Table(table[list(titles)].rename(columns=titles), styles | {titles["loudest"]: share})
Folded("The same contexts, from several positions on", table)

# %% [markdown]
# :::{dropdown} Sums are enough; loud tokens elsewhere
# `darkmatter measure` names loud tokens wherever they count, with FVU without them. A study that sets `loud: 10`
# neither fits nor scores a token of more than ten times the median norm, which is taken of other documents where
# there are some.
#
# A least-squares map needs the data only through a few sums: the number of tokens, the means, and the
# products of $x$ with itself and with the error. `Moments` keeps them about their means and takes batches of
# any size, so a study of any length fits in the same memory. Here it reads the arrays in pieces.
# :::


# %% tags=["hide-input"]
def largest_gap(x, reconstruction, document):
    error, moments = x - reconstruction, Moments(x.shape[1], x.shape[1])
    for rows in np.array_split(np.arange(len(x)), 7):
        moments.update(x[rows], error[rows])
    from_sums = LinearMap.fit(moments)(x)

    design = np.column_stack([x - x.mean(axis=0), np.ones(len(x))])
    from_rows = design @ np.linalg.lstsq(design, error, rcond=None)[0]
    return float(np.abs(from_sums - from_rows).max() / np.abs(error).max())


# %% tags=["hide-input"]
gap = live(again, largest_gap, sae=shown)
chapter.glue("largest gap", "less than a billionth" if gap < 1e-9 else f"{gap:.0e}")

# %% [markdown]
# The map from these sums and one from all rows differ by {glue:text}`largest gap` of the largest error.
#
# ## Out of sample, by document
#
# A map with $d^2$ numbers explains some of any noise in the rows it was fitted on. So a token must be scored by
# a map that has seen neither it nor the rest of its document. The *strict* protocol scores each fold of
# documents by a map fitted on the others. The paper draws a random set of tokens to fit on (§4), and its
# released code has no intercept. The table goes from the one to the other, a step at a time, on live arrays.


# %% tags=["hide-input"]
def left_by_map(x, error, group, intercept):
    """The error that a map from the other groups leaves, with every token scored once."""
    left, d = np.empty_like(error), x.shape[1]
    for k in range(5):
        out = group % 5 == k
        fitted = LinearMap.fit(Moments(d, d).update(x[~out], error[~out]), intercept=intercept)
        left[out] = error[out] - fitted(x[out])
    return left


# %% tags=["hide-input"]
def step_by_step(x, reconstruction, document):
    error, shuffled = x - reconstruction, np.random.default_rng(0).permutation(len(x))
    total = ((x - x.mean(axis=0)) ** 2).sum()
    steps = {
        "strict: documents held out, intercept": left_by_map(x, error, document, True),
        "tokens held out, intercept": left_by_map(x, error, shuffled, True),
        "tokens held out, no intercept": left_by_map(x, error, shuffled, False),
    }
    scores = lambda left: (r2_per_dim(error, error - left), r2_total(error, error - left))
    rows = [(name, *scores(left), (left**2).sum() / total) for name, left in steps.items()]
    paper = decompose(x, reconstruction, document=document, protocol="paper", bootstrap=0)
    scores = (paper.r2_per_dim.value, paper.r2_total.value, paper.fvu_nonlinear.value)
    rows.append(("paper: one split of tokens, FVU on fitted rows too", *scores))
    return {"rows": rows, "tokens": len(x)}


# %% tags=["hide-input"]
rows, count = live(again, step_by_step, sae=shown).values()
steps = pd.DataFrame(rows, columns=["protocol", "R² per dimension", "R² total", "FVU_nonlinear"])
chapter.record("steps", steps.set_index("protocol").to_dict("index"))
chapter.glue("live tokens", f"{count:,} tokens")
sampled = fewer(count, measurement.card["tokens"])
for key, first, column in (("split", 0, 1), ("intercept", 1, 1), ("rows", 2, 3)):
    here, other = (row[column] for row in rows[first : first + 2])
    said = f"{steps.columns[column]} {plain(here, 3)} → {plain(other, 3)}, on live arrays of {count:,} tokens"
    made, name = (relative, steps.columns[column]) if column == 3 else (difference, "R² of SaeError")
    chapter.protocol({key: said}, {key: [made(name, here, other, tokens=sampled)]})
said = f"FVU {plain(pooled, 3)} → {plain(by_scalar, 3)}, on live arrays"
chapter.protocol({"centre": said}, {"centre": [relative("FVU", pooled, by_scalar, tokens=sampled)]})
chapter.glue("all tokens", f"{measurement.card['tokens']:,} tokens")
Folded(
    "From the strict protocol to the paper's, step by step",
    Table(steps, {name: "{:.4f}".format for name in steps.columns[1:]}),
)

# %% [markdown]
# These arrays have {glue:text}`live tokens` of the study's {glue:text}`all tokens`: how far the protocols lie apart
# depends on that, and shrinks with more ({numref}`fig-sample-size`).
#
# ## Three estimators, and how much text they need
#
# A map fitted on few tokens misses the best one: scored on other documents it predicts worse than the best
# map, on its own tokens better. To first order the two misses are of one size, so with $K$ folds
#
# ```{math}
# :label: eq-centre
# \frac{(K - 1)\,r_{\text{out}} + K\,r_{\text{in}}}{2K - 1}
# ```
#
# is the residual of the best map: the *corrected centre*, the value that this book shows. The paper fits on
# {glue:text}`paper share` of the tokens and scores R² on the others (§4), which are of the same documents.
# {numref}`fig-sample-size` draws documents of the study, from as few a dimension as the paper has
# ({glue:text}`paper documents`) on, and decomposes each draw in all three ways. The paper has
# {glue:text}`paper tokens` a dimension; this study {glue:text}`our tokens` of {glue:text}`our documents` a
# dimension.

# %% tags=["hide-input"]
d = measurement.card["d_model"]
sizes, ours = sample_size.summary(found, d), measurement.card["tokens"] / d
whole = sizes[sizes["contexts"] == sizes["contexts"].max()]
off = {name: whole[name] - sample_size.target(found) for name in ("r2_per_dim", "low", "high")}
there = chapter.values["question"]["numbers"]["differences"].items()
said = "R² by the paper's protocol minus ours: "
said += (
    "; ".join(f"{plain(one['value'], 3)} at {place}" for place, one in there)
    .replace("at all of its", "on all")
    .replace("at the paper's place", "at the paper's size of text")
)

# %% tags=["hide-input"]
#| label: fig-sample-size
#| caption: R² of the error vector per dimension minus the corrected centre of all documents, by tokens a dimension:
#|   mean of many draws; bars hold 95% of them. Upright: the sizes of paper and study. Shaded: what the rule
#|   allows.
titles = {
    "x_title": "scored tokens / d_model",
    "y_title": "R² minus that of all documents",
    "x_scale": "log10",
}
marks = pd.DataFrame({"x": [sample_size.TOKENS, ours], "what": ["the paper", chapter.study.name]})
upright = alt.Chart(marks).encode(x=alt.X("x:Q", title=titles["x_title"]))
text = upright.mark_text(align="left", dx=4, color="#1f2937").encode(text="what", y=alt.value(8))
agree = q02_protocols.THRESHOLDS.agree
band = {"allowed": (-agree, agree), "allowed_label": "the rule", "height": 240}
drawn = charts.lines(whole.assign(**off), "tokens_per_dim", "r2_per_dim", color="protocol", **titles, **band)
charts.layered(drawn, upright.mark_rule(color="#94a3b8"), text, title=chapter.finding(said))

# %% tags=["hide-input"]
chapter.glue("paper share", TRAIN_SHARE, ".0%")
chapter.glue("paper documents", sample_size.DOCUMENTS, ".3f")
chapter.glue("paper tokens", f"{sample_size.TOKENS:.0f} tokens")
chapter.glue("our tokens", f"{ours:,.0f} tokens")
chapter.glue("our documents", f"{measurement.card['documents'] / d:.2f} documents")
chapter.record("sample size", sizes.to_dict("records") if len(sizes) else None)
said = Words.of(sizes, say=sample_size.in_words)
chapter.record("sizes in words", said)
said

# %% tags=["hide-input"]
names = {"protocol": "protocol", "documents": "documents", "contexts": "contexts of each, at most"}
names |= {"documents_per_dim": "documents / d_model", "tokens_per_dim": "tokens / d_model"}
table = sizes[list(names)].rename(columns=names)
for name, title in (("r2_per_dim", "R² per dimension"), ("fvu_nonlinear", "FVU_nonlinear")):
    table = table.assign(**{f"{title}, mean": sizes[name], f"{title}, sd": sizes[f"{name}_sd"]})
table = table.assign(off=sizes["off"]).rename(columns={"off": "standard errors from the last centre"})
styles = {name: "{:.3f}".format for name in table.columns if name.endswith(("mean", "sd"))}
styles |= {"documents / d_model": "{:.3f}".format, "tokens / d_model": "{:.0f}".format}
styles["standard errors from the last centre"] = lambda value: "–" if pd.isna(value) else plain(value, 1)
Csv("Every size that was drawn", Table(table, styles))

# %% [markdown]
# The paper's protocol has two faults that pull in opposite directions. Its map has few tokens to be fitted
# on, which lowers R²; the tokens it is scored on are neighbours of those that were fitted, which raises it.
# Held-out numbers have the first fault alone.

# %% tags=["hide-input"]
differences = measured.protocol_differences(measurement)
four = dict.fromkeys(differences.columns[1:], lambda value: plain(value, 4))
Folded("Ours minus paper, for all SAEs of the study", Table(differences.rename(columns={"id": "SAE"}), four))

# %% [markdown]
# ## Does the interval cover?
#
# A 95% interval must contain the true value in 95% of data sets. {numref}`fig-coverage` counts that in worlds
# where the truth is known: the error is a linear map of $x$ plus noise, and documents differ in loudness, in
# the size of the noise, in length. Each setting is {glue:text}`coverage draws` simulated texts (`darkmatter
# calibrate` makes them anew). In the table a star marks a coverage whose whole binomial interval lies below
# 95%, a dash that none is given: of fewer than {glue:text}`fewest` documents, or below {glue:text}`least`
# tokens a dimension.

# %% tags=["hide-input"]
#| label: fig-coverage
#| caption: How often the 95% interval holds the true value in simulated texts, by setting, for the quantity that
#|   fares worst; bars are binomial 95% intervals. Dotted: 95%.
rows = coverage.shipped()
worst = rows.dropna(subset="value").sort_values("value").drop_duplicates("setting").sort_values("value")
chapter.record("worst coverage", worst["value"].to_list())
lowest = worst.iloc[0]
under = counted(int(worst["short"].sum()), len(worst), "setting")
chapter.record("short coverage", [int(worst["short"].sum()), len(worst)])
said = f"The interval is too short at {under}; worst, {lowest['setting']}: {percent(lowest['value'])} where 95% is due"
chapter.record("nominal", 0.95)
settings = {"label": "setting", "x_title": "coverage", "rules": (0.95,), "height": 24 * len(worst)}
settings |= {"x_domain": (0.05 * int(20 * worst["low"].min()), 1)}
charts.forest(worst, title=chapter.finding(said), **settings)

# %% tags=["hide-input"]
chapter.record("coverage", rows[["setting", "quantity", "given", "hits"]].to_dict("records"))
chapter.glue("coverage draws", int(rows["draws"].min()))
chapter.glue("fewest", FEWEST)
chapter.glue("least", LEAST)
rows["said"] = [
    "–"
    if pd.isna(r.value)
    else f"{plain(100 * r.value, 0)}% [{100 * r.low:.0f}, {100 * r.high:.0f}]{'*' * r.short}"
    for r in rows.itertuples()
]
shape = dict(index=["setting", "documents", "tokens_per_dim"], columns="quantity", values="said", sort=False)
table = rows.pivot_table(**shape, aggfunc="first").reset_index().rename(columns=coverage.QUANTITIES)
table = Table(
    table.rename(columns={"tokens_per_dim": "tokens / d_model"}), {"tokens / d_model": "{:g}".format}
)
Csv("Coverage of each quantity in each setting", table)

# %% tags=["hide-input"]
wide = rows[rows["low"] > coverage.NOMINAL]
chapter.glue("too wide", f"{len(wide)} of {rows['value'].notna().sum()}")

# %% [markdown]
# :::{dropdown} Where it fails, and the price
# Two things fail. Where few documents carry the sum, or the loud ones are reconstructed worse, resampling them
# shows too little of what other documents would do; only more documents mend that. Where there are few tokens
# a dimension, the map's own error, which resampling holds fixed, is no longer small. The price: in
# {glue:text}`too wide` cells of the table the whole interval lies above 95%.
# :::
#
# ## How often are the rules wrong?
#
# A rule that judges a claim has an error rate, like any test.
#
# :::{dropdown} How it is counted: false, power, nothing introduced
# Each of its statements is judged on
# {glue:text}`rule studies` simulated studies whose truth is set: at the statement's margin, and off it by as
# much as the margin is off the middle of the range (or off 0), on both sides. *False* is the largest share of
# studies that say "holds" of what is false or "does not hold" of what is true, in brackets the upper end of
# its one-sided 95% interval; *power* the smallest share that tell what is off the margin. A rule is held to an
# upper end of {glue:text}`most false` and to a power of {glue:text}`least power`: below, a study of this size
# cannot answer, and the card of the claim says so, as where a rule is wrong more often than that. *Nothing
# introduced* is the share of {glue:text}`nothing studies` simulated studies without any introduced error that
# are said to have some, of the rules that can say so. A claim without a row has no known rate.
# :::

# %% tags=["hide-input"]
rules = calibration.summary()
chapter.record("rules", rules[["rule", "statement", "false", "power"]].to_dict("records"))
chapter.glue("rule studies", span(rules["studies"], str))
chapter.glue("most false", calibration.MOST_FALSE, ".0%")
chapter.glue("least power", calibration.LEAST_POWER, ".0%")
nothing = calibration.shipped().query("truth == @calibration.NOTHING")
chapter.glue("nothing studies", span(nothing["studies"], str))
said = lambda row: f"{percent(row.false, 1)} [{percent(row.upper, 1)}]"
introduced = {(row.rule, row.statement): said(row) for row in nothing.itertuples()}
table = [
    {
        "claim": row.rule,
        "statement": row.statement,
        "false": said(row),
        "power": percent(row.power),
        "nothing introduced": introduced.get((row.rule, row.statement), "–"),
    }
    for row in rules.itertuples()
]
Csv("The error rates of each rule", Table(pd.DataFrame(table)))

# %% tags=["hide-input"]
named = lambda rows: "; ".join(f"claim {row.rule}, *{row.statement}*" for row in rows.itertuples())
wrong, idle = rules[~rules["sound"]], rules[~rules["answers"]]
words = [f"Wrong too often: {named(wrong)}." if len(wrong) else "No rule is wrong too often."]
words += [f"Without the power to answer: {named(idle)}."] if len(idle) else []
Words(" ".join(words))

# %% [markdown]
# :::{dropdown} Rules about widths: simulated suites, checked by trained ones
# Rules about SAEs of several widths are judged on simulated suites: curves, with noise of documents and of
# training seeds. As a check, {glue:text}`trained suites` suites were trained on one simulated world of
# {glue:text}`trained dimensions` dimensions, each on documents of its own, and scored on others. If the
# interval of a suite's change of $\mathrm{FVU}_\mathrm{nonlinear}$ per doubling is right, the changes of the
# suites scatter as their intervals say: {glue:text}`trained inside` of {glue:text}`trained suites` intervals
# hold the mean of the other suites, and the changes scatter {glue:text}`trained spread` times as widely as the
# intervals imply: below 1 they are too wide, as where few SAEs of one width say how much training seeds differ.
# Between seeds $\mathrm{FVU}_\mathrm{nonlinear}$ varies by {glue:text}`trained seeds` there, by
# {glue:text}`simulated seeds` in the simulated suites, which have it from tiny.
# :::

# %% tags=["hide-input"]
trained = coverage.trained_suites()
suites = coverage.scatter(trained)
chapter.record("trained_suites", suites)
chapter.glue("trained suites", str(suites["suites"]))
chapter.glue("trained dimensions", str(trained["d_model"].iloc[0]))
chapter.glue("trained inside", str(suites["inside"]))
chapter.glue("trained spread", suites["spread"], ".2f")
chapter.glue("trained seeds", suites["seed_sd"], ".2%")
chapter.glue("simulated seeds", SEED_SD["fvu_nonlinear"], ".2%")

# %% [markdown]
# ## What would change our mind

# %% tags=["hide-input"]
chapter.rules(q02_protocols)

# %% [markdown]
# - **Loud dimensions.** A residual stream has a few dimensions of very large mean and variance. They dominate
#   every pooled share, and count as one among $d$ in $R^2_{\mathrm{per\,dim}}$.
# - **A large mean.** Without an intercept, large constant dimensions of $x$ act as one. Where there are none,
#   the missing intercept costs more.
# - **Tokens are not independent.** Those of a document resemble each other, so a map loses more on new documents
#   than $d$ over the number of tokens says.
#
# ## Try it
#
# `darkmatter run 02 --study tiny -p draws 20` (some minutes): fewer draws of few documents. Which bars of
# {numref}`fig-sample-size` move?
#
# :::{dropdown} Answer
# Those at few tokens a dimension, a little: the bars say how much texts of that size differ, not how well their
# mean is known. At all documents nothing moves. `coverage.Setting` describes a simulated text: add one to
# `coverage.SETTINGS` and run `coverage.row` on it for its coverage.
# :::

# %% tags=["hide-input"]
chapter.close()
