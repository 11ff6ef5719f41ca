# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Is the nonlinear error a different kind of thing?
#
# If a vector is a sparse sum of features, its squared norm is almost a linear function of it, say
# {cite:t}`engels2025` (App. B.1); so a part whose squared norm no linear map predicts is no such sum. By this
# *norm test* NonlinearError is the lowest of five parts (§5.1, Fig. 6), with a median R² of 0.86; that of the
# whole error is 0.89, of LinearError 0.94.

# %% tags=["parameters", "remove-input"]
study = "tiny"
contexts = 200  # contexts, spread over the text, on which the test from the part itself is made

# %% tags=["hide-input"]
import pandas as pd
import torch

from darkmatter_utils import LinearMap, Moments, Study, charts, measure, open_chapter
from darkmatter_utils.base.words import counted, course, plain, span
from darkmatter_utils.charts import Csv, Folded, Table, estimates
from darkmatter_utils.claims import c06_norm_lowest
from darkmatter_utils.claims.protocol import difference, fewer, without_low
from darkmatter_utils.experiments import paper_points
from darkmatter_utils.experiments.norm_argument import probes, sparse_sum, theory
from darkmatter_utils.experiments.norm_test import (
    FALL,
    NO_SAES,
    by_width,
    evidence,
    lowest,
    norm_test,
    null,
)
from darkmatter_utils.stats.metrics import r2_total

chapter = open_chapter(8, study, contexts=contexts)
measurement = measure(chapter.study)

# %% [markdown]
# ## The idea: when is a squared norm linear?
#
# `size` is what is predicted of a part, by a least-squares map of the part itself, or of $x$. The cell
# tries it on sparse sums of `n` features in `d` dimensions, where the answer is known.


# %%
@chapter.idea
def size(z):
    # try: z.sum(dim=1), which is linear in z: every R² is 1
    return (z**2).sum(dim=1)


d = 64
# try: < 100, hardly more than d: R² falls, at last below 0
train = torch.arange(6000) < 4000
for n in (32, 64, 128, 1024):
    # try: spread=2, unequal coefficients: R² falls
    z = sparse_sum(n, d=d, l0=4, spread=0.5, tokens=6000)
    norm = size(z)[:, None]
    a = LinearMap.fit(Moments(d, 1).update(z[train], norm[train]))
    r2 = r2_total(norm[~train], a(z[~train]))
    print(f"{n:5} features in {d} dimensions: R² {r2:.2f}")

# %% tags=["hide-input", "first-screen"]
found = norm_test(measurement, size=size, contexts=contexts)
nothing = null(measurement, found, size=size)
e = evidence(measurement, found, nothing)
chapter.judge(c06_norm_lowest, e)
gaps, counts = found["gaps"], {of: lowest(found["tests"], of) for of in ("from x", "from itself")}
chapter.record("gaps", gaps.to_dict("list"))
chapter.record("lowest", counts)
hardest = {of: counted(*count, "SAE") for of, count in counts.items()}
chapter.headed(f"From x, NonlinearError has the least predictable norm at {hardest['from x']}")
introduced = [estimate.value for estimate in e.null.values()]
fall = f"the null: SaeError's lies {span([-gap for gap in introduced])} below" if introduced else ""
chapter.opening(c06_norm_lowest, control={6: fall} if fall else {})

# %% tags=["hide-input", "first-screen"]
#| label: fig-norm-drop
#| caption: R² of another part's squared norm, from x, less that of NonlinearError; 95% intervals over documents
#|   and seeds, of the null over worlds. Shaded: what the rule asks of SaeError. (Paper, medians: SaeError 0.03,
#|   LinearError 0.08.)
named = {"SaeError": "SaeError's", "LinearError": "LinearError's"}
drops = [gaps[gaps["gap"].isin(list(named))].assign(line=gaps["gap"].map(named))]
if len(nothing):
    drops.append(nothing[nothing["part"] == FALL].assign(line="null: SaeError's"))
drops = pd.concat(drops)[["line", "width", "value", "low", "high"]]
chapter.record("drops", drops.to_dict("list"))
of_error = [estimate.value for estimate in e.over_error.values()]


