"""Splits by time."""

from __future__ import annotations

import numpy as np
import pytest

from cartwheel.errors import DataError
from workflows.split import SPLITS, iso, split_by_time


def test_the_shares_of_the_events_set_the_instants() -> None:
    split = split_by_time(np.random.default_rng(0).permutation(100), 0.2, 0.1)
    assert (split.t_valid, split.t_test, split.end) == (70, 90, 100)
    masks = [split.mask(name, np.arange(105)) for name in SPLITS]
    assert [int(m.sum()) for m in masks] == [70, 20, 15]
    assert (np.sum(masks, axis=0) == 1).all()


@pytest.mark.parametrize("times", [[5], [5, 5, 5, 5], [1, 5, 5, 5, 5, 5, 5, 5, 5, 5]])
def test_too_few_instants_are_refused(times: list[int]) -> None:
    with pytest.raises(DataError, match=r"distinct instants.*Give a longer log"):
        split_by_time(np.array(times), 0.1, 0.1)


def test_instants_are_told_in_utc() -> None:
    assert iso(1_500_000) == "1970-01-01T00:00:01.500000+00:00"
