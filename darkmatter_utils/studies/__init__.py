"""What is studied: a typed study, its recipe, the activations of its text; and the studies' files."""

from . import recipes  # noqa: F401  # a recipe is found by its name as soon as a study is