def apart(gaps):
    if max(gaps) <= 0:
        return f"{span([abs(gap) for gap in gaps])} below"
    return f"{span(gaps)} above"


said = f"SaeError's R² lies {apart(of_error)} NonlinearError's" if of_error else ""
said += f"; where nothing is introduced, {apart(introduced)}" if introduced else ""
chapter.record("moves", [[sign * gap for gap in of_error + introduced] for sign in (1, -1)])
shade = {"allowed": (c06_norm_lowest.THRESHOLDS.error, float(max(0.1, drops["high"].max())))}
look = {"y_title": "R², less that of NonlinearError", "height": 220, "reference": 0}
ours = charts.lines(drops, "width", "value", color="line", **look, **shade)
charts.layered(ours, title=chapter.finding(said))


# %% tags=["hide-input"]
def middle(tests):
    rows = tests[~tests["id"].str.match("dead|shrunk|random|introduced")]
    ends = rows.groupby(["part", "source"])["value"].quantile([0.5, 0.05, 0.95]).unstack()
    return ends.set_axis(["value", "low", "high"], axis=1).reset_index()


own = found["tests"][~found["tests"]["kind"].isin(NO_SAES)]
medians = own.groupby(["source", "part"])["value"].median().unstack()
chapter.record("medians", {of: rows.to_dict() for of, rows in medians.iterrows()})
chapter.record("poles", found["poles"].to_dict("list"))
for source, (low, saes) in counts.items():
    chapter.glue(source, f"{low} of {saes}")
chapter.glue("paper", c06_norm_lowest.CLAIM.paper)
chapter.glue("tokens", f"{int(found['tokens']['tokens'].iloc[0]):,}")
columns = ["id", "part", "source", "value", "low", "high"]
chapter.record("tests", found["tests"][columns].to_dict("list"))
mine = found["tests"].query("part == 'NonlinearError' and source == 'from x'")["value"]
chapter.glue("level", span(mine))

# %% tags=["hide-input"]
low = f"{(mine <= 0.5).sum()} of {len(mine)} SAEs have a NonlinearError at 0.5 or below"
of_x, itself = (f"{low} of {saes}" for low, saes in counts.values())
lowest_at = f"NonlinearError is the lowest part at {of_x} SAEs from x, at {itself} from the part itself"
effects = without_low("low R² over parts", "median R² of NonlinearError's norm", mine, 0.5)
itself, of_x = (medians.get("NonlinearError", {}).get(source) for source in ("from itself", "from x"))
if itself is not None and of_x is not None:
    sampled = {"tokens": fewer(found["tokens"]["tokens"].iloc[0], measurement.card["tokens"])}
    effects["from itself"] = [difference("median R² of NonlinearError's norm", itself, of_x, **sampled)]
low = f"{low}: that figure would lose them"
chapter.protocol({"low R² over parts": low, "from itself": lowest_at}, effects)

# %% [markdown]
# ## Every part, every SAE
#
# NonlinearError has the lowest R² of the five parts at {glue:text}`from x` SAEs when the norm is predicted
# from $x$, as in the paper, and at {glue:text}`from itself` from the part itself, which is what the argument
# speaks of ({glue:text}`tokens` of the tokens). In the paper it is {glue:text}`paper`: a shift at an R² near
# 0.9, not a norm that cannot be predicted. Here its R² from $x$ is {glue:text}`level`. That is another regime;
# the levels do not compare, the order of the parts does.

# %% tags=["hide-input"]
#| label: fig-norm-parts
#| caption: R² of the squared norm of each part, a point an SAE. Grey row: matched SAEs that introduce nothing.
#|   Hollow, filled: the paper's 329 SAEs (Fig. 6) and other studies', median and middle nine tenths.
points = [own.assign(row=own["part"])]
if len(nothing):
    rows = nothing.query("part == 'NonlinearError'").assign(row="null: NonlinearError", part="null")
    points.append(rows.assign(id=rows["width"].map("{:,} latents".format)))
