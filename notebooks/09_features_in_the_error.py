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
# {cite:t}`engels2025` train one on LinearError and one on NonlinearError. NonlinearError's leaves more
# unexplained, and its latents are harder to describe (§5.2, Fig. 7). How much of that does the spectrum alone
# make?

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
from darkmatter_utils.charts import Csv, Folded, Gallery, Table, estimates
from darkmatter_utils.claims import c07_fewer_features
from darkmatter_utils.experiments import components, interp, paper_evidence, paper_points
from darkmatter_utils.experiments.components import MATCHED, NOISE, OWN, PARTS, SHUFFLED
from darkmatter_utils.experiments.explainers import named
from darkmatter_utils.experiments.features import features, part_and_readers, trained
from darkmatter_utils.experiments.live import live
from darkmatter_utils.stats.metrics import fvu

chapter = open_chapter(9, study, explainer=explainer, endpoint=endpoint, latents=latents, contexts=contexts)
measurement = measure(chapter.again(also=components.SUITE))

# %% [markdown]
# ## The idea: the same SAE, another target
#
# An SAE can be trained on any vectors. Take those of one part of x, and beside them noise of the same mean and
# covariance, hence the same *spectrum*, and nothing else in common with them. What an SAE leaves of the noise is
# what the spectrum alone is worth; a part with features in it should leave less. `z` holds the part at the tokens
# of a few contexts, `readers` SAEs trained on the part and on its noise.


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


live(
    measurement,
    left,
    of=part_and_readers,
    contexts=contexts,
    trained=trained(measurement),
)

# %% tags=["hide-input"]
base_id = components.base_sae(chapter.study, measurement.card["d_model"])
asked = named(explainer, decode=measurement.decode, endpoint=endpoint)
found = features(measurement, latents=latents, explainer=asked)
chapter.judge(c07_fewer_features, evidence := components.evidence(found))


def of(table, quantity, by):
    return table.query("quantity == @quantity and by == @by").set_index("reads")


# %% tags=["hide-input", "first-screen"]
def said(found, fvu):
    latents, gap = "", evidence.accuracy_gap  # None where no latent could be scored
    if gap is not None and gap.low <= gap.high:  # few latents have no interval
        latents = "; latents are found alike" if gap.low <= 0 else ", whose latents are found better"
        latents = latents if gap.high >= 0 else ", whose latents are found worse"
    noise = found["gaps"].query("gap == 'accuracy excess'")
    if latents.startswith(",") and ((noise["low"] <= 0) & (noise["high"] >= 0)).any():
        latents += ", as in matched noise too"
    told = [f"{percent(fvu[part])} of {part}" for part in ("NonlinearError", "LinearError")]
    return f"SAEs leave {' and '.join(told)}{latents}"


own, scored = of(found["numbers"], "FVU", OWN), of(found["numbers"], "accuracy", OWN)
gaps = found["gaps"].set_index("gap")
chapter.headed(said, found, own["value"])
of_noise = plain(gaps["value"]["FVU"] - gaps["value"]["FVU excess"], 3) if found else ""
chapter.record("gap of noise", of_noise)
chapter.opening(c07_fewer_features, control={7: f"the null: matched noise, gap {of_noise}"} if found else {})

# %% tags=["hide-input", "first-screen"]
#| label: fig-features
#| caption: Share of each part's variance that SAEs trained on it leave (FVU), on held-out documents; 95% intervals
#|   over documents and training seeds. Diamonds: SAEs of Gaussian noise with the part's mean and covariance.
#|   (Paper: 0.59 and 0.54, §5.2.)
noise = own["value"].rename(index=NOISE).iloc[-len(NOISE) :].reindex(PARTS)
parts = own.reindex(PARTS).assign(label=PARTS, reference=noise.to_list())
below = lambda gaps, part: plain(gaps["value"][f"FVU below noise, {part}"])
said = lambda gaps: (
    f"SAEs leave {below(gaps, 'LinearError')} less of LinearError than of noise of its spectrum, "
    f"{below(gaps, 'NonlinearError')} less of NonlinearError"
)
look = {"x_title": "FVU on held-out documents", "reference_title": "noise of its spectrum"}
charts.forest(parts, color="label", **look, title=chapter.finding(said, gaps))

