# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The dark matter of sparse autoencoders
#
# A sparse autoencoder (SAE) rewrites an activation $x$ of a language model as a short sum of learned
# directions, $\mathrm{Sae}(x)$. What it leaves behind, $x - \mathrm{Sae}(x)$, is its error.
# {cite:t}`engels2025` call the errors' share of the variance *dark matter*, find that much of it can be
# predicted from $x$ by one linear map, and offer as a hypothesis that the rest is mostly error that the SAE
# introduces (App. B.2). This book is an executable edition of their paper: it does every experiment again,
# with the controls that reviewers and later work asked for, on two small language models, or on yours.

# %% tags=["parameters", "remove-input"]
study = "tiny"

# %% tags=["hide-input", "reads-records"]
from darkmatter_utils import charts, measure, open_chapter
from darkmatter_utils.charts.tables import Table, Words, badge, link
from darkmatter_utils.claims.paper import points
from darkmatter_utils.claims.report import ledger, opening, recorded, tally
from darkmatter_utils.claims.worth import NULL, PAPER
from darkmatter_utils.experiments.scaling import breakdown
from darkmatter_utils.measurement import about
from darkmatter_utils.measurement.widths import width_suite

chapter = open_chapter(0, study)
measurement = measure(chapter.study)
records = chapter.reads()[chapter.study.name]
found = recorded(records)
report = records.get(15, {})
beside = {who: report.get("beside", {}).get(who, {}) for who in (PAPER, NULL)}
said = [opening(found, chapter.study.name, records), *filter(None, [report.get("distinguishes")])]
said += [about.in_words(measurement)]
Words("\n\n".join([*said, about.warning(measurement, most=3)]).rstrip())

# %% tags=["hide-input"]
#| label: fig-index
#| caption: How the variance of x splits at each SAE width, the question of the paper's Fig. 1, measured on
#|   this study. Every column adds up to 1. Blue is what Sae(x) reconstructs. The rest is the error: green is
#|   the part that the best linear map predicts from x, red is what remains. Hollow: FVU and FVU_nonlinear of
#|   the paper's SAEs; filled, where there are any, of other studies'.
theirs, y_title = points("1", series="SAE"), "share of the variance of x"
for name in ("FVU", "FVU_nonlinear"):
    theirs = chapter.beside(theirs, name, lambda rows, name=name: rows.assign(quantity=name), of=5)
ours = charts.stacked_breakdown(breakdown(measurement), y_domain=(0, 1))
charts.layered(ours, charts.paper_points(theirs, "width", by="quantity", y_title=y_title))

# %% [markdown]
# ## The one idea
#
# Let $x$ be a vector of $d$ numbers, the activation at one token. Fit $b\,x + c$, a matrix $b$ and a vector
# $c$, to the error by least squares over many tokens, and split the error in two:
#
# ```{math}
# :label: eq-split
# x \;=\; \mathrm{Sae}(x) \;+\; \underbrace{b\,x + c}_{\mathrm{LinearError}(x)} \;+\;
# \underbrace{x - \mathrm{Sae}(x) - b\,x - c}_{\mathrm{NonlinearError}(x)}
# ```
#
# The sum is exact for every token. The names say how the parts were made, no more: *LinearError* is the
# linearly predictable part of the error, *NonlinearError* the rest. What the parts are made of is a question
# for later chapters.
#
# The share of the variance that a part leaves unexplained is called FVU, the fraction of variance
# unexplained:
#
# ```{math}
# :label: eq-fvu
# \mathrm{FVU}(\hat x) \;=\; \frac{\sum \lVert x - \hat x \rVert^2}{\sum \lVert x - \bar x \rVert^2}
# ```
#
# Both sums run over all scored tokens; $\bar x$ is the mean of $x$ over them. FVU without an argument means
# $\mathrm{FVU}(\mathrm{Sae}(x))$. It has two parts: $\mathrm{FVU_{nonlinear}}$ is what is left when
# LinearError is added to the reconstruction, and $\mathrm{FVU_{linear}}$ is the difference. The *width* of an
# SAE is the number of its latents, and its *L0* is how many of them are active on a token, on average.

