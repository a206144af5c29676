"""Two figures compare only if they came about alike."""

import doctest
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cartwheel.errors import UsageError
from models.offline import protocol as protocol_module
from models.offline.protocol import (
    SAMPLED_WARNING,
    FullRanking,
    GlobalTemporal,
    LeaveOneOut,
    PerUserRatio,
    Protocol,
    SampledRanking,
    SessionNextItem,
    differences,
    require_same,
)

SHARES = st.floats(0.01, 0.4)
SPLITS = st.one_of(
    st.builds(GlobalTemporal, SHARES, SHARES, st.integers(1, 4)),
    st.just(LeaveOneOut()),
    st.builds(PerUserRatio, SHARES, st.sampled_from(["time", "random"])),
    st.builds(SessionNextItem, SHARES),
)
CANDIDATES = st.one_of(
    st.builds(FullRanking, st.sampled_from(["all", "trained"])),
    st.builds(SampledRanking, st.integers(1, 200), st.sampled_from(["uniform", "popularity"])),
)
PROTOCOLS = st.builds(Protocol, SPLITS, CANDIDATES, st.sampled_from(["seen", "nothing"]), st.integers(0, 3), st.text(max_size=3))


@given(PROTOCOLS, PROTOCOLS)
def test_the_hash_is_equal_where_all_is_said_alike_and_only_there(one: Protocol, other: Protocol) -> None:
    assert (one.hash == other.hash) == (one == other)
    assert one.hash == replace(one).hash
    assert len(one.hash) == 12


@given(PROTOCOLS, PROTOCOLS)
def test_a_comparison_across_hashes_is_refused_with_the_difference_spelled_out(one: Protocol, other: Protocol) -> None:
    first, second = asdict(one), asdict(other)
    told = differences(first, second)
    assert bool(told) == (one != other)
    if one == other:
        require_same(first, second, ("ours", "theirs"))
        return
    with pytest.raises(UsageError) as raised:
        require_same(first, second, ("ours", "theirs"))
    for part in (one.hash, other.hash, "ours", "theirs", *told):
        assert part in str(raised.value)


def test_each_difference_names_its_field_and_both_values() -> None:
    one = Protocol(GlobalTemporal(test=0.1), SampledRanking(100), data="beauty")
    other = replace(one, split=LeaveOneOut(), excluded="nothing")
    assert differences(asdict(one), asdict(other)) == [
        "split.valid: 0.1 against nothing",
        "split.test: 0.1 against nothing",
        "split.folds: 1 against nothing",
        "split.kind: global_temporal against leave_one_out",
        "excluded: seen against nothing",
    ]


def test_sampled_figures_carry_a_warning() -> None:
    assert Protocol(LeaveOneOut(), SampledRanking()).warning == SAMPLED_WARNING
    assert Protocol(LeaveOneOut()).warning is None


def test_the_examples_hold() -> None:
    result = doctest.testmod(protocol_module)
    assert result.attempted > 0
    assert result.failed == 0
