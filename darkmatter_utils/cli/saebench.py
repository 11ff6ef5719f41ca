"""Results in the shape that SAEBench tabulates: one JSON a result, with configuration, versions and the SAE's
card."""

from __future__ import annotations

import json
import math
import time

from ..base import cache
from ..decomposition.decompose import Decomposition
from ..measurement.answers import Answer

TYPE = "dark_matter"
"""The evaluation's name: how an SAE's error splits into a linear part and a rest."""


def to_json(answer: Answer, *, now: float | None = None) -> str:
    """One result: eval_type_id, eval_config, eval_result_metrics by category, each metric with its interval's
    ends.

    ``now``: seconds since 1970, for eval_id's time; the clock's if not given.
    """
    card, asked = answer.about.get("sae", {}), answer.about.get("request", answer.about)
    stamp = int((time.time() if now is None else now) * 1000)
    key = cache.key_of(title=answer.title, metrics=_metrics(answer.result))
    found = {
        "eval_type_id": TYPE,
        "eval_config": {
            **{k: v for k, v in asked.items() if k != "sae"},
            "protocol": answer.result.protocol,
            "folds": len(answer.result.maps),
            "ridge": list(answer.result.linear_map.ridge),
        },
        "eval_id": key,
        "datetime_epoch_millis": stamp,
        "eval_result_metrics": {
            "decomposition": _metrics(answer.result),
            "paper_protocol": _metrics(answer.paper),
            **{f"null_{name}": _metrics(null) for name, null in answer.nulls.items()},
            "sparsity": {"l0": answer.l0},
        },
        "eval_result_details": [
            {"tokens": answer.tokens, "documents": answer.documents, "warnings": list(answer.warnings)}
        ],
        "sae_bench_commit_hash": "not of SAEBench",
        "versions": cache.versions(),
        "sae_lens_id": card.get("id"),
        "sae_lens_release_id": asked.get("sae"),
        "sae_lens_version": cache.versions()["sae-lens"],
        "sae_cfg_dict": card,
    }
    return json.dumps(_clean(found), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _metrics(result: Decomposition) -> dict[str, float]:
    found = {}
    for name, estimate in result.estimates().items():
        plain = name.replace(" ", "_").replace("(x)", "")
        found |= {plain: estimate.value, f"{plain}_low": estimate.low, f"{plain}_high": estimate.high}
    return found


def _clean(value):
    if isinstance(value, dict):
        return {key: _clean(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
