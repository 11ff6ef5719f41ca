"""What chapter 09 shows beside its charts: tables, words, and the gallery of latents."""

from __future__ import annotations

import json
from html import escape

import pandas as pd

from ..base.words import interval, percent, plain
from ..charts.tables import Table, Words
from ..experiments.components import NOISE, PARTS, base_sae, entries
from ..experiments.features import MATCHED, OWN, PICKS, SHUFFLED
from ..experiments.gaps import detection, evidence, fvus
from ..experiments.interp import A_DECILE, DECILES, LENGTH, SHOWN, TESTED_SILENT
from ..measurement.measure import manifest
from ..measurement.results import Tables
from .feature_charts import NONE, pca_names


def fvu_table(tables: Tables):
    """Every target: effective rank, FVU of its SAEs with interval and range of seeds, and what it stands
    beside."""
    if not tables:
        return NONE
    documents = tables["documents"]
    rank = tables["targets"].set_index("reads")["rank"]
    own = {**fvus(documents, OWN, PARTS), **fvus(documents, OWN, NOISE)}
    matched, pca = (
        fvus(documents, MATCHED, PARTS),
        {by: fvus(documents, by, [*PARTS, *NOISE]) for by in pca_names(documents)},
    )
    below = {part: (own[noise] - own[part]).estimate for noise, part in NOISE.items()}
    l0 = documents[documents["by"] == OWN].groupby("reads")[["l0", "tokens"]].sum()
    rows = [
        {
            "target": name,
            "effective rank": f"{rank[name]:.0f}",
            "L0": f"{l0.loc[name, 'l0'] / l0.loc[name, 'tokens']:.2f}",
            "FVU": interval(j.estimate, lambda v: plain(v, 3)),
            "seeds": f"{min(j.seeds):.4f} to {max(j.seeds):.4f}",
            "below that of its noise by": interval(below[name], lambda v: plain(v, 3))
            if name in below
            else "–",
            "by a dictionary of its noise": plain(matched[name].value, 3) if name in matched else "–",
        }
        | {f"by {by}": plain(found[name].value, 3) for by, found in pca.items()}
        for name, j in own.items()
    ]
    frame = pd.DataFrame(rows)
    return Table(frame, dict.fromkeys(frame.columns[1:], str))


def accuracy_table(tables: Tables):
    """Every reading: latents that were scored, mean accuracy with interval and range of seeds, and that of
    the top decile."""
    if not tables:
        return NONE
    latents, rows = tables["latents"], []
    for by in (OWN, MATCHED, SHUFFLED):
        every, top = detection(latents, by), detection(latents, by, deciles=[DECILES])
        for reads, joined in every.items():
            mine = latents[(latents["by"] == by) & (latents["reads"] == reads)]
            rows.append(
                {
                    "target": reads,
                    "latents of": by,
                    "scored": f"{mine['d1'].notna().sum():,} of {len(mine):,}",
                    "mean accuracy": interval(joined.estimate, lambda v: plain(v, 3)),
                    "seeds": f"{min(joined.seeds):.3f} to {max(joined.seeds):.3f}",
                    "top decile": interval(top[reads].estimate, lambda v: plain(v, 3)),
                }
            )
    frame = pd.DataFrame(rows)
    return Table(frame, dict.fromkeys(frame.columns[2:], str))


def gap_table(tables: Tables):
    """The two gaps that the rule judges, what matched noise shows of each, and the excess."""
    if not tables:
        return NONE
    found = evidence(tables)
    rows = []
    for name, key, style in (
        ("FVU: NonlinearError less LinearError", "fvu", lambda v: plain(v, 3)),
        ("accuracy: LinearError less NonlinearError, points", "accuracy", lambda v: plain(100 * v, 1)),
    ):
        if f"{key}_gap" not in found:
            continue
        gap, excess = found[f"{key}_gap"], found[f"{key}_excess"]
        rows.append(
            {
                "gap": name,
                "of the parts": interval(gap, style),
                "of matched noise": style(gap.value - excess.value),
                "excess": interval(excess, style),
            }
        )
    frame = pd.DataFrame(rows)
    return Table(frame, dict.fromkeys(frame.columns[1:], str))


def record(chapter, tables: Tables) -> None:
    """Keep what the tables say in the chapter's record."""
    if not tables:
        return
    documents, latents = tables["documents"], tables["latents"]
    own = {**fvus(documents, OWN, PARTS), **fvus(documents, OWN, NOISE)}
    said = lambda joined: {name: {"estimate": j.estimate, "seeds": j.seeds} for name, j in joined.items()}
    chapter.record("FVU", said(own))
    chapter.record(
        "FVU below that of its noise",
        {part: (own[noise] - own[part]).estimate for noise, part in NOISE.items()},
    )
    chapter.record("FVU by a dictionary of its noise", said(fvus(documents, MATCHED, PARTS)))
    for by in pca_names(documents):
        chapter.record(
            f"FVU by {by}", {name: j.estimate for name, j in fvus(documents, by, [*PARTS, *NOISE]).items()}
        )
    chapter.record("effective rank", tables["targets"].set_index("reads")["rank"].to_dict())
    chapter.record(
        "detection accuracy", {by: said(detection(latents, by)) for by in (OWN, MATCHED, SHUFFLED)}
    )
    chapter.record(
        "detection accuracy, top decile",
        {by: said(detection(latents, by, deciles=[DECILES])) for by in (OWN, MATCHED, SHUFFLED)},
    )


