"""Compute a measurement: the three passes over a study's tokens, and the files that a `Measurement` reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ..base.values import in_columns
from ..decomposition.decompose import Decomposition, score, score_paper
from ..decomposition.passes import SELF_PARTS, FirstPass, SecondPass, ThirdPass
from ..decomposition.released import PaperPasses, train_rows
from ..decomposition.scores import linear_shares
from ..stats.fits import merged
from ..stats.intervals import bootstrap_ratio
from ..stats.loud import NAMED, Loud, LoudSums, is_loud
from ..stats.moments import as_float64
from ..studies.activations import Activations
from ..studies.saes import Kept, load_saes
from ..studies.study import Study

METRICS = ("fvu", "fvu_linear", "fvu_nonlinear", "r2_total", "r2_per_dim")
NORMS = {
    "norm_x": "x",
    "norm_sae": "Sae(x)",
    "norm_error": "SaeError",
    "norm_linear": "LinearError",
    "norm_nonlinear": "NonlinearError",
}
"""Columns of the norm tests, and the part that each is about."""
COLUMN_OF = {f"norm_r2 {part}": column for column, part in NORMS.items()}
"""The columns by the decomposition's names of the scores, where these differ."""
REPLICATED = ("fvu", "fvu_nonlinear", "r2_total", "r2_per_dim", "norm_error", "norm_nonlinear")
COLUMNS = {"SaeError": "error", "LinearError": "linear", "NonlinearError": "nonlinear"}
"""Parts whose squared norm is kept for every token, and the names of their columns."""


def compute(
    study: Study, folder: Path, *, contexts_a_batch: int, memory: int, progress: Callable[[str], None]
) -> None:
    """Fill ``folder`` with the measurement of ``study``. Raises as `measure` does."""
    source = Activations(study, contexts_a_batch=contexts_a_batch)
    fold = source.folds()
    saes = load_saes(study, source)
    ids = [sae.id for sae in saes]
    kept = Kept(source, saes, memory=memory, losses=True)

    def reading(name):
        """(batch, {SAE: Sae(x)}, {SAE: L0}, what a pass is given of the scored tokens) for each batch."""
        for i, (batch, reconstructions) in enumerate(kept):
            progress(f"{study.name}: {name}, batch {i + 1} of {len(source)}")
            hats, l0 = {}, {}
            for id, x_hat, active in reconstructions():
                hats[id], l0[id] = x_hat, active.to("cpu", torch.int32).numpy()
            keep = torch.from_numpy(batch.scored)
            scored = {id: x_hat[keep] for id, x_hat in hats.items()}
            yield batch, hats, l0, (batch.x[keep], scored, batch.document[batch.scored])

    first = FirstPass(source.d_model, ids, fold, self_norms=False, device=study.device)
    train = train_rows(None, _scored(source, kept, progress), study.seed)
    released = PaperPasses(source.d_model, ids, fold, train, self_norms=False, device=study.device)
    rows, norms = [], []
    for batch, _, l0, scored in reading("sums"):
        first.update(*scored)
        released.update(*scored)
        rows.append(_rows(batch, fold, l0))
    second = SecondPass(first, ridge=study.ridge)
    for batch, hats, _, scored in reading("parts"):
        norms.append(_norms(second, batch, hats, scored))
        released.update(*scored)
    norms, columns = np.concatenate(norms), {"norm2": second.norm_column(ids[0], "x")}
    for id in ids:
        columns |= {f"{id}:{name}": second.norm_column(id, part) for part, name in COLUMNS.items()}
    parts = pd.DataFrame({name: norms[:, column] for name, column in columns.items()})
    tokens = pd.concat([pd.concat(rows, ignore_index=True), parts], axis=1)
    tokens.to_parquet(folder / "tokens.parquet", compression="zstd")
    scored_tokens = tokens[tokens.scored]
    norm = np.sqrt(scored_tokens.norm2.to_numpy(np.float64))
    loud, at = LoudSums(second.x_mean), 0
    third = ThirdPass(second)
    for *_, scored in reading("norms"):
        third.update(*scored)
        released.update(*scored)
        x = as_float64(scored[0], device=study.device)
        loud.update(x, is_loud(norm[at : (at := at + len(x))], source.typical))

    documents = _documents(source, fold, scored_tokens)
    names = documents["source"].drop_duplicates().tolist()
    of = {row.document: names.index(row.source) for row in documents.itertuples()}
    strict, paper = {}, {}
    for id in ids:
        progress(f"{study.name}: intervals of {id}")
        strict[id] = score(third, id, source=of, replicates=study.bootstrap, seed=study.seed)
        paper[id] = score_paper(released, id, replicates=study.bootstrap, seed=study.seed)
    for name, results in (("saes", strict), ("paper", paper)):
        rows = [_row(study, sae, results[sae.id], scored_tokens) for sae in saes]
        pd.DataFrame(rows).astype({"l0_target": float}).to_parquet(folder / f"{name}.parquet")
    documents.to_parquet(folder / "documents.parquet")
    kinds = {"alone": "per_source", "without": "without_source"}
    of_source = [
        pd.DataFrame(getattr(d, table)).rename(columns=COLUMN_OF).assign(source=names, kind=kind, id=id)
        for id, d in strict.items()
        for kind, table in kinds.items()
    ]
    pd.concat(of_source, ignore_index=True).to_parquet(folder / "sources.parquet")
    per_fold = [d.fold_frame().assign(id=id) for id, d in strict.items()]
    pd.concat(per_fold, ignore_index=True).to_parquet(folder / "per_fold.parquet")
    shares = linear_shares(first.moments["error"], {id: first.columns(id) for id in ids})
    shares.to_parquet(folder / "linear_shares.parquet")
    total = merged(first.moments["error"])
    spectrum = torch.linalg.eigvalsh(total.xx / total.n).flip(0).clamp(min=0)
    arrays = {"spectrum": spectrum.cpu().numpy(), "mean": second.fit_error.overall.x_mean.cpu().numpy()}
    for name in REPLICATED:
        arrays[f"replicates {name}"] = np.stack([strict[id].replicates[_score(name)] for id in ids], axis=1)
    drawn = [paper[id].replicates["r2_per_dim"] for id in ids]
    arrays["replicates paper r2_per_dim"] = np.stack(drawn, axis=1)
    np.savez(folder / "arrays.npz", **arrays)
    np.savez(folder / "maps.npz", **_maps(second))
    card = _card(study, source, scored_tokens) | {"left_out": _left_out(study, source, tokens)}
    if is_loud(norm, source.typical).any():
        fvu = {id: strict[id].fvu.value for id in ids}
        card["loud"] = _loud(loud.of(norm, source.typical), fvu, scored_tokens)
    (folder / "card.json").write_text(json.dumps(card, indent=1))


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


