"""What previews and experiments claim holds in a simulated shop, and on the Open Bandit sample."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.experimenting import open_bandit
from benchmarks.experimenting.simulated import population
from benchmarks.experiments import ALARMS, COVERED, EXPLORATION, TRUTH, alarms, covered
from evaluation.off_policy.preview import preview

SAMPLE = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "open-bandit"
REPEATS, SHOPPERS, SEED = 200, 800, 1


def test_intervals_hold_the_truth_of_a_simulated_shop(tmp_path: Path) -> None:
    shop = population(tmp_path, SHOPPERS, EXPLORATION.pool, SEED)
    assert abs(shop.worth(shop.second) / shop.worth(shop.first) - 1) > 0.05, "there is something to find"
    found = covered(shop, REPEATS, SHOPPERS, SEED)
    assert all(COVERED[0] <= share <= COVERED[1] for share in found["B"].values()), found
    # What 200 repeats of 95 % may be by chance, for what is shown beside it.
    assert all(0.90 <= share <= 0.99 for shares in found.values() for share in shares.values()), found


def test_a_a_alarms_are_rare_where_those_of_a_test_of_fixed_size_are_not() -> None:
    ours, naive = alarms(0.1, 60, 3_000, SEED)
    assert ours <= ALARMS < 0.15 < naive


@pytest.mark.skipif(not SAMPLE.is_dir(), reason=f"the Open Bandit sample is not in {SAMPLE}: its preview is NOT tested")
def test_the_open_bandit_sample_is_covered_and_refused() -> None:
    first, second, rate = open_bandit.logged(SAMPLE)
    assert rate == pytest.approx(TRUTH)
    found = preview(first, second)
    assert all(one.low <= TRUTH <= one.high for one in found.second.estimates.values())
    assert found.verdict == "refused"
    assert found.effective < found.needed
    assert np.isclose(found.first.weight, 1)
