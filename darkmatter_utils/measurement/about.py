"""What a reader has to know before a study's numbers: what it is, what it costs, what to be wary of."""

from __future__ import annotations

import math
import re

import pandas as pd

from ..adapters import hub, releases
from ..adapters.reading import DEFAULT_CONTEXT
from ..base.cache import kept
from ..base.words import readable, share, span
from ..stats.intervals import doubts
from ..stats.loud import told
from ..studies.study import Study
from . import estimate, sources
from .measure import manifest
from .widths import reference_sae

SIZE = re.compile(r"\d\s?[MB]\b")
"""A title's own word of a model's size."""


def cost_lines(plan) -> list[str]:
    """A plan's plan_facts, one a line: everything is here, nothing has been run."""
    facts = [f"{name}: {value}" for name, value in plan_facts(plan).items()]
    doubts = estimate.doubts(estimate.of_plan(plan).memory())
    return facts + [f"warning: {line}" for line in (*plan.warnings(), *doubts)]


def plan_facts(plan) -> dict[str, str]:
    """What a plan reads, computes and stores, in words."""
    request, card, (start, stop) = plan.request, plan.sae.card, plan.reading.window
    unit = "packed contexts" if request.packed else "documents"
    rounded = f", dequantised from {plan.model.quantised}" if plan.model.quantised else ""
    work = estimate.of_plan(plan)
    return {
        "model": f"{request.model}, {plan.model.parameters:,} parameters" + rounded,
        "SAE": f"{request.sae}, {card.format}, {card.architecture}, {card.d_sae:,} latents",
        "site": plan.where,
        "text": f"{request.text}, {len(plan.reading.length):,} {unit}, {plan.tokens:,} tokens that count, "
        f"positions {start}:{stop}",
        "download": "nothing",
        "compute": f"{plan.operations:.2g} operations in {plan.shards} shards; with the decomposition and "
        f"its nulls about {estimate.duration(work.seconds(nulls=True), request.device)}",
        "memory": f"about {estimate.in_words(work.memory())}: weights of the model "
        f"{readable(work.model_bytes)}, of the SAE {readable(work.sae_bytes)} (stored as {card.stored}), "
        f"{plan.sae.rows} tokens encoded at a time {readable(work.encoding)}",
        "store": f"{readable(plan.tokens * (8 * card.d_out + 4))} in {plan.folder} while it runs; "
        "nothing at the end",
    }