def _norms(second: SecondPass, batch, hats, scored) -> np.ndarray:
    """Sums over the scored tokens; the parts' squared norms of every token, by its document's map."""
    norms = np.empty((len(batch.x), second.norm_column(second.saes[-1], SELF_PARTS[-1]) + 1))
    rest = torch.from_numpy(~batch.scored)
    others = batch.x[rest], {id: x_hat[rest] for id, x_hat in hats.items()}, batch.document[~batch.scored]
    for mine, read, given in ((batch.scored, second.update, scored), (~batch.scored, second.read, others)):
        read(*given, norms=(out := np.empty((mine.sum(), norms.shape[1]))))
        norms[mine] = out
    return norms.astype(np.float32)


def _row(study: Study, sae, result: Decomposition, scored: pd.DataFrame) -> dict:
    entry = study.sae(sae.id)
    sums = scored.groupby("document")[f"{sae.id}:l0"].agg(["sum", "size"]).to_numpy(float).T
    l0 = bootstrap_ratio(*sums, replicates=study.bootstrap, seed=study.seed)
    row = dict(
        id=entry.id,
        site=entry.site or "",
        kind=entry.kind,
        width=int(entry.width or getattr(sae, "width", 0)),
        l0_target=entry.l0,
        **in_columns(l0, "l0"),
        seed=entry.seed,
        main=entry.main,
        dead=float("nan") if entry.dead is None else entry.dead,
    )
    estimates = result.estimates()
    for name in (*METRICS, *NORMS):
        row |= in_columns(estimates[_score(name)], name) | {f"{name}_held_out": result.held_out[_score(name)]}
    return row


def _score(column: str) -> str:
    """The decomposition's name of a column."""
    return f"norm_r2 {NORMS[column]}" if column in NORMS else column


def _scored(source: Activations, kept: Kept, progress: Callable[[str], None]) -> int:
    """How many tokens are scored: known before a pass but for the loud ones."""
    if source.study.loud is None:
        return sum(source.document_tokens().values())
    count = 0
    for i, batch in enumerate((batch for batch, _ in kept) if kept.activations else source.batches()):
        progress(f"{source.study.name}: activations, batch {i + 1} of {len(source)}")
        count += int(batch.scored.sum())
    return count


def _left_out(study: Study, source: Activations, tokens: pd.DataFrame) -> dict:
    """What of the window is not scored: how many tokens, their share of the tokens and of Σ‖x‖²."""
    inside = tokens[tokens.position.between(study.window[0], study.window[1] - 1)]
    special, squares = inside.token.isin(source.special), inside.norm2.astype(float)
    of = lambda rows: {
        "tokens": int(rows.sum()),
        "share": float(rows.mean()),
        "share_of_squares": float(squares[rows].sum() / squares.sum()),
    }
    return {"special": of(special), "loud": of(~special & ~inside.scored)}


def _loud(loud: Loud, fvu: dict[str, float], scored: pd.DataFrame) -> dict:
    """`Loud.facts` of a study; the loudest by document, position and token id."""
    others = np.ones(len(scored), dtype=bool)
    others[loud.rows] = False
    left = {id: float(scored.loc[others, f"{id}:error"].astype(float).sum()) for id in fvu}
    loudest = scored.iloc[loud.rows[:NAMED]][["document", "position", "token"]].to_dict("records")
    without = {id: squares / loud.variance_without for id, squares in left.items()}
    return loud.facts(loudest, fvu=fvu, fvu_without=without)


def _documents(source: Activations, fold: dict[int, int], scored: pd.DataFrame) -> pd.DataFrame:
    """A row a scored document: its number, name, source, fold and tokens ("" where a name is not known)."""
    tokens, contexts = scored.groupby("document").size(), source.contexts
    named = lambda names, d: names[d] if d < len(names) else ""
    names, sources = (contexts.names, contexts.sources) if contexts else ((), ())
    rows = [(d, named(names, d), named(sources, d), k, int(tokens.get(d, 0))) for d, k in fold.items()]
    return pd.DataFrame(rows, columns=["document", "name", "source", "fold", "tokens"])


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
    if source.contexts is None:
        return facts | dict(context=source.world.context, vocabulary=source.world.features + 1)
    return facts | dict(
        context=int(source.contexts.tokens.shape[1]),
        vocabulary=source.model.vocabulary,
        layers=source.model.layers,
    )
