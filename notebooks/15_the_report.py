# %% [markdown]
# # What holds, and what does not?
#
# {cite:t}`engels2025` make {glue:text}`how many` claims that a run of their experiments can test. This chapter
# reads the records of the others and judges each claim again by its rule. A row unfolds to its reasons, its
# controls, and to how far each threshold could be moved before a word changes.

# %% tags=["parameters", "remove-input"]
study = "tiny"

# %% tags=["hide-input"]
import pandas as pd

from darkmatter_utils import charts, open_chapter
from darkmatter_utils.base.values import Absent
from darkmatter_utils.base.words import percent, plain, span
from darkmatter_utils.charts import Csv, Folded, Table, Words, estimates, evidence
from darkmatter_utils.charts.tables import Html, badge, escape, link
from darkmatter_utils.claims import c12_everywhere, fixed, protocol, report, strips, worth
from darkmatter_utils.claims.paper import changes
from darkmatter_utils.experiments import calibration, paper_points
from darkmatter_utils.experiments.everywhere import everywhere
from darkmatter_utils.experiments.paper_evidence import EVIDENCE

# %% tags=["hide-input", "reads-records", "first-screen"]
chapter = open_chapter(15, study)
chapter.glue("how many", report.how_many())
every = chapter.reads("*")
records = every[chapter.study.name]
verdict = chapter.judge(c12_everywhere, everywhere(every), unfit="")
every = {name: {**found, 15: chapter.values} for name, found in every.items()}
found = report.findings(every[chapter.study.name])
chapter.record("tally", report.tally(found))
others = worth.others(every[chapter.study.name], EVIDENCE)
chapter.record("beside", {who: worth.words(others, who) for who in worth.WHO})
chapter.sentence("distinguishes", worth.sentence(found, others))
chapter.headed(report.headline(found, chapter.study.name))
chapter.sentence("counted", report.summary(found, chapter.study.name))
Words(report.opening(found, chapter.study.name, records)) if not records else None


# %% tags=["hide-input", "first-screen"]
def unfolded(row):
    """What a row of the strip unfolds to."""
    one = found[row["claim"]]
    idle = worth.cannot_answer(rates, row["claim"])
    said = evidence.told(report.card(one) | {"its rule on simulated studies": idle})
    page = link(one.chapter, words="its chapter, with the reasons and the rule in full")
    return f"{said}\n{evidence.thresholds(strips.flips(one))}\n<p>{page}</p>"


rates = calibration.summary()
rows = strips.rows(found, every[chapter.study.name], EVIDENCE)
chapter.record("strip", rows)
studies = {"paper": worth.words(others, worth.PAPER), "null": worth.words(others, worth.NULL)}
studies |= report.words_by_study(every, chapter.study.name)
chapter.record("studies", studies)
evidence.strip(rows, others=studies, more=unfolded)

# %% [markdown]
# Each row has the first statement of a claim: a dot for every SAE, pair or place that it is asked of, on the
# scale of its rule. Words as marks: the claim, each of its statements, the paper's own points (values alone),
# the null and the other studies.
#
# ## The idea: a verdict follows from a record
#
# A rule is a function of recorded numbers alone, so anyone can judge again without a model. The cell takes
# claim {glue:text}`shown` from the record, shrinks its number to a hundredth, and asks the rule once more.

# %% tags=["hide-input"]
measured = [number for number, one in found.items() if one.verdict.numbers and number != 12]
shown = found[measured[0] if measured else 1]
chapter.glue("shown", str(shown.claim.number))
claim, numbers = shown.claim, shown.evidence if measured else None

# %%
print("as recorded: ", claim.judge(numbers).word)
less = numbers and report.scaled(claim, numbers, 0.01)
print("a hundredth: ", claim.judge(less).word)

# %% [markdown]
# (worth)=
# ## What a verdict is worth
#
# {glue:md}`counted` A word says something about SAEs only if not everything earns it.
# {glue:md}`distinguishes`
#
# :::{dropdown} Who else is judged
# *The paper's points*, by their values alone, since they have no intervals (at claim 5 that is the word of the
# best fit, and these points do not fix the floor: {ref}`paper-points`); *the null*, worlds whose SAEs lack
# features and introduce no error, matched to this study's SAEs (chapters {doc}`07_models_of_activations` and
# {doc}`08_nonlinear_error`); and, where one SAE suffices, an SAE of a *random-weights model* and a *dead SAE*,
# which answers with the mean (chapter {doc}`13_the_controls`). *Sources*: in how many of the sources of text,
# each alone, the values of the first statement lie in its range.
# :::

# %% tags=["hide-input"]
words = [chapter.study.name, *worth.WHO]
table = Table(worth.table(found, others, chapter.study.name), dict.fromkeys(words, badge), left=words)
Csv("Every claim: the word of the study, of the paper's points, the null and the controls", table)

