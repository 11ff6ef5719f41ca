"""Compute a measurement: the three passes over a study's tokens, and the files that a `Measurement` reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ..decomposition.decompose import Decomposition, score, score_paper
from ..decomposition.paper import PaperPasses, train_rows
from ..decomposition.passes import SELF_PARTS, FirstPass, SecondPass, ThirdPass
from ..decomposition.scores import linear_shares
from ..stats.documents import assign_folds
from ..stats.fits import merged
from ..studies.activations import Activations
from ..studies.saes import Kept, load_saes
from ..studies.study import SaeEntry, Study

METRICS = ("fvu", "fvu_linear", "fvu_nonlinear", "r2_total", "r2_per_dim")
NORMS = {
    "norm_x": "x",
    "norm_sae": "Sae(x)",
    "norm_error": "SaeError",
    "norm_linear": "LinearError",
    "norm_nonlinear": "NonlinearError",
}
"""Columns of the norm tests, and the part that each is about."""
REPLICATED = ("fvu", "fvu_nonlinear", "r2_total", "r2_per_dim", "norm_error", "norm_nonlinear")
COLUMNS = {"SaeError": "error", "LinearError": "linear", "NonlinearError": "nonlinear"}
"""Parts whose squared norm is kept for every token, and the names of their columns."""


def compute(
    study: Study, folder: Path, *, contexts_a_batch: int, memory: int, progress: Callable[[str], None]
) -> None:
    """Fill ``folder`` with the measurement of ``study``. Raises as `measure` does."""
    source = Activations(study, contexts_a_batch=contexts_a_batch)
    counts = source.document_tokens()
    fold = assign_folds(list(counts), list(counts.values()), study.folds, seed=study.seed)
    saes = load_saes(study, source)
    ids = [sae.id for sae in saes]
    kept = Kept(source, saes, memory=memory, losses=True)
    tell = lambda name, i: progress(f"{study.name}: {name}, batch {i + 1} of {len(source)}")

    first = FirstPass(source.d_model, ids, fold, self_norms=False, device=study.device)
    train = train_rows(None, sum(counts.values()), study.seed)
    released = PaperPasses(source.d_model, ids, counts, train, self_norms=False, device=study.device)
    rows = []
    for i, (batch, reconstructions) in enumerate(kept):
        tell("sums", i)
        keep = torch.from_numpy(batch.scored)
        hats, l0 = {}, {}
        for id, x_hat, active in reconstructions():
            hats[id], l0[id] = x_hat[keep], active.to("cpu", torch.int32).numpy()
        for one in (first, released):
            one.update(batch.x[keep], hats, batch.document[batch.scored])
        rows.append(_rows(batch, fold, l0))
    second = SecondPass(first, ridge=study.ridge)
    norms = []
    for i, (batch, reconstructions) in enumerate(kept):
        tell("parts", i)
        keep = torch.from_numpy(batch.scored)
        hats = {id: x_hat for id, x_hat, _ in reconstructions()}
        norms.append(_second(second, batch, hats))
        hats = {id: x_hat[keep] for id, x_hat in hats.items()}
        released.update(batch.x[keep], hats, batch.document[batch.scored])
    third = ThirdPass(second)
    for i, (batch, reconstructions) in enumerate(kept):
        tell("norms", i)
        keep = torch.from_numpy(batch.scored)
        hats = {id: x_hat[keep] for id, x_hat, _ in reconstructions()}
        for one in (third, released):
            one.update(batch.x[keep], hats, batch.document[batch.scored])

    tokens = _token_table(second, rows, np.concatenate(norms), ids)
    strict, paper = {}, {}
    for id in ids:
        progress(f"{study.name}: intervals of {id}")
        strict[id] = score(third, id, replicates=study.bootstrap, seed=study.seed)
        paper[id] = score_paper(released, id, replicates=study.bootstrap, seed=study.seed)
    scored = tokens[tokens.scored]
    entries = [study.sae(id) for id in ids]
    _frame(entries, saes, strict, scored).to_parquet(folder / "saes.parquet")
    _frame(entries, saes, paper, scored).to_parquet(folder / "paper.parquet")
    per_fold = [d.fold_frame().assign(id=id) for id, d in strict.items()]
    pd.concat(per_fold, ignore_index=True).to_parquet(folder / "per_fold.parquet")
    columns = {id: first.columns(id) for id in ids}
    linear_shares(first.moments["error"], columns).to_parquet(folder / "linear_shares.parquet")
    tokens.to_parquet(folder / "tokens.parquet", compression="zstd")
    overall = second.fit_error.overall
    spectrum = torch.linalg.eigvalsh(_covariance(first)).flip(0).clamp(min=0)
    replicates = {
        f"replicates {name}": np.stack([_replicate(strict[id], name) for id in ids], axis=1)
        for name in REPLICATED
    }
    np.savez(
        folder / "arrays.npz",
        spectrum=spectrum.cpu().numpy(),
        mean=overall.x_mean.cpu().numpy(),
        **replicates,
    )
    np.savez(folder / "maps.npz", **_maps(second))
    (folder / "card.json").write_text(json.dumps(_card(study, source, scored), indent=1))


def _maps(second: SecondPass) -> dict[str, np.ndarray]:
    """Every SAE's out-of-fold maps, then that of all folds: weight [fold + 1, d, d], means [fold + 1, d]."""
    arrays = {}
    for id in second.saes:
        maps = [m.targets(second.columns(id)) for m in (*second.fit_error.maps, second.fit_error.overall)]
        for name in ("weight", "x_mean", "y_mean"):
            arrays[f"{id} {name}"] = np.stack([getattr(m, name).cpu().numpy() for m in maps])
    return arrays


