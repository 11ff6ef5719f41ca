"""Numbers as words."""

import pytest

from darkmatter_utils.base.words import course


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([0.48, 0.44, 0.39], "falls from 0.48 to 0.39"),
        ([0.2, 0.4], "rises from 0.20 to 0.40"),
        ([0.48, 0.49], "stays at 0.48 to 0.49"),
        ([0.5], "stays at 0.50"),
        ([0.79, 0.34, 0.51, 0.27], "goes unevenly from 0.79 to 0.27"),
        ([0.3, 0.9, 0.6], "goes from 0.30 to 0.60, between 0.30 and 0.90"),
        ([-0.1, -0.3], "falls from −0.10 to −0.30"),
    ],
)
def test_a_course_says_which_way_a_series_goes(values, said):
    assert course(values) == said
