# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Your model, your SAE
#
# Every number of this book can be had for another model and SAE: from arrays on disk, from an SAE as it was
# published, or from a study of ten lines that runs every chapter. This page does the three live, on the study
# that it is run on. Nothing here is a claim of {cite:t}`engels2025`.

# %% tags=["parameters", "remove-input"]
study = "tiny"
sae = None  # the SAE that stands for yours; None: the one of the width suite nearest to a width of 8 d_model
contexts = 48  # how many contexts the live arrays hold

# %% tags=["hide-input"]
from pathlib import Path

import numpy as np
import pandas as pd

from darkmatter_utils import charts, decompose, measure, open_chapter
from darkmatter_utils.base.words import percent, plain, span
from darkmatter_utils.charts.tables import Folded, Html, Table, Words
from darkmatter_utils.experiments.live import folder_too, live
from darkmatter_utils.measurement import arrays
from darkmatter_utils.measurement.widths import reference_sae
from darkmatter_utils.studies import recipes

chapter = open_chapter(14, study, sae=sae, contexts=contexts)
measurement = measure(chapter.again())
shown = sae or reference_sae(measurement)
few = {"sae": shown, "contexts": contexts}


# %% tags=["hide-input"]
def told(x, reconstruction, document):
    answer = arrays.measure(x, reconstruction, document=document, bootstrap=300)
    found = {"this SAE": answer.result, "the same, as the paper's code": answer.paper}
    found |= {f"null: {name}": null for name, null in answer.nulls.items()}
    r2 = [{"label": name} | d.r2_total.to_dict() for name, d in found.items()]
    return {"r2": r2, "this SAE": answer.result.estimates(), "said": answer.reading(), "tokens": len(x)}


answer = live(measurement, told, **few)
chapter.glue("sae", shown)
chapter.glue("tokens", f"{answer['tokens']:,}")

# %% tags=["hide-input", "first-screen"]
rows = pd.DataFrame(answer["r2"]).astype(dict.fromkeys(["value", "low", "high"], float))
linear = rows.set_index("label")["value"]
chapter.record("r2", linear.to_dict())
nothing = linear[[name for name in linear.index if name.startswith("null")]]
share = linear["this SAE"]
chapter.headed(f"{percent(share)} of this SAE's error is linear in x, here on live arrays")
Html(
    '<div class="claim"><p class="claim-words"><strong>The one command, on your own.</strong></p>\n'
    "<p><code>darkmatter measure --model FOLDER --sae FOLDER --text mine.jsonl</code></p></div>"
)

# %% tags=["hide-input", "first-screen"]
#| label: fig-yours
#| caption: Share of the error vector that a linear map of x predicts, live; bars are 95% intervals over documents.
#|   Nulls: the mean (dead), and x drawn to it until it misses as much (shrunk). Not in the paper.
said = f"This SAE's R² is {plain(share)}, that of nulls that know nothing {span(nothing)}: high is no praise"
titled = {"x_title": "R² of the error vector, total", "title": chapter.finding(said)}
kinds = rows["label"].str.startswith("null").map({True: "null", False: "here"})
charts.forest(rows.assign(kind=kinds), color="kind", x_domain=[0, 1.02], height=150, **titled)

# %% [markdown]
# ## The idea: arrays are enough
#
# `x` holds activations, one row a token; `reconstruction` what an SAE, or anything else, makes of them;
# `document` the text a row is from: folds and intervals are over documents. No model and no SAE library is
# needed. Here they are {glue:text}`tokens` tokens of this study and the SAE {glue:text}`sae`: a part of the study,
# so the numbers differ a little from those of chapter {doc}`04_half_linear`.


# %%
def decomposed(x, reconstruction, document):
    result = decompose(x, reconstruction, document=document, bootstrap=300)
    return {name: e for name, e in result.estimates().items() if " " not in name}


result = live(measurement, decomposed, **few)
{name: f"{e.value:.3f} [{e.low:.3f}, {e.high:.3f}]" for name, e in result.items()}

# %% tags=["hide-input"]
for name in ("fvu", "fvu_linear", "fvu_nonlinear", "r2_total", "r2_per_dim"):
    chapter.record(name, result[name].to_dict())
chapter.sentence("reading", " ".join(answer["said"]))

