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
# Every result of this book is a share of variance: how much of the activation $x$ an SAE leaves unexplained,
# and how much of that a linear map predicts. There are several ways to compute such shares, and they do not
# agree. This chapter fixes ours, checks it where the answer is known, and puts the released code's protocol
# of {cite:t}`engels2025` beside it.

# %% tags=["parameters", "remove-input"]
study = "tiny"
sae = None  # the SAE of the live arrays; None: the one of the width suite nearest to a width of 8 d_model
draws = 100  # draws of few documents, at each size

# %% tags=["hide-input"]
import altair as alt
import numpy as np
import pandas as pd

from darkmatter_utils import LinearMap, Moments, charts, decompose, measure, open_chapter
from darkmatter_utils.base.words import percent, plain, share, span
from darkmatter_utils.charts import Folded, Table, Words, estimates
from darkmatter_utils.claims import q02_protocols
from darkmatter_utils.decomposition.paper import TRAIN_SHARE
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
found = sample_size.sweep(again, sae=shown, draws=draws)
chapter.judge(q02_protocols, sample_size.evidence(again, found, shown), unfit="")
chapter.opening(q02_protocols)

# %% tags=["hide-input"]
#| label: fig-sample-size
#| caption: $R^2$ of the error vector per dimension, by how many tokens a dimension it is computed from: mean of
#|   many draws of whole documents, and the bars that 95% of the draws lie in; rightmost, all documents. The
#|   dashed line is the corrected centre of all documents; upright lines mark how many tokens a dimension the
#|   paper has and this study. (Paper: §4 gives its numbers of contexts and tokens; it has no such figure.)
d = measurement.card["d_model"]
sizes, ours = sample_size.summary(found, d), measurement.card["tokens"] / d
whole = sizes[sizes["contexts"] == sizes["contexts"].max()]
titles = {"x_title": "scored tokens / d_model", "y_title": "R² per dimension", "x_scale": "log10"}
line = {"color": "protocol", "reference": sample_size.target(found)}
marks = pd.DataFrame({"x": [sample_size.TOKENS, ours], "what": ["the paper", chapter.study.name]})
upright = alt.Chart(marks).encode(x=alt.X("x:Q", title=titles["x_title"]))
charts.layered(
    charts.lines(whole, "tokens_per_dim", "r2_per_dim", **line, **titles),
    upright.mark_rule(color="#94a3b8"),
    upright.mark_text(align="left", dx=4, color="#64748b").encode(text="what", y=alt.value(8)),
)

# %% [markdown]
# ## FVU, and its two poles
#
# The fraction of variance unexplained, {eq}`eq-fvu`, sums the squared error over all tokens and dimensions
# and divides once by the summed squared distance from the mean. A perfect reconstruction scores 0. The mean
# activation, put in place of every reconstruction, scores 1; something worse than the mean scores above 1.
# The cell is the definition; `x` holds activations of a few contexts of the study, one row a token, and
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
# The three numbers are those of a perfect reconstruction, of the SAE, and of the mean.
#
# ## R², twice
#
# R² says how much of a target a prediction explains: 1 for a perfect one, 0 for the target's mean, below 0
# for worse. The target here is the error $e = \mathrm{SaeError}(x)$, with $d$ dimensions, and $\hat e$ its
# prediction from $x$. There are two ways to make one number of $d$ dimensions, and this book always gives
# both:
#
# ```{math}
# :label: eq-r2
# \begin{aligned}
# R^2_{\mathrm{total}} &= 1 - \frac{\sum_j \sum (e_j - \hat e_j)^2}{\sum_j \sum (e_j - \bar e_j)^2} \\
# R^2_{\mathrm{per\,dim}} &= \frac1d \sum_j
#   \left( 1 - \frac{\sum (e_j - \hat e_j)^2}{\sum (e_j - \bar e_j)^2} \right)
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
Table(poles, dict.fromkeys(poles.columns[1:], lambda value: plain(value, 4)))

# %% [markdown]
# ## Definitions that disagree
#
# The same arrays, by definitions of FVU that are all in use. Averaging over dimensions gives a quiet
# dimension as much weight as a loud one. Averaging the ratios of batches divides by each batch's own spread.
# Centring all dimensions by one scalar mean counts the constant differences between dimensions as variance
# that the SAE explains.


# %% tags=["hide-input"]
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


found = live(again, definitions, sae=shown)
chapter.record("definitions", found)
pooled, *_, by_scalar, _ = found.values()
chapter.protocol({"centre": f"FVU {plain(pooled, 3)} → {plain(by_scalar, 3)}, on live arrays"})
Table(pd.DataFrame({"definition": list(found), "FVU": list(found.values())}), {"FVU": "{:.4f}".format})

