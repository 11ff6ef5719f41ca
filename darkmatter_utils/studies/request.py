"""What is asked of one SAE: a model, an SAE, a text, and how it is measured."""

from __future__ import annotations

from dataclasses import dataclass

from ..adapters.texts import EMBEDDED
from ..base.errors import BadInput


@dataclass(frozen=True)
class Request:
    """What is asked for. Raises BadInput for a number that cannot be."""

    model: str
    """Folder of a transformers model, or its name on the hub."""
    sae: str
    """Folder of an SAE in any of `formats.known`, or its name (`hub.sae_folder`)."""
    site: str | None = None
    """Where the SAE reads; what the SAE says, if not given."""
    text: str = EMBEDDED
    documents: int = 300
    positions: tuple[int, int] | None = None
    """First position that counts and the one after the last."""
    packed: bool = False
    """Short documents share a context (`contexts.pack`)."""
    dtype: str = "float32"
    """Of the model."""
    sae_dtype: str = "float32"
    device: str = "cpu"
    folds: int = 5
    bootstrap: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("model", "sae", "text"):
            if not getattr(self, name):
                raise BadInput(f"--{name} is empty; give a folder, a file or a name")
        for name, least in (("documents", 2), ("folds", 2), ("bootstrap", 100), ("seed", 0)):
            if getattr(self, name) < least:
                raise BadInput(f"{name} is {getattr(self, name)}; give at least {least}")