# %% tags=["hide-input"]
columns = {"false": "wrong, in simulated studies", "upper": "at most", "power": "power"}
shown = rates[["rule", "statement", *columns]].rename(columns=columns)
Csv(
    "How often each statement of a rule is wrong, and its power",
    Table(shown, dict.fromkeys(columns.values(), percent)),
)

# %% tags=["hide-input"]
denied = worth.denials(others, EVIDENCE)
rows = [(str(n), others[n][worth.PAPER].word, why) for n, why in denied.items()]
none = Absent("The paper's own points deny none of its claims.")
table = Table(pd.DataFrame(rows, columns=["claim", "word", "why"]) if denied else none, {"word": badge})
Csv("Where the paper's own points deny its claim, in whole or in part, and why", table)

# %% [markdown]
# (fixed-rules)=
# ## Whether the rules are fixed
#
# A rule that is changed after its number was seen says little. So the rules have a digest, of thresholds and
# of what is compared, not of words; a test fails where one differs and no entry says why. These are called
# {glue:text}`rules name`, their digest is {glue:text}`rules digest`. Most were written anew after `tiny` had
# been seen and before `smollm2` was measured. What `smollm2` measures was fixed before, in
# `claims/preregistered.yaml`.

# %% tags=["hide-input"]
held, now = fixed.fixed(), fixed.rules()
since = [*fixed.later(), *held["changes"]]
chapter.record("rules", {"name": held["name"], "digest": fixed.overall(now), "changes": since})
chapter.glue("rules name", held["name"])
chapter.glue("rules digest", fixed.overall(now))
none = Absent("No change is listed.")
changed = Table(pd.DataFrame(since).fillna("–").map(str) if since else none)
Folded("Changes of a rule after it was fixed", changed)

# %% tags=["hide-input"]
departed = fixed.departures(chapter.study.name)
chapter.record("departures", departed)
none = Absent("This study departs from nothing that was fixed before.")
Folded("Where this study departs from it", Table(pd.DataFrame(departed) if departed else none))

# %% [markdown]
# ## What the protocol changes
#
# {doc}`paper` lists every choice. In the table an arrow leads from this book's to the other, in the steps of
# chapter 02.

# %% tags=["hide-input"]
made = changes(every[chapter.study.name])
numbers = protocol.table(every[chapter.study.name])
told = [choice for choice, text in made if not text.startswith("not measured")]
chapter.glue("choices", str(len(told)))
alone = [choice.name for choice in told if choice.key not in set(numbers["key"])]
chapter.record("not drawn", alone)
drawn = protocol.largest(numbers, world=bool(chapter.study.world))
chapter.record("effects", drawn.drop(columns="label").to_dict("list"))

# %% tags=["hide-input"]
#| label: fig-protocol
#| caption: The other choice less this book's, where largest over widths and sites (norms: median of SAEs); in
#|   brackets the tokens, if not all. 95% intervals, where known, may be narrower than a dot. The rest: in the table.
of = {protocol.R2: ("difference of R²", 1), protocol.SHARE: ("change of others (%)", 100)}
panel, times = (drawn["unit"].map({unit: one[k] for unit, one in of.items()}) for k in (0, 1))
rows = drawn.assign(panel=panel, **{name: drawn[name] * times for name in ("value", "low", "high")})
view = {"rules": [0], "width": 340, "height": None, "title": chapter.finding(protocol.sentence, drawn)}
charts.panels(rows, "panel", charts.forest, **view)

# %% tags=["hide-input"]
names = {"quantity": "number", "place": "of", "here": "this book", "other": "the other", "value": "change"}
rows = [(c.key, c.name, text, f"{c.chapter:02d}" if c.chapter else "–") for c, text in made]
rows = pd.DataFrame(rows, columns=["key", "choice", "what it changes here", "chapter"])
rows = rows.merge(numbers.drop(columns=["choice", "chapter"]), on="key", how="left")
Csv(
    f"{len(told)} of {len(made)} choices whose effect is measured here",
    Table(rows.drop(columns=["key", "unit"]).rename(columns=names)),
)

# %% tags=["hide-input"]
rows = report.by_study(every)
numbers = [f": {escape(said, quote=False)}" if said else "" for said in rows["measured"]]
rows["cell"] = [f"{badge(word)}{number}" for word, number in zip(rows["verdict"], numbers)]
wide = rows.pivot(index="claim", columns="study", values="cell")
wide = wide.loc[list(dict.fromkeys(rows["claim"])), list(every)].reset_index()
table = Table(wide, dict.fromkeys(every, Html), left=tuple(every))
Csv("Every claim on every study (a simulated one is a null, and is not judged)", table)

