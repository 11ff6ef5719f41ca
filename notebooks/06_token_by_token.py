# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Token by token
#
# Do wide SAEs fail where narrow ones fail? {cite:t}`engels2025` predict the error norm of a wide SAE at a token,
# $\lVert \mathrm{SaeError}(x) \rVert$, from that of a narrower one at the same token (§4.4). The R² is the share
# of the norm's variation over tokens that the two have in common.

# %% tags=["parameters", "remove-input"]
study = "tiny"
pair = None  # the two SAEs of the live cell; None: the narrowest and the widest of the width suite
contexts = 8  # how many contexts can be read

# %% tags=["hide-input"]
import numpy as np
import pandas as pd

from darkmatter_utils import charts, measure, open_chapter
from darkmatter_utils.base.values import Absent
from darkmatter_utils.base.words import course, interval, percent, plain, span
from darkmatter_utils.charts import Csv, Table, TokenBrowser, Words, estimates
from darkmatter_utils.claims import c03_same_tokens
from darkmatter_utils.claims.paper import points
from darkmatter_utils.experiments import same_tokens as shared
from darkmatter_utils.experiments.baselines import out_of_fold
from darkmatter_utils.experiments.live import live, tokens
from darkmatter_utils.experiments.token_splits import columns_of, token_splits
from darkmatter_utils.measurement.widths import ends

chapter = open_chapter(6, study, pair=pair, contexts=contexts)
measurement = measure(chapter.study)
shown = list(pair or ends(measurement))

# %% [markdown]
# ## The idea: one SAE's error norm from another's
#
# Loud activations leave large errors in every SAE, and so do some positions and some tokens. What these say of a
# norm is taken out of it first: `rest` is what remains, and what two SAEs are then asked to share. It is told from
# other documents: a position or a token counts by the mean that it has there of what the others leave, shrunk where
# it is rare.


# %%
@chapter.idea
def rest(norm, tokens):
    size = tokens["norm2"]  # ‖x‖²
    numbers = [np.sqrt(size), size]
    # try: [], so rare tokens stay in: the rest's R² rises
    labels = [tokens["position"], tokens["token"]]
    return norm - out_of_fold(norm, tokens["fold"], numbers=numbers, labels=labels)


def alike(tokens, shown=shown):
    narrow, wide = (np.sqrt(tokens[f"{id}:error"].to_numpy()) for id in shown)
    # try: np.roll(b, 1) for b, one token off: both fall
    r2 = lambda a, b: float(round(np.corrcoef(a, b)[0, 1] ** 2, 3))
    return {
        "as they are": r2(narrow, wide),
        "the rest": r2(rest(narrow, tokens), rest(wide, tokens)),
    }


live(measurement, alike, of=tokens)

# %% tags=["hide-input"]
found = shared.same_tokens(measurement, rest=rest)
simulated = chapter.study.world or chapter.study.name == "nano"
unlike = Absent("This study's own SAEs are simulated, or are too few, to be set beside simulated ones.")
oracles = unlike if simulated else shared.same_tokens(measure("world"), rest=rest)
chapter.judge(c03_same_tokens, shared.evidence(found))
for kind in ("raw", "partial", "shuffled", "rank", "added"):
    rows = found["pairs"].query("kind == @kind").drop(columns="kind")
    chapter.record(f"pairs {kind}", rows.to_dict("list"))

# %% tags=["hide-input", "first-screen"]
of = lambda table: table["pairs"].query("kind == 'partial' and narrow != wide")["value"]
ratio = lambda table: table["pairs"]["wide"].div(table["pairs"]["narrow"])
apart, null = of(found), oracles
if oracles and found:  # no farther apart than this study's widths are
    near = oracles["pairs"][ratio(oracles) <= ratio(found).max() * 1.001]
    null = of({"pairs": near})
chapter.record("oracles", null.to_list() if oracles else None)


def said(apart):
    told = f"Errors of two widths share R² {span(apart)}"
    return told + (f"; of SAEs that introduce nothing (not matched) {span(null)}" if oracles else "")