# %% tags=["hide-input"]
fvu, nonlinear = (width_suite(measurement, metric) for metric in ("fvu", "fvu_nonlinear"))
chapter.glue("narrowest", f"{fvu.widths[0]:,} latents")
chapter.glue("widest", f"{fvu.widths[-1]:,} latents")
chapter.estimate("fvu narrowest", fvu.estimate(fvu.widths[0]), ".3f")
chapter.estimate("fvu widest", fvu.estimate(fvu.widths[-1]), ".3f")
chapter.estimate("nonlinear narrowest", nonlinear.estimate(fvu.widths[0]), ".3f")
chapter.estimate("nonlinear widest", nonlinear.estimate(fvu.widths[-1]), ".3f")
for metric, name in {"fvu": "FVU", "fvu_nonlinear": "FVU_nonlinear"}.items():
    suite = width_suite(measurement, metric)
    for width in (suite.widths[0], suite.widths[-1]):
        chapter.headline(f"{name}, {width:,} latents", suite.estimate(width))
for number, one in found.items():
    said = f"**{one.verdict.word}**" + (f": {one.here}" if one.verdict.numbers else "")
    earned = {key: words.get(str(number), "") for key, words in zip(("points", "null"), beside.values())}
    chapter.headline(f"Claim {number}: {one.short}", said, one.paper, chapter=one.chapter, **earned)

# %% [markdown]
# In the figure, the narrowest SAE has {glue:text}`narrowest`: its FVU is {glue:text}`fvu narrowest`, of which
# {glue:text}`nonlinear narrowest` is nonlinear. The widest has {glue:text}`widest`: its FVU is
# {glue:text}`fvu widest`, of which {glue:text}`nonlinear widest` is nonlinear. A number in brackets is a 95%
# interval. It carries the choice of documents and, because SAEs of different widths are different trained
# networks, the seed of their training.
#
# A level nonlinear part does not show by itself that an SAE introduces error. The authors saw this: with
# random directions as features, some of them masked, and no noise, the variance that is explained "formed a
# parabola", so that the nonlinear part rises, is level, and falls (App. D). They set the case aside, since
# they judged random vectors to be a bad test. Chapters {doc}`05_scaling` and {doc}`07_models_of_activations`
# take it up as a null.

# %% [markdown]
# ## The paper's claims, and what is found here
#
# Each claim is judged by a rule that compares an interval with stated margins. Most rules were written anew
# after the study `tiny` had been seen and before `smollm2` was measured; the report says of each when. The
# verdict is one of *holds*, *partly*, *does not hold* and *cannot be told here*, and it speaks of this study
# only: one small model and its text.
# Beside it stands what the same rule says of the paper's own points (values alone, they have no intervals; at
# claim 5 they do not fix the floor) and of a null, whose SAEs introduce no error. The table is read from the
# records of the chapters; {doc}`15_the_report` has the controls, the rules, the protocol and every study side
# by side.

# %% tags=["hide-input"]
chapter.record("tally", tally(found))
styles = dict.fromkeys(["verdict", *beside], badge) | {"chapter": link}
Table(ledger(found, beside), styles, left=list(styles))

# %% [markdown]
# ## What is studied
#
# Model, text and SAEs of the study `tiny` are part of this book's package, with the commands that made them;
# what was measured of `smollm2`, a public model, is stored beside it. Chapter {doc}`01_what_saes_leave_behind`
# shows what this study's SAEs are like, one context at a time.

# %% tags=["hide-input"]
Table(about.facts(measurement))

# %% [markdown]
# ## How to use this book
#
# Read it: each chapter opens with a claim, a verdict and one figure, and ends with what could fool us. Run
# it: every chapter takes a parameter `study`, the name of what is studied. Change it: a chapter is one short
# script in `notebooks/`, and the cell that is its idea is the only one shown. Words and symbols are collected
# on the page {doc}`notation`; whoever comes from the paper finds its figures
# {ref}`by their numbers <figures-by-number>`.

# %% tags=["hide-input"]
chapter.close()