points = pd.concat(points).sort_values("source", ascending=False, kind="stable")
points = points[["row", "part", "id", "source", "value"]]
theirs = paper_points.norms().assign(source="from x", study="the paper: Fig. 6")
theirs = chapter.beside(theirs, "tests", middle)
theirs = theirs.assign(id=theirs["study"])
both = [f"{medians.loc[of, 'NonlinearError']:.2f} {of}" for of in ("from x", "from itself")]
said = f"The median R² of NonlinearError is {both[0]} and {both[1]}"
said += f"; of LinearError {medians.loc['from x', 'LinearError']:.2f} and {medians.loc['from itself', 'LinearError']:.2f}"
look = {"color": "part", "by": "source", "label": "id", "x_title": "R²", "theirs": theirs}
charts.strips(points, "row", "value", **look, title=chapter.finding(said))

# %% [markdown]
# :::{dropdown} Controls, and cut axes
# Controls are 0 or NonlinearError's own number by construction, so they are not drawn. Gaussian rows of its covariance have an R² of 0 from themselves, because $\lVert z\rVert^2$ is even in
# $z$; rows moved to other tokens keep their number from themselves and lose it from $x$; rows of the same norms
# in random directions keep it from $x$ and lose it from themselves.
#
# §5.1 says that one or two SAEs with an R² "equal to or lower than 0" were omitted. The released code drops
# every R² of at most 0.5 before it draws, on an axis that starts at 0.55; in Fig. 3 one such SAE has 0.03. One
# or two of 329 move no median. Here nothing is dropped.
# :::
#
# ## When the argument is true
#
# Let $z = \sum_i w_i y_i$ with unit directions $y_i$ and coefficients $w_i$ that are mostly 0. If the
# directions are orthogonal,
#
# ```{math}
# :label: eq-norm
# \begin{aligned}
# \lVert z\rVert^2 = \sum_i w_i^2 ,\\
# a^\top z = \sum_i (a^\top y_i)\,w_i ,\\
# R^2\;\text{of}\;w^2\;\text{from}\;w \;\to\; \frac{m_3^2}{m_2\,m_4}
# \end{aligned}
# ```
#
# as $w$ becomes rare, with $m_k$ the mean of $w^k$ where $w$ is on. So the argument has conditions: coefficients of *one sign* that
# *vary little*; few active at a time; and *no more features than dimensions*, since $a$ has only $d$ numbers.
# App. B.1 does not ask for the last.
#
# :::{dropdown} The conditions one by one, and a slip in App. C.1
# For a coefficient that is on or off, $w^2$ is proportional to $w$ and R² is 1; for a lognormal one whose
# standard deviation is $\sigma$ times its mean, it is $1/(1+\sigma^2)$. The probe needs $a^\top y_i = c_i$ with
# $c_i = \mathrm{Cov}(w_i, w_i^2)/\mathrm{Var}(w_i)$, for all features at once; for either sign it is 0. Few
# active at a time keep the cross terms $2\sum_{i<j} w_i w_j\,y_i^\top y_j$ small.
#
# App. C.1 takes the coefficients non-negative. It prints another weight, $\mathrm{E}(w_i^2)/\mathrm{E}(w_i)$:
# least squares fix a sum over features, not each term; for a coefficient that is on or off the two agree. For
# Poisson counts of mean 1 it prints a correlation of $6/\sqrt{66} \approx 0.73$; it is $3/\sqrt{11} \approx
# 0.905$, in the argument's favour.
# :::

# %% tags=["hide-input"]
#| label: fig-norm-theory
#| caption: The norm test, from the sum itself, of sparse sums of features with random directions; one line a
#|   spread of the coefficients (standard deviation over mean); 95% intervals over draws. (Paper: App. B.1, C.1,
#|   by argument.)
small = {"rows": 2000, "seeds": 2} if chapter.study.name == "nano" else {}
checks = theory(Study.load("world"), size=size, **small)["checks"]
chapter.record("theory", checks.to_dict("list"))
swept = checks.query("case == 'random directions'")
least, most = (swept[swept["ratio"] == end]["value"] for end in (1, swept["ratio"].max()))
said = f"R² is {span(least)} with as many features as dimensions, {span(most)} with"
said += f" {swept['ratio'].max():.0f} times as many: still sparse sums"
axes = {"x_scale": "log2", "x_title": "features / dimensions (n / d)", "y_title": "R² of ‖z‖² from z"}
look = {"color": "spread", "height": 220, "title": chapter.finding(said)}
spreads = swept.assign(spread=swept["spread"].map("spread {:g}".format))
charts.lines(spreads, "ratio", "value", **look, **axes)