def before_download(request, missing: dict[str, dict[str, int]]) -> list[str]:
    """The same where files are not here yet, from the hub's sizes: of a model that is stored in 16 bits or
    more, an SAE that is stored in 32."""
    sizes = {repository: sum(files.values()) for repository, files in missing.items()}
    of_model = sizes.pop(hub.model_name(request.model)[0], 0)
    of_sae = sum(sizes.values()) or estimate.weights(hub.sae_folder(request.sae), "float32")[0]
    if not of_model:
        of_model = sum(estimate.weights(hub.model_folder(request.model), "float16"))
    parameters = of_model // 2
    numbers = of_sae // 4
    width = releases.latents(request.sae) or max(1, numbers // (2 * USUAL))
    window = request.positions or (min(200, DEFAULT_CONTEXT // 8), DEFAULT_CONTEXT)
    passed, counted = (request.documents * n for n in (window[1], window[1] - window[0]))
    work = estimate.Work(
        parameters=parameters,
        d_model=max(1, numbers // (2 * width)),
        widths=(width,),
        passed=passed,
        counted=counted,
        context=window[1],
        device=request.device,
        dtype=request.dtype,
        sae_dtype=request.sae_dtype,
        folds=request.folds,
        documents=request.documents,
    )
    return [
        f"model: {request.model}",
        f"SAE: {request.sae}",
        f"text: {request.text}, at most {request.documents} documents",
        *downloads(missing),
        f"compute: at most {counted:,} tokens that count; about "
        f"{estimate.duration(work.seconds(nulls=True), request.device)}",
        f"memory: about {estimate.in_words(work.memory())}",
        f"store: at most {readable(8 * counted)} times d_model while it runs; nothing at the end",
        *(f"warning: {line}" for line in estimate.doubts(work.memory())),
    ]


USUAL = 1024
"""d_model of an SAE whose name does not say how many latents it has."""


def downloads(missing: dict[str, dict[str, int]]) -> list[str]:
    """What comes from where, and all together."""
    each = [
        f"download {repository}: {readable(sum(files.values()))} in {len(files)} file(s): "
        + ", ".join(list(files)[:4])
        for repository, files in missing.items()
    ]
    whole = sum(sum(files.values()) for files in missing.values())
    return [*each, f"download: {readable(whole)} into {hub.cache()}"]


OFF = 1.5
"""An L0 so many times the published one is another; so is a scale with such a factor on Sae(x)."""


def statistical(*, fvu: float, l0: float | None, published: float | None, gain: float | None) -> list[str]:
    """What an SAE's FVU, its L0 beside the published one, and the factor that Sae(x) lacks give away."""
    found = []
    if fvu >= 1:
        found.append(f"the SAE is no better than the mean (FVU {fvu:.3g}): is it this model's, this site's?")
    if published and l0 and abs(math.log(l0 / published)) > math.log(OFF):
        why = "another text, <bos>, or another scale of activations?"
        found.append(f"L0 is {l0:.3g}, but {published:.3g} was published: {why}")
    if l0 == 0:
        found.append("no latent fires on any token")
    elif gain is not None and not math.isnan(gain) and not 1 / OFF < gain < OFF:
        why = "are the model's norms folded, or the activations scaled?"
        found.append(f"Sae(x) would fit best times {gain:.3g}: {why}")
    return found


def of_study(measurement) -> list[str]:
    """Few tokens or documents, and the signs of every SAE of a study that has weights, after what was found
    when it was prepared."""
    card = measurement.card
    found = list(manifest(measurement.study).get("warnings", []))
    found += doubts(card["documents"], card["tokens"] / card["d_model"])
    found += [told(loud, sae=reference_sae(measurement))] if (loud := loud_tokens(measurement)) else []
    trained = {entry.id for entry in measurement.study.selected() if entry.path}
    for sae in measurement.saes.merge(measurement.linear_shares[["id", "best_factor"]], on="id").itertuples():
        if sae.id in trained:
            published = None if math.isnan(sae.l0_target) else sae.l0_target
            signs = statistical(fvu=sae.fvu, l0=sae.l0, published=published, gain=sae.best_factor)
            found += [f"{sae.id}: {'; '.join(signs)}"] if signs else []
    return found


def loud_tokens(measurement) -> dict | None:
    """The study's scored tokens that hold an outsize share of the variance (`Loud.facts`), each with its
    text; None where there are none."""
    if (loud := measurement.card.get("loud")) is None:
        return None
    return loud | {"loudest": _loudest(measurement)["loudest"]}


@kept
def _loudest(measurement) -> dict[str, list]:
    """``loudest``: those tokens, each with its text, for which the model's tokenizer must be at hand."""
    loudest = measurement.card["loud"]["loudest"]
    texts = measurement.decode([token["token"] for token in loudest])
    return {"loudest": [one | {"text": text} for one, text in zip(loudest, texts)]}


def precision(measurement) -> str:
    """What the intervals of a study are over, in a sentence."""
    card, of = measurement.card, sources.shares(measurement)
    said = f"{card['tokens']:,} tokens of {card['documents']:,} documents"
    said += f" from {len(of)} sources" if of else ""
    said += f", {card['tokens'] / card['d_model']:,.0f} tokens per dimension; intervals are over documents"
    most = ", ".join(f"{share(part)} of the tokens are from {name}" for name, part in list(of.items())[:2])
    return f"{said}, not over sources ({most})." if of else f"{said}."


LOSSES = {
    "unigram": "held-out loss of a unigram model (nats per token)",
    "bigram": "held-out loss of a bigram model (nats per token)",
    "trigram": "held-out loss of a trigram model (nats per token)",
    "nats_per_token": "held-out loss of the model (nats per token)",
    "nats_per_byte": "the same per byte of text (nats)",
}
"""Losses of a manifest's ``held_out``, in the order in which the card shows them."""


def facts(measurement) -> pd.DataFrame:
    """The study's card, a row a fact that is known: model, text, held-out losses; values as they are."""
    card, held, about = measurement.card, measurement.held_out or {}, manifest(measurement.study)
    facts = {
        "study": measurement.study.title,
        "model": card.get("model") or "none: activations are simulated",
        "parameters of the model": about.get("model", {}).get("parameters"),
        "its weights": (of := about.get("model", {}).get("quantised")) and f"dequantised from {of}",
        "tokens it was trained on": about.get("model", {}).get("tokens_seen"),
        "text that is scored": about.get("text", {}).get("source")
        or ", ".join(about.get("held_out_distributions", []))
        or ", ".join(one["source"] for one in about.get("text", {}).get("sources", [])),
        "token ids, sha256": about.get("text", {}).get("sha256"),
        "revisions": ", ".join(name for name in about.get("sources", {}).values() if "@" in name),
        "site": card["site"],
        "d_model": card["d_model"],
        "documents": card["documents"],
        "contexts": card["contexts"],
        "context length": card["context"],
        "scored tokens": card["tokens"],
        "scored tokens per dimension": f"{card['tokens'] / card['d_model']:,.0f}",
        "scored positions": f"{card['window'][0]} to {card['window'][1] - 1}",
        **_left_out(measurement),
    }
    facts |= {words: f"{held[name]:.2f}" for name, words in LOSSES.items() if name in held}
    facts = {name: value for name, value in facts.items() if value not in (None, "")}
    return pd.DataFrame({"": list(facts), "value": pd.Series(list(facts.values()), dtype=object)})


def _left_out(measurement) -> dict[str, str]:
    """What of the window is neither fitted nor scored, in words; nothing where all of it is."""
    cut, left = measurement.study.loud, measurement.card["left_out"]
    kinds = {"special": "special tokens"} | (
        {} if cut is None else {"loud": f"louder than {cut:g} × the median norm"}
    )
    said = lambda of: (
        f"{of['tokens']:,} tokens ({share(of['share'])}, {share(of['share_of_squares'])} of Σ‖x‖²)"
    )
    return {
        f"left out: {words}": said(left[kind]) for kind, words in kinds.items() if left[kind]["tokens"] or cut
    }


def setting(study: Study) -> str:
    """What sets a study apart from others, in words: the model, its size unless its title names it, the SAEs
    of its width suite."""
    size = None if SIZE.search(study.title) else manifest(study).get("model", {}).get("parameters")
    saes = [entry for entry in study.selected() if entry.main and entry.width] or study.selected()
    widths, l0s = sorted({entry.width for entry in saes}), sorted({entry.l0 for entry in saes if entry.l0})
    told = [f"{size / 1e6:,.1f} M parameters" if size else ""]
    told += [f"{span(widths, lambda width: f'{width:,}')} latents" if widths else ""]
    told += [f"L0 {span(l0s, lambda l0: f'{l0:g}')}" if l0s else ""]
    return ": ".join(filter(None, [study.title, ", ".join(filter(None, told))]))


def in_words(measurement) -> str:
    """One paragraph on what is studied."""
    card, held = measurement.card, measurement.held_out
    known = manifest(measurement.study)
    size = known.get("model", {}).get("parameters")
    size = f", of {size / 1e6:,.1f} M parameters," if size else ""
    text = "the SAEs were trained on" if "suite" in known else "it was trained on"
    if not card.get("model"):
        told = "There is no language model: the activations are simulated, and all their parts are known."
    elif not held:
        told = "How well the model predicts text is not known."
    else:
        nats = f"{held['nats_per_token']:.2f} nats per token"
        trigram = f"a trigram model of the text that {text} needs {held['trigram']:.2f}"
        told = f"The model{size} predicts held-out text at {nats}, where {trigram}. What holds here need not "
        told += "hold for a larger model, nor the other way round."
    return (
        f"**What is studied here: {measurement.study.title}.** {card['tokens']:,} tokens of "
        f"{card['documents']:,} documents are scored, with {len(measurement.saes)} SAEs of activations of "
        f"{card['d_model']} dimensions. {told}"
    )


def warning(measurement, *, most: int | None = None) -> str:
    """The signs of a study as Markdown, at most so many lines; "" where there is nothing to be wary of."""
    if not (signs := of_study(measurement)):
        return ""
    told = [sign.replace("<", "&lt;").replace(" -", " \u2212") for sign in signs[:most]]
    told += [f"and {len(signs) - len(told)} more, which chapter 01 lists"] if len(told) < len(signs) else []
    lines = "\n".join(f"> - {sign}" for sign in told)
    return f"> **Warning: the numbers of this study may not be what they seem.**\n>\n{lines}"