# %% [markdown]
# :::{dropdown} How the SAEs were made
# One recipe for all targets, that of the book's other SAEs {cite:p}`bussmann2024`; nothing was chosen for
# one target. {glue:md}`made`
# :::


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


# %% tags=["hide-input"]
absent = None if found else found.reason
chapter.sentence("made", absent or made())

# %% [markdown]
# ## How well latents are found again
#
# A latent that stands for something should be predictable from a description of it. The score is *detection*,
# that of the paper and of {cite:t}`paulo2024`: one who has the description says on which pieces of text the
# latent is active. Latents of NonlinearError are found less often in every decile of Fig. 7, by
# {glue:text}`points apart` points, {glue:text}`mean apart` on average; §5.2 says "about an absolute 5%".

# %% tags=["hide-input"]
#| label: fig-deciles
#| caption: How well an explanation finds a latent's windows again, by decile of its activation; dotted: chance; 95%
#|   intervals over latents, documents, seeds. Grey: SAEs trained on a part's noise. Hollow: the paper's, by a
#|   language model (Fig. 7).
SHOWN = ("x", "LinearError", "NonlinearError")
KINDS = {OWN: "its own SAE", MATCHED: "an SAE trained on its noise", SHUFFLED: "its own, text shuffled"}


def drawn(rows):
    rows = rows[rows["by"].isin([OWN, MATCHED]) & rows["reads"].isin(SHOWN)]
    null = "null: on " + rows["reads"]
    return rows.assign(series=rows["reads"].where(rows["by"] == OWN, null))


def said(numbers):
    mean = {by: of(numbers, "accuracy", by)["value"] for by in (OWN, MATCHED)}
    both = lambda by: " and ".join(plain(mean[by].get(part, float("nan"))) for part in SHOWN[1:])
    return f"Mean accuracy is {both(OWN)} for LinearError and NonlinearError, {both(MATCHED)} by SAEs of their noise"


curves = found["numbers"].query("quantity.str.startswith('accuracy ')")
curves = found and drawn(curves.assign(decile=curves["quantity"].str.removeprefix("accuracy ").astype(int)))
axes = {"x_title": "decile of activation", "y_title": "detection accuracy"}
look = {"color": "series", "y_domain": (0.45, 0.9), "reference": 0.5, "height": 260}
theirs = paper_points.detection().assign(study="the paper")
theirs = charts.paper_points(theirs, "decile", by="reads", **axes)
ours = charts.lines(curves, "decile", "value", **axes, **look)
ours and charts.layered(ours, theirs, title=chapter.finding(said, found["numbers"]))

# %% [markdown]
# :::{dropdown} Windows, accuracy, and who explains
# {glue:md}`told`
#
# {glue:md}`who explains` {glue:md}`not scored`
# :::


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


lexical = (
    "The explainer here is **lexical**: from the windows that it is shown it counts which tokens stand where "
    "the latent is most active, which stand before them, and which stand around; it settles, on those "
    "windows alone, which of these counts and which threshold tell them best from silent ones. It is no "
    "language model, and its explanations are counts."
)


# %% tags=["hide-input"]
def model():
    lost = percent(found["latents"]["coins"].mean(), 1)
    return (
        f"The explainer here is the language model `{explainer}`. Of its answers, "
        f"{asked.counts['unreadable']:,} could not be read and {asked.counts['unanswered']:,} never came; "
        f"the windows behind them ({lost} of all) count as tossed coins."
    )


def not_scored():
    lost, every = found["latents"]["d1"].isna().sum(), len(found["latents"])
    share = percent(lost / every, 1)
    return f"{lost:,} of {every:,} latents ({share}) fire in too few windows, or in too many, to be scored."


