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
# An SAE's error is a distance between vectors. What does the *model* lose by it? {cite:t}`engels2025` put
# the reconstruction in the place of the activation, let the model run on, and give back one part of the
# error at a time. The paper finds that each part contributes in proportion to its size (§5.3), by two
# yardsticks: its share of the norm (so §1, of the nonlinear part) and of the variance (Fig. 8 has both). Has a part
# a share of the loss that is proportional to its share of the variance, does that depend on which part is
# given back first, and does NonlinearError cost more than any other vector of its size?

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
from darkmatter_utils.base.words import percent, plain, span
from darkmatter_utils.charts import Table, Words, estimates
from darkmatter_utils.claims import c08_proportional
from darkmatter_utils.claims.statement import word_at
from darkmatter_utils.experiments import paper_points
from darkmatter_utils.experiments.cost_controls import KINDS
from darkmatter_utils.experiments.cost_shares import AVERAGE, FIRST, ORDERS
from darkmatter_utils.experiments.cost_tables import against_variance, costs, evidence
from darkmatter_utils.experiments.costs import few_logits
from darkmatter_utils.experiments.live import live
from darkmatter_utils.measurement.widths import reference_sae

chapter = open_chapter(10, study, sae=sae, contexts=contexts, training=training, steps=steps)
measurement = measure(chapter.again())

# %% [markdown]
# ## The idea: run the model on from something else
#
# The *site* is the activation that the SAE reads. Something else is put in its place, $x$,
# $\mathrm{Sae}(x)$, or that with one part of the error given back, and the model computes the rest from it:
# `logits`, what it then says of each next token. The *loss* is what it pays for these, in nats: the
# cross-entropy (CE). Beside it stands the *divergence* (KL), how far its prediction of all tokens moved,
# $\sum_t p_t \log (p_t / q_t)$ with $p$ the clean prediction and $q$ the new one. Loss can fall by luck;
# divergence cannot. Below, four contexts.


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

# %% tags=["hide-input"]
found = costs(measurement, loss=loss, sae=sae, contexts=contexts, training=training, steps=steps)
chapter.judge(c08_proportional, evidence(found))
chapter.record("shares", found["shares"].to_dict("list"))
chapter.record("claim 8 by SAE", found["by_sae"].to_dict("list"))
chapter.opening(c08_proportional)

# %% tags=["hide-input"]
rows = pd.concat([paper_points.shares("width"), paper_points.shares("L0")])
rows = rows.assign(of=rows["part"].str.removesuffix("Error") + ", " + rows["sweep"], order=FIRST)
at = lambda rows: against_variance(rows).query("kind == ''").assign(of=lambda rows: rows["part"])
rows = chapter.beside(rows, "shares", lambda rows: at(rows).rename(columns={"value": "ce"}))

# %% tags=["hide-input"]
#| label: fig-cost
#| caption: Share of what $\mathrm{Sae}(x)$ loses that one part of the error makes good, against that part's
#|   share of FVU; a point a width of the suite (mean over seeds), 95% intervals over documents and seeds.
#|   Left, the part is added first, as in the paper; right, the mean of added first and added last, which the
#|   rule takes. Grey: what it calls proportional. Controls stand for NonlinearError: vectors of the same
#|   norm, token by token, shifted sideways a little. Hollow: the paper's SAEs, by share of R² instead of
#|   FVU; filled, where there are any, other studies'. (Paper: Fig. 8, as bars.)
drawn = found["against_variance"]
# try: 0 * n, no shift: controls and NonlinearError stand above one another,
#   at one share of FVU
aside = {f"control: {kind}": 0.01 * (n - 1.5) for n, kind in enumerate(KINDS)}
drawn = drawn.assign(variance=drawn["variance"] + drawn["vectors"].map(aside).fillna(0))
drawn = drawn[drawn["order"].isin([FIRST, AVERAGE])]
axes = {"x_title": "share of FVU", "y_title": "share of the loss"}
ours = {"color": "vectors", "label": "width", "connect": True, "band": c08_proportional.THRESHOLDS.near}
there = lambda order: rows[rows["order"] == order]
layer = lambda shown: charts.paper_points(shown, "variance", "ce", by="of", among=rows, **axes)
over = lambda order: layer(there(order)) if len(there(order)) else None
ours |= {"over": over, "shared": ("color", "shape", "y")}
charts.panels(drawn, "order", charts.scatter, "variance", "value", **ours, **axes)

