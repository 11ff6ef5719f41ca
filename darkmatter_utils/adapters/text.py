"""Text as token contexts with document ids."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int

from ..base.errors import BadInput, nearest


@dataclass(frozen=True)
class Contexts:
    """Token contexts of one length; a context is <bos> and tokens of one document."""

    tokens: Int[np.ndarray, "context position"]
    document: Int[np.ndarray, "context"]
    names: tuple[str, ...]
    """Name of each document, or nothing."""


def read_contexts(folder: Path, text: str, *, limit: int | None = None) -> Contexts:
    """The token set ``text`` of a data folder (tokens.npz: ``<text>_tokens``, ``<text>_document``,
    ``<text>_names``).

    ``limit`` keeps the first contexts only. Raises BadInput for an unknown set or arrays that do not fit
    together.
    """
    path = folder / "tokens.npz"
    if not path.is_file():
        raise BadInput(f"{folder.name} has no tokens.npz, which holds the text as token ids")
    try:
        with np.load(path) as arrays:
            sets = sorted(name.removesuffix("_tokens") for name in arrays.files if name.endswith("_tokens"))
            if text not in sets:
                raise BadInput(f"{folder.name} has no text '{text}'; {nearest(text, sets)}")
            tokens, document = arrays[f"{text}_tokens"], arrays[f"{text}_document"]
            names = tuple(map(str, arrays[f"{text}_names"])) if f"{text}_names" in arrays.files else ()
    except BadInput:
        raise
    except Exception as error:  # a damaged zip raises many kinds
        raise BadInput(
            f"{folder.name}/tokens.npz cannot be read ({error}); restore it from the repository"
        ) from None
    if tokens.ndim != 2 or tokens.dtype.kind not in "iu" or document.shape != tokens.shape[:1]:
        raise BadInput(
            f"{text}: tokens must be ints [context, position] and document ints [context], got "
            f"{tokens.dtype} {list(tokens.shape)} and {list(document.shape)}"
        )
    if limit is not None:
        tokens, document = tokens[:limit], document[:limit]
    return Contexts(tokens, document.astype(np.int64), names)
