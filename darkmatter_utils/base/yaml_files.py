"""YAML files of settings: one mapping, every key once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from .errors import BadInput


class _Once(yaml.SafeLoader):
    """Refuses a key that is given twice, of which YAML would keep the last without a word."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise yaml.YAMLError(f"'{twice[0]}' is given twice")
        return super().construct_mapping(node, deep)


def read(path: Path) -> Any:
    """What a YAML file holds; BadInput where it cannot be read or a key is given twice."""
    try:
        return yaml.load(path.read_text("utf-8"), Loader=_Once)  # noqa: S506  a safe loader
    except (yaml.YAMLError, UnicodeDecodeError, TypeError) as error:
        raise BadInput(f"{path.name} is not YAML: {' '.join(str(error).split())}") from None
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from None


def check_name(name: Any) -> None:
    """BadInput unless ``name`` can name a study's files: letters, digits, '.', '_' and '-', 64 at most."""
    if not isinstance(name, str) or not re.fullmatch(r"\w[\w.-]{0,63}", name):
        raise BadInput(
            f"a study's name is letters, digits, '.', '_' and '-' (at most 64, no slash), not "
            f"{str(name)[:80]!r}"
        )