# %% [markdown]
# With $L$ the loss, $z$ the part of the error that is given back and $o$ the other one, $\mathrm{Sae}(x) + o +
# z = x$. The share that $z$ *wins back* when it is added first, and when it is added last, is
#
# ```{math}
# :label: eq-won-back
# \text{first: } \frac{L(\mathrm{Sae}(x)) - L(\mathrm{Sae}(x) + z)}{L(\mathrm{Sae}(x)) - L(x)} \qquad
# \text{last: } \frac{L(\mathrm{Sae}(x) + o) - L(x)}{L(\mathrm{Sae}(x)) - L(x)}
# ```
#
# The paper has the first. Over the two parts neither has to add up to 1; their mean does (Shapley's value),
# and so can be called a share. It is what the rule takes; each order stands beside it. The share of FVU has
# the same two orders, $1 - \sum\|o\|^2 / \sum\|e\|^2$ and $\sum\|z\|^2 / \sum\|e\|^2$ with $e$ the whole error,
# and the share of the norm the same without the squares. Sums are taken over tokens and divided once; an
# interval resamples documents, the same draw for every replacement, so that it is a paired one.


# %% tags=["hide-input"]
def what_was_run(about):
    run = about.iloc[0]
    return f"""**What was run.** {run.measured:,} contexts were measured; every replacement was run on a
fixed sample of them at equal distances, of {run.documents} documents, {run.tokens:,} tokens in all (the
intervals say what that leaves open). x is replaced at the scored positions, {run["first"]} to
{run["last"]}; earlier ones stay as they are. The loss is counted at the same positions, each that of
predicting the next token. The clean model loses {plain(run.clean)} nats per token, and {plain(run["mean"])}
with the mean of x in the place of x. The four kinds of control were run for {run.controlled}."""


chapter.record("losses", found["about"][["clean", "mean", "mean_kl"]].iloc[0].to_dict())
Words.of(found["about"], say=what_was_run)

# %% [markdown]
# What each replacement loses, in nats per token above the clean model, at each width of the suite; the same
# as divergence (KL).

# %% tags=["hide-input"]
Table(charts.wide(found["lost"], ["width", "seeds"], "what"), lambda nats: plain(nats, 3))

# %% [markdown]
# ## Shares, over width and L0


# %% tags=["hide-input"]
#| label: fig-cost-width
#| caption: Shares of LinearError (left) and NonlinearError (right) at each width of the suite: of the loss
#|   and the divergence that it wins back when added first, of FVU, and of the norm; 95% intervals over
#|   documents and seeds. Hollow: the paper's shares of the loss and of R², in the same order. (Paper: Fig. 8,
#|   left.)
def theirs(sweep, x, **axes):
    """The paper's shares of a part's loss and R², as a layer for its panel."""
    rows = paper_points.shares(sweep).rename(columns={"ce": "of the loss", "variance": "of R²"})
    rows = rows.melt(["part", x, *paper_points.SOURCE], ["of the loss", "of R²"], var_name="share")
    return lambda part: charts.paper_points(rows[rows["part"] == part], x, by="share", connect=True, **axes)


names = {"ce": "of the loss", "kl": "of the divergence", "variance": "of FVU", "norm": "of the norm"}
shares = found["shares"].query("kind == '' and order == @FIRST")
shares = shares.assign(share=shares["share"].map(names)).dropna(subset=["share"])
layers = {"over": theirs("width", "width", y_title="share"), "shared": ("color", "shape")}
charts.panels(shares, "part", charts.lines, "width", "value", color="share", y_title="share", **layers)