# %% tags=["hide-input"]
rows = checks.query("case != 'random directions'")
columns = {"case": rows["case"], "spread of coefficients": rows["spread"], "by the formula": rows["theory"]}
styles = {"spread of coefficients": lambda v: "–" if pd.isna(v) else f"{v:g}", "by the formula": plain}
table = Table(pd.DataFrame(columns | {"measured": estimates(rows)}), styles)
Folded("Where it must hold, and where it must fail", table)

# %% [markdown]
# So a low R² can mean "not a sparse sum"; it can also mean a sparse sum of more features than dimensions. A high
# one is what few features give, or features with something in common (a token's overall size, say).
#
# ## The same test on an SAE that introduces nothing
#
# Chapter {doc}`07_models_of_activations` matched worlds to the study: features only, and SAEs that hold the most
# frequent of them with their true coefficients and keep the largest few. What they leave out is a sparse sum of
# features, all of it; their NonlinearError is what a linear map leaves of that sum.

# %% tags=["hide-input"]
#| label: fig-norm-null
#| caption: R² of ‖NonlinearError‖² from NonlinearError itself, over width; 95% intervals over documents, for
#|   the null of one more draw of one more matched world. (The paper has no such null.)
lines = by_width(measurement, found, nothing)
lines = lines.assign(
    line=lines["line"].map({"study": "this study's SAEs", "null": "null: introduces nothing"})
)
chapter.record("from itself by width", lines.to_dict("list"))


def said(lines, nothing):
    by = {name: span(rows["value"]) for name, rows in lines.groupby("line")}
    told = ", ".join(f"{by[name]} {words}" for name, words in saying.items() if name in by)
    return f"From itself, R² of NonlinearError's norm is {told}"


saying = {"this study's SAEs": "here", "null: introduces nothing": "where nothing is introduced"}
look = {"y_title": "R² from itself", "y_domain": (min(0.0, lines["low"].min()), 1.1 * lines["high"].max())}
look |= {"height": 220}
title = chapter.finding(said, lines, nothing)
ours = charts.lines(lines if len(nothing) else nothing, "width", "value", color="line", **look)
charts.layered(ours, title=title)

# %% tags=["hide-input"]
ours, theirs = found["tests"], nothing
of_x = [t.query("part == 'x' and source == 'from x'")["value"].mean() for t in (ours, theirs) if len(t)]
unequal = {"the study": found["tokens"]["cv2"].iloc[0]}
matched = "This study has no null that was matched to it."
if "cv2" in nothing:
    unequal["the null"] = nothing["cv2"].iloc[0]
    matched = (
        f"The squared norm of x has an R² from x of {of_x[0]:.2f} in the study and {of_x[1]:.2f} in the null, "
        "which was matched in it. It was not matched in how unequal the tokens are: the squared size of x − x̄ has "
        f"a variance, over its squared mean, of {' and '.join(f'{v:.2f} in {who}' for who, v in unequal.items())}."
    )
chapter.record("norm of x", of_x)
chapter.record("unequal tokens", unequal)
chapter.sentence("matched", matched)
chapter.record("null", nothing.to_dict("list"))
ranges = lambda t: t.groupby(["part", "source"], sort=False)["value"].agg(span)
columns = {"the study's SAEs": ranges(own), "introduces nothing": len(nothing) and ranges(nothing)}
rows = pd.DataFrame(columns).dropna() if len(nothing) else nothing
rows = rows.reset_index().rename(columns={"source": "predicted"})
Csv("R² of every part, here and where nothing is introduced", Table(rows, dict.fromkeys(columns, str)))

