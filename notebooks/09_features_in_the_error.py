# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Are there features inside the error?
#
# If a part of the error is a sum of features that the SAE lacks, another SAE should be able to learn them.
# {cite:t}`engels2025` train one SAE on LinearError and one on NonlinearError, chapter 04's two parts of the
# error, and ask two things: how much of its part each leaves unexplained, and how well a description of
# each latent finds the texts on which it is active. NonlinearError does worse on both counts (§5.2, Fig. 7).
# This chapter asks how much of that is due to the spectrum alone.

# %% tags=["parameters", "remove-input"]
study = "tiny"
explainer = "lexical"  # or the name of a language model behind an OpenAI-compatible endpoint
endpoint = None  # base URL of that endpoint; None: OPENAI_BASE_URL. The key comes from OPENAI_API_KEY
latents = 128  # how many latents of each SAE are explained and scored, drawn at random; None: all
contexts = 16  # how many contexts the live arrays hold

# %% tags=["hide-input"]
import pandas as pd

from darkmatter_utils import charts, manifest, measure, open_chapter
from darkmatter_utils.base.words import interval, percent, plain, span
from darkmatter_utils.charts import Gallery, Table, Words, estimates
from darkmatter_utils.claims import c07_fewer_features
from darkmatter_utils.experiments import components, interp, paper_evidence, paper_points
from darkmatter_utils.experiments.components import MATCHED, NOISE, OWN, PARTS, SHUFFLED
from darkmatter_utils.experiments.explainers import named
from darkmatter_utils.experiments.features import features, part_and_readers, trained
from darkmatter_utils.experiments.live import live
from darkmatter_utils.stats.metrics import fvu

chapter = open_chapter(9, study, explainer=explainer, endpoint=endpoint, latents=latents, contexts=contexts)
measurement = measure(chapter.again(also=components.SUITE))
base_id = components.base_sae(chapter.study, measurement.card["d_model"])
asked = named(explainer, decode=measurement.decode, endpoint=endpoint)
found = features(measurement, latents=latents, explainer=asked)
chapter.judge(c07_fewer_features, components.evidence(found))
chapter.opening(c07_fewer_features)


# %% tags=["hide-input"]
#| label: fig-features
#| caption: The share of each part's variance that SAEs trained on it leave (FVU), on held-out documents,
#|   with 95% intervals over documents and training seeds. Diamonds: SAEs trained on Gaussian noise with the
#|   part's mean and covariance. (Paper: two numbers in §5.2.)
def of(table, quantity, by):
    return table.query("quantity == @quantity and by == @by").set_index("reads")


own, scored = of(found["numbers"], "FVU", OWN), of(found["numbers"], "accuracy", OWN)
noise = own["value"].rename(index=NOISE).iloc[-len(NOISE) :].reindex(PARTS)
parts = own.reindex(PARTS).assign(label=PARTS, reference=noise.to_list())
name = "noise of its spectrum"
charts.forest(parts, color="label", x_title="FVU on held-out documents", reference_title=name)

# %% tags=["hide-input"]
#| label: fig-deciles
#| caption: How well an explanation of a latent finds windows of text again, by decile of the latent's
#|   activation in them; the dotted line is chance, bars are 95% intervals over latents, documents and
#|   seeds. Dashed: SAEs trained on a part's noise read the part itself; dots: its own SAEs, with the text of
#|   the windows shuffled. Hollow: the paper's, scored alike from its two shares (windows found, silent ones
#|   left alone); its explainer is a language model. (Paper: Fig. 7.)
KINDS = {OWN: "its own SAE", MATCHED: "an SAE trained on its noise", SHUFFLED: "its own, text shuffled"}
curves = found["numbers"].query("quantity.str.startswith('accuracy ')")
decile = curves["quantity"].str.removeprefix("accuracy ").astype(int)
curves = curves.assign(decile=decile, read=curves["by"].map(KINDS))
axes = {"x_title": "decile of activation", "y_title": "detection accuracy"}
ours = {"color": "reads", "dash": "read", "y_domain": (0.4, 1), "reference": 0.5}
theirs = charts.paper_points(paper_points.detection(), "decile", by="reads", **axes)
ours = charts.lines(curves, "decile", "value", **axes, **ours)
ours and charts.layered(ours, theirs)

# %% [markdown]
# ## The idea: the same SAE, another target
#
# An SAE can be trained on any vectors, not only on activations. Take those of one part of x, and beside
# them noise that has the same mean and the same covariance, hence the same *spectrum*, and nothing else in
# common with them. An SAE compresses either. What it leaves of the noise is what the spectrum alone is
# worth; a part with features in it should leave less. `z` holds the part at the tokens of a few contexts,
# `readers` SAEs trained on the part and on its noise.


