# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What it costs the model
#
# What does the *model* lose by an SAE's error? {cite:t}`engels2025` put the reconstruction in the place of
# the activation, let the model run on, and give back one part of the error at a time. Each part contributes
# in proportion to its size, they find (§5.3), by its share of the norm (§1) and of the variance (Fig. 8).

# %% tags=["parameters", "remove-input"]
study = "tiny"
sae = None  # whose adapters are made, and shown live; None: the one of the suite nearest to 8 d_model latents
contexts = 40  # how many of the study's contexts every replacement is run on, at least
training = 600  # how many other contexts the adapters are made on
steps = 150  # how many steps the trained adapter takes

# %% tags=["hide-input"]
import pandas as pd
import torch

from darkmatter_utils import charts, measure, open_chapter
from darkmatter_utils.base.words import course, percent, plain, span
from darkmatter_utils.charts import Csv, Table, Words, estimates
from darkmatter_utils.claims import c08_proportional
from darkmatter_utils.claims.protocol import fewer, of_orders
from darkmatter_utils.claims.statement import word_at
from darkmatter_utils.experiments import paper_points
from darkmatter_utils.experiments.cost_shares import AVERAGE, FIRST, LAST, ORDERS
from darkmatter_utils.experiments.cost_tables import costs, evidence
from darkmatter_utils.experiments.live import live
from darkmatter_utils.experiments.replacements import few_logits
from darkmatter_utils.measurement.widths import reference_sae

chapter = open_chapter(10, study, sae=sae, contexts=contexts, training=training, steps=steps)
measurement = measure(chapter.again())

# %% [markdown]
# ## The idea: run the model on from something else
#
# The *site* is the activation that the SAE reads. Something else is put in its place, $x$,
# $\mathrm{Sae}(x)$, or that with one part of the error given back, and the model computes the rest from it:
# `logits`, what it then says of each next token. The *loss* is the cross-entropy (CE), in nats. Beside it stands
# the *divergence* (KL), how far the prediction of all tokens moved, $\sum_t p_t \log (p_t / q_t)$ with $p$ the
# clean prediction and $q$ the new one. Loss can fall by luck; divergence cannot. Below, four contexts only: the
# losses are not those of the sample, nor of all positions (the card of chapter 01).


# %%
@chapter.idea
def loss(logits, tokens):
    """What the model pays for each next token: −log of its probability."""
    return -torch.log_softmax(logits, dim=-1).gather(-1, tokens[..., None])[..., 0]
    # try: return (logits.argmax(-1) != tokens).double(), wrong guesses: no
    #   number is above 1


def losses(few):
    # try: loss(0 * said[0], said[1]), no token more likely than another: each is
    #   the log of their number
    return {name: round(float(loss(*said).mean()), 3) for name, said in few.items()}


live(measurement, losses, of=few_logits, id=sae or reference_sae(measurement))

# %% tags=["hide-input", "first-screen"]
found = costs(measurement, loss=loss, sae=sae, contexts=contexts, training=training, steps=steps)
e, near = evidence(found), c08_proportional.THRESHOLDS.near
chapter.judge(c08_proportional, e)
sampled = fewer(found["about"]["tokens"].max(), measurement.card["tokens"])
chapter.protocol({}, of_orders(e, tokens=sampled))
own = found["shares"].query("kind == ''")
mean = own[own["order"] == AVERAGE]
chapter.record("shares", found["shares"].to_dict("list"))
chapter.record("claim 8 by SAE", found["by_sae"].to_dict("list"))


def said(mean):
    size, cost = (mean[(mean["part"] == "NonlinearError") & (mean["share"] == s)] for s in ("variance", "ce"))
    link = "but only" if e.slope.high < near[0] else "but even" if e.slope.low > near[1] else "and"
    shares = span(size["value"], percent), span(cost["value"], percent)
    return f"NonlinearError is {shares[0]} of the error {link} {shares[1]} of its cost"


