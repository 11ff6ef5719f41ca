"""The order of the test files: those that take minutes first, so that no core waits for one at the end."""

SLOW = (
    "test_gemma_toy",
    "test_devices",
    "test_chapters",
    "test_matrix",
    "test_suite_training",
    "test_two_saes",
    "test_streams",
    "test_book",
    "test_findings",
    "test_editions",
)
"""Longest first."""


def pytest_collection_modifyitems(items):
    """pytest-xdist gives out files in this order (``--no-loadscope-reorder``); left alone it starts with
    those of most tests, whatever these take."""
    place = {name: number for number, name in enumerate(SLOW)}
    items.sort(key=lambda item: place.get(item.path.stem, len(SLOW)))