# %%
def left(z, readers):
    targets = {
        "NonlinearError": z,
        "noise like NonlinearError": components.matched_noise(z, seed=0),
    }
    left = {}
    for target, vectors in targets.items():
        for sae in readers[target]:
            z_hat, active = sae.reconstruct(vectors)
            left[f"{target}, {sae.id}"] = round(fvu(vectors, z_hat), 3)
    return left


live(measurement, left, of=part_and_readers, contexts=contexts, trained=trained(measurement))

# %% [markdown]
# ## How the SAEs were made
#
# One recipe for all targets, that of the book's other SAEs {cite:p}`bussmann2024`; nothing was chosen for
# one target.


# %% tags=["hide-input"]
def made():
    mine, base = components.entries(chapter.study), chapter.study.sae(base_id)
    first, seeds = mine[0], len({e.seed for e in mine})
    samples = manifest(chapter.study)["sae_cards"][first.id]["samples"]
    start, stop = chapter.study.window
    public = "suite" in manifest(chapter.study)  # a model that others trained
    seen = "the language model may have" if public else "nor has the language model"
    return (
        f"The error is that of the SAE `{base.id}` (width {base.width:,}, L0 {base.l0:g}): of the width "
        "suite, the first seed at that width. Its parts on the *component* documents, which no map has seen "
        f"({seen}), and of which this SAE has its threshold alone, are what "
        f"{len(mine)} SAEs were trained on: "
        f"{seeds} seeds for each of {', '.join(dict.fromkeys(e.target for e in mine))}. All are BatchTopK "
        f"SAEs of width {first.width:,} that saw {samples:,} vectors; all are read as JumpReLU SAEs with one "
        f"threshold, set on the same documents so that {first.l0:g} latents are active on a token. They are "
        "scored on the documents of all other chapters, each split by maps that were fitted on other "
        f"documents, at the same positions as in training ({start} to {stop - 1} of a context); there "
        f"{span(found['targets']['l0'])} latents are active on a token, by target."
    )


found and Words(made())

# %% [markdown]
# ## How much is left
#
# The *effective rank* of a target is $(\sum_i \lambda_i)^2 / \sum_i \lambda_i^2$, with $\lambda_i$ the
# eigenvalues of its covariance: how many directions its variance is spread over. The more there are, the
# harder a target is for any code of a few numbers, features or not. So each FVU stands beside three others.
# First, that of the SAEs of the part's noise: what lies below it is structure that noise lacks. Second, the
# part as an SAE trained on its noise reads it, at the same L0. Third, the first principal components, as many
# as there are active latents, and as many as the code has numbers (an active latent is an index and a value).
# The paper's numbers are: {glue:text}`paper`. By its text, the two SAEs were trained on the error of a Gemma
# 2 9B SAE (layer 20, 16k latents, L0 near 60) whose parts are about equally large. The released code takes
# one of Gemma 2 2B (layer 12, L0 82), whose parts are; those of the first are not (Fig. 8: 62% and 37% of the
# R²). Here LinearError is {glue:text}`linear share` of the error's variance, so the parts are no equal pair
# either: a larger part is not for that the harder one, but each gap is of these two targets.

# %% tags=["hide-input"]
chapter.glue("paper", c07_fewer_features.CLAIM.paper)
three = lambda value: "–" if pd.isna(value) else plain(value, 3)
told = paper_points.detection().pivot(index="decile", columns="reads", values="found")
told = 100 * (told["LinearError"] - told["NonlinearError"])
base = measurement.saes.set_index("id").loc[base_id]
chapter.glue("linear share", percent(base["fvu_linear"] / base["fvu"]))
chapter.glue("points apart", span(told, lambda gap: plain(gap, 1)))
chapter.glue("mean apart", float(told.mean()), ".1f")
by_seed = found["seeds"].groupby(["quantity", "by", "reads"], sort=False)["value"]
spread = by_seed.agg(lambda s: f"{s.min():.4f} to {s.max():.4f}").reset_index()
about, gaps = found["targets"].set_index("reads").reindex(own.index), found["gaps"].set_index("gap")
below = gaps.rename(index=lambda gap: gap.removeprefix("FVU below noise, ")).reindex(own.index)
columns = {"target": own.index, "effective rank": about["rank"], "L0": about["l0"], "FVU": estimates(own)}
columns |= {"seeds": of(spread, "FVU", OWN)["value"], "below that of its noise by": estimates(below)}
others = {MATCHED: "by a dictionary of its noise"}
others |= {by: f"by {by}" for by in found["numbers"]["by"].unique() if by.endswith(components.COMPONENTS)}
for by, words in others.items():
    columns[words] = of(found["numbers"], "FVU", by)["value"].reindex(own.index)
