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
# {cite:t}`engels2025` make thirteen claims that a run of their experiments can test. This chapter measures
# nothing: it reads the records of the chapters before it, judges each claim again by its rule, and sets the
# paper's number, this book's and the controls side by side.

# %% tags=["parameters", "remove-input"]
study = "tiny"

# %% tags=["hide-input"]
import altair as alt
import pandas as pd

from darkmatter_utils import open_chapter
from darkmatter_utils.charts.tables import Cards, Html, Table, Words, badge, escape, link
from darkmatter_utils.charts.theme import VERDICTS, WIDTH, finish
from darkmatter_utils.claims import c12_everywhere, report
from darkmatter_utils.claims.paper import PAPER_FIGURES, changes

# %% tags=["hide-input", "reads-records"]
chapter = open_chapter(15, study)
every = chapter.reads("*")
records = every[chapter.study.name]
verdict = chapter.judge(c12_everywhere, report.everywhere(every), unfit="")
every = {name: {**found, 15: chapter.values} for name, found in every.items()}
found = report.findings(every[chapter.study.name])
chapter.record("tally", report.tally(found))
Words(report.opening(found, chapter.study.name, records))

# %% tags=["hide-input"]
#| label: fig-verdicts
#| caption: Every claim, on every study that has records: one column a study. Green: it holds; yellow: partly;
#|   red, *fails*: it does not hold; grey, *?*: it cannot be told there. (Paper: the claims of its abstract
#|   and sections; it has no such figure.)
grid = report.by_study(every)
grid["mark"] = grid["verdict"].map({word: mark for word, (_, mark) in VERDICTS.items()})
axis = alt.Axis(labelAngle=0, orient="top", domain=False, ticks=False)
claims = list(dict.fromkeys(grid["claim"]))
base = alt.Chart(grid).encode(
    x=alt.X("study:N", title=None, sort=list(every), axis=axis),
    y=alt.Y("claim:N", title=None, sort=claims, axis=alt.Axis(labelLimit=300, grid=False)),
    tooltip=["claim:N", "study:N", "verdict:N", "here:N"],
)
scale = alt.Scale(domain=list(VERDICTS), range=[colour for colour, _ in VERDICTS.values()])
cells = base.mark_rect(stroke="white", strokeWidth=2, cornerRadius=3)
cells = cells.encode(color=alt.Color("verdict:N", scale=scale, legend=None))
marks = base.mark_text(fontSize=11, color="white", fontWeight=600).encode(text="mark:N")
finish(cells + marks, width=min(WIDTH - 260, 110 * len(every)), height=26 * len(claims))

# %% [markdown]
# ## The idea: a verdict follows from a record
#
# A chapter writes the numbers that a claim's rule takes into its record, and the rule is a function of these
# numbers alone. So anyone can judge again, or ask what another number would have meant, without a model. The
# cell below takes claim {glue:text}`shown` from the record, shrinks its number to a hundredth, and asks the
# rule once more.

# %% tags=["hide-input"]
measured = [number for number, one in found.items() if one.verdict.numbers and number != 12]
shown = found[measured[0] if measured else 1]
chapter.glue("shown", str(shown.claim.number))
claim, numbers = shown.claim, shown.evidence if measured else None

# %%
print("as recorded: ", claim.judge(numbers).word)
print("a hundredth: ", claim.judge(numbers and report.scaled(claim, numbers, 0.01)).word)

# %% [markdown]
# ## Claim by claim
#
# *The paper* is its number with the place where it was read: the full text was not available to this edition,
# so some could not be found. *Here* is this study's number with its 95% interval. The controls are what else
# gives such a number.


# %% tags=["hide-input"]
def told(one):
    """A claim's card, its verdict as a badge, its chapter as a link."""
    word = Html(f"{badge(one.verdict.word)}. {escape(one.verdict.why)}")
    return report.card(one) | {"verdict": word, "chapter": link(one.chapter, words=one.chapter)}


Cards({f"Claim {number}. {one.short}": told(one) for number, one in found.items()})

# %% [markdown]
# ## What the protocol changes
#
# The released code and this book choose differently in many places. Each line says what one choice changes on
# this study, where a chapter measured it. An arrow leads from this book's choice to the other one.

# %% tags=["hide-input"]
rows = [
    (choice.name, choice.released, choice.here, text, f"{choice.chapter:02d}" if choice.chapter else "–")
    for choice, text in changes(every[chapter.study.name])
]
names = ["choice", "the released code", "this book", "what it changes here", "chapter"]
Table(pd.DataFrame(rows, columns=names))

# %% [markdown]
# ## All studies
#
# One column for every study that has records in this book; claim 12 is about all of them together. `world` is
# simulated, and the SAEs of its width suite introduce no error: what holds there needs no introduced error to
# hold.

# %% tags=["hide-input"]
rows = report.by_study(every)
numbers = [f": {escape(said, quote=False)}" if said else "" for said in rows["measured"]]
rows["cell"] = [f"{badge(word)}{number}" for word, number in zip(rows["verdict"], numbers)]
wide = rows.pivot(index="claim", columns="study", values="cell").loc[claims, list(every)].reset_index()
Table(wide, dict.fromkeys(every, Html), left=tuple(every))

# %% [markdown]
# ## Is it special to one model?
#
# {glue:md}`everywhere`

# %% tags=["hide-input"]
word = verdict.word.capitalize()
chapter.sentence("everywhere", f"**Claim 12.** {c12_everywhere.CLAIM.short} *{word}*: {verdict.why}")
chapter.rules(c12_everywhere)

# %% [markdown]
# (figures-by-number)=
# ## The paper's figures, by number
#
# The first version of the paper studies one model, the second three; their figures are numbered differently.
# The first version's numbers are known from the released code, the second's from a summary, and some only
# jointly.


# %% tags=["hide-input"]
def places(figure):
    """Links to the figures here that answer to one of the paper's."""
    words = lambda chapter, label: f"{chapter[:2]} {label.removeprefix('fig-').replace('-', ' ')}"
    return ", ".join(link(*place, words(*place)) for place in figure.counterparts)


rows = [(f.name, f.version, f.experiment, f.shows, places(f)) for f in PAPER_FIGURES]
names = ["the paper's", "version", "experiment", "what it shows", "here"]
Table(pd.DataFrame(rows, columns=names), {"here": Html}, left=("here",))

# %% [markdown]
# ## What could fool us
#
# - **A word is not a number.** A verdict hides how near the edge it was. The interval beside it does not.
# - **Thirteen rules.** With as many rules, one or two verdicts may be wrong by the chance of documents and
#   seeds alone.
# - **The thresholds are ours.** The paper says "about half" and "barely"; a rule must say where that ends.
#   Each was written before its number was seen, and where that is not the whole truth the card says so.
# - **One small model.** Claim 12 is the paper's to make: it studied three families. A claim that fails here
#   may hold there.
# - **Second-hand numbers.** What is known of the paper's numbers comes from its abstract, its code and what
#   others wrote.
#
# ## Exercise
#
# Open `build/tiny/records/04.json`, change a number under `evidence`, and run this chapter with
# `darkmatter run 15`. Which number can you move farthest without moving the verdict? (`darkmatter build`
# notices the edit and puts the record right.)

# %% tags=["hide-input"]
chapter.close()