# %% tags=["hide-input"]
#| label: fig-cost-l0
#| caption: The same over L0, for the SAEs of one width; 95% intervals over documents (one trained SAE a
#|   point). Hollow: the paper's share of the loss and of R², by true L0. (Paper: Fig. 8, right.)
over_l0 = found["over_l0"].query("order == @FIRST")
over_l0 = over_l0.assign(share=over_l0["share"].map(names)).dropna(subset=["share"])
axes = {"x_title": "L0 (active latents a token)", "y_title": "share"}
layers = {"over": theirs("L0", "l0", **axes), "shared": ("color", "shape")}
charts.panels(over_l0, "part", charts.lines, "l0", "value", color="share", **axes, **layers)

# %% [markdown]
# In print, the labels of Fig. 8's right panel are in another order than its bars: 20, 36, 68, 138, 310 and
# 427 stand for L0 36, 58, 427, 20, 57 and 310, by the code's stored results. With the true labels, over L0,
# NonlinearError's share of R² rises and its share of the loss falls (correlation {glue:text}`by L0`): the
# loss over R² runs from {glue:text}`least ratio` to {glue:text}`most ratio`. LinearError's is
# {glue:text}`linear ratios` throughout. "Proportional" fits the linear part; the text's "possibly a slightly
# higher contribution than expected for LinearError" (§5.3) stands.

# %% tags=["hide-input"]
said = paper_points.loss_shares().set_index(["part", "sweep"])
chapter.glue("by L0", float(said.loc[("NonlinearError", "L0"), "correlation"]), ".2f")
chapter.glue("least ratio", float(said.loc[("NonlinearError", "L0"), "least"]), ".2f")
chapter.glue("most ratio", float(said.loc[("NonlinearError", "L0"), "most"]), ".2f")
chapter.glue("linear ratios", span(said.loc["LinearError", ["least", "most"]].to_numpy().ravel()))


# %% [markdown]
# ## First, last, and the mean


# %% tags=["hide-input"]
def together(sums):
    return f"""Added up, what LinearError wins back when it is added first and what NonlinearError does come to
{span(sums["value"], percent)} of what is lost, over the widths. Were the loss a quadratic form of what is
missing and the parts independent of each other, that would be 100%, and every order the same. Where it is
more, either part makes good some of what the other lacks, and neither order gives a share: the part that is
added first has what both could do. The mean of the two orders adds up to 100%."""


Words.of(found["together"], say=together)

# %% tags=["hide-input"]
#| label: fig-cost-orders
#| caption: NonlinearError's share of the loss over its share of FVU, in each order, over width (left; 95%
#|   intervals over documents and seeds) and over L0 for the SAEs of one width (right; over documents). The
#|   rule takes the mean. Hollow: the paper's, added first, over share of R². (Paper: Fig. 8.)
axes = {"x_title": "latents, or active latents a token", "x_scale": "log2"}
axes |= {"y_title": "share of the loss / share of FVU"}


def paper_ratios(sweep):
    """The paper's ratios of NonlinearError, as a layer for the panel of a sweep."""
    rows = paper_points.shares(sweep.removeprefix("over ")).query("part == 'NonlinearError'")
    rows = rows.assign(at=rows["width" if "width" in sweep else "l0"], ratio=rows["ce"] / rows["variance"])
    return charts.paper_points(rows, "at", "ratio", connect=True, **axes)


look = {"color": "order", "over": paper_ratios, "shared": ("color", "shape", "y"), "reference": 1.0}
charts.panels(found["ratios"], "sweep", charts.lines, "at", "value", **look, **axes)

# %% [markdown]
# ## Is an error worse than another vector of its size?
#
# Anything that is done to an activation costs something. {cite:t}`gurnee2024` found that SAE errors cost
# several times more than random vectors of the same norm, and called them pathological; {cite:t}`lee2024`
# found that this fades when the other vector is a likely one. So each error, and each of its parts, is held
# against four vectors of its norm, token by token: *isotropic*, a random direction; *covariance*, a random
# direction drawn with the covariance of $x$; *difference*, towards the activation at a token of another
# document; *permuted*, the same part of the error at a token of another document.

