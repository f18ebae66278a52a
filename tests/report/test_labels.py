import pandas as pd
import pytest

from slotfill.outcomes import OUTCOMES
from slotfill.report import labels


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "0 ms"),
        (4.76, "4.8 ms"),
        (264.6, "265 ms"),
        (-30, "-30 ms"),
        (1434, "1.43 s"),
        (19876.1, "19.9 s"),
        (125_000, "2 min 5 s"),
        (None, "–"),
        (float("nan"), "–"),
    ],
)
def test_durations_read_well_at_every_size(milliseconds, text):
    assert labels.duration(milliseconds) == text


@pytest.mark.parametrize(
    ("bounds", "text"),
    [
        ([19500, 20200], "19.5 to 20.2 s"),
        ([980, 1020], "980 ms to 1.02 s"),
        (None, "–"),
        ([None, None], "–"),
    ],
)
def test_intervals_name_the_unit_once_where_both_ends_share_it(bounds, text):
    assert labels.interval(bounds) == text


@pytest.mark.parametrize(("fraction", "text"), [(0.534, "53 %"), (0.001, "< 1 %"), (0.0, "0 %"), (None, "–")])
def test_shares_are_whole_percents(fraction, text):
    assert labels.share(fraction) == text


@pytest.mark.parametrize(("value", "text"), [(20, "20"), (1.15, "1.1"), (1234.5, "1,234.5"), (None, "–")])
def test_numbers_drop_a_needless_point(value, text):
    assert labels.number(value) == text


def test_every_outcome_has_a_colour():
    assert set(labels.outcome_groups(pd.Series(OUTCOMES))) == set(labels.OUTCOME_COLOURS)


def test_listings_read_as_prose():
    assert [labels.listing(words) for words in (["a"], ["a", "b"], ["a", "b", "c"])] == ["a", "a and b", "a, b and c"]
