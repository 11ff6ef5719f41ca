"""What the probe for ‖Sae(x) − b_dec‖² weighs: a*·d_i of each latent against how strongly it fires (the
paper's Fig. 14).

If the norm is a sum over latents, the probe reads each latent by the slope of its squared activation on the
activation: c_i = Cov(w_i, w_i²) / Var(w_i), about its mean activation when it is on where activations vary
little.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import scipy.sparse
import torch
from scipy.stats import spearmanr

from ..measurement.widths import suite_rows
from ..stats.intervals import percentile
from ..studies.saes import load_saes
from .norm_tests import map_of_norm, tokens


def weights(measurement, *, contexts: int = 200) -> pd.DataFrame:
    """Every alive latent of the suite (first seed of each width): width, latent, fires, weight (a*·d_i),
    active (mean activation when on) and slope (c_i). Latents that fire on none of the tokens have neither.
    Cost: the suite's SAEs on those contexts."""
    source, x, given, _ = tokens(measurement, contexts=contexts)
    suite = suite_rows(measurement).sort_values(["width", "seed"], kind="stable").drop_duplicates("width")
    saes = {sae.id: sae for sae in load_saes(measurement.study, source)}
    tables = [_latents(saes[row.id], given, x).assign(width=int(row.width)) for row in suite.itertuples()]
    return pd.concat(tables, ignore_index=True)


def _latents(sae, given, x: torch.Tensor) -> pd.DataFrame:
    if hasattr(sae, "codes"):
        codes = scipy.sparse.vstack([sae.codes(batch).csr(sae.width) for batch in given], format="csr")
        rows = sae.dictionary.double().numpy(force=True)
    else:  # an oracle: the fires of the features that it holds
        batch = given[0]
        mine = batch.feature.numpy() < sae.width
        entries = (batch.row.numpy()[mine], batch.feature.numpy()[mine])
        codes = scipy.sparse.csr_array((batch.value.numpy()[mine], entries), shape=(len(x), sae.width))
        rows = sae.world.directions.numpy()[: sae.width]
    a = map_of_norm(torch.from_numpy(codes @ rows)).numpy()
    n, count = len(x), np.asarray((codes != 0).sum(axis=0)).ravel()
    first, second, third = (np.asarray((codes**k if k > 1 else codes).sum(axis=0)).ravel() for k in (1, 2, 3))
    alive = count > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = (third / n - first * second / n**2) / (second / n - (first / n) ** 2)
    frame = pd.DataFrame(
        {
            "latent": np.arange(sae.width),
            "fires": count,
            "weight": rows @ a,
            "active": first / count.clip(1),
            "slope": slope,
        }
    )
    return frame[alive].reset_index(drop=True)


def agreement(latents: pd.DataFrame, *, replicates: int = 500, seed: int = 0) -> pd.DataFrame:
    """At each width, how the probe's weight goes with the mean activation and with the slope: width, latents,
    against, statistic ("rank correlation", "correlation"), value, low, high; the intervals resample latents.

    Both are free of scale. All alive latents count alike.
    """
    rng, rows = np.random.default_rng([seed, 0xE12]), []
    for width, table in latents.groupby("width"):
        y = table["weight"].to_numpy()
        draws = rng.integers(0, len(table), size=(replicates, len(table))) if len(table) > 3 else []
        for against in ("active", "slope"):
            x = table[against].to_numpy()
            for name, statistic in (("rank correlation", _ranked), ("correlation", _pearson)):
                drawn = [statistic(x[i], y[i]) for i in draws]
                e = percentile(statistic(x, y), drawn)
                rows.append(
                    {"width": int(width), "latents": len(table), "against": against, "statistic": name}
                    | e.to_dict()
                )
    return pd.DataFrame(rows)


def _pearson(x, y) -> float:
    return float(np.corrcoef(x, y)[0, 1]) if len(x) > 2 and np.ptp(x) > 0 and np.ptp(y) > 0 else float("nan")


def _ranked(x, y) -> float:
    return (
        float(spearmanr(x, y).statistic) if len(x) > 2 and np.ptp(x) > 0 and np.ptp(y) > 0 else float("nan")
    )
