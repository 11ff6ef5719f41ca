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
# If a part of the error is a sum of features that the SAE lacks, another SAE should be able to learn them. {cite:t}`engels2025`
# train one SAE on LinearError and one on NonlinearError, chapter 04's two parts of the error, and ask two things: how much of
# its part each leaves unexplained, and how well a description of each latent finds the texts on which it is active. They
# report that NonlinearError does worse on both counts. This chapter asks how much of that is due to the spectrum alone.

# %% tags=["parameters", "remove-input"]
study = "tiny"
explainer = "lexical"  # or the name of a language model behind an OpenAI-compatible endpoint
endpoint = None  # base URL of that endpoint; None: OPENAI_BASE_URL. The key comes from OPENAI_API_KEY
latents = 128  # how many latents of each SAE are explained and scored, drawn at random; None: all
contexts = 16  # how many contexts the live arrays hold

# %% tags=["remove-input"]
from darkmatter_utils import measure
from darkmatter_utils.book.chapters import open_chapter
from darkmatter_utils.charts.tables import Words
from darkmatter_utils.claims.ledger import claim, unfit
from darkmatter_utils.claims.verdicts import judged
from darkmatter_utils.experiments.components import base_sae, entries, matched_noise, rows
from darkmatter_utils.experiments.explainers import named
from darkmatter_utils.experiments.features import features, load
from darkmatter_utils.experiments.gaps import evidence
from darkmatter_utils.pages import feature_page as page
from darkmatter_utils.pages.common import opening, rule_of
from darkmatter_utils.pages.feature_charts import overview, spread_chart
from darkmatter_utils.stats.metrics import fvu

# %% tags=["remove-input"]
chapter = open_chapter(9, study, explainer=explainer, endpoint=endpoint, latents=latents, contexts=contexts)
measurement = measure(chapter.study)
asked = named(explainer, decode=measurement.decode, endpoint=endpoint)
found = features(measurement, latents=latents, explainer=asked)
verdict = judged(chapter, 7, evidence(found), unfit=unfit(chapter.study))
page.record(chapter, found)
opening(7, verdict, chapter.study)

# %% mystnb={"figure": {"caption": "Left: the share of each part's variance that SAEs trained on it leave (FVU), on held-out documents; dots with 95% intervals that carry documents and training seeds, a ring for each seed. Diamonds: SAEs trained on Gaussian noise with the part's mean and covariance. Triangles: principal components, as many as the SAE's code has numbers. Right: how well an explanation of a latent finds windows of text again, by decile of the latent's activation in them; the grey line is chance, bars are 95% intervals over latents and seeds, thin grey lines single seeds; colours are those on the left; dashed: SAEs trained on a part's noise read the part itself. See how far apart LinearError and NonlinearError are, on the left beside their diamonds, on the right beside their dashed lines. (Paper: Fig. 8 of its first version, Fig. 7 of its second.)", "name": "fig-features"}} tags=["remove-input"]
overview(found, chapter.study)

# %% [markdown]
# ## The idea: the same SAE, another target
#
# An SAE can be trained on any vectors, not only on activations. Take those of one part of x, and beside them noise that has the same
# mean and the same covariance, hence the same *spectrum*, and nothing else in common with them. An SAE compresses either. What
# it leaves of the noise is what the spectrum alone is worth; a part with features in it should leave less.
# `readers` holds SAEs trained on the part and on its noise, `live` the parts of a few contexts.

# %% tags=["remove-input"]
base = base_sae(chapter.study)
live = rows(measurement, base, contexts=contexts)
readers = {target: load(measurement, target) for target in ("NonlinearError", "noise like NonlinearError")}

# %%
z = live.parts["NonlinearError"]
targets = {"NonlinearError": z, "noise like NonlinearError": matched_noise(z, seed=0)}
left = {}
for target, vectors in targets.items():
    for sae in readers[target]:
        z_hat, active = sae.reconstruct(vectors)
        left[target, sae.id] = round(fvu(vectors, z_hat), 3)
left

# %% tags=["remove-input"]
None if entries(chapter.study) else Words("The cell finds nothing to read with: this study has no SAE that was trained on a part of the error.")

