# %% [markdown]
# # The dark matter of sparse autoencoders
#
# A sparse autoencoder (SAE) rewrites an activation $x$ of a language model as a short sum of learned
# directions, $\mathrm{Sae}(x)$. What it leaves behind, $x - \mathrm{Sae}(x)$, is its error.
# {cite:t}`engels2025` call the errors' share of the variance *dark matter*, find that much of it can be
# predicted from $x$ by one linear map, and offer as a hypothesis that the rest is mostly error that the SAE
# introduces (App. B.2). This book is an executable edition of their paper: every experiment again, with the
# controls that could explain it away, on two small language models, or on yours.

# %% tags=["parameters", "remove-input"]
study = "tiny"

# %% tags=["hide-input", "reads-records", "first-screen"]
import pandas as pd

from darkmatter_utils import measure, open_chapter
from darkmatter_utils.base.words import course, percent
from darkmatter_utils.charts import Words, evidence
from darkmatter_utils.charts.explorer import explorer
from darkmatter_utils.claims.front import learned, untold
from darkmatter_utils.claims.report import how_many, opening, recorded, tally
from darkmatter_utils.claims.worth import NULL, PAPER
from darkmatter_utils.measurement import about
from darkmatter_utils.measurement.widths import reference_sae, width_suite

chapter = open_chapter(0, study)
measurement = measure(chapter.study)
records = chapter.reads()[chapter.study.name]
found = recorded(records)
report = records.get(15, {})
chapter.headed(lambda said: said, report.get("finding", ""))
model = about.setting(chapter.study)
model = model[:1].lower() + model[1:] if model[1:2] == " " else model
dek = f"We ran the paper's {how_many()} claims again, with the controls that could explain them away, on {model}."
Words(dek if records else opening(found, chapter.study.name, records))

# %% tags=["hide-input", "first-screen"]
#| label: fig-index
#| caption: The two parts of the error at each SAE width, as shares of the variance of x (the rest is Sae(x)). Choose
#|   the study, or simulated SAEs that introduce no error; move the L0. (Paper: Fig. 1.)
names = {"width": "width", "l0": "l0", "fvu_linear": "linear", "fvu_nonlinear": "nonlinear"}
saes = pd.DataFrame(measurement.saes)
own = saes[saes["site"].eq(saes["site"].iloc[0]) & saes["seed"].eq(saes["seed"].iloc[0])]
own = own[list(names)].rename(columns=names)
chapter.record("parts", own.to_dict("list"))
theirs = chapter.beside(pd.DataFrame(), "parts")
fvu, nonlinear = (width_suite(measurement, metric) for metric in ("fvu", "fvu_nonlinear"))
linear = [total - rest for total, rest in zip(fvu.values, nonlinear.values)]
chapter.record("linear part", linear)
chapter.record("nonlinear part", list(nonlinear.values))
chapter.record("widths", [int(width) for width in fvu.widths])
shown = lambda value: percent(value, 1)
said = f"From {fvu.widths[0]:,} to {fvu.widths[-1]:,} latents the linear part {course(linear, shown)} of the "
said += f"variance of x; the nonlinear {course(nonlinear.values, shown)}"
drawn = pd.concat([own.assign(study=chapter.study.name), theirs])
l0 = float(measurement.sae(reference_sae(measurement))["l0"])
explorer(drawn, l0=l0, height=170, title=chapter.finding(said))

# %% tags=["hide-input", "first-screen"]
beside = {who: report.get("beside", {}).get(who, {}) for who in (PAPER, NULL)}
evidence.strip(report.get("strip", []), others=report.get("studies", {}))

# %% [markdown]
# A dot right of the dashed line, in the shade, is as the claim says. ● holds, ◐ partly, ○ does not hold, ?
# cannot be told: the claim, each of its statements; then the paper's own points, the null, the other studies.
# {doc}`15_the_report` unfolds every row.
#
# ## What was found, page by page

# %% tags=["hide-input"]
Words(learned(records, chapter.story()))

# %% [markdown]
# ## What could not be checked

# %% tags=["hide-input"]
chapter.record("tally", tally(found))
Words("\n".join([untold(found), about.warning(measurement, most=3)]).rstrip())