class Gallery:
    """A few latents of each part with the windows that their explanation was learned from; folded, part by
    part."""

    def __init__(self, gallery: pd.DataFrame):
        self.gallery = gallery

    def _repr_html_(self) -> str:
        return "\n".join(
            self._part(*key, table) for key, table in self.gallery.groupby(["by", "reads"], sort=False)
        )

    def _part(self, by: str, reads: str, table: pd.DataFrame) -> str:
        name = reads if by == OWN else f"{reads}, read by {by}"
        latents = "\n".join(self._latent(table[table["place"] == place]) for place in PICKS)
        return f"<details><summary><strong>{escape(name)}</strong></summary>\n{latents}\n</details>"

    def _latent(self, table: pd.DataFrame) -> str:
        first = table.iloc[0]
        head = (
            f"<p>Latent {first['latent']}, {escape(first['place'])}: accuracy {first['accuracy']:.2f}.<br>"
            f"Explanation: <em>{escape(first['explanation'])}</em></p>"
        )
        return (
            head
            + "\n"
            + "\n".join(
                _window(json.loads(t), json.loads(s)) for t, s in zip(table["text"], table["strength"])
            )
        )

    def __repr__(self) -> str:
        return f"gallery of {self.gallery.groupby(['by', 'reads', 'latent']).ngroups} latents"


def gallery(tables: Tables):
    """The gallery of a study, or words."""
    return Gallery(tables["gallery"]) if tables else NONE


def _window(texts: list[str], strength: list[float]) -> str:
    """One window as a line of code; the darker a token's ground, the higher the activation (of the window's
    highest)."""
    top = max(max(strength), 1e-9)
    cells = []
    for text, s in zip(texts, strength, strict=True):
        shown = escape(text.replace("\n", "⏎").replace("\t", "⇥").replace("\r", "")).replace(" ", "&nbsp;")
        ground = (
            f' style="background: rgba(221, 79, 60, {0.15 + 0.5 * s / top:.2f})" title="{s:g}"'
            if s > 0
            else ""
        )
        cells.append(f"<span{ground}>{shown}</span>")
    return f'<div style="overflow-x: auto; white-space: nowrap"><code>{"".join(cells)}</code></div>'


def trained(measurement) -> Words:
    """How the study's component SAEs were made, in a paragraph."""
    study = measurement.study
    mine = entries(study)
    if not mine:
        return NONE
    first, base = mine[0], study.sae(base_sae(study))
    seeds = len({e.seed for e in mine})
    samples = manifest(study)["sae_cards"][first.id]["samples"]
    return Words(
        f"The error is that of the SAE `{base.id}` (width {base.width:,}, L0 {base.l0:g}): of the "
        f"width suite, the first seed at that "
        f"width. Its parts on the *component* documents, which neither the language model nor this SAE "
        f"nor any map has seen, are "
        f"what {len(mine)} SAEs were trained on: {seeds} seeds for each of "
        f"{', '.join(dict.fromkeys(e.target for e in mine))}. All are "
        f"BatchTopK SAEs of width {first.width:,} that saw {samples:,} vectors; all are read as "
        f"JumpReLU SAEs with one threshold, "
        f"set so that {first.l0:g} latents are active on a held-out token. They are scored on the "
        f"documents of all other "
        f"chapters, each split by maps that were fitted on other documents, at the same positions as "
        f"in training "
        f"({study.window[0]} to {study.window[1] - 1} of a context)."
    )


def per_sae(tables: Tables) -> int:
    """Latents of each SAE that were chosen to be scored."""
    return int(tables["latents"].groupby(["by", "reads", "seed"]).size().max())


def explained_by(tables: Tables, explainer: str, chat) -> Words:
    """What detection is, who explained, and what became of the questions."""
    if not tables:
        return NONE
    text = (
        f"{per_sae(tables):,} latents of each SAE, drawn at random, are scored. A *window* is {LENGTH} "
        f"tokens of one context. For each latent, up to {SHOWN} windows with its largest activations, "
        f"from half "
        f"of the documents, go to an explainer; it then says of windows from the other half whether "
        f"the latent is active in them: "
        f"up to {A_DECILE} from each decile of its activation, and up to {TESTED_SILENT} in which it "
        f"is silent. *Accuracy* in a decile is "
        "the mean of two shares, of its windows that are found and of silent windows that are left "
        "alone: one half is chance. "
    )
    if chat is None:
        return Words(
            text + "The explainer here is **lexical**: from the windows that it is shown it counts which "
            "tokens stand where the latent is "
            "most active, which stand before them, and which stand around; it settles, on those "
            "windows alone, which of these counts "
            "and which threshold tell them best from silent ones. It is no language model, and its "
            "explanations are counts."
        )
    lost = tables["latents"]["coins"].mean()
    return Words(
        text + f"The explainer here is the language model `{explainer}`. Of its answers, "
        f"{chat.counts['unreadable']:,} could not be read and "
        f"{chat.counts['unanswered']:,} never came; the windows behind them ({percent(lost, 1)} of "
        f"all) count as tossed coins."
    )


def unscored(tables: Tables) -> str:
    """How many latents were too rare or too dense to be scored, in words."""
    if not tables:
        return ""
    latents = tables["latents"]
    lost = int(latents["d1"].isna().sum())
    return (
        f"{lost:,} of {len(latents):,} latents ({percent(lost / len(latents), 1)}) fire in too few "
        f"windows, or in too many, to be scored."
    )
