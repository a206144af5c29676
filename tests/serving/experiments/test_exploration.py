"""The propensities that are logged are the frequencies with which items are shown."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.experiments.exploration import Exploration

N = 20_000


def test_propensities_are_frequencies() -> None:
    exploration, fixed = Exploration(0.3), [False, True, False, False, False, False]
    counts, told = np.zeros((3, len(fixed))), {}
    for number in range(N):
        shown = exploration.shown(f"r{number}", fixed, 3)
        for slot, (place, propensity) in enumerate(zip(shown.places, shown.propensities, strict=True)):
            counts[slot, place] += 1
            told[slot, place] = propensity
    wanted = np.array([[told.get((slot, place), 0.0) for place in range(len(fixed))] for slot in range(3)])
    assert wanted.sum(axis=1) == pytest.approx([1, 1, 1])
    spread = np.sqrt(wanted * (1 - wanted) / N)
    assert np.all(np.abs(counts / N - wanted) <= 4.5 * spread)
    assert wanted[0, 0] == pytest.approx(0.7 + 0.3 / 5)
    assert wanted[1, 1] == 1


@given(st.text(max_size=8), st.lists(st.booleans(), max_size=12), st.integers(1, 12), st.floats(0, 1))
@settings(max_examples=100, deadline=None)
def test_an_answer_stays_an_answer(request_id: str, fixed: list[bool], k: int, share: float) -> None:
    shown = Exploration(share).shown(request_id, fixed, k)
    assert shown == Exploration(share).shown(request_id, fixed, k)
    assert len(shown.places) == len(shown.propensities) == min(k, len(fixed))
    assert len(set(shown.places)) == len(shown.places)
    assert all(place == slot for slot, place in enumerate(shown.places) if fixed[slot] or not shown.explored)
    assert all(fixed[place] is False or place == slot for slot, place in enumerate(shown.places))
    assert all(0 < propensity <= 1 + 1e-12 for propensity in shown.propensities) or share == 0
