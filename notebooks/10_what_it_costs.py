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
# An SAE's error is a distance between vectors. What does the *model* lose by it? {cite:t}`engels2025` put the reconstruction in
# the place of the activation, let the model run on, and give back one part of the error at a time. Does a part win back a
# share of the loss that is proportional to its share of the variance, and would any other vector of its size?

# %% tags=["parameters", "remove-input"]
study = "tiny"
sae = None  # the SAE of the live cell and of the adapters; None: the one of the width suite nearest to a width of 8 d_model
contexts = 40  # how many of the study's contexts every replacement is run on
training = 600  # how many other contexts the adapters are made on
steps = 150  # how many steps the trained adapter takes

# %% tags=["remove-input"]
from darkmatter_utils import measure
from darkmatter_utils.adapters.models import token_losses
from darkmatter_utils.book.chapters import open_chapter
from darkmatter_utils.claims import c08_proportional
from darkmatter_utils.experiments.cost_shares import slopes
from darkmatter_utils.pages.cost_charts import (
    adapter_chart,
    against_chart,
    l0_chart,
    share_chart,
    width_chart,
)
from darkmatter_utils.pages.cost_pages import (  # fmt: skip
    adapters_said,
    controls_table,
    gather,
    live,
    loss_table,
    orders_table,
    over_a_hundred,
    recorded,
    shares_table,
    what_was_run,
)

# %% tags=["remove-input"]
chapter = open_chapter(10, study, sae=sae, contexts=contexts, training=training, steps=steps)
measurement = measure(chapter.study)
found = gather(measurement, sae=sae, contexts=contexts, training=training, steps=steps)
numbers = slopes(measurement, found.costs) if found else None
chapter.judge(c08_proportional, numbers, unfit=None if found else c08_proportional.NO_MODEL)
chapter.opening(c08_proportional)

# %% mystnb={"figure": {"caption": "Share of what $\\mathrm{Sae}(x)$ loses (CE) that giving back one part of the error wins back, against that part's share of FVU; one point a width of the suite (mean over seeds), with 95% intervals that carry documents and training seeds. On the dotted line a share of the loss is a share of the variance; the grey band is what the rule counts as proportional. The controls stand for NonlinearError: all vectors are replaced by others of the same norm, token by token; their points are shifted sideways a little. See whether the red points keep to the line, and whether the controls do so just as well. (Paper: Fig. 9 of the first version, Fig. 8 of the second, there as bars.)", "name": "fig-cost"}} tags=["remove-input"]
share_chart(found)

# %% [markdown]
# ## The idea: run the model on from something else
#
# The *site* is the activation that the SAE reads. `replaced` puts something else in its place, and the model computes the rest from that.
# The *loss* (CE) is what the model pays for the next token, in nats; the *divergence* (KL) is how far its prediction
# of all tokens moved, $\sum_t p_t \log (p_t / q_t)$ with $p$ the clean prediction and $q$ the new one. Loss can fall by luck;
# divergence cannot. Below, four contexts.

# %% tags=["remove-input"]
shown = found.shown if found else None
model, taken, patches = live(measurement, shown)
site = measurement.study.site

# %%
def loss(patch):
    value = taken.x.to(patch, copy=True)
    value[:, taken.positions] = patch
    with model.replaced(site, lambda old: value.view_as(old)):
        logits = model.run(taken.tokens, [])[1]
    return float(token_losses(logits, taken.tokens)[:, taken.positions].mean())

{name: round(loss(patch), 3) for name, patch in patches.items()}

# %% [markdown]
# With $L$ the loss, and $z$ the part of the error that is given back, LinearError or NonlinearError, the share that it *wins
# back* is
#
# ```{math}
# :label: eq-won-back
# \frac{L(\mathrm{Sae}(x)) - L(\mathrm{Sae}(x) + z)}{L(\mathrm{Sae}(x)) - L(x)}
# ```
#
# and its share of FVU is $1 - \sum\|e - z\|^2 / \sum\|e\|^2$ with $e$ the whole error; its share of the norm is the same without the squares. $\mathrm{Sae}(x)$ with
# both parts is $x$, and wins back 100%. Sums are taken over tokens and divided once; an interval resamples documents, the
# same draw for every replacement, so that it is a paired one.

# %% tags=["remove-input"]
what_was_run(found)

# %% [markdown]
# What each replacement loses, in nats per token above the clean model, at each width of the suite; then the same as divergence.

# %% tags=["remove-input"]
loss_table(found, "ce")

# %% tags=["remove-input"]
loss_table(found, "kl")