chapter.headed(said, mean)
slopes = found and [control.value for control in e.controls.values()]
null = {8: f"the null: {span(slopes)}"} if slopes else {}
chapter.opening(c08_proportional, control=null)

# %% tags=["hide-input"]
at = lambda rows, kind: rows[(rows["order"] == AVERAGE) & (rows["part"] == kind)]
theirs = paper_points.shares("width").query("part == 'NonlinearError'")
theirs = theirs.assign(value=theirs["ce"] / theirs["variance"])
other = lambda rows: at(rows.query("share == 'relative' and kind == ''"), "NonlinearError")
theirs = chapter.beside(theirs, "shares", other)
ratio = mean[mean["share"] == "relative"]
drawn = found["against_variance"].query(
    "order == @AVERAGE and vectors not in ['LinearError', 'NonlinearError']"
)
drawn = drawn.assign(value=drawn["value"] / drawn["variance"], part="null: vectors of its norm")
drawn = found and pd.concat([ratio, drawn.groupby(["part", "width"], as_index=False)["value"].mean()])
chapter.record("over control", drawn.query("part.str.startswith('null')").to_dict("list"))

# %% tags=["hide-input", "first-screen"]
#| label: fig-cost
#| caption: Share of the loss that a part makes good over its share of FVU, mean of both orders; 95% intervals over
#|   documents and seeds. Grey: four kinds of vectors, mean. Shaded: "proportional". Hollow: the paper's
#|   NonlinearError (Fig. 8, added first).
axes = {"y_title": "share of the loss / share of FVU"}
part = lambda name: span(at(ratio, name)["value"])
said = lambda ratio: (
    f"For its share of FVU NonlinearError costs {part('NonlinearError')} times as much of the loss, "
    f"LinearError {part('LinearError')} times"
)
layer = charts.paper_points(theirs, "width", connect=True, **axes)
ours = charts.lines(drawn, "width", "value", color="part", height=200, allowed=near, **axes)
charts.layered(ours, layer, title=chapter.finding(said, ratio))

# %% [markdown]
# With $L$ the loss, $z$ the part of the error that is given back and $o$ the other one, $\mathrm{Sae}(x) + o +
# z = x$. The share that $z$ *wins back* when it is added first, and when it is added last, is
#
# ```{math}
# :label: eq-won-back
# \begin{aligned}
# \text{first: } & \frac{L(\mathrm{Sae}(x)) - L(\mathrm{Sae}(x) + z)}{L(\mathrm{Sae}(x)) - L(x)} \\
# \text{last: } & \frac{L(\mathrm{Sae}(x) + o) - L(x)}{L(\mathrm{Sae}(x)) - L(x)}
# \end{aligned}
# ```
#
# The paper has the first. The rule takes the mean, which adds up to 1 over the two parts (Shapley's value) and
# so can be called a share.
#
# :::{dropdown} The same for sizes, and what was run
# The share of FVU has the same two orders, $1 - \sum\|o\|^2 / \sum\|e\|^2$ and $\sum\|z\|^2 / \sum\|e\|^2$ with
# $e$ the whole error; the share of the norm, the same without the squares. Sums over tokens are divided once;
# intervals resample documents, the same draw for every replacement.
#
# {glue:md}`what was run`
# :::


# %% tags=["hide-input"]
def what_was_run(about):
    run = about.iloc[0]
    return f"""Every replacement was run on a fixed sample of {run.measured:,} contexts at equal distances, of
{run.documents} documents, {run.tokens:,} tokens, at the scored positions, {run["first"]} to {run["last"]}. The
clean model loses {plain(run.clean)} nats per token there, and {plain(run["mean"])} with the mean of x in the
place of x. Controls were run for {run.controlled}."""