chapter.sentence("told", absent or told())
chapter.sentence("who explains", absent or (lexical if asked is None else model()))
chapter.sentence("not scored", absent or not_scored())

# %% tags=["hide-input"]
#| label: fig-feature-spread
#| caption: The share of latents whose mean accuracy over the deciles reaches each value. Grey: SAEs trained on a
#|   part's noise read the part itself. (Paper: Fig. 7 has the means.)
AT = 0.6
reach = found and drawn(found["reach"])
at = found and reach[(reach["accuracy"] - AT).abs() < 1e-6].set_index("series")["share"]
chapter.record("reach", found and at.to_dict())
chapter.record("reached", AT)
both = [f"{percent(at[part])} of {part}'s" for part in SHOWN[1:] if found and part in at]
said = lambda both: f"{' and '.join(both)} latents reach an accuracy of {AT:g}"
names = {"x_title": "mean accuracy over the deciles, at least", "y_title": "share of latents"}
drawn_as = {"color": "series", "height": 240, **names}
spread_of = charts.lines(reach, "accuracy", "share", **drawn_as)
charts.layered(spread_of, title=chapter.finding(said, both))

# %% [markdown]
# ## What the spectrum is worth
#
# The more directions the variance of a target is spread over (its *effective rank*), the harder it is for any code
# of a few numbers, features or not. The gap that the matched noise shows as well is that of the spectra; the
# *excess* over it is what the rule judges beside the gap. In FVU the gap is {glue:text}`gap in FVU`, the excess
# {glue:text}`excess in FVU`; in accuracy {glue:text}`gap in accuracy` and {glue:text}`excess in accuracy`.

# %% tags=["hide-input"]
chapter.glue("paper", c07_fewer_features.CLAIM.paper)
judged = dict(zip(gaps.index, estimates(gaps))) if found else {}
for name in ("FVU", "accuracy"):
    for key, gap in {f"gap in {name}": name, f"excess in {name}": f"{name} excess"}.items():
        chapter.glue(key, judged.get(gap, "–"), ".3f")
three = lambda value: "–" if pd.isna(value) else plain(value, 3)
told = paper_points.detection().pivot(index="decile", columns="reads", values="found")
told = 100 * (told["LinearError"] - told["NonlinearError"])
base = measurement.saes.set_index("id").loc[base_id]
chapter.glue("linear share", percent(base["fvu_linear"] / base["fvu"]))
chapter.glue("points apart", span(told, lambda gap: plain(gap, 1)))
chapter.glue("mean apart", float(told.mean()), ".1f")
by_seed = found["seeds"].groupby(["quantity", "by", "reads"], sort=False)["value"]
spread = by_seed.agg(lambda s: f"{s.min():.4f} to {s.max():.4f}").reset_index()

# %% tags=["hide-input"]
about, gaps = found["targets"].set_index("reads").reindex(own.index), found["gaps"].set_index("gap")
below = gaps.rename(index=lambda gap: gap.removeprefix("FVU below noise, ")).reindex(own.index)
columns = {"target": own.index, "effective rank": about["rank"], "L0": about["l0"], "FVU": estimates(own)}
columns |= {"seeds": of(spread, "FVU", OWN)["value"], "below that of its noise by": estimates(below)}
others = {MATCHED: "by a dictionary of its noise"}
others |= {by: f"by {by}" for by in found["numbers"]["by"].unique() if by.endswith(components.COMPONENTS)}
for by, words in others.items():
    columns[words] = of(found["numbers"], "FVU", by)["value"].reindex(own.index)
styles = {"effective rank": "{:.0f}".format, "L0": "{:.2f}".format, "seeds": str}
table = Table(found and pd.DataFrame(columns), dict.fromkeys(list(columns)[3:], three) | styles)
Folded("FVU of every target, beside noise and principal components", table)

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
Folded(
    "The two gaps, what matched noise shows of them, and the paper's",
    Table(lines, dict.fromkeys(columns, str)),
)


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
styles = dict.fromkeys(["mean accuracy", "top decile"], three)
table = Table(found and pd.concat(parts), styles | {"scored": str, "seeds": str})
Csv("Detection accuracy of every target", table)

