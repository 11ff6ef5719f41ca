# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Scaling and the floor
#
# A wider SAE has more latents to spend, at the same number of them active on a token (L0). What happens to the error? In
# Fig. 1 of {cite:t}`engels2025` the total shrinks with the width $W$ towards a floor $c$, while its nonlinear part,
# $\mathrm{FVU_{nonlinear}}$ (what LinearError does not repair, chapter 02), stays where it is.

# %% tags=["parameters", "remove-input"]
study = "tiny"
beyond = 16  # how many times the largest width the extrapolation goes
skip = 0  # how many of the narrowest widths the fit leaves out

# %% tags=["remove-input"]
import numpy as np

from darkmatter_utils import PowerLaw, measure
from darkmatter_utils.base.words import percent, plain, span
from darkmatter_utils.book.chapters import open_chapter
from darkmatter_utils.charts.tables import Words
from darkmatter_utils.claims.evidence import evidence
from darkmatter_utils.experiments.nulls import null_change
from darkmatter_utils.claims.ledger import PAPER, claim, unfit
from darkmatter_utils.claims.verdicts import judged
from darkmatter_utils.measurement.scaling import fit_floor, left_out, per_doubling
from darkmatter_utils.measurement.widths import one_l0, width_suite
from darkmatter_utils.pages.common import (
    estimates_table,
    left_out_table,
    opening,
    rule_of,
    steps_table,
)
from darkmatter_utils.pages.scaling_charts import (  # fmt: skip
    flat_chart,
    floor_chart,
    l0_words,
    last_third,
    left_out_chart,
    training_chart,
    training_curves,
)

# %% tags=["remove-input"]
chapter = open_chapter(5, study, beyond=beyond, skip=skip)
measurement = measure(chapter.study)
verdicts = {number: judged(chapter, number, evidence(number, measurement, null=null_change(measurement) if number == 4 else None), unfit=unfit(chapter.study))
            for number in (4, 5)}
Words("\n>\n".join(opening(number, verdict, chapter.study) for number, verdict in verdicts.items()))

# %% mystnb={"figure": {"caption": "The error's share of the variance of x over the width of the SAE, at one L0. Points: the measured FVU; the line is the fitted curve with its band, dashed where it leaves the measured widths; the dotted line is the floor c with its interval. Areas under the points: red is nonlinear; green is what the floor holds above that (nothing, where the floor lies below the red); yellow is what lies above the floor, read as features that are absent from narrow SAEs. All intervals are 95% and carry documents and training seeds. See whether the curve has a floor at all, and whether the red area keeps its height. (Paper: Fig. 1.)", "name": "fig-scaling"}} tags=["remove-input"]
l0 = one_l0(measurement)
total, nonlinear = (width_suite(measurement, metric, l0=l0) for metric in ("fvu", "fvu_nonlinear"))
for width in total.widths[:skip]:
    total, nonlinear = total.without(width), nonlinear.without(width)
fit = fit_floor(total)
floor_chart(total, nonlinear, fit, beyond=beyond)

# %% [markdown]
# ## The idea: a power law with a floor
#
# With $W$ the width, the curve is
#
# ```{math}
# :label: eq-law
# \mathrm{FVU}(W) = c + a\,W^{-m}, \qquad a, c, m \ge 0
# ```
#
# (In this chapter $c$ is the floor, not the intercept of the linear map.) It falls towards $c$ as $W$ grows; with $c = 0$ it falls to nothing. `PowerLaw` finds the three numbers by bounded
# least squares, each width weighed by its standard error. `total` holds one FVU a width, the mean over training seeds.

# %%
errors = total.replicates.std(axis=0)
enough = len(total.widths) > 2
laws = [PowerLaw.fit(total.widths, total.values, sigma=errors, floor=floor)
        for floor in (True, False) if enough]
for law in laws:
    print(f"c = {law.c:.3f}   a = {law.a:.3f}   m = {law.m:.3f}")

# %% tags=["remove-input"]
against = laws[0].compare() if laws else None
chapter.record("against c = 0", against and against._asdict())
Words(against and f"Against a curve with c = 0, the fit with a floor has a likelihood ratio (twice the logarithm) of "
      f"{against.likelihood_ratio:.1f}; were there no floor, one as large would have the probability "
      f"{plain(against.p, 3) if against.p >= 0.001 else 'below 0.001'}." or "")

# %% [markdown]
# ## How sure is the floor?
#
# The interval of a number that compares *trained* SAEs must carry two kinds of chance: other documents, and another seed of
# the training. Every replicate below resamples the documents, the same draw for all SAEs, and shifts every width by a draw
# of the difference between seeds, estimated where a width was trained from several seeds. Then the curve is fitted again.

# %% tags=["remove-input"]
errors = [np.log(draws).std(axis=0) for suite in (total, nonlinear) for draws in (suite.documents_only, suite.replicates)]
shares = [span(both, lambda value: percent(value, 1)) for both in (np.concatenate(errors[::2]), np.concatenate(errors[1::2]))]
Words(f"Documents alone leave FVU and FVU_nonlinear a standard error of {shares[0]} of their size, over the widths; documents and "
      f"seeds {shares[1]}.")