chapter.headed(said, apart)
control = {3: f"null that introduces nothing: {span(null)}, the same taken out"} if oracles else {}
chapter.opening(c03_same_tokens, control=control)

# %% tags=["hide-input", "first-screen"]
#| label: fig-ratio
#| caption: R² between two SAEs' error norms at the same tokens, over the ratio of their widths; means over pairs,
#|   95% intervals over documents and seeds. Taken out: norm of x, position, token. Hollow, filled: Fig. 4, other
#|   studies.
# try: add "linear", of LinearError alone: the highest line of all
kinds = {"raw": "as they are", "partial": "taken out of both", "shuffled": "control: tokens shuffled"}
ratios = found["ratios"].query("kind in @kinds").assign(what=lambda t: t["kind"].map(kinds))
if oracles and found:
    simulated = oracles["ratios"].query("kind == 'partial'")
    ratios = pd.concat([ratios, simulated.assign(what="null: introduces nothing, taken out")])
names = {"x_scale": "log2", "y_title": "R² between error norms", "x_title": "times wider the second SAE is"}
ours = charts.lines(ratios, "ratio", "value", color="what", y_domain=(0, 1), near=0.05, height=220, **names)
theirs = points("4").assign(ratio=lambda at: at["x"].astype(float) / at["width"])
theirs = chapter.beside(theirs, "ratios", lambda rows: rows[rows["kind"] == "raw"], nulls=False)


def said(rows):
    each = [rows[rows["kind"] == kind].sort_values("ratio")["value"].to_list() for kind in ("raw", "partial")]
    most = rows["ratio"].max()
    return f"Up to {most:.0f} times the width R² {course(each[0])}; with loud and rare tokens taken out it {course(each[1])}"


chapter.record("ratios", found["ratios"].to_dict("list") if found else None)
paper = charts.paper_points(theirs, "ratio", **names)
charts.layered(ours, paper, title=chapter.finding(said, found["ratios"]))

# %% tags=["hide-input"]
chapter.glue("narrow", shown[0])
chapter.glue("wide", shown[-1])
chapter.glue("paper", span(points("4")["value"], lambda value: plain(value, 3)))
chapter.glue("paper pairs", len(points("4")))
chapter.record("seed sd", dict(found["seeds"].to_numpy()))

# %% [markdown]
# The cell takes {glue:text}`narrow` and {glue:text}`wide`; every figure takes all pairs of the width suite. In the
# paper R² is {glue:text}`paper` over {glue:text}`paper pairs` pairs, with nothing taken out.
#
# ## The strongest objection: agreement is what absent features give
#
# An oracle SAE of a simulated world introduces no error. It only lacks features, and a wide one lacks a subset of
# what a narrow one lacks. The grey null of {numref}`fig-ratio` is two of them. So agreement says that tokens are
# hard, not why: it does not tell absent features from error that the SAE adds.


# %% tags=["hide-input"]
def named(ratio):
    there = found["pairs"].query("kind == 'raw' and wide / narrow == @ratio")
    told = [f"{one.narrow:,} and {one.wide:,}" for one in there.itertuples()]
    return told[0] if len(told) == 1 else f"{len(told)} pairs"


def by_ratio(*kinds):
    made = {shared.KINDS[kind]: found["ratios"].query("kind == @kind") for kind in kinds}
    first = made[shared.KINDS[kinds[0]]]
    ratio = ["1 (another seed)" if r == 1 else f"{r:.3g}" for r in first["ratio"]]
    columns = {name: estimates(rows) for name, rows in made.items()}
    about = {"times wider": ratio, "widths": [named(r) for r in first["ratio"]]}
    return found and pd.DataFrame(about | columns)


Csv(
    "R² by ratio: as they are, taken out, by rank, of documents",
    Table(by_ratio("raw", "partial", "rank", "partial rank", "document")),
)