chapter.record("losses", found["about"][["clean", "mean", "mean_kl"]].iloc[0].to_dict())
chapter.sentence("what was run", str(Words.of(found["about"], say=what_was_run)))
lost = found and found["lost"][~found["lost"]["what"].str.endswith("KL")]
lost = charts.wide(lost, ["width", "seeds"], "what")
Csv("Nats per token above the clean model", Table(lost, lambda nats: plain(nats, 3)))

# %% [markdown]
# ## Added first, as the paper does it


# %% tags=["hide-input"]
#| label: fig-cost-width
#| caption: Shares of each part at each width, when it is added first; 95% intervals over documents and seeds.
#|   Hollow: the paper's shares of the loss and of R² (Gemma 2 9B, layer 20; Fig. 8, left).
def theirs(sweep, x, **axes):
    """The paper's shares of a part's loss and R², as a layer for its panel."""
    rows = paper_points.shares(sweep).rename(columns={"ce": "of the loss", "variance": "of R²"})
    rows = rows.melt(["part", x, *paper_points.SOURCE], ["of the loss", "of R²"], var_name="share")
    rows["study"] = "the paper"  # a short name, for a narrow page
    return lambda part: charts.paper_points(rows[rows["part"] == part], x, by="share", connect=True, **axes)


names = {"ce": "of the loss", "kl": "of the divergence", "variance": "of FVU", "norm": "of the norm"}
# try: LAST, added last: every share of the norm rises
first = own[own["order"] == FIRST]
first = first.assign(share=first["share"].map(names)).dropna(subset=["share"])
share = lambda rows, part, of: span(rows.query("part == @part and share == @of")["value"], percent)
told = lambda rows, part: (
    f"{share(rows, part, 'of the loss')} of the loss by {share(rows, part, 'of FVU')} of FVU"
)
said = lambda rows: (
    f"Added first, LinearError wins back {told(rows, 'LinearError')}, NonlinearError {told(rows, 'NonlinearError')}"
)
layers = {"over": theirs("width", "width", y_title="share"), "shared": ("color", "shape", "y"), "height": 220}
layers |= {"y_title": "share", "title": chapter.finding(said, first)}
charts.panels(first, "part", charts.lines, "width", "value", color="share", **layers)

# %% tags=["hide-input"]
#| label: fig-cost-l0
#| caption: The same over L0, for the SAEs of one width; 95% intervals over documents (one trained SAE a
#|   point). Hollow: the paper's share of the loss and of R², by true L0 (Fig. 8, right).
over_l0 = found["over_l0"].query("order == @FIRST")
over_l0 = over_l0.assign(share=over_l0["share"].map(names)).dropna(subset=["share"])
axes = {"x_title": "L0 (active latents a token)", "y_title": "share"}
layers = {"over": theirs("L0", "l0", **axes), "shared": ("color", "shape", "y"), "height": 220}
chapter.record("over L0", over_l0[["part", "l0", "share", "value"]].to_dict("list"))


def said(rows):
    rows = rows.query("part == 'NonlinearError'").sort_values("l0").set_index("share")["value"]
    of_fvu, of_loss = (course(rows[[f"of {what}"]], percent) for what in ("FVU", "the loss"))
    return f"As L0 grows, NonlinearError's share of FVU {of_fvu}, its share of the loss {of_loss}"


layers["title"] = chapter.finding(said, over_l0)
charts.panels(over_l0, "part", charts.lines, "l0", "value", color="share", **axes, **layers)

# %% [markdown]
# :::{dropdown} A slip in the labels of the paper's Fig. 8
# In print, the labels of its right panel are in another order than its bars: 20, 36, 68, 138, 310 and
# 427 stand for L0 36, 58, 427, 20, 57 and 310, by the code's stored results. With the true labels,
# NonlinearError's share of R² rises over L0 as its share of the loss falls (correlation {glue:text}`by L0`): loss
# over R² runs from {glue:text}`least ratio` to {glue:text}`most ratio`; LinearError's is
# {glue:text}`linear ratios`. "Proportional" fits the linear part; so does the text's "possibly a slightly
# higher contribution than expected for LinearError" (§5.3).
# :::