# %% [markdown]
# ## Is it special to one model?
#
# {glue:md}`everywhere`
#
# :::{dropdown} Which effects are counted
# Only those that could come out the other way: {glue:text}`counted effects`. That an R² is positive, or that
# the FVU falls as the SAE gets wider, tells nothing of a model. At claims 4, 8 and 10 the effect is against a
# control of this book, which the paper does not have.
# :::

# %% tags=["hide-input"]
word = verdict.word.capitalize()
words = [one.claim.effect.words for one in found.values() if one.claim.effect]
chapter.glue("counted effects", f"{len(words)} of them: {'; '.join(words)}")
chapter.sentence("everywhere", f"**Claim 12.** {c12_everywhere.CLAIM.short} *{word}*: {verdict.why}")
chapter.rules(c12_everywhere)

# %% [markdown]
# (paper-points)=
# ## What the paper's own points say
#
# Most of the paper's figures are vector drawings: their values can be read off to four digits or so. This
# section computes from these alone; intervals are of a line or a curve through the points.
#
# ### The floor (Figs. 1 and 9a)
#
# §4.3 fits $c + a W^{-m}$ to seven widths and reads from $c$, above the mean of FVU_nonlinear, that there is
# linear error "even at very large SAE width". Here $c$ is held at each value in turn, the rest fitted anew, and
# the two fits compared by an F test at 5%.

# %% tags=["hide-input"]
floors = paper_points.floors()
three = lambda value: plain(value, 3)
allowed = [span(ends, three) for ends in zip(floors["low"], floors["high"])]
shown = floors[["curve", "c", "a", "m"]].assign(**{"c allowed": allowed})
names = {"p": "p of c = 0", "predicted": "1m, by the others", "observed": "1m, drawn", "misfit_p": "p of 1m"}
shown = shown.join(floors[list(names)].rename(columns=names))
table = Table(shown, dict.fromkeys(shown.columns[1:], three) | {"c allowed": str})
Folded("Fits of the floor to the paper's points, with and without it", table)

# %% tags=["hide-input"]
told = {
    "high": "highest floor",
    "predicted": "predicted at 1m",
    "observed": "drawn at 1m",
    "misfit_p": "p of 1m",
}
for column, key in told.items():
    chapter.glue(key, float(floors[column].iloc[0]), ".3f")
chapter.glue("p of no floor", float(floors["p"].iloc[0]), ".2f")

# %% [markdown]
# The seven points allow any floor from 0 up to {glue:text}`highest floor`; for no floor at all p is
# {glue:text}`p of no floor`. Fitted to the six narrower SAEs the curve predicts {glue:text}`predicted at 1m` at
# a million latents, where {glue:text}`drawn at 1m` is drawn (p {glue:text}`p of 1m`). So these points neither
# show nor exclude linear error at very large widths; that there is much of it at the widths drawn needs no
# curve.
#
# ### How constant FVU_nonlinear is (Figs. 2, 10 and 11)
#
# §4.3 finds FVU_nonlinear "approximately constant" in width at a fixed L0 for the two middle layers; App. A.2
# says that at other layers it "decreases some". A line through log FVU_nonlinear of each grid, at L0 60:

# %% tags=["hide-input"]
#| label: fig-paper-constancy
#| caption: Change of FVU_nonlinear a doubling of the width at L0 60, in percent, at the paper's six grids, with
#|   95% intervals of the fitted line; dotted: no change. (Paper: Figs. 2, 10 and 11.)
constant = paper_points.constancy()
drawn = constant.assign(label=constant["grid"] + " (Fig. " + constant["figure"] + ")")
drawn[["value", "low", "high"]] = 100 * drawn[["change", "low", "high"]].to_numpy()
falls, steep = (int((drawn["high"] < edge).sum()) for edge in (0, -5))
chapter.record("falling grids", [falls, steep, len(drawn)])
said = (
    f"The paper's FVU_nonlinear falls with width at {falls} of its {len(drawn)} grids, at {steep} by over 5%"
)
titled = {"x_title": "change a doubling of the width (%)", "title": chapter.finding(said)}
charts.forest(drawn, rules=[0], **titled)

# %% tags=["hide-input"]
constant["a doubling of W"] = estimates(constant, "change")
shown = constant[["grid", "n", "a doubling of W", "whole", "by_l0"]]
names = {"n": "SAEs", "whole": "16k to 1m", "by_l0": "slope, a doubling of L0"}
one = lambda share: percent(share, 1)
table = Table(shown.rename(columns=names), dict.fromkeys(["a doubling of W", *list(names.values())[1:]], one))
Folded("Slopes of FVU_nonlinear over width and over L0, grid by grid", table)