# %% tags=["hide-input"]
#| label: fig-pairs
#| caption: R² between the error norms of every pair of widths. Left, with the norm of x, position and token taken
#|   out (means over seeds; on the diagonal two seeds of one width). Right, the paper's Fig. 4, nothing taken out.
def heat(rows, title):
    rows = rows.sort_values(["wide", "narrow"])
    rows = rows.assign(narrow=rows["narrow"].map("{:,}".format), wide=rows["wide"].map("{:,}".format))
    names = {"x_title": "narrower SAE (latents)", "y_title": "wider SAE", "value_title": title}
    return charts.heat(rows, "narrow", "wide", "value", title=title, width=320, **names)


pairs = found["pairs"].query("kind == 'partial'")
theirs = points("4").assign(narrow=lambda at: at["width"].astype(int), wide=lambda at: at["x"].astype(int))


def said(pairs):
    far = pairs[pairs["narrow"] != pairs["wide"]].assign(ratio=lambda rows: rows["wide"] / rows["narrow"])
    near, wide = (far.sort_values("ratio", kind="stable").iloc[at] for at in (0, -1))
    told = lambda row: f"{row['value']:.2f} at {row['narrow']:,.0f} and {row['wide']:,.0f}"
    less = (
        "The further apart two widths, the less they share"
        if near["value"] > wide["value"]
        else "Far or near"
    )
    return f"{less}: R² {told(near)} latents, {told(wide)}"


ours = heat(pairs, "taken out")
charts.beside(ours, heat(theirs, "the paper, as they are"), title=chapter.finding(said, pairs))

# %% tags=["hide-input"]
again, sd = shared.mean(found, "partial", same=True), found["seeds"].set_index("kind")["sd"]["partial"]
chapter.record("again", again)
chapter.record("between seeds", float(sd))
told = again and (
    f"Two trainings of one width set the ceiling: they share {interval(again)}. Another seed moves an SAE's R² by a "
    f"standard deviation of {plain(sd, 3)}."
)
chapter.record("ceiling", told or "")
told and Words(told)

# %% [markdown]
# How much two norms share depends on what is taken out first, and no set is the right one.

# %% tags=["hide-input"]
steps = shared.ladder(measurement)["steps"] if found else found
chapter.record("ladder", steps.to_dict("list"))
Csv(
    "Taken out step by step: nothing, ‖x‖ and its square, position, token, all of x",
    Table(charts.wide(steps, "pair", "taken_out")),
)

# %% [markdown]
# ## Which part of the error is it?
#
# Each part of the error, the linear one that $x$ predicts and the nonlinear rest (chapter 04), has a norm of its own
# at every token.

# %% tags=["hide-input"]
#| label: fig-part-pairs
#| caption: R² between the norms of one part of the error in two SAEs, over the ratio of their widths, as they are;
#|   means over pairs, 95% intervals over documents and seeds. (Paper: Fig. 12 shows these norms token by token.)
kinds = {"linear": "LinearError", "nonlinear": "NonlinearError"}
parts = found["ratios"].query("kind in @kinds").assign(part=lambda rows: rows["kind"].map(kinds))


def said(parts):
    each = {kind: rows.sort_values("ratio")["value"].to_list() for kind, rows in parts.groupby("part")}
    return "R² between two SAEs' norms of " + "; of ".join(
        f"{name} {course(values)}" for name, values in each.items()
    )


about = {"x_scale": "log2", "y_title": "R² between norms", "x_title": names["x_title"], "height": 220}
about |= {"y_domain": (0, 1), "near": 0.05, "title": chapter.finding(said, parts)}
charts.lines(parts, "ratio", "value", color="part", **about)

# %% tags=["hide-input"]
level = shared.levels(measurement)["levels"].iloc[[0, -1]]
parts = [
    f"the mean norm of {part} goes from {plain(level[part].iloc[0])} to {plain(level[part].iloc[1])}"
    for part in ("LinearError", "NonlinearError")
]
first, last = level["width"]
chapter.glue(
    "levels", f"From {first:,} to {last:,} latents, {' and '.join(parts)} (units: root of the variance of x)."
)

