"""Measure every SAE of a study: three streamed passes; what is read of them, in sums and token by token."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..adapters.models import load_tokenizer
from ..base import cache, provenance
from ..base.errors import BadInput
from ..stats.fits import CrossFit, LinearMap
from ..studies.activations import Activations, Batch
from ..studies.saes import load_saes, reconstructions
from ..studies.study import SaeEntry, Study
from .harvest import compute


@dataclass(frozen=True)
class Measurement:
    """What a study's SAEs leave behind. Read from a folder of plain files: JSON, Parquet, npz."""

    study: Study
    folder: Path

    @property
    def name(self) -> str:
        """The study's."""
        return self.study.name

    def key(self) -> dict[str, Any]:
        """All that its numbers, and those of its study's other SAEs, follow from, for `cache.kept`; not the
        SAEs of the suite `AFTER`, which are trained on what it found: what reads them counts them itself."""
        saes = [entry for entry in self.study.saes if entry.suite != AFTER]
        return {
            "study": self.study.fingerprint(),
            "saes": [asdict(entry) for entry in saes],
            "files": files_of(self.study, saes),
            "code": provenance.key(provenance.of(compute, Measurement)),
        }

    def lacks(self) -> list[str]:
        """Files of the study that are not here: what follows from its activations cannot be computed."""
        return missing(self.study) if self.study.data else []

    def whole(self) -> Measurement:
        """Itself with what stored results leave out (`LEFT_OUT`), for which it is measured anew."""
        here = all((self.folder / name).is_file() for name in LEFT_OUT)
        return self if here else measure(self.study, stored=False)

    @cached_property
    def card(self) -> dict:
        """Plain facts about the study: model, site, d_model, tokens, documents, window, loss..."""
        return json.loads((self.folder / "card.json").read_text())

    @cached_property
    def saes(self) -> pd.DataFrame:
        """One row an SAE: what it is, its realised L0, and each score with its interval over documents; what
        was measured out of sample, the maps' estimation error left in, as ``<score>_held_out``."""
        return pd.read_parquet(self.folder / "saes.parquet")

    @cached_property
    def paper(self) -> pd.DataFrame:
        """The same under ``protocol="paper"``."""
        return pd.read_parquet(self.folder / "paper.parquet")

    @cached_property
    def per_fold(self) -> pd.DataFrame:
        """Every score of each fold alone, held out: columns id, fold, tokens and the scores."""
        return pd.read_parquet(self.folder / "per_fold.parquet")

    @cached_property
    def documents(self) -> pd.DataFrame:
        """One row a scored document: document, name, source, fold, tokens ("": not known)."""
        return pd.read_parquet(self.folder / "documents.parquet")

    @cached_property
    def of_sources(self) -> pd.DataFrame:
        """Every score of the documents of each source ``alone``, and ``without`` them: id, source, kind,
        tokens and the scores. `sources` reads it."""
        return pd.read_parquet(self.folder / "sources.parquet")

    @cached_property
    def linear_shares(self) -> pd.DataFrame:
        """What of SaeError a mean, a scalar gain, and the top principal components of x account for."""
        return pd.read_parquet(self.folder / "linear_shares.parquet")

    @property
    def tokens_path(self) -> Path:
        """The per-token table as a Parquet file."""
        return self.whole().folder / "tokens.parquet"

    @cached_property
    def tokens(self) -> pd.DataFrame:
        """One row a token, in stream order: document, position, loss, ‖x‖², and each SAE's error parts."""
        return pd.read_parquet(self.tokens_path)

    @cached_property
    def replicates(self) -> dict[str, np.ndarray]:
        """Score → bootstrap replicates [replicate, SAE]; a row is one resample of documents."""
        with np.load(self.folder / "arrays.npz") as arrays:
            names = [name for name in arrays.files if name.startswith("rep")]
            return {name.removeprefix("replicates "): arrays[name] for name in names}

    @cached_property
    def extra(self) -> dict[str, np.ndarray]:
        """``spectrum``: eigenvalues of cov(x), largest first; ``mean``: mean of x."""
        with np.load(self.folder / "arrays.npz") as arrays:
            return {name: arrays[name] for name in ("spectrum", "mean")}

    def maps(self, id: str) -> CrossFit:
        """The maps b x + c of an SAE's error: one a fold, fitted on the others, and one of all folds."""
        self.study.sae(id)
        with np.load(self.whole().folder / "maps.npz") as arrays:
            read = lambda name: torch.from_numpy(arrays[f"{id} {name}"]).to(self.study.device)
            parts = [read(name) for name in ("weight", "x_mean", "y_mean")]
        *folds, overall = (LinearMap(*one) for one in zip(*parts))
        return CrossFit(folds, overall)

    def fold_of(self) -> dict[int, int]:
        """The fold of each scored document."""
        return self.documents.set_index("document")["fold"].to_dict()

    def folds_at(self, document: Int[np.ndarray, "token"]) -> Int[np.ndarray, "token"]:
        """The fold of each token's document."""
        fold = self.fold_of()
        return np.array([fold[int(d)] for d in document])

    @property
    def held_out(self) -> dict | None:
        """The model's held-out nats per token and byte beside n-gram models; None if unknown."""
        return manifest(self.study).get("held_out") if self.study.model is not None else None

    def decode(self, ids) -> list[str]:
        """The text of each token id ("·" in a simulated world)."""
        return ["·" if self.study.model is None else self._tokenizer.decode([int(i)]) for i in ids]

    @cached_property
    def _tokenizer(self):
        return load_tokenizer(self.study.model_source())

    def sae(self, id: str) -> pd.Series:
        """The row of one SAE; BadInput names the nearest ids."""
        self.study.sae(id)
        return self.saes.set_index("id", drop=False).loc[id]