# %% [markdown]
# ## How the SAEs were made
#
# One recipe for all targets, that of the book's other SAEs {cite:p}`bussmann2024`; nothing was chosen for one target.

# %% tags=["remove-input"]
page.trained(measurement)

# %% [markdown]
# ## How much is left
#
# The *effective rank* of a target is $(\sum_i \lambda_i)^2 / \sum_i \lambda_i^2$, with $\lambda_i$ the eigenvalues of its
# covariance: how many directions its variance is spread over. The more there are, the harder a target is for any code of a few
# numbers, features or not. So each FVU stands beside three others. First, that of the SAEs of the part's noise: what lies below it is
# structure that noise lacks. Second, the part as an SAE trained on its noise reads it, at the same L0. Third, the first principal
# components, as many as there are active latents, and as many as the code has numbers (an active latent is an index and a value).
# The paper's numbers are: {glue:text}`paper`.

# %% tags=["remove-input"]
chapter.glue("paper", claim(7).paper)
page.fvu_table(found)

# %% [markdown]
# The gap between the two parts, what noise of the two spectra shows of it, and the excess. These are the numbers that the rule
# judges.

# %% tags=["remove-input"]
page.gap_table(found)

# %% [markdown]
# ## How well latents are found again
#
# A latent that stands for something should be predictable from a description of it. The score is *detection*, that of the
# paper and of {cite:t}`paulo2024`: one who has the description says on which pieces of text the latent is active.

# %% tags=["remove-input"]
page.explained_by(found, explainer, asked)

# %% tags=["remove-input"]
page.accuracy_table(found)

# %% tags=["remove-input"]
Words(page.unscored(found))

# %% mystnb={"figure": {"caption": "The share of latents whose mean accuracy over the deciles reaches each value. See where a curve lies to the right of another: there more of its latents are found again. (The paper shows means only.)", "name": "fig-feature-spread"}} tags=["remove-input"]
spread_chart(found)

# %% [markdown]
# ## Latents to look at
#
# The rule that picks them: of the scored latents of the first seed, in the order of their accuracy, the first and those at a
# quarter, a half and three quarters of the way down. Each with the windows of its largest activations, from which its explanation was learned; the
# darker a token's ground, the more active the latent.

# %% tags=["remove-input"]
page.gallery(found)

# %% [markdown]
# ## What could fool us

# %% tags=["remove-input"]
rule_of(7)

# %% [markdown]
# - **The spectrum.** A target whose variance lies in fewer directions leaves less of itself to any SAE. The matched noise has the
#   part's spectrum and no features: a gap that it shows as well says nothing about features.
# - **A dictionary that knows no features.** Latents of SAEs trained on noise read the same part, at the same L0. Their directions
#   are no features of anything, but the part's own clusters of tokens can make them fire on some words more than on others. The
#   accuracy that they reach is what a latent is worth before it has learned a feature. With the text of the windows exchanged
#   ("text shuffled") it is one half, as it must be. Such scores can be high with nothing learned at all: {cite:t}`heap2025` find
#   them in models with random weights.
# - **Who explains.** The lexical explainer knows tokens, those before them, and words around. A latent that it fails on need not
#   be meaningless, and one that it finds again need not mean more than a token. Its accuracy is not a language model's judgement,
#   and the paper's accuracies, which are, cannot be set beside it.
# - **What is linear inherits the features of x.** LinearError is a linear map of x, and where x is a sparse sum of features, so is
#   every linear map of x. That its SAE finds features says nothing of how the error came to be.
# - **Unequal chances.** Every SAE here has the same width, L0, number of training vectors and positions, and its scale is
#   normalised; but what is best for x need not be best for its errors.
# - **Latents are not independent.** They share documents, and three seeds of one target learn many of the same directions. The
#   intervals take each latent once, whatever its number of windows, and add the spread of the seeds.
#
# ## Exercise
#
# Run this chapter with `latents` set to None: all are scored, and the intervals on the right become shorter (how many are scored was
# set for the chapter's cost, before any was). Does the verdict stay? Or give `explainer`
# and `endpoint` a language model of your own: does the order of the parts stay?

# %% tags=["remove-input"]
chapter.close()