# %% [markdown]
# In words: {glue:md}`reading`
#
# The same from files, mapped into memory and never read whole:
#
#     darkmatter measure --x x.npy --reconstruction hat.npy --document document.npy
#     darkmatter measure --x acts.safetensors:x --sae FOLDER --json numbers.json --html page.html
#
# ## Any reconstruction
#
# A function of rows will do. Keeping the top principal components of $x$ learns nothing of features; its error is
# linear in $x$ by construction.


# %%
def eight(x, reconstruction, document):
    centre = x.mean(axis=0)
    directions = np.linalg.svd(x[::7] - centre, full_matrices=False)[2][:8]

    def components(rows):
        return centre + (rows - centre) @ directions.T @ directions

    measured = arrays.measure(x, components, document=document, bootstrap=300)
    return measured.result.estimates()


components = live(measurement, eight, **few)

# %% tags=["hide-input"]
rows = {"this SAE": answer["this SAE"], "8 principal components": components}
chapter.record("components", {name: components[name].to_dict() for name in ("fvu", "r2_total")})
names = {
    "fvu": "FVU",
    "fvu_linear": "FVU, linear",
    "fvu_nonlinear": "FVU, nonlinear",
    "r2_total": "R² total",
}
table = [[name, *(found[key].value for key in names)] for name, found in rows.items()]
frame = pd.DataFrame(table, columns=["reconstruction", *names.values()])
Folded(
    "Eight principal components beside the SAE", Table(frame, dict.fromkeys(names.values(), "{:.3f}".format))
)

# %% [markdown]
# ## Your SAE
#
# An SAE's format is recognised by its files. A name of SAELens' list, `release/id`, is downloaded, checked against
# the hub's digest, and kept. `--dry-run` says first what would be downloaded, computed and stored.
#
#     darkmatter measure --model gpt2 --sae gpt2-small-res-jb/blocks.8.hook_resid_pre
#     darkmatter measure --model FOLDER --sae FOLDER --text mine.jsonl
#     darkmatter measure --model FOLDER --sae FOLDER --positions 200:1023
#     darkmatter measure --model FOLDER --sae mine.pt --k 32 \
#         --site blocks.2.hook_resid_post
#
# An SAE that fits badly without a word of why is one for `darkmatter doctor --model FOLDER --sae FOLDER`: it tries
# what people get wrong (another layer or site, `<bos>`, the scale of activations, TopK run as ReLU, another model)
# and names a setting only where FVU falls by a third at the stated L0.
#
# :::{dropdown} Formats, transcoders and warnings
# SAELens (`cfg.json`), Gemma Scope (`params.npz`) and Gemma Scope 2 (`params.safetensors`), Llama Scope
# (`hyperparams.json`) and what llamascopium trains since, dictionary learning (`ae.pt`), sparsify
# (`sae.safetensors`), Qwen-Scope (`layer5.sae.pt`), a layer of a circuit-tracer set (`layer_5.safetensors`) or of a
# cross-layer transcoder (`W_enc_5.safetensors`), OpenAI's, Goodfire's, and any two matrices, of which `--k`,
# `--threshold` and `--b-dec-in` say how they are run.
#
# Of a transcoder the answer has a column more, *from its input*: what a linear map of what it read predicts of
# its error is what a skip could still take over.
#
# An SAE at the wrong site, of another width, with NaN, or with weights that overflowed stops with one line; one
# that fits but does badly (worse than the mean, far from its published L0, scaled wrongly) is measured with a
# warning, which `--strict` makes an error.
# :::


# %% tags=["hide-input"]
def from_folder(x, reconstruction, document, folder):
    found = arrays.measure(x.astype(np.float32), sae=folder, document=document, bootstrap=300)
    about, fvu, random = found.about["sae"], found.result.fvu, found.nulls["random"].fvu
    return [{key: about[key] for key in ("format", "architecture", "d_sae")}, fvu, random, found.l0]


if chapter.study.sae(shown).path:
    about, left, random, l0 = live(measurement, from_folder, of=folder_too, **few)
    same = abs(left.value - result["fvu"].value) < 1e-4
    told = "the number above" if same else "which is not the number above"
    said = (
        f"The folder of {shown} is of the format *{about['format']}*, a {about['architecture']} SAE of "
        f"{about['d_sae']:,} latents. Read from it, on the same activations, the SAE uses {l0:.1f} "
        f"latents a token and leaves {left.value:.3f} of the variance, {told}. An untrained dictionary of "
        f"its width and L0 leaves {random.value:.3f}."
    )
    chapter.record("folder", {"fvu": left.to_dict(), "l0": l0, "random": random.to_dict()})