def manifest(study: "Study | str") -> dict:
    """The manifest of a study's data: files, SAEs, how all of it was made; {} for a simulated world."""
    study = Study.load(study)
    return json.loads((study.data_folder() / "manifest.json").read_text()) if study.data else {}


def files_of(study: Study, entries: Sequence[SaeEntry] | None = None) -> dict[str, str]:
    """sha256 of the files that a study's numbers follow from, as its manifest has them: of model, text and
    the SAEs that it selects, or of other ``entries``."""
    known = manifest(study)
    paths = {entry.get("path") for entry in known.get("saes", [])} | {entry.path for entry in study.saes}
    mine = {entry.path for entry in (study.selected() if entries is None else entries)}
    theirs = tuple(f"{path}/" for path in paths - mine if path)
    files = known.get("files", {}).items()
    return {name: about["sha256"] for name, about in files if not name.startswith(theirs)}


def missing(study: Study) -> list[str]:
    """Names of the files of model, text and SAEs of a study that its manifest lists and its folder lacks."""
    folder = study.data_folder()
    return [name for name in files_of(study, study.saes) if not (folder / name).is_file()]


def shipped(study: Study, *, also: str = "") -> Study:
    """The study with those of its SAEs alone that its manifest calls ``shipped``, whose weights are kept with
    it while others' are not, and those of the suite ``also``: for what reads activations again. The study
    itself where the manifest calls none so."""
    if (named := manifest(study).get("shipped")) is None:
        return study
    return study.at(
        saes=tuple(entry for entry in study.saes if entry.id in named or entry.suite == also != "")
    )


AFTER = "components"
"""Suite of the SAEs that are trained on parts of x, which follow from the measurement."""
LEFT_OUT = ("tokens.parquet", "maps.npz")
"""Of a measurement: what is too large to be stored with an edition, and is made anew where it is needed."""


def measure(
    study: "Study | str",
    *,
    contexts_a_batch: int = 16,
    memory: int = 3_000_000_000,
    progress: Callable[[str], None] | None = None,
    stored: bool = True,
) -> Measurement:
    """The decomposition of every SAE of a study, computed once and kept by content.

    ``contexts_a_batch`` and ``memory`` (bytes in which activations and codes are kept between passes) change
    the cost, not the numbers; one that was computed may be ``stored`` without `LEFT_OUT`, and then needs no
    weights. Raises BadInput for whatever the study cannot be measured with: a missing or damaged weight file,
    tokens outside the vocabulary, fewer documents than folds, NaN activations. Cost: one pass of
    the model and the SAEs if their codes fit the memory, three if not; memory beyond that O(folds × SAEs ×
    d_model²).
    """
    study = Study.load(study)
    code, files = provenance.key(provenance.of(compute)), files_of(study)
    key = cache.key_of(study=study.fingerprint(), code=code, versions=cache.versions(), files=files)
    kept = cache.Kept(f"measure-{study.name}", key)
    found = lambda: kept.read(lambda path: Measurement(study, path), stored=stored)
    with kept.alone():
        made = found()
        if made is None:
            without = "" if stored else " and ".join(LEFT_OUT)
            kept.may_be_made(Measurement(study, kept.folder), without=without)
        if study.data:
            others = manifest(study)["files"].keys() - (files.keys() if made is None else ())
            cache.verify(study.data_folder(), absent=others)
        if made is None:
            how = dict(contexts_a_batch=contexts_a_batch, memory=memory, progress=progress or cache.tell)
            kept.write(lambda path: compute(study, path, **how))
            made = found()
    if made is None:
        raise BadInput(f"the result at {kept.folder} cannot be read back; is the disk full or being cleared?")
    return made


@dataclass(frozen=True)
class Parts:
    """x = Sae(x) + LinearError + NonlinearError of one SAE, exactly, for every token."""

    sae: Float[Tensor, "token d_model"]
    linear: Float[Tensor, "token d_model"]
    nonlinear: Float[Tensor, "token d_model"]
    l0: Int[Tensor, "token"]

    @property
    def error(self) -> Float[Tensor, "token d_model"]:
        """SaeError = LinearError + NonlinearError."""
        return self.linear + self.nonlinear


def stream_parts(
    measurement: Measurement,
    saes: Sequence[str],
    *,
    text: str | None = None,
    scored: bool = True,
    contexts: int | None = None,
) -> Iterator[tuple[Batch, dict[str, Parts]]]:
    """(batch, {SAE: its parts}) over a study's tokens, in stream order, in float64.

    On the text that was measured each document is split by the map that was fitted on the other folds. On
    another ``text`` of the same data, whose documents no map has seen, by the map of all folds. ``scored``
    keeps the tokens inside the window only (batch included); ``contexts``: only so many, spread evenly.
    Raises BadInput for an unknown SAE, or another text in a simulated world. Cost: one pass of the model and
    of these SAEs; memory of one batch.
    """
    study = measurement.study
    if text is not None and study.model is None:
        raise BadInput(f"study {study.name} is simulated: it has no text '{text}'")
    chosen = replace(study, saes=tuple(study.sae(id) for id in saes), text=text or study.text)
    source = Activations(chosen)
    loaded = load_saes(chosen, source) if saes else []
    maps = {id: measurement.maps(id) for id in saes}
    own = text in (None, study.text)
    for batch, made in reconstructions(source, loaded, scored=scored, contexts=contexts):
        x, parts = batch.x.double(), {}
        folds = measurement.folds_at(batch.document) if own else None
        for id, (x_hat, l0) in made.items():
            error = x - x_hat.double()
            linear = maps[id].predict(x, folds) if own else maps[id].overall(x)
            parts[id] = Parts(x_hat.double(), linear, error - linear, l0)
        yield batch, parts