# %% [markdown]
# :::{dropdown} The columns, and what the paper's pair of parts was
# The effective rank is $(\sum_i \lambda_i)^2 / \sum_i \lambda_i^2$, with $\lambda_i$ the eigenvalues of the
# target's covariance. Beside each FVU stand that of the part's noise, the part as an SAE trained on its noise
# reads it, and the first principal components: as many as there are active latents, and as many as the code has
# numbers (an active latent is an index and a value).
#
# The paper's numbers are: {glue:text}`paper`. By its text, the two SAEs were trained on the error of a Gemma
# 2 9B SAE (layer 20, 16k latents, L0 near 60) whose parts are about equally large. The released code takes
# one of Gemma 2 2B (layer 12, L0 82), whose parts are; those of the first are not (Fig. 8: 62% and 37% of the
# R²). Here LinearError is {glue:text}`linear share` of the error's variance: no equal pair either.
# :::
#
# ## Latents to look at
#
# Of the scored latents of the first seed, in the order of their accuracy: the first, and the one half way down,
# with the windows of their largest activations. The darker a token's ground, the more active the latent.

# %% tags=["hide-input"]
shown = found["gallery"]
shown = found and shown[shown["reads"].isin(SHOWN[1:]) & (shown["by"] == OWN)]
shown = found and shown[shown["place"].isin(shown["place"].unique()[::2])]
whose = [r.reads for r in shown.itertuples()]
words = "Latent {latent}, {place}: accuracy {accuracy:.2f}. Explanation: {explanation}"
head = [words.format(**row) for row in shown.to_dict("records")]
top = shown.groupby(["by", "reads", "latent", "window"])["strength"].transform("max")
shown = shown.assign(whose=whose, head=head, shade=shown["strength"].div(top).mul(0.65))
Gallery(shown, "whose", head="head", strip="window", shade="shade", note="strength")

# %% [markdown]
# ## What would change our mind

# %% tags=["hide-input"]
chapter.rules(c07_fewer_features)

# %% [markdown]
# - **The spectrum.** A gap that matched noise shows as well says nothing about features.
# - **A dictionary that knows no features.** Latents of SAEs trained on noise read the same part, at the
#   same L0. The accuracy that they reach is what a latent is worth before it has learned a feature.
#   {cite:t}`heap2025` find high scores in models with random weights.
# - **Who explains.** The lexical explainer knows tokens, those before them, and words around. Its accuracy is not
#   a language model's judgement; the order of the parts compares with the paper's, the level does not.
#
# :::{dropdown} Inheritance, chances, independence
# LinearError is a linear map of x, and where x is a sparse sum of features, so is every linear map of x: that its
# SAE finds features says nothing of how the error came to be. Latents of noise have directions that are no
# features, but the part's own clusters of tokens can make them fire on some words more than on others. With the
# text of the windows exchanged, accuracy is one half, as it must be.
#
# Every SAE here has the same width, L0, number of training vectors and positions, and its scale is normalised;
# what is best for x need not be best for its errors. Latents are tested on the same documents, and the seeds of one
# target learn many of the same directions: intervals take each latent once, resample latents and, for all SAEs
# at once, the documents of the windows that are tested, and add the spread of the seeds. The documents that an
# explanation is learned from are one random half, and are not drawn anew. The paper's bars take latents and
# windows as independent; those of no decile overlap.
# :::
#
# ## Try it
#
# `darkmatter run 09 --study tiny -p latents 16`: an eighth of the latents. What becomes of the intervals of
# {numref}`fig-deciles`, and of the verdict? Or give `explainer` and `endpoint` a language model of your own.
#
# :::{dropdown} Answer
# Gaps in accuracy lose their intervals, for a decile has too few latents to resample: what rests on them cannot be
# told. The gaps in FVU do not move, for no latent is scored for them.
# :::

# %% tags=["hide-input"]
chapter.close()