else:
    said = "The SAEs of this study are made by a formula, not read from a folder: there is none to show here."
chapter.record("folder in words", said)
Words(said)

# %% [markdown]
# ## Your study
#
# Ten lines name a model, SAEs and a text. `darkmatter study new mine.yaml` writes them, `study check`
# validates them and says what they cost, `study prepare` brings files here and stores token ids, and
# `darkmatter build --study mine.yaml` runs every chapter. Where nobody has trained SAEs of the model,
# `darkmatter train suite.yaml` trains a suite and writes its study; `--dry-run` says first what that takes.

# %% tags=["hide-input"]
print(recipes.new(Path("mine.yaml")), end="")
mine = recipes.load("mine.yaml")

# %% [markdown]
# The studies `gpt2`, `pythia-70m`, `gemma-3-270m`, `qwen3-1.7b`, `gemma-2-2b`, `gemma-2-9b` and `llama-3.1-8b` come
# as such files; `darkmatter study check` says the hours and the memory that each takes.
#
# :::{dropdown} Where the paper's SAEs were withdrawn
# Some of the SAEs of the paper's Figs. 4, 5, 8, 9a, 12 and 16, and perhaps of Fig. 1, were withdrawn by their
# makers; all of Fig. 2b are still listed. Where the one nearest to L0 60 is gone, the next is taken, and both are
# named. No width is at 60 exactly, so its neighbour on the other side of 60 is taken too: widths are compared at
# one L0, linear in log L0 between the two (chapter {doc}`05_scaling`).
# :::

# %% tags=["hide-input"]
taken = recipes.load("gemma-2-9b").choices()
chapter.record("withdrawn", sum(choice.taken != choice.paper for choice in taken))
rows = {
    "width": [choice.taken.width for choice in taken],
    "L0 of the SAE taken": [choice.taken.l0 for choice in taken],
    "and beside it": [", ".join(str(sae.l0) for sae in choice.beside) for choice in taken],
    "L0 of the paper's": [choice.paper.l0 for choice in taken],
    "": ["" if choice.taken == choice.paper else "withdrawn since" for choice in taken],
}
Folded("The SAEs of gemma-2-9b that are taken", Table(pd.DataFrame(rows)))

# %% [markdown]
# :::{dropdown} What else a study can hold
#     suites:
#       depth: [FOLDER, FOLDER]     SAEs of the same widths at other layers, for chapter 03
#       sites: [FOLDER]             SAEs at earlier sites (attention, MLP, residual), for chapter 12
#     packed: true                  short documents share a context, which then stands for a document
#     model_dtype: bfloat16         the model's precision; the SAEs and all that is reckoned stay at dtype
#
# A `source` beside the `text` of a line (or a column, or the top folder of a file) says where a document is
# from; chapters 01, 04 and 05 then show the numbers without each source. What was prepared and measured on one
# machine is read on another: `darkmatter study export mine.yaml FOLDER` there, `darkmatter study import FOLDER`
# here.
# :::
#
# ## What would change our mind
#
# - **A number without its null.** The mean leaves an error that is linear without a rest. So does any
#   reconstruction that only shrinks. Compare FVU and the share together.
# - **Too few tokens.** The map has $d^2$ numbers. Their estimation error is taken out of each value, but only to
#   first order: below 20 tokens per dimension the commands warn; below 5, or 20 documents, they give no interval.
# - **Another text, another scale.** An SAE sees what it was trained on: `<bos>` or none, norms folded or not. A
#   best factor on Sae(x) far from 1, or an L0 far from the published one, is the sign.
#
# :::{dropdown} Documents that are none
# Rows that come in one block of text, given as many documents, make intervals too narrow.
# :::
#
# ## Try it
#
# In the function above, let `components` return `np.round(rows / grid) * grid`, then `darkmatter run 14`. How much
# of its error is linear, and why does the answer change with the width of the grid?
#
# :::{dropdown} Answer
# On a fine grid next to nothing: the error is like noise that $x$ does not know. On one wider than $x$ all of it:
# everything rounds to the same point, and the reconstruction is dead.
# :::

# %% tags=["hide-input"]
chapter.close()