# %% [markdown]
# ## Loud tokens
#
# Language models give a few tokens a norm far beyond all others, above all the first of a context, an *attention
# sink*. A share of the variance is then about these few, and so are FVU and R². That is why a study's window
# begins behind them. The table decomposes the same contexts from several positions on: from 0, which is
# `<bos>`, from 1, and from the first position of the study's window. $\gamma$ is
# $\lVert \bar x \rVert$ over the spread, the root of the mean $\lVert x - \bar x \rVert^2$.

# %% tags=["hide-input"]
loud = first_positions.windows(again, sae=shown)["windows"]
chapter.record("windows", loud.to_dict("records") if len(loud) else None)
Words.of(loud, say=first_positions.in_words)

# %% tags=["hide-input"]
titles = {"first": "from position", "tokens": "tokens", "loud": f"louder than {CUT:g} × the median norm"}
titles |= {"loudest": f"variance in the loudest {share(first_positions.LOUDEST)}", "gamma": "γ"}
table = loud.assign(**{name: estimates(loud, name) for name in ("fvu", "r2_total", "r2_per_dim")})
titles |= {"fvu": "FVU", "r2_total": "R² total", "r2_per_dim": "R² per dimension"}
styles = dict.fromkeys(["γ", "FVU", "R² total", "R² per dimension"], lambda value: plain(value, 3))
Table(table[list(titles)].rename(columns=titles), styles | {titles["loudest"]: share})

# %% [markdown]
# `darkmatter measure` names loud tokens wherever they count, with FVU without them. A study that sets `loud: 10`
# neither fits nor scores a token of more than ten times the median norm, which is taken of other documents where
# there are some.
#
# ## Sums are enough
#
# A least-squares map needs the data only through a few sums: the number of tokens, the means, and the
# products of $x$ with itself and with the error. `Moments` keeps them about their means and takes batches of
# any size, so a study of any length fits in the same memory. Here it reads the arrays in pieces, and its map
# is compared with a solver that saw all rows at once.


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
# The two predictions differ by {glue:text}`largest gap` of the largest error.
#
# ## Out of sample, by document
#
# A map with $d^2$ numbers explains some of any noise in the rows that it was fitted on. So a token must be
# scored by a map that has not seen it, nor the rest of its document, whose tokens resemble it. The *strict*
# protocol splits the documents into folds and scores each fold by a map fitted on the others. The paper draws
# a random set of tokens to fit on (§4). It says that bias terms are included and only omitted from its
# equations (§4); the released code has no intercept $c$ in its maps from $x$ to the error. The table takes
# one step at a time from the one to the other, on the live arrays.


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
for key, first, column in (("split", 0, 1), ("intercept", 1, 1), ("rows", 2, 3)):
    before, then = (plain(row[column], 3) for row in rows[first : first + 2])
    said = f"{steps.columns[column]} {before} → {then}, on live arrays of {count:,} tokens"
    chapter.protocol({key: said})
chapter.glue("all tokens", f"{measurement.card['tokens']:,} tokens")
Table(steps, {name: "{:.4f}".format for name in steps.columns[1:]})

# %% [markdown]
# These arrays have {glue:text}`live tokens` of the study's {glue:text}`all tokens`. How far the protocols lie
# apart depends on that, so a comparison on one text says nothing of another's size.
#
# ## Three estimators, and how much text they need
#
# A map fitted on few tokens misses the best one. Scored on documents that it has not seen, it predicts worse
# than the best map; scored on its own tokens, better. To first order the two misses are of one size, so with
# $K$ folds
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
chapter.glue("paper share", TRAIN_SHARE, ".0%")
chapter.glue("paper documents", sample_size.DOCUMENTS, ".3f")
chapter.glue("paper tokens", f"{sample_size.TOKENS:.0f} tokens")
chapter.glue("our tokens", f"{ours:,.0f} tokens")
chapter.glue("our documents", f"{measurement.card['documents'] / d:.2f} documents")
chapter.record("sample size", sizes.to_dict("records") if len(sizes) else None)
Words.of(sizes, say=sample_size.in_words)

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
Folded("Every size that was drawn", Table(table, styles))

# %% [markdown]
# The paper's protocol has two faults that pull in opposite directions. Its map has few tokens to be fitted
# on, which lowers R²; the tokens it is scored on are neighbours of those that were fitted, which raises it,
# the more so the fewer documents there are. Held-out numbers have the first fault alone. The differences
# between the paper's protocol and the value of this book for every SAE of the study, on all of its text:

# %% tags=["hide-input"]
differences = measured.protocol_differences(measurement)
four = dict.fromkeys(differences.columns[1:], lambda value: plain(value, 4))
Folded("Ours minus paper, for all SAEs of the study", Table(differences.rename(columns={"id": "SAE"}), four))

