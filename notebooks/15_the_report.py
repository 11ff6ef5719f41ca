# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What holds, and what does not?
#
# {cite:t}`engels2025` make thirteen claims that a run of their experiments can test. This chapter measures nothing: it reads
# the records of the chapters before it, judges each claim again by its rule, and sets the paper's number, this book's and the
# controls side by side.

# %% tags=["parameters", "remove-input"]
study = "tiny"

# %% tags=["remove-input"]
from darkmatter_utils.book.chapters import open_chapter
from darkmatter_utils.book.shelf import EVERY
from darkmatter_utils.claims import c12_everywhere, everywhere
from darkmatter_utils.claims.report import findings
from darkmatter_utils.pages.report_pages import (  # fmt: skip
    claim_cards,
    figure_table,
    opening,
    protocol_table,
    studies_table,
    tally,
    verdict_grid,
)

# %% tags=["remove-input", "reads-records"]
chapter = open_chapter(15, study)
every = chapter.reads(EVERY)
records = every[chapter.study.name]
verdict = chapter.judge(c12_everywhere, everywhere.evidence(every), unfit="")
every = {name: {**found, 15: chapter.values} for name, found in every.items()}
found = findings(every[chapter.study.name])
chapter.record("tally", tally(found))
opening(found, chapter.study.name, records)

# %% mystnb={"figure": {"caption": "Every claim, on every study that has records: one column a study. Green: it holds; yellow: partly; red, *fails*: it does not hold; grey, *?*: it cannot be told there. See which claims keep their colour from left to right, and which no study could tell. (Paper: the claims of its abstract and sections; it has no such figure.)", "name": "fig-verdicts"}} tags=["remove-input"]
verdict_grid(every)

# %% [markdown]
# ## The idea: a verdict follows from a record
#
# A chapter writes the numbers that a claim's rule takes into its record, and the rule is a function of these numbers alone. So
# anyone can judge again, or ask what another number would have meant, without a model. The cell below takes claim
# {glue:text}`shown` from the record, shrinks its number to a hundredth, and asks the rule once more.

# %% tags=["remove-input"]
measured = [number for number, one in found.items() if one.verdict.numbers and number != 12]
shown = found[measured[0] if measured else 1]
chapter.glue("shown", str(shown.claim.number))
claim, numbers = shown.claim, shown.evidence

# %%
from darkmatter_utils.claims.report import scaled

print("as recorded: ", claim.judge(numbers).word)
print("a hundredth: ", claim.judge(numbers and scaled(claim, numbers, 0.01)).word)

# %% [markdown]
# ## Claim by claim
#
# *The paper* is its number with the place where it was read: the full text was not available to this edition, so some could
# not be found. *Here* is this study's number with its 95% interval. The controls are what else gives such a number.

# %% tags=["remove-input"]
claim_cards(found)

# %% [markdown]
# ## What the protocol changes
#
# The released code and this book choose differently in many places. Each line says what one choice changes on this study,
# where a chapter measured it. An arrow leads from this book's choice to the other one.

# %% tags=["remove-input"]
protocol_table(every[chapter.study.name])

# %% [markdown]
# ## All studies
#
# One column for every study that has records in this book; claim 12 is about all of them together. `world` is simulated, and
# the SAEs of its width suite introduce no error: what holds there needs no introduced error to hold.

# %% tags=["remove-input"]
studies_table(every)

# %% [markdown]
# ## Is it special to one model?
#
# {glue:md}`everywhere`

# %% tags=["remove-input"]
chapter.sentence("everywhere", f"**Claim 12.** {c12_everywhere.CLAIM.short} *{verdict.word.capitalize()}*: {verdict.why}")
chapter.rules(c12_everywhere)

# %% [markdown]
# (figures-by-number)=
# ## The paper's figures, by number
#
# The first version of the paper studies one model, the second three; their figures are numbered differently. The first
# version's numbers are known from the released code, the second's from a summary, and some only jointly.

# %% tags=["remove-input"]
figure_table()

# %% [markdown]
# ## What could fool us
#
# - **A word is not a number.** A verdict hides how near the edge it was. The interval beside it does not.
# - **Thirteen rules.** With as many rules, one or two verdicts may be wrong by the chance of documents and seeds alone.
# - **The thresholds are ours.** The paper says "about half" and "barely"; a rule must say where that ends. Each was written
#   before its number was seen, and where that is not the whole truth the card says so.
# - **One small model.** Claim 12 is the paper's to make: it studied three families. A claim that fails here may hold there.
# - **Second-hand numbers.** What is known of the paper's numbers comes from its abstract, its code and what others wrote.
#
# ## Exercise
#
# Open `build/tiny/records/04.json`, change a number under `evidence`, and run this chapter with `darkmatter run 15`. Which
# number can you move farthest without moving the verdict? (`darkmatter build` notices the edit and puts the record right.)

# %% tags=["remove-input"]
chapter.close()