# %% [markdown]
# FVU_nonlinear does not change at one place, layer 20 of Gemma 2 9B near L0 60, which is what Fig. 1 draws. At
# layer 12 of Gemma 2 2B it falls, by a tenth from 16k to 1m, and by more at the other four. Everywhere the slope
# falls as L0 rises (the last column), and where Fig. 1 is drawn it passes through zero. So the level line is
# not general.
#
# ### Pursuit on the same tokens (Figs. 1, 2b and 9a)

# %% tags=["hide-input"]
pursued = paper_points.pursuit()
chapter.glue("pursuit most", one(-pursued["FVU_nonlinear, same tokens"].min()))
dash = lambda share: "–" if pd.isna(share) else one(share)
table = Table(pursued.astype({"width": int}), dict.fromkeys(pursued.columns[1:], dash))
Folded("What the pursuit changes, width by width", table)

# %% [markdown]
# §6 says that the pursuit lowers FVU by "3-5%" and leaves FVU_nonlinear "almost unchanged". By the released
# code the encoder's points of Fig. 1 are of positions from 1 on and the pursuit's of positions from 200 on.
# Fig. 2b has the encoder's from 200 on, so that its difference from Fig. 9a is on the same tokens: there
# FVU_nonlinear falls at every width, at most by {glue:text}`pursuit most`. So better inference helps there
# more than the text says. Most of FVU_nonlinear is left all the same. (At 262k Fig. 2b has another SAE.)
#
# ### Shares of the loss (Fig. 8)
#
# §5.3 says that both parts contribute to the loss in proportion to their size. For each SAE, the share of the
# loss that a part wins back is divided by its share of R² and by its share of the norm:

# %% tags=["hide-input"]
shares = paper_points.loss_shares()
over = lambda end: [span(pair) for pair in zip(shares["least" + end], shares["most" + end])]
rows = shares[["part", "sweep"]].assign(**{"loss / R²": over(""), "loss / norm": over("_by_norm")})
rows = rows.assign(**{"slope through 0": shares["slope"], "correlation": shares["correlation"]})
styles = {"loss / R²": str, "loss / norm": str, "slope through 0": plain, "correlation": plain}
Folded("Shares of the loss over shares of R² and of the norm", Table(rows, styles))

# %% [markdown]
# LinearError is proportional: in both sweeps its share of the loss is a near-constant multiple of its share
# of R². NonlinearError is not: over L0 its share of the loss falls while its share of R² rises, and their
# ratio spans a factor of nearly four. A slope through the origin hides that. It stands that both parts matter
# to the loss, and that LinearError wins back more than its share of R².
#
# ### The synthetic check (Table 1 and Fig. 15)

# %% tags=["hide-input"]
landed = paper_points.landing().groupby("noise")["share"]
chapter.glue("of dense", span(landed.get_group("x' noise"), percent))
chapter.glue("of introduced", span(landed.get_group("Sae(x') noise"), percent))
table = Table(paper_points.synthetic(), {"Table 1": plain, "Fig. 15": plain})
Folded("The correlations of Table 1, and those of Fig. 15's maps", table)

# %% [markdown]
# Table 1 correlates the noise that was put in with the part that was estimated. The same correlations of Fig.
# 15's own maps agree with its two large ones and not with the two small ones (chapter
# {doc}`07_models_of_activations`). By the maps, {glue:text}`of dense` of the noise on $x'$ lands in the
# nonlinear part, and {glue:text}`of introduced` of the noise on $\mathrm{Sae}(x')$ in the linear one: what
# least squares absorb on the rows that they were fitted on (3,584 dimensions, 50,000 rows).

# %% [markdown]
# The paper's figures {ref}`by their numbers <figures-by-number>`, and its slips in print, are on the page
# {doc}`paper`.

# %% [markdown]
# ## What could fool us
#
# - **A word is not a number.** A verdict hides how near the edge it was.
# - **Choices are in no interval.** Intervals carry documents and training seeds, not which widths, L0s, nulls
#   and margins were chosen; and of {glue:text}`how many` rules some may be wrong by chance alone.
# - **The thresholds are ours.** The paper says "about half" (abstract) and "almost unchanged" (§6); a rule must
#   say where that ends.
# - **Small models.** A claim that fails here may hold on the paper's three (§4).
# - **Values read off figures** know nothing of the spread over tokens or training (`data/paper/README.md`).
#
# ## Try it
#
# Open `build/tiny/records/04.json`, change a number under `evidence`, and run `darkmatter run 15`. Which
# number can you move farthest without moving the verdict?
#
# :::{dropdown} Answer
# The slider of each threshold above says it the other way round: how far the threshold can go. (`darkmatter
# build` puts the record right.)
# :::
#
# ## Cite
#
# The paper: {cite:t}`engels2025`. This edition: `CITATION.cff` in the repository, with the commit that each
# run record names.

# %% tags=["hide-input"]
chapter.close()