# %% tags=["hide-input"]
paper = paper_points.loss_shares().set_index(["part", "sweep"])
chapter.glue("by L0", float(paper.loc[("NonlinearError", "L0"), "correlation"]), ".2f")
chapter.glue("least ratio", float(paper.loc[("NonlinearError", "L0"), "least"]), ".2f")
chapter.glue("most ratio", float(paper.loc[("NonlinearError", "L0"), "most"]), ".2f")
chapter.glue("linear ratios", span(paper.loc["LinearError", ["least", "most"]].to_numpy().ravel()))
together = found and found["together"]["value"].to_list()
chapter.record("together", together)
chapter.glue("what both win", span(together, percent) if together else "–")
kl = found and found["slopes"].query("measure == 'kl' and kind == ''").set_index("order")["value"]
chapter.record("slopes by divergence", found and kl.to_dict())
for order, key in zip(ORDERS, ("first", "last", "mean")):
    chapter.glue(f"by divergence, {key}", plain(kl[order]) if found else "–")

# %% [markdown]
# ## Does the order decide?
#
# Each added first, the two parts win back {glue:text}`what both win` of what is lost. Were the loss a quadratic
# form of what is missing and the parts independent, that would be 100% and every order the same. Above it,
# either part makes good some of what the other lacks, and the one added first has both. By divergence the slope
# is {glue:text}`by divergence, first` added first, {glue:text}`by divergence, last` last,
# {glue:text}`by divergence, mean` on average.

# %% tags=["hide-input"]
#| label: fig-cost-orders
#| caption: NonlinearError's share of the loss over its share of FVU, in each order, over width (95% intervals
#|   over documents and seeds) and L0 (over documents). Hollow: the paper's, added first, over share of R²
#|   (Fig. 8).
axes = {"x_title": "latents, or active latents a token", "x_scale": "log2"}
axes |= {"y_title": "share of the loss / share of FVU"}


def paper_ratios(sweep):
    """The paper's ratios of NonlinearError, as a layer for the panel of a sweep."""
    rows = paper_points.shares(sweep.removeprefix("over ")).query("part == 'NonlinearError'")
    rows = rows.assign(at=rows["width" if "width" in sweep else "l0"], ratio=rows["ce"] / rows["variance"])
    return charts.paper_points(rows, "at", "ratio", connect=True, **axes)


def said(ratios):
    by = [e.orders[order] for order in (FIRST, LAST)]
    told = "does not decide" if len({word_at(one, near) for one in by}) == 1 else "decides"
    slopes = [plain(one.value) for one in by]
    return f"The order {told}: NonlinearError's slope is {slopes[0]} added first, {slopes[1]} added last"


look = {"color": "order", "over": paper_ratios, "shared": ("color", "shape", "y"), "reference": 1.0}
look |= {"height": 220, "title": chapter.finding(said, found["ratios"])}
charts.panels(found["ratios"], "sweep", charts.lines, "at", "value", **look, **axes)

# %% [markdown]
# ## Is an error worse than another vector of its size?
#
# {cite:t}`gurnee2024` found that SAE errors cost several times more than random vectors of the same norm;
# {cite:t}`lee2024` found that this fades when the other vector is a likely one. So each error is held against four
# vectors of its norm, token by token: *isotropic*, a random direction; *covariance*, one drawn with the
# covariance of $x$; *difference*, towards the activation at a token of another document; *permuted*, the same
# part of the error at a token of another document. The whole error costs {glue:text}`whole error` times what they
# do.