# %% tags=["hide-input"]
#| label: fig-cost-controls
#| caption: What the error (left) and its nonlinear part (right) cost in loss, over what a control of equal
#|   norm costs, at each width of the suite; 95% intervals over documents and seeds. On the dotted line the
#|   error is as bad as any vector of that kind. (The paper has no such control.)
against = found["against"]
against = against[against["part"] != "LinearError"]
title = "cost / cost of the control"
charts.panels(
    against,
    "part",
    charts.lines,
    "width",
    "value",
    color="kind",
    y_title=title,
    reference=1.0,
    shared=("color", "y"),
)

# %% [markdown]
# The rule takes the cost of NonlinearError over that of each kind, mean over the widths (*specific*). Beside it
# the controls' own slopes, which it does not judge: where a cost grows with the square of the norm, every
# direction has its proportional share. A slope near 1 says that the loss is near quadratic at errors of this
# size; it does not say that the error differs from any other vector.

# %% tags=["hide-input"]
slopes = found["slopes"].query("measure == 'ce' and order == @AVERAGE and kind != ''").set_index("kind")
rows = found["specific"].set_index("kind")
costs_more = {
    "cost of NonlinearError over theirs": estimates(rows),
    "their slope": estimates(slopes.loc[rows.index]),
}
Table(found and pd.DataFrame({"vectors": rows.index} | costs_more))

# %% [markdown]
# ## Could a map of the reconstruction do what LinearError does?
#
# LinearError is a map of $x$: it knows what the SAE did not write down. An *adapter* is a linear map of
# $\mathrm{Sae}(x)$ alone. One is fitted to $x$ by least squares; the other starts at the identity and is
# trained on the model's own cross-entropy, which {cite:t}`karvonen2025` does with the model's weights. Both
# are made on documents that are not scored here.

# %% tags=["hide-input"]
#| label: fig-cost-adapters
#| caption: Share of the lost loss and divergence that LinearError wins back, and that two adapters win back
#|   without seeing x; 95% intervals over documents. (The paper has no such baseline.)
adapted = found["adapted"]
chapter.record("adapters", adapted.assign(found=estimates(adapted)).set_index("name")["found"].to_dict())
adapted = adapted.assign(measure=adapted["measure"].map({"ce": "loss (CE)", "kl": "divergence (KL)"}))
charts.panels(adapted, "measure", charts.forest, x_title="share won back", width=220, height=None)

# %% [markdown]
# ## What could fool us

# %% tags=["hide-input"]
chapter.rules(c08_proportional)

# %% [markdown]
# - **The order.** {eq}`eq-won-back` has two, and the paper one of them. The table has the slope in each, by
#   loss and by divergence, and what *proportional* would say of it; the rule takes the mean, by loss.

# %% tags=["hide-input"]
rows = []
for measure_, title in {"ce": "loss (CE)", "kl": "divergence (KL)"}.items():
    for order in ORDERS if found else ():
        some = found["slopes"].query("measure == @measure_ and order == @order")
        own, others = some[some["kind"] == ""], some[some["kind"] != ""]
        row = {"measured by": title, "NonlinearError is": order, "slope": estimates(own)[0]}
        row |= {"slope of the controls": span(others["value"])}
        rows.append(row | {"proportional": word_at(row["slope"], c08_proportional.THRESHOLDS.near)})
Table(pd.DataFrame(rows) if found else found, {"slope of the controls": str})

# %% [markdown]
# - **A small loss.** Where $\mathrm{Sae}(x)$ hardly costs anything, a share of it is a ratio of two small
#   numbers; its interval says so.
# - **Other text under cached activations.** The released code pairs reconstructions with text that is
#   streamed again, by index. Here the contexts are the study's own, and their token ids are compared with
#   those that were measured.
# - **Rounding.** Everything after the site is run in single precision, the clean model too; the parts are
#   split in double.
# - **A sample.** Not all contexts are run. The sample is fixed by their number, so a run with more
#   `contexts` is another draw.
# - **The part is not the cause.** That a part wins back loss shows that its direction matters at that
#   token. It does not show that the part is one thing, or that the SAE made it.
#
# ## Exercise
#
# In the visible cell, let the model pay for wrong guesses only (the line after `# try:`). A guess is right
# or wrong: has a part still a share that is proportional to its variance?

# %% tags=["hide-input"]
chapter.close()