def _rows(batch, fold, l0) -> pd.DataFrame:
    table = {
        "context": batch.context.astype(np.int32),
        "document": batch.document.astype(np.int32),
        "position": batch.position.astype(np.int16),
        "token": batch.token.astype(np.int32),
        "scored": batch.scored,
        "fold": np.array([fold[d] for d in batch.document], dtype=np.int8),
        "loss": batch.loss.astype(np.float64),
    }
    return pd.DataFrame(table | {f"{id}:l0": values for id, values in l0.items()})


def _second(second: SecondPass, batch, hats) -> np.ndarray:
    """Sums over the scored tokens; the parts' squared norms of every token, by its document's map."""
    norms = np.empty((len(batch.x), second.norm_column(second.saes[-1], SELF_PARTS[-1]) + 1))
    for rows, read in (
        (np.flatnonzero(batch.scored), second.update),
        (np.flatnonzero(~batch.scored), second.read),
    ):
        if len(rows):
            keep, out = torch.from_numpy(rows), np.empty((len(rows), norms.shape[1]))
            read(
                batch.x[keep],
                {id: x_hat[keep] for id, x_hat in hats.items()},
                batch.document[rows],
                norms=out,
            )
            norms[rows] = out
    return norms.astype(np.float32)


def _token_table(second: SecondPass, rows, norms: np.ndarray, ids) -> pd.DataFrame:
    table = pd.concat(rows, ignore_index=True)
    columns = {"norm2": norms[:, second.norm_column(ids[0], "x")]}
    for id in ids:
        columns |= {f"{id}:{name}": norms[:, second.norm_column(id, part)] for part, name in COLUMNS.items()}
    return pd.concat([table, pd.DataFrame(columns)], axis=1)


def _replicate(decomposition: Decomposition, name: str) -> np.ndarray:
    return decomposition.replicates[f"norm_r2 {NORMS[name]}" if name in NORMS else name]


def _covariance(first: FirstPass) -> torch.Tensor:
    total = merged(first.moments["error"])
    return total.xx / total.n


def _frame(
    entries: list[SaeEntry], saes: list, results: dict[str, Decomposition], scored: pd.DataFrame
) -> pd.DataFrame:
    rows = []
    for entry, sae in zip(entries, saes):
        row = dict(
            id=entry.id,
            site=entry.site or "",
            kind=entry.kind,
            width=int(entry.width or getattr(sae, "width", 0)),
            l0_target=entry.l0,
            l0=float(scored[f"{entry.id}:l0"].mean()),
            seed=entry.seed,
            main=entry.main,
            dead=float("nan") if entry.dead is None else entry.dead,
        )
        result = results[entry.id]
        named = {m: getattr(result, m) for m in METRICS} | {
            m: result.norm_r2[part] for m, part in NORMS.items()
        }
        for metric, estimate in named.items():
            row |= {metric: estimate.value, f"{metric}_low": estimate.low, f"{metric}_high": estimate.high}
        rows.append(row)
    return pd.DataFrame(rows).astype({"l0_target": float})


def _card(study: Study, source: Activations, scored: pd.DataFrame) -> dict:
    facts = dict(
        model=source.model.name if source.model else None,
        site=study.site,
        d_model=source.d_model,
        tokens=len(scored),
        documents=int(scored.document.nunique()),
        contexts=int(scored.context.nunique()),
        window=list(study.window),
        norm2=float(scored.norm2.mean()),
        loss=None if scored.loss.isna().all() else float(scored.loss.mean()),
        text=study.text,
    )
    if source.contexts is not None:
        facts |= dict(
            context=int(source.contexts.tokens.shape[1]),
            vocabulary=source.model.vocabulary,
            layers=source.model.layers,
            documents_named=list(source.contexts.names[:400]),
        )
    else:
        facts |= dict(context=source.world.context, vocabulary=source.world.features + 1)
    return facts
