"""Two figures compare only if they came about alike."""

from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cartwheel.core.errors import ComparisonError, UsageError
from evaluation.protocols import checks
from evaluation.protocols import protocol as protocol_module
from evaluation.protocols.protocol import (
    SAMPLED_WARNING,
    FullRanking,
    Given,
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
    with pytest.raises(ComparisonError) as raised:
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


@pytest.mark.parametrize(
    ("build", "found", "expected"),
    [
        (lambda: GlobalTemporal(test=1.5), "GlobalTemporal.test is 1.5", "a share above 0 and below 1"),
        (lambda: GlobalTemporal(test=True), "GlobalTemporal.test is True", "a share above 0 and below 1"),
        (lambda: GlobalTemporal(valid=float("nan")), "GlobalTemporal.valid is nan", "a share above 0 and below 1"),
        (lambda: GlobalTemporal(valid=datetime(2024, 1, 31)), "GlobalTemporal.valid is datetime", "a share above 0"),
        (lambda: GlobalTemporal(valid="tomorrow"), "GlobalTemporal.valid is 'tomorrow'", "a date or instant such as 2024-01-31"),
        (lambda: GlobalTemporal("2024-02-01", "2024-01-31"), "GlobalTemporal.valid is '2024-02-01'", "an earlier date"),
        (lambda: GlobalTemporal(0.5, 0.5), "GlobalTemporal.valid is 0.5 and test 0.5", "shares that leave some to train on"),
        (lambda: GlobalTemporal(folds=0), "GlobalTemporal.folds is 0", "a whole number of at least 1"),
        (lambda: GlobalTemporal(folds=1.5), "GlobalTemporal.folds is 1.5", "a whole number of at least 1"),
        (lambda: PerUserRatio(1.5), "PerUserRatio.test is 1.5", "a share above 0 and below 1"),
        (lambda: PerUserRatio(0), "PerUserRatio.test is 0", "a share above 0 and below 1"),
        (lambda: PerUserRatio(order="sideways"), "PerUserRatio.order is 'sideways'", "'time' or 'random'"),
        (lambda: SessionNextItem(0.6), "SessionNextItem.test is 0.6", "a share above 0 and below 0.5"),
        (lambda: Given(" "), "Given.how is ' '", "what went where, in words"),
        (lambda: Given(3), "Given.how is 3", "text"),
        (lambda: FullRanking("some"), "FullRanking.items is 'some'", "'all' or 'trained'"),
        (lambda: SampledRanking(0), "SampledRanking.negatives is 0", "a whole number of at least 1"),
        (lambda: SampledRanking(-5), "SampledRanking.negatives is -5", "a whole number of at least 1"),
        (lambda: SampledRanking(by="odd"), "SampledRanking.by is 'odd'", "'uniform' or 'popularity'"),
        (lambda: Protocol("leave_one_out"), "Protocol.split is 'leave_one_out'", "a GlobalTemporal or LeaveOneOut or"),
        (lambda: Protocol(LeaveOneOut(), "full"), "Protocol.candidates is 'full'", "a FullRanking or SampledRanking"),
        (lambda: Protocol(LeaveOneOut(), excluded="all"), "Protocol.excluded is 'all'", "'seen' or 'nothing'"),
        (lambda: Protocol(LeaveOneOut(), seed=-1), "Protocol.seed is -1", "a whole number of at least 0"),
        (lambda: Protocol(LeaveOneOut(), data=None), "Protocol.data is None", "text"),
    ],
)
def test_what_makes_no_protocol_is_refused_where_it_is_written(build: Callable[[], object], found: str, expected: str) -> None:
    with pytest.raises(UsageError) as raised:
        build()
    assert raised.value.found.startswith(found)
    assert f"expected {expected}" in raised.value.found
    example = raised.value.fix.removeprefix("Write for example ").removesuffix(".").partition(" or ")[0]
    assert eval(example, vars(protocol_module)), "the example that the message gives is a valid one"


class DateOfPython310(datetime):
    """``datetime`` as Python 3.10 has it, which reads no Z."""

    @classmethod
    def fromisoformat(cls, text: str) -> datetime:  # type: ignore[override]
        if text.endswith("Z"):
            raise ValueError(text)
        return datetime.fromisoformat(text)


@pytest.mark.parametrize("of", [datetime, DateOfPython310])
def test_a_trailing_z_is_utc_on_every_python(of: type[datetime], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "datetime", of)
    same = {checks.instant("", text) for text in ("1970-01-02T02:00:00Z", "1970-01-02T02:00:00", "1970-01-02T03:00:00+01:00")}
    assert same == {26 * 3_600_000_000}