# %% tags=["remove-input"]
chapter.record("FVU", total.frame().to_dict("list"))
chapter.record("FVU_nonlinear", nonlinear.frame().to_dict("list"))
if fit is not None:
    for name in ("c", "a", "m"):
        chapter.record(name, getattr(fit, name))
estimates_table({} if fit is None else {"floor c": fit.c, "scale a": fit.a, "exponent m": fit.m})

# %% [markdown]
# The paper fits the same curve to {glue:text}`paper widths`; its values of $c$, $a$ and $m$ are printed in its figure, which was not
# available to us. Its claim is {glue:text}`paper`.

# %% tags=["remove-input"]
chapter.glue("paper", claim(5).paper)
chapter.glue("paper widths", PAPER["widths"])
chapter.glue("paper off", PAPER["off L0"])
chapter.glue("one L0", str(l0_words(measurement)))

# %% [markdown]
# ## Can it predict a width it has not seen?
#
# A curve with three free numbers follows a handful of points easily. The test is to leave out a width, fit the rest, and predict it. The
# *miss* is the distance between prediction and measurement, in standard errors of that distance (over the replicates).

# %% mystnb={"figure": {"caption": "FVU at each width (points, with intervals) and what the curve fitted to the other widths says of it (diamonds). The first and the last width are extrapolations. See whether the diamonds lie on the intervals. (The paper has no such test.)", "name": "fig-left-out"}} tags=["remove-input"]
missed = left_out(total)
left_out_chart(total, missed)

# %% tags=["remove-input"]
chapter.record("left out", missed.to_dict("list"))
left_out_table(missed)

# %% [markdown]
# ## Is the nonlinear part flat?
#
# The paper draws a horizontal line at the mean. {numref}`fig-flat` asks by how much $\mathrm{FVU_{nonlinear}}$ changes with
# each doubling of the width. "Flat" has to mean something: here, less than a stated share per doubling. An interval inside
# that range shows flatness; a slope that is merely "not significant" would not.

# %% mystnb={"figure": {"caption": "FVU (purple) and its nonlinear part (red) over width, with 95% intervals that carry documents and training seeds. The grey wedge holds every line through the middle of the nonlinear part that changes by less than the allowed share with each doubling. See whether the red line stays in the wedge. (Paper: Fig. 1, where the red line is drawn flat.)", "name": "fig-flat"}} tags=["remove-input"]
flat_chart(measurement)

# %% tags=["remove-input"]
changes = {"FVU": per_doubling(total), "FVU_nonlinear": per_doubling(nonlinear)}
chapter.record("change per doubling", changes)
steps_table(total, nonlinear)

# %% [markdown]
# ## What could fool us

# %% tags=["remove-input"]
Words("\n\n".join([rule_of(4), rule_of(5)]))

# %% [markdown]
# - **A flat line need not mean introduced error.** An SAE that introduces no error and only lacks features can leave a
#   nonlinear part that is flat over a range of widths. Run this chapter with `-p study world`: its suite consists of such SAEs.
# - **A slope is a summary.** The interval of the change per doubling takes the trend as a straight line of logarithms. A part
#   that first rises and then falls can have a small slope: the table of single doublings shows what the slope hides.
# - **A curve is a summary, too.** The interval of $c$ takes the curve as true. Where the left-out widths are missed by many
#   standard errors, the curve is not quite the truth, and the interval of $c$ is too short.
# - **Few widths.** A floor is an extrapolation: it lies beyond every width that was trained. Three numbers from a handful of
#   widths leave it loose, and a curve that bends for another reason looks like one with a floor.
# - **L0 drifts with width.** The paper picks, at every width, the SAE whose L0 comes nearest to a target; some of its widest miss
#   it {glue:text}`paper off`. {glue:text}`one L0`
# - **Training.** A wider SAE needs more training, and here all widths got the same number of tokens. One that is not trained to
#   the end raises the right end of the curve, and with it the floor. {numref}`fig-training` shows how FVU fell while they were
#   trained.

# %% mystnb={"figure": {"caption": "FVU on held-out text while the SAEs of the suite were trained, one line a width (first seed). The learning rate falls towards the end, which flattens every line. See whether the wide SAEs are still falling where the training stops. (The paper uses SAEs that others trained.)", "name": "fig-training"}} tags=["remove-input"]
curves = training_curves(measurement)
training_chart(curves)

# %% tags=["remove-input"]
late = last_third(curves)
chapter.record("late fall", late)
None if curves.empty else Words(f"Over the last third of the training, the FVU of no width fell by more than {percent(late, 1)}.")

# %% [markdown]
# ## Exercise
#
# Run this chapter with `skip` 1: the fit leaves out the narrowest width. A floor that is real should stay where it is. Does
# it? Then fit the nonlinear part: replace `total` by `nonlinear` in the visible cell.

# %% tags=["remove-input"]
chapter.close()
