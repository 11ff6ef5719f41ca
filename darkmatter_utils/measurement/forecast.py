"""What a measure would cost, said before it is begun: downloads, work, disk, time."""

from __future__ import annotations

import functools
import time

import torch

from ..adapters import hub
from ..adapters.contexts import DEFAULT_CONTEXT
from ..adapters.models import DTYPES
from ..base.words import readable
from .shards import folder_of

PASSES = 30
"""Multiplications per token and d_model² of a decomposition, the paper's protocol and the nulls' beside
it."""


def lines(plan) -> list[str]:
    """A plan's facts, one a line: everything is here, nothing has been run."""
    return _lines(facts(plan)) + [f"warning: {line}" for line in plan.warnings()]


def facts(plan) -> dict[str, str]:
    """What a plan reads, computes and stores, in words."""
    request, card, (start, stop) = plan.request, plan.sae.card, plan.reading.window
    unit = "packed contexts" if request.packed else "documents"
    return {
        "model": f"{request.model}, {plan.model.parameters:,} parameters",
        "SAE": f"{request.sae}, {card.format}, {card.architecture}, {card.d_sae:,} latents",
        "site": plan.where,
        "text": f"{request.text}, {len(plan.reading.length):,} {unit}, {plan.tokens:,} tokens that count, "
        f"positions {start}:{stop}",
        "download": "nothing",
        "compute": f"{plan.operations:.2g} operations in {plan.shards} shards on {request.device}; with "
        f"the decomposition and its nulls about {time_of(seconds(plan))}",
        "store": f"{readable(plan.tokens * (8 * card.d_out + 4))} in {folder_of(plan)} while it runs; "
        "nothing at the end",
    }


def seconds(plan) -> float:
    """About how long a plan takes: the model and the SAE on their device, the decomposition on the CPU."""
    made = plan.operations / speed(plan.request.device, plan.request.dtype)
    return made + PASSES * plan.tokens * plan.sae.card.d_out**2 / speed("cpu", "float64")


def before_download(request, missing: dict[str, dict[str, int]]) -> list[str]:
    """The same where files are not here yet: what `hub.downloads` says, and an upper bound of the rest."""
    whole = sum(sum(files.values()) for files in missing.values())
    parameters = max(sum(files.values()) for files in missing.values()) / 2
    window = request.positions or (min(200, DEFAULT_CONTEXT // 8), DEFAULT_CONTEXT)
    passed, counted = (request.documents * n for n in (window[1], window[1] - window[0]))
    operations = 2.0 * passed * parameters
    said = {
        "model": request.model,
        "SAE": request.sae,
        "text": f"{request.text}, at most {request.documents} documents",
    }
    for repository, files in missing.items():
        said[f"download {repository}"] = (
            f"{readable(sum(files.values()))} in {len(files)} file(s): {', '.join(list(files)[:4])}"
        )
    said |= {
        "download": f"{readable(whole)} into {hub.cache()}",
        "compute": f"at most {counted:,} tokens that count; about {operations:.1g} operations, "
        f"{time_of(operations / speed(request.device, request.dtype))} on "
        f"{request.device}",
        "store": f"at most {readable(8 * counted)} times d_model while it runs; nothing at the end",
    }
    return _lines(said)


@functools.cache
def speed(device: str, dtype: str) -> float:
    """Operations a second of a matrix product on a device, measured in a moment."""
    made = torch.ones(512, 512, dtype=DTYPES.get(dtype, torch.float32), device=device)
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < 0.05:
        float((made @ made)[0, 0])
        done += 1
    return done * 2 * 512**3 / (time.perf_counter() - began)


def time_of(seconds: float) -> str:
    """A time for people."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _lines(facts: dict[str, str]) -> list[str]:
    return [f"{name}: {value}" for name, value in facts.items()]