# %% tags=["hide-input"]
added, square, again = (
    shared.mean(found, "added"),
    shared.mean(found, "added square"),
    shared.mean(found, "added", same=True),
)
share = lambda e: interval(e, lambda v: percent(v, 1))
theirs = points("16")["value"] / 100
said = found and (
    "On average over the pairs of widths, ‖NonlinearError‖ of the narrower SAE removes "
    f"{share(added)} of what its error norm leaves of the wider one's; for another seed of the same width, "
    f"{share(again) if again else '–'}. The square of the error norm in its place, a control for a bent "
    f"relation, removes {share(square)}. (Paper: Fig. 16, {span(theirs, lambda v: percent(v, 1))}.)"
)
chapter.glue("added here", said or "This study has too few SAEs for it.")

# %% [markdown]
# :::{dropdown} Does NonlinearError's norm add anything? (App. E)
# {glue:text}`levels` The paper says that the norm of the narrow SAE's *nonlinear* error helps to predict the wide
# one's error beyond the norm of its whole error. With $S_1$ the squares that a prediction from the error norm
# leaves, and $S_2$ those left when $\lVert \mathrm{NonlinearError} \rVert$ is a second predictor, both of the
# corrected centre, the gain is $1 - S_2 / S_1$. {glue:text}`added here` App. E says "up to a 5% decrease",
# "validating this hypothesis". Only the abstract no longer has the claim.
# :::

# %% [markdown]
# ## Contexts to read
#
# {glue:text}`shown contexts` contexts, not picked by hand: those of full length, ordered by mean error, at equal
# steps; sorted by how far two SAEs are apart. Of the first 100 scored tokens, the darker have larger errors. Point at
# one, or use arrow keys: its split, by maps of other documents.

# %% tags=["hide-input"]
strips = shared.gallery(measurement, count=max(40, contexts))["strips"]
every = strips["context"].unique()
chosen = every[np.linspace(0, len(every) - 1, min(contexts, len(every))).round().astype(int)].tolist()
strips = strips[strips["context"].isin(chosen)].reset_index(drop=True)
chapter.glue("shown contexts", len(chosen))
chapter.record("contexts", chosen)
splits = token_splits(measure(chapter.again()), contexts=every.tolist())["splits"]
strips, read = columns_of(strips, splits)
words = "document {document}, {level:.2f} times the mean error"
strips["context"] = [words.format(**row) for row in strips.to_dict("records")]
told = {"name": "Tokens and their errors by two SAEs", "unsplit": "no split: its weights are not kept"}
TokenBrowser(strips, read, **told)

# %% [markdown]
# ## What would change our mind

# %% tags=["hide-input"]
chapter.rules(c03_same_tokens)

# %% [markdown]
# - **Loud tokens.** A large $\lVert x \rVert$ gives a large error to every SAE. It is taken out of both norms,
#   with its square; a stronger bend than that would stay in.
# - **Rare tokens.** The mean of a token seen a few times is mostly noise and is shrunk away; what such tokens have
#   in common stays in the rest and counts as agreement, as the claim means it.
# - **Documents.** If only whole documents were hard or easy, shuffling their tokens would change nothing: the
#   line of shuffled tokens in {numref}`fig-ratio` shows what that leaves.
#
# :::{dropdown} What is fitted, and what the paper makes of it
# Eq. 13 squares both norms and has one factor, without an intercept; the code behind Figs. 4 and 16 takes the norms
# as they are, with an intercept, and so does this chapter. An R² is that of the best line, of the corrected centre
# (chapter {doc}`02_how_to_measure_it`). In the table, *rank correlation* compares the order of the tokens only,
# *means of documents* one mean for each document. All of $x$ taken out, linearly, leaves what no linear function of
# $x$ says of either norm (chapter {doc}`03_error_norms`). The paper explains the agreement by an error that "stays
# mostly constant" once the SAE is wide (App. B.3); that, too, leaves open which error.
# :::
#
# ## Try it
#
# Two seeds of one width in place of two widths: on `tiny`,
# `darkmatter run 06 --study tiny -p pair '["w128-l0-8", "w128-l0-8-seed1"]'`. How much of the visible cell's R² is
# left in the rest?
#
# :::{dropdown} Answer
# About nine tenths of it. Two trainings of one width also share most of what loud and rare tokens do not explain;
# the narrowest and the widest SAE share far less.
# :::

# %% tags=["hide-input"]
chapter.close()