# %% [markdown]
# ## Does the interval cover?
#
# A 95% interval must contain the true value in 95% of data sets. The table counts that in worlds where the
# truth is known: the error is a linear map of $x$ plus noise, and documents differ in loudness, in the size
# of the noise, in length. Each row is {glue:text}`coverage draws` simulated texts (`darkmatter calibrate`
# makes them anew). Brackets are binomial 95% intervals; a star marks a coverage whose whole bracket lies below
# 95%, a dash that no interval is given: of fewer than {glue:text}`fewest` documents, and below
# {glue:text}`least` tokens a dimension.

# %% tags=["hide-input"]
rows = coverage.shipped()
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
Table(table.rename(columns={"tokens_per_dim": "tokens / d_model"}), {"tokens / d_model": "{:g}".format})

# %% tags=["hide-input"]
short = rows[rows["short"]].groupby("setting", sort=False)["value"].min().sort_values()
said = "; ".join(f"{name} ({plain(100 * value, 0)}%)" for name, value in short.items())
wide = rows[rows["low"] > coverage.NOMINAL]
chapter.glue("too wide", f"{len(wide)} of {rows['value'].notna().sum()}")
Words(f"Below 95%, worst first, by the quantity that fares worst: {said}." if len(short) else "")

# %% [markdown]
# Two things fail. Where few documents carry the sum, or the loud ones are reconstructed worse, resampling them
# shows too little of what other documents would do; only more documents mend that, and a study whose documents
# are alike is spared. Where there are few tokens a dimension, the fitted map's own error, which resampling
# holds fixed, is no longer small. The price: intervals are wider than they need be where nothing is hard. In
# {glue:text}`too wide` cells of the table the whole bracket lies above 95%.
#
# ## How often are the rules wrong?
#
# A rule that judges a claim has an error rate, like any test. Each of its statements is judged on
# {glue:text}`rule studies` simulated studies whose truth is set: at the statement's margin, and off it by as
# much as the margin is off the middle of the range (or off 0), on both sides. *False* is the largest share of
# studies that say "holds" of what is false or "does not hold" of what is true, in brackets the upper end of
# its one-sided 95% interval; *power* the smallest share that tell what is off the margin. A rule is held to an
# upper end of {glue:text}`most false` and to a power of {glue:text}`least power`: below, a study of this size
# cannot answer, and the card of the claim says so, as where a rule is wrong more often than that. *Nothing
# introduced* is the share of {glue:text}`nothing studies` simulated studies without any introduced error that
# are said to have some, of the rules that can say so. A claim without a row has no known rate.

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
Table(pd.DataFrame(table))

# %% tags=["hide-input"]
named = lambda rows: "; ".join(f"claim {row.rule}, *{row.statement}*" for row in rows.itertuples())
wrong, idle = rules[~rules["sound"]], rules[~rules["answers"]]
words = [f"Wrong too often: {named(wrong)}." if len(wrong) else "No rule is wrong too often."]
words += [f"Without the power to answer: {named(idle)}."] if len(idle) else []
Words(" ".join(words))

# %% [markdown]
# Rules about SAEs of several widths are judged on simulated suites: curves, with noise of documents and of
# training seeds. As a check, {glue:text}`trained suites` suites were trained on one simulated world of
# {glue:text}`trained dimensions` dimensions, each on documents of its own, and scored on others. If the
# interval of a suite's change of $\mathrm{FVU}_\mathrm{nonlinear}$ per doubling is right, the changes of the
# suites scatter as their intervals say: {glue:text}`trained inside` of {glue:text}`trained suites` intervals
# hold the mean of the other suites, and the changes scatter {glue:text}`trained spread` times as widely as the
# intervals imply: below 1 they are too wide, as where few SAEs of one width say how much training seeds differ.
# Between seeds $\mathrm{FVU}_\mathrm{nonlinear}$ varies by {glue:text}`trained seeds` there, by
# {glue:text}`simulated seeds` in the simulated suites, which have it from tiny.

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
# ## What could fool us
#
# - **Few, unequal documents.** With a handful of documents, or heavy tails, the interval is too short: see
#   the table.
# - **Loud dimensions.** A residual stream has a few dimensions of very large mean and variance. They dominate
#   every pooled share, and count as one dimension among $d$ in $R^2_{\mathrm{per\,dim}}$. That is why both
#   are given.
# - **A large mean.** Without an intercept, large constant dimensions of $x$ act as one. Where there are none,
#   the missing intercept costs more.
# - **Tokens are not independent.** In-sample, pure noise is explained by $d$ over the number of *independent*
#   tokens. Those of a document resemble each other, so a map loses more on new documents than that ratio
#   says.
#
# ## Exercise
#
# `coverage.Setting` describes a simulated text, `coverage.SETTINGS` those of the table. Add one and run
# `coverage.row` on it: how many documents bring the coverage of the loudest setting back?

# %% tags=["hide-input"]
chapter.close()