styles = {"effective rank": "{:.0f}".format, "L0": "{:.2f}".format, "seeds": str}
Table(found and pd.DataFrame(columns), dict.fromkeys(list(columns)[3:], three) | styles)

# %% [markdown]
# The gap between the two parts, what noise of the two spectra shows of it, and the excess: gap and excess are
# what the rule judges. Beside them the paper's gap, its accuracy scored as here.

# %% tags=["hide-input"]
points = lambda value: plain(100 * value, 1)
theirs = paper_evidence.fewer_features()
named = {"FVU": ("FVU: NonlinearError minus LinearError", three, theirs.fvu_gap)}
named |= {"accuracy": ("accuracy: LinearError minus NonlinearError, points", points, theirs.accuracy_gap)}
lines = []
for gap, (words, style, paper) in named.items():
    for e, excess in zip(*(estimates(gaps[gaps.index == which]) for which in (gap, f"{gap} excess"))):
        line = {"gap": words, "of the parts": interval(e, style), "excess": interval(excess, style)}
        line["of matched noise"] = style(e.value - excess.value)
        lines.append(line | {"the paper": style(paper.value)})
columns = ["of the parts", "of matched noise", "excess", "the paper"]
lines = found and pd.DataFrame(lines)[["gap", *columns]]
Table(lines, dict.fromkeys(columns, str))


# %% tags=["hide-input"]
def said(quantity, by):
    rows, seeds = of(found["numbers"], quantity, by), of(found["seeds"], quantity, by)["value"]
    return {n: {"estimate": e, "seeds": seeds[[n]].to_list()} for n, e in zip(rows.index, estimates(rows))}


if found:
    chapter.record("FVU", said("FVU", OWN))
    below = below.loc[list(NOISE.values())]
    chapter.record("FVU below that of its noise", dict(zip(below.index, estimates(below))))
    chapter.record("FVU by a dictionary of its noise", said("FVU", MATCHED))
    for by in list(others)[1:]:
        chapter.record(f"FVU by {by}", {name: one["estimate"] for name, one in said("FVU", by).items()})
    chapter.record("effective rank", found["targets"].set_index("reads")["rank"].to_dict())
    for key, quantity in (("", "accuracy"), (", top decile", f"accuracy {interp.DECILES}")):
        chapter.record(f"detection accuracy{key}", {by: said(quantity, by) for by in KINDS})

# %% [markdown]
# ## How well latents are found again
#
# A latent that stands for something should be predictable from a description of it. The score is *detection*,
# that of the paper and of {cite:t}`paulo2024`: one who has the description says on which pieces of text the
# latent is active. Latents of NonlinearError are found less often in every decile of Fig. 7, by
# {glue:text}`points apart` points, {glue:text}`mean apart` on average; §5.2 says "about an absolute 5%". The
# bars of no decile overlap; they take latents and windows as independent.


# %% tags=["hide-input"]
def told():
    each = found["latents"].groupby(["by", "reads", "seed"]).size().max()
    return (
        f"{each:,} latents of each SAE, drawn at random, are scored. A *window* is {interp.LENGTH} tokens of "
        f"one context. For each latent, up to {interp.SHOWN} windows with its largest activations, from half "
        "of the documents, go to an explainer; it then says of windows from the other half whether the latent "
        f"is active in them: up to {interp.A_DECILE} from each decile of its activation, and up to "
        f"{interp.TESTED_SILENT} in "
        "which it is silent. *Accuracy* in a decile is the mean of two shares, of its windows that are found "
        "and of silent windows that are left alone: one half is chance."
    )


found and Words(told())

# %% tags=["hide-input"]
lexical = (
    "The explainer here is **lexical**: from the windows that it is shown it counts which tokens stand where "
    "the latent is most active, which stand before them, and which stand around; it settles, on those "
    "windows alone, which of these counts and which threshold tell them best from silent ones. It is no "
    "language model, and its explanations are counts."
)


def model():
    lost = percent(found["latents"]["coins"].mean(), 1)
    return (
        f"The explainer here is the language model `{explainer}`. Of its answers, "
        f"{asked.counts['unreadable']:,} could not be read and {asked.counts['unanswered']:,} never came; "
        f"the windows behind them ({lost} of all) count as tossed coins."
    )


found and Words(lexical if asked is None else model())

