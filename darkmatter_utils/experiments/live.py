"""What a cell shows of a few activations: its function is run on them once, and its answer is kept.

So an edition whose weights are not at hand still shows what its cells say (`base.cache`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from ..base.cache import kept
from ..base.values import Absent
from ..studies.saes import sample


def arrays(
    measurement, *, sae: str, contexts: int = 64
) -> tuple[Float[np.ndarray, "token d_model"], Float[np.ndarray, "token d_model"], Int[np.ndarray, "token"]]:
    """(x, what an SAE makes of it, document of each token) of the scored tokens of contexts spread evenly."""
    return sample(measurement.study, sae, contexts=contexts)[:3]


def folder_too(measurement, *, sae: str, contexts: int = 64) -> tuple:
    """The same, and the folder of the SAE's weights."""
    study = measurement.study
    return *arrays(measurement, sae=sae, contexts=contexts), study.data_folder() / study.sae(sae).path


def tokens(measurement) -> pd.DataFrame:
    """The rows of the per-token table that are scored."""
    return measurement.tokens[measurement.tokens["scored"]]


def live(measurement, function: Callable, *, of: Callable = arrays, **settings):
    """What ``function`` says of what ``of(measurement, **settings)`` gives, a tuple's parts one by one:
    numbers, text, lists and dicts of them, or a table; what is absent is handed through. Raises BadInput as
    `ideas.digest` does. Cost: that of both, once for each source of ``function``."""
    return _live(measurement, function=function, of=of, settings=settings)["shown"]


@kept
def _live(measurement, *, function: Callable, of: Callable, settings: dict) -> dict:
    given = of(measurement, **settings)
    if isinstance(given, Absent):
        return {"shown": given}
    return {"shown": function(*given) if type(given) is tuple else function(given)}