# %% tags=["hide-input"]
#| label: fig-cost-controls
#| caption: What each part of the error costs in loss, over what a vector of its norm costs, by kind of vector and
#|   width; 95% intervals over documents and seeds. Dotted: as bad as any. (The paper has no such control.)
against = found["against"]
chapter.record("over other vectors", against.to_dict("list"))
times = {part: span(rows["value"]) for part, rows in against.groupby("part")} if found else {}
chapter.glue("whole error", times.get("SaeError", "–"))
said = lambda rows: (
    f"LinearError costs {times['LinearError']} times what vectors of its norm do, NonlinearError "
    f"{times['NonlinearError']} times"
)
look = {"color": "kind", "reference": 1.0, "shared": ("color", "y"), "height": 220}
look |= {"y_title": "cost / cost of the other vector", "title": chapter.finding(said, against)}
charts.panels(against[against["part"] != "SaeError"], "part", charts.lines, "width", "value", **look)

# %% [markdown]
# These vectors' own slopes are near 1: where a cost grows with the square of the norm, every direction has
# its proportional share. That says nothing of any one vector, so the rule compares costs.
#
# ## Could a map of the reconstruction do what LinearError does?
#
# LinearError is a map of $x$: it knows what the SAE did not write down. An *adapter* is a linear map of
# $\mathrm{Sae}(x)$ alone, made on documents that are not scored here. One is fitted to $x$ by least squares; the
# other starts at the identity and is trained on the model's cross-entropy, which {cite:t}`karvonen2025` does with
# the model's weights.

# %% tags=["hide-input"]
#| label: fig-cost-adapters
#| caption: Share of the lost loss and divergence that LinearError wins back, and that two adapters win back
#|   without seeing x; 95% intervals over documents. (The paper has no such baseline.)
adapted = found["adapted"]
chapter.record("adapters", adapted.assign(found=estimates(adapted)).set_index("name")["found"].to_dict())


def said(adapted):
    won = adapted.assign(said=adapted["value"].map(percent)).pivot(
        index="label", columns="measure", values="said"
    )
    trained, linear = (won[won.index.str.contains(name)].iloc[0] for name in ("trained", "LinearError"))
    kl, share = (
        adapted.query("measure == 'kl' and label.str.contains('trained')")["value"].iloc[0],
        trained["kl"],
    )
    also = f"and {share} of the divergence" if kl >= 0 else f"but adds {percent(-kl)} to the divergence"
    told = f"The trained adapter wins back {trained['ce']} of the loss {also}"
    return f"{told}, LinearError {linear['ce']} and {linear['kl']}"


look = {"x_title": "share won back", "width": 340, "height": None, "shared": ("color", "x")}
look["title"] = chapter.finding(said, adapted)
adapted = adapted.assign(measure=adapted["measure"].map({"ce": "loss (CE)", "kl": "divergence (KL)"}))
charts.panels(adapted, "measure", charts.forest, **look)

# %% [markdown]
# An adapter that wins back loss and not divergence moved the model's predictions towards this text, not back
# to what it said before.
#
# ## What would change our mind

# %% tags=["hide-input"]
chapter.rules(c08_proportional)

# %% [markdown]
# - **A small loss.** Where $\mathrm{Sae}(x)$ hardly costs anything, a share of it is a ratio of two small
#   numbers; its interval says so.
# - **The part is not the cause.** That a part wins back loss shows that its direction matters at that
#   token. It does not show that the part is one thing, or that the SAE made it.
#
# :::{dropdown} Text, rounding, sample
# The released code pairs reconstructions with text that is streamed again, by index; here token ids are
# compared with those measured. Everything after the site is run in single precision, the clean model too; the
# parts are split in double. The sample is fixed by its size: a run with more `contexts` is another draw.
# :::
#
# ## Try it
#
# `darkmatter run 10 --study tiny -p contexts 160`: four times the text, some minutes. What becomes of the interval
# in the chips, and of the verdict's word?
#
# :::{dropdown} Answer
# Expect an interval about half as long. On `tiny` the two orders, and the four kinds of vectors, lie further apart
# than their intervals are long: their words should stay.
# :::

# %% tags=["hide-input"]
chapter.close()