# %% tags=["hide-input"]
latent = found["latents"].groupby(["by", "reads"], sort=False)["d1"]
counts = latent.agg(lambda d: f"{d.notna().sum():,} of {len(d):,}").rename("value").reset_index()
counts = counts.assign(quantity="accuracy")
parts = []
for by in KINDS:
    every, top = (of(found["numbers"], q, by) for q in ("accuracy", f"accuracy {interp.DECILES}"))
    columns = {"target": every.index, "latents of": by, "scored": of(counts, "accuracy", by)["value"]}
    columns |= {"mean accuracy": estimates(every), "seeds": of(spread, "accuracy", by)["value"]}
    parts.append(found and pd.DataFrame(columns | {"top decile": estimates(top)}, index=every.index))
styles = dict.fromkeys(["mean accuracy", "top decile"], three)
Table(found and pd.concat(parts), styles | {"scored": str, "seeds": str})

# %% tags=["hide-input"]
lost, every = found["latents"]["d1"].isna().sum(), len(found["latents"])
found and Words(
    f"{lost:,} of {every:,} latents ({percent(lost / every, 1)}) fire in too few windows, or in too many, to "
    "be scored."
)

# %% tags=["hide-input"]
#| label: fig-feature-spread
#| caption: The share of latents whose mean accuracy over the deciles reaches each value. Dashed: SAEs
#|   trained on a part's noise read the part itself; dots: the text of the windows shuffled. (Paper:
#|   Fig. 7 has the means, with 95% bars.)
reach = found["reach"].assign(read=found["reach"]["by"].map(KINDS))
names = {"x_title": "mean accuracy over the deciles, at least", "y_title": "share of latents"}
charts.lines(reach, "accuracy", "share", color="reads", dash="read", **names)

# %% [markdown]
# ## Latents to look at
#
# The rule that picks them: of the scored latents of the first seed, in the order of their accuracy, the
# first and those at a quarter, a half and three quarters of the way down. Each with the windows of its
# largest activations, from which its explanation was learned; the darker a token's ground, the more active
# the latent.

# %% tags=["hide-input"]
shown = found["gallery"]
whose = [r.reads if r.by == OWN else f"{r.reads}, read by {r.by}" for r in shown.itertuples()]
words = "Latent {latent}, {place}: accuracy {accuracy:.2f}. Explanation: {explanation}"
head = [words.format(**row) for row in shown.to_dict("records")]
top = shown.groupby(["by", "reads", "latent", "window"])["strength"].transform("max")
shown = shown.assign(whose=whose, head=head, shade=shown["strength"].div(top).mul(0.65))
Gallery(shown, "whose", head="head", strip="window", shade="shade", note="strength")

# %% [markdown]
# ## What could fool us

# %% tags=["hide-input"]
chapter.rules(c07_fewer_features)

# %% [markdown]
# - **The spectrum.** A target whose variance lies in fewer directions leaves less of itself to any SAE. The
#   matched noise has the part's spectrum and no features: a gap that it shows as well says nothing about
#   features.
# - **A dictionary that knows no features.** Latents of SAEs trained on noise read the same part, at the
#   same L0. Their directions are no features of anything, but the part's own clusters of tokens can make
#   them fire on some words more than on others. The accuracy that they reach is what a latent is worth
#   before it has learned a feature. With the text of the windows exchanged ("text shuffled") it is one
#   half, as it must be. Such scores can be high with nothing learned at all: {cite:t}`heap2025` find them
#   in models with random weights.
# - **Who explains.** The lexical explainer knows tokens, those before them, and words around. A latent that
#   it fails on need not be meaningless, and one that it finds again need not mean more than a token. Its
#   accuracy is not a language model's judgement. The paper's is: of its points in {numref}`fig-deciles` the
#   order of the parts and the course over deciles compare with ours, the level does not.
# - **What is linear inherits the features of x.** LinearError is a linear map of x, and where x is a sparse
#   sum of features, so is every linear map of x. That its SAE finds features says nothing of how the error
#   came to be.
# - **Unequal chances.** Every SAE here has the same width, L0, number of training vectors and positions,
#   and its scale is normalised; but what is best for x need not be best for its errors.
# - **Latents are not independent.** They are tested on the same documents, and three seeds of one target
#   learn many of the same directions. The intervals take each latent once, whatever its number of windows;
#   they resample latents and, for all SAEs at once, the documents of the windows that are tested, and add
#   the spread of the seeds. The documents that an explanation is learned from are one random half, and are
#   not drawn anew.
#
# ## Exercise
#
# Run this chapter with `latents` set to None: all are scored, and the intervals of {numref}`fig-deciles`
# become shorter (how many are scored was set for the chapter's cost, before any was). Does the verdict
# stay? Or give `explainer` and `endpoint` a language model of your own: does the order of the parts stay?

# %% tags=["hide-input"]
chapter.close()
