"""The baselines that run by default."""

import numpy as np
import pytest
from recommender_conformance import ask, planted

from models.families.registry import BASELINES


@pytest.mark.parametrize("name", BASELINES)
def test_each_is_made_with_a_seed_and_bears_its_name(name: str) -> None:
    made = BASELINES[name](3)
    assert made.name == name
    made.fit(planted())
    again = BASELINES[name](3)
    again.fit(planted())
    np.testing.assert_array_equal(made.scores(ask([0, 1], [])), again.scores(ask([0, 1], [])))
    assert getattr(made, "seed", 3) == 3