# %% [markdown]
# From $x$, the paper's way, {numref}`fig-norm-drop` has the same null.
#
# :::{dropdown} In what the null was matched, and in what not
# {glue:md}`matched` The matched worlds have features that fire independently and share one direction; real ones
# share more. A world with more structure can have a higher R².
# :::
#
# ## What the probe weighs
#
# If the norm of $\mathrm{Sae}(x)$ less its constant is a sum over latents, its probe $a^*$ must read each
# latent's direction $d_i$ by about the latent's activation when it is on; more exactly, by $c_i = \mathrm{Cov}(w_i,
# w_i^2)/\mathrm{Var}(w_i)$. App. C.2 expects the two to be "approximately equal".

# %% tags=["hide-input"]
#| label: fig-probe
#| caption: Weight of the norm's probe on each latent's direction against the latent's mean activation when on:
#|   means over bins of equally many latents, one line an SAE. Hollow: the paper's, a point a rank, smoothed
#|   (Fig. 14).
read = probes(measurement, size=size, contexts=contexts)
agreed = read["agreement"]
chapter.record("probe agreement", agreed.to_dict("list"))
widths = sorted(read["curve"]["width"].unique())
ends = [widths[0], widths[len(widths) // 2], widths[-1]] if widths else []
shown = read["curve"].query("width in @ends") if len(widths) > 4 else read["curve"]
shown = shown.assign(latents=shown["width"].map("{:,} latents".format))
axes = {"x_scale": "log10", "x_title": "mean activation when on", "y_title": "weight a*·d"}


def said(agreed):
    rank = agreed.query("statistic == 'rank correlation' and against == 'active'").sort_values("width")
    told = course(rank["value"])
    return f"The rank correlation of weight and mean activation {told} as the SAE widens"


theirs = charts.paper_points(paper_points.probe(), "active", "weight", **axes)
few = shown[["active", "weight", "latents"]]
ours = charts.lines(few, "active", "weight", color="latents", height=240, **axes)
ours and charts.layered(ours, theirs, title=chapter.finding(said, agreed))

# %% tags=["hide-input"]
words = {"active": "mean activation", "slope": "slope of the square"}
rank = agreed.query("statistic == 'rank correlation'")
named = rank.assign(said=estimates(rank), column="rank correlation, " + rank["against"].map(words))
wide = named.pivot(index=["width", "latents"], columns="column", values="said").reset_index()
wide = Table(wide.rename(columns={"latents": "alive latents"}))
Folded("Rank correlation with the mean activation and with the slope of the square", wide)

# %% [markdown]
# :::{dropdown} The paper's figure agrees with the argument better than with its sentence
# In Fig. 14 weight and mean activation are near each other, and drift apart: the weight is 1.2 times the mean
# activation at ranks 100 to 1,000, and 2.2 times at ranks 7,500 to 9,900. The slope $c_i$ asks for just that
# where activations vary: for a rare lognormal one it is the mean when on times $(1+\sigma^2)^2$. Alive latents
# are those that fire on this page's tokens, fewer than those of chapter 01. Intervals resample latents.
# :::
#
# ## What would change our mind

# %% tags=["hide-input"]
chapter.rules(c06_norm_lowest)

# %% [markdown]
# - **From x is not the argument's test.** The argument is about predicting $\lVert z\rVert^2$ from $z$.
#   From $x$, as in the paper's figure, the test asks whether something in $x$ says how large $z$ is.
# - **A residual of a regression.** NonlinearError is uncorrelated with $x$. That alone takes away what $x$ says
#   linearly: a lower R² than the whole error's is no sign of introduced error unless it falls by more than the
#   null's.
#
# ## Try it
#
# In the visible cell, give the coefficients either sign (`signs="symmetric"` in `sparse_sum`), then make all of
# them equal (`spread=0`), and run `darkmatter run 08`. Which of the conditions matters more?
#
# :::{dropdown} Answer
# The sign: with either sign every R² is about 0, whatever the spread. Equal coefficients of one sign raise the R²
# of few features by about a tenth, to below 1, since the directions are not orthogonal.
# :::

# %% tags=["hide-input"]
chapter.close()
