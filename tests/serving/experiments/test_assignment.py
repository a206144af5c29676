"""Who sees which arm: shares are kept, and shoppers move only to an arm that grows."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cartwheel.core.errors import UsageError
from evaluation.experiments.sample_ratio import sample_ratio
from serving.experiments.assignment import assign, place_of

SHOPPERS = [f"u{number}" for number in range(20_000)]
SHARES = st.dictionaries(st.sampled_from("abcde"), st.floats(0.01, 1.0), min_size=1)


@pytest.mark.parametrize("shares", [{"a": 0.5, "b": 0.5}, {"a": 0.9, "b": 0.1}, {"a": 6, "b": 3, "c": 1}])
def test_arms_get_their_shares(shares: dict[str, float]) -> None:
    counts = Counter(assign(shopper, "colour", shares) for shopper in SHOPPERS)
    total = sum(shares.values())
    assert sample_ratio(counts, {arm: share / total for arm, share in shares.items()}).is_sound


@given(st.text(), st.text(), SHARES, st.sampled_from("abcde"), st.floats(0.01, 5.0))
@settings(max_examples=60, deadline=None)
def test_where_a_share_grows_shoppers_move_to_that_arm_alone(
    shopper: str, experiment: str, shares: dict[str, float], grown: str, more: float
) -> None:
    before = assign(shopper, experiment, shares)
    after = assign(shopper, experiment, {**shares, grown: shares.get(grown, 0.0) + more})
    assert after in (before, grown)


@given(st.text(), st.text(), SHARES, st.sampled_from("abcde"))
@settings(max_examples=60, deadline=None)
def test_an_arm_that_ends_moves_only_its_own_shoppers(
    shopper: str, experiment: str, shares: dict[str, float], ended: str
) -> None:
    left = {arm: share for arm, share in shares.items() if arm != ended}
    if left and assign(shopper, experiment, shares) != ended:
        assert assign(shopper, experiment, left) == assign(shopper, experiment, shares)


def test_experiments_are_independent() -> None:
    shares = {"a": 0.5, "b": 0.5}
    both = Counter((assign(shopper, "one", shares), assign(shopper, "two", shares)) for shopper in SHOPPERS)
    assert sample_ratio(both, dict.fromkeys(both, 0.25)).is_sound
    assert len(both) == 4


@pytest.mark.parametrize("shares", [{}, {"a": 0.0}, {"a": -0.1, "b": 1.0}, {"a": float("nan")}])
def test_shares_that_are_none_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="Give each arm a share"):
        assign("u", "colour", shares)


def test_places_are_spread_evenly() -> None:
    tenths = Counter(int(place_of(shopper, "salt") * 10) for shopper in SHOPPERS)
    assert sample_ratio(tenths, dict.fromkeys(range(10), 0.1)).is_sound