# %% [markdown]
# ## Shares, over width and L0
#
# NonlinearError's shares, with intervals (*alone*: what is lost when it alone is taken from $x$); then LinearError's.

# %% tags=["remove-input"]
shares_table(found, "NonlinearError")

# %% tags=["remove-input"]
shares_table(found, "LinearError")

# %% mystnb={"figure": {"caption": "Shares of LinearError (left) and NonlinearError (right) at each width of the suite: of the loss and the divergence that giving it back wins back, of FVU, and of the norm; 95% intervals over documents and seeds. See which of the lower two lines the upper two follow, and which part is worth more to the model than its variance says. (Paper: Fig. 9 of the first version, left; Fig. 8 of the second.)", "name": "fig-cost-width"}} tags=["remove-input"]
width_chart(found)

# %% mystnb={"figure": {"caption": "The same over L0, for the SAEs of one width; 95% intervals over documents (one trained SAE a point). See whether more active latents change the ratio of loss to variance. (Paper: Fig. 9 of the first version, right, whose labels are in another order than its bars.)", "name": "fig-cost-l0"}} tags=["remove-input"]
l0_chart(found)

# %% tags=["remove-input"]
over_a_hundred(found)

# %% [markdown]
# ## Is an error worse than another vector of its size?
#
# Anything that is done to an activation costs something. {cite:t}`gurnee2024` found that SAE errors cost several times more
# than random vectors of the same norm, and called them pathological; {cite:t}`lee2024` found that this fades when the other
# vector is a likely one. So each error, and each of its parts, is held against four vectors of its norm, token by token:
# *isotropic*, a random direction; *covariance*, a random direction drawn with the covariance of $x$; *difference*, towards the
# activation at a token of another document; *permuted*, the same part of the error at a token of another document.

# %% mystnb={"figure": {"caption": "What the error (left) and its nonlinear part (right) cost in loss, over what a control of equal norm costs, for the first seed of each width; 95% intervals over documents. On the dotted line the error is as bad as any vector of that kind. See for which kinds it is worse, and whether taking NonlinearError from x differs from taking all of the error. (The paper has no such control.)", "name": "fig-cost-controls"}} tags=["remove-input"]
against_chart(found)

# %% [markdown]
# The rule asks another thing of the controls: not what they cost, but whether their *shares* are as proportional. A cost that
# grows with the square of the norm is proportional for every direction.

# %% tags=["remove-input"]
controls_table(found)

# %% [markdown]
# ## Could a map of the reconstruction do what LinearError does?
#
# LinearError is a map of $x$: it knows what the SAE did not write down. An *adapter* is a linear map of $\mathrm{Sae}(x)$ alone.
# One is fitted to $x$ by least squares; the other starts at the identity and is trained on the model's own loss, which
# {cite:t}`karvonen2025` does with the model's weights. Both are made on documents that are not scored here.

# %% mystnb={"figure": {"caption": "Share of the lost loss and divergence that LinearError wins back, and that two adapters win back without seeing x; 95% intervals over documents. See how much of LinearError's gain needs what only x knows. (The paper has no such baseline.)", "name": "fig-cost-adapters"}} tags=["remove-input"]
adapter_chart(found)

# %% tags=["remove-input"]
adapters_said(found)

# %% [markdown]
# ## What could fool us

# %% tags=["remove-input"]
chapter.rules(c08_proportional)

# %% [markdown]
# - **The order.** {eq}`eq-won-back` gives a part back to $\mathrm{Sae}(x)$, as the paper does. One can as well take that part from
#   $x$. If the loss is not quadratic the two differ. The rule takes the paper's order; the table says what it would say of the
#   others, and of the divergence.

# %% tags=["remove-input"]
orders_table(found)

# %% [markdown]
# - **A small loss.** Where $\mathrm{Sae}(x)$ hardly costs anything, a share of it is a ratio of two small numbers; its interval says so.
# - **Other text under cached activations.** The released code pairs reconstructions with text that is streamed again, by
#   index. Here the contexts are the study's own, and their token ids are compared with those that were measured.
# - **Rounding.** Everything after the site is run in single precision, the clean model too; the parts are split in double.
# - **A sample.** Not all contexts are run. The sample is fixed by their number, so a run with more `contexts` is another draw.
# - **The part is not the cause.** That a part wins back loss shows that its direction matters at that token. It does not show
#   that the part is one thing, or that the SAE made it.
#
# ## Exercise
#
# In the visible cell, give back *twice* NonlinearError (`patches["Sae(x)"]` plus two times the difference of two of the patches). If
# the loss were quadratic in what is missing, what should happen? What does?

# %% tags=["remove-input"]
recorded(chapter, found)
chapter.close()