# %% [markdown]
# ## Three ways in
#
# ```{raw} html
# <div class="doors">
# <div><h3>Read</h3><p>Five pages tell the story: <a href="01_what_saes_leave_behind.html">what is left</a>,
# <a href="04_half_linear.html">the linear half</a>, <a href="07_models_of_activations.html">the null</a>,
# <a href="05_scaling.html">what stays level</a>, <a href="15_the_report.html">the report</a>.</p></div>
# <div><h3>Run</h3><p>On your model and SAE, one command:</p>
# <p><code>darkmatter measure --model gpt2 --sae RELEASE/SAE --text my.txt</code></p>
# <p>This book: <code>make book</code>. <a href="14_your_model_your_sae.html">More</a></p></div>
# <div><h3>Edit</h3><p>A page is one script, <code>notebooks/04_half_linear.py</code>; its idea is the cell shown.</p>
# <p><code>darkmatter where fig-vector</code><br><code>darkmatter run 04 -p contexts 8</code></p></div>
# </div>
# ```
#
# ## The one idea
#
# Let $x$ be a vector of $d$ numbers, the activation at one token. Fit $b\,x + c$, a matrix $b$ and a vector
# $c$, to the error by least squares over many tokens, and split the error in two:
#
# ```{math}
# :label: eq-split
# \begin{aligned}
# x \;=\; \mathrm{Sae}(x) &\;+\; \underbrace{b\,x + c}_{\mathrm{LinearError}(x)} \\
# &\;+\; \underbrace{x - \mathrm{Sae}(x) - b\,x - c}_{\mathrm{NonlinearError}(x)}
# \end{aligned}
# ```
#
# The sum is exact for every token. The names say how the parts were made, no more: what they are made of is a
# question for later chapters. What a part leaves unexplained is its FVU, the fraction of variance unexplained:
#
# ```{math}
# :label: eq-fvu
# \mathrm{FVU}(\hat x) \;=\; \frac{\sum \lVert x - \hat x \rVert^2}{\sum \lVert x - \bar x \rVert^2}
# ```
#
# Both sums run over all scored tokens; $\bar x$ is the mean of $x$. FVU alone means
# $\mathrm{FVU}(\mathrm{Sae}(x))$. $\mathrm{FVU_{nonlinear}}$ is what is left when LinearError is added to the
# reconstruction, $\mathrm{FVU_{linear}}$ the difference. The *width* of an SAE is the number of its latents, its
# *L0* how many of them are active on a token, on average.
#
# :::{dropdown} Why a level nonlinear part does not show that error is introduced
# The authors saw it: with random directions as features, some of them masked, and no noise, the variance that
# is explained "formed a parabola", so that the nonlinear part rises, is level, and falls (App. D). They set the
# case aside, since they judged random vectors to be a bad test. Chapters {doc}`05_scaling` and
# {doc}`07_models_of_activations` take it up as a null.
# :::

# %% tags=["hide-input"]
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
# ## What is studied
#
# The narrowest SAEs have {glue:text}`narrowest`: their mean FVU is {glue:text}`fvu narrowest`, of which
# {glue:text}`nonlinear narrowest` is nonlinear; the widest have {glue:text}`widest`: {glue:text}`fvu widest`, of
# which {glue:text}`nonlinear widest`. A number in brackets is a 95% interval over documents and, where SAEs of
# different widths are compared, over training seeds. Model, text and SAEs of `tiny` are part of this book's
# package, with the commands that made them; what was measured of `smollm2`, a public model, is stored beside it
# ({doc}`01_what_saes_leave_behind` has the card).


# %% [markdown]
# ## Cite
#
# Words and symbols are on the page {doc}`notation`; whoever comes from the paper finds its figures
# {ref}`by their numbers <figures-by-number>`. `CITATION.cff` names this edition, each page's run record its
# versions.
#
# :::{dropdown} BibTeX
# ```bibtex
# @article{engels2025,
#   title   = {Decomposing the Dark Matter of Sparse Autoencoders},
#   author  = {Engels, Joshua and Riggs Smith, Logan and Tegmark, Max},
#   journal = {Transactions on Machine Learning Research},
#   year    = {2025}
# }
# @software{darkmatter,
#   title   = {Dark Matter: an executable edition of Decomposing the Dark Matter of Sparse Autoencoders},
#   author  = {the Dark Matter contributors},
#   version = {0.1.0}
# }
# ```
# :::

# %% tags=["hide-input"]
chapter.close()
