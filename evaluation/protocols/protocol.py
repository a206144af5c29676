"""Protocols as objects: split, candidates, excluded items, and ties.

Two metrics can be compared only if they were computed under the same protocol. A protocol has a hash of all that it says, every metric
carries it, and a comparison across hashes is refused with the difference spelled out.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal, get_args

from cartwheel.core.errors import ComparisonError, UsageError
from evaluation.protocols.checks import instant, require_count, require_kind, require_one_of, require_share

TIES: Final = "expected value over all orders of tied items"
SAMPLED_WARNING: Final = "Sampled metrics need not order models as full ranking does (Krichene and Rendle, KDD 2020, https://doi.org/10.1145/3394486.3403226)."
SAMPLED_PROBABILITIES_WARNING: Final = (
    f"{SAMPLED_WARNING} Log loss, Brier score and calibration are of chances within this sample, where true items are far more frequent "
    "than in the catalogue."
)

_SHARES: Final = "GlobalTemporal(valid=0.1, test=0.1)"
_DATES: Final = 'GlobalTemporal(valid="2024-01-24", test="2024-01-31")'
_GIVEN: Final = 'Given("the files that the publisher split")'


@dataclass(frozen=True)
class GlobalTemporal:
    """One instant for all users: everything before it trains, everything from it on is asked for.

    Attributes:
        valid: share of the interactions, the latest before the test, that validate; or the date (ISO 8601, UTC) on which they begin.
        test: share of the interactions, the latest of all, that test; or the date on which they begin.
        folds: rolling folds: fold f of F tests the f-th of F equal parts of the test interactions, and trains on all before it.
    """

    valid: float | str = 0.1
    test: float | str = 0.1
    folds: int = 1
    kind: str = field(default="global_temporal", init=False)

    def __post_init__(self) -> None:
        require_count("GlobalTemporal.folds", self.folds, "GlobalTemporal(folds=3)")
        begins = {name: self._part(name) for name in ("valid", "test")}
        valid, test = begins.values()
        if valid is not None and test is not None and valid >= test:
            raise UsageError(
                f"GlobalTemporal.valid is {self.valid!r}; expected an earlier date than that of test, {self.test!r}.",
                f"Write for example {_DATES}.",
            )
        if valid is None and test is None and float(self.valid) + float(self.test) >= 1:
            raise UsageError(
                f"GlobalTemporal.valid is {self.valid!r} and test {self.test!r}; expected shares that leave some to train on.",
                f"Write for example {_SHARES}.",
            )

    def _part(self, name: str) -> int | None:
        """Check where a part begins, and return the instant if it is given by date."""
        value: object = getattr(self, name)
        if isinstance(value, str):
            return instant(f"GlobalTemporal.{name}", value, _DATES)
        require_share(f"GlobalTemporal.{name}", value, f"{_SHARES} or {_DATES}")
        return None


@dataclass(frozen=True)
class LeaveOneOut:
    """Each user's last interaction tests, the one before it validates, the rest trains."""

    kind: str = field(default="leave_one_out", init=False)


@dataclass(frozen=True)
class PerUserRatio:
    """The same share of each user's interactions tests.

    Attributes:
        test: share of each user's interactions that test.
        order: ``time`` takes each user's latest, ``random`` draws them.
    """

    test: float = 0.25
    order: Literal["time", "random"] = "time"
    kind: str = field(default="per_user_ratio", init=False)

    def __post_init__(self) -> None:
        require_share("PerUserRatio.test", self.test, "PerUserRatio(test=0.25)")
        require_one_of("PerUserRatio.order", self.order, ("time", "random"), 'PerUserRatio(order="time")')


@dataclass(frozen=True)
class SessionNextItem:
    """Whole sessions test, the latest ones: at each event of a session but the first, the session so far asks for the item of that event.

    Attributes:
        test: share of the sessions, the latest to begin, that test; as many before them validate, so it is below a half.
    """

    test: float = 0.1
    kind: str = field(default="session_next_item", init=False)

    def __post_init__(self) -> None:
        require_share("SessionNextItem.test", self.test, "SessionNextItem(test=0.1)", below=0.5)


@dataclass(frozen=True)
class Given:
    """A split that came with the data, or that a publication describes, and none of the others says; ``fold_by_marks`` makes its fold.

    Attributes:
        how: what went where, so that no other split has the same words.
    """

    how: str
    kind: str = field(default="given", init=False)

    def __post_init__(self) -> None:
        require_kind("Given.how", self.how, (str,), _GIVEN)
        if not self.how.strip():
            raise UsageError(f"Given.how is {self.how!r}; expected what went where, in words.", f"Write for example {_GIVEN}.")


Split = GlobalTemporal | LeaveOneOut | PerUserRatio | SessionNextItem | Given


@dataclass(frozen=True)
class FullRanking:
    """Every item of the catalogue competes.

    Attributes:
        items: ``all`` items of the log, or those ``trained`` on, without which an item that is new in the test counts as missed.
    """

    items: Literal["all", "trained"] = "all"
    kind: str = field(default="full", init=False)

    def __post_init__(self) -> None:
        require_one_of("FullRanking.items", self.items, ("all", "trained"), 'FullRanking("trained")')


@dataclass(frozen=True)
class SampledRanking:
    """The truth competes with a sample of items that the user never interacted with.

    Attributes:
        negatives: how many are drawn for each question, without replacement.
        by: ``uniform``, or ``popularity`` in proportion to training interactions.
    """

    negatives: int = 100
    by: Literal["uniform", "popularity"] = "uniform"
    kind: str = field(default="sampled", init=False)

    def __post_init__(self) -> None:
        require_count("SampledRanking.negatives", self.negatives, "SampledRanking(negatives=100)")
        require_one_of("SampledRanking.by", self.by, ("uniform", "popularity"), 'SampledRanking(by="popularity")')


Candidates = FullRanking | SampledRanking


@dataclass(frozen=True)
class Protocol:
    """The fields that must agree for two metrics to be comparable.

    Attributes:
        split: how the interactions were split.
        candidates: what competes for the places of a list.
        excluded: ``seen`` leaves out of lists and truth what the user interacted with before, ``nothing`` leaves all in.
        seed: fixes what is drawn.
        data: fingerprint of the interactions, or a name of theirs.
        ties: what equal scores mean.
    """

    split: Split
    candidates: Candidates = field(default_factory=FullRanking)
    excluded: Literal["seen", "nothing"] = "seen"
    seed: int = 0
    data: str = ""
    ties: str = field(default=TIES, init=False)

    def __post_init__(self) -> None:
        require_kind("Protocol.split", self.split, get_args(Split), "Protocol(LeaveOneOut())")
        require_kind("Protocol.candidates", self.candidates, get_args(Candidates), "Protocol(LeaveOneOut(), FullRanking())")
        require_one_of("Protocol.excluded", self.excluded, ("seen", "nothing"), 'Protocol(LeaveOneOut(), excluded="seen")')
        require_count("Protocol.seed", self.seed, "Protocol(LeaveOneOut(), seed=0)", least=0)
        require_kind("Protocol.data", self.data, (str,), 'Protocol(LeaveOneOut(), data="our shop, May")')

    @property
    def hash(self) -> str:
        """12 hexadecimal digits over everything that the protocol says."""
        return digest(asdict(self))

    @property
    def warning(self) -> str | None:
        """A warning about the metric, or None."""
        return SAMPLED_WARNING if isinstance(self.candidates, SampledRanking) else None


def digest(said: dict[str, Any]) -> str:
    """Return 12 hexadecimal digits of the SHA-256 of what a protocol says, the same for equal content."""
    return hashlib.sha256(json.dumps(said, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:12]


def differences(first: dict[str, Any], second: dict[str, Any], path: str = "") -> list[str]:
    """Return in which fields two protocols (as dictionaries) differ, one line a field.

    >>> differences({"split": {"test": 0.1}}, {"split": {"test": 0.2}})
    ['split.test: 0.1 against 0.2']
    """
    lines = []
    for name in dict.fromkeys([*first, *second]):
        one, other, where = first.get(name), second.get(name), f"{path}{name}"
        if isinstance(one, dict) and isinstance(other, dict):
            lines += differences(one, other, where + ".")
        elif one != other:
            lines.append(f"{where}: {_told(one)} against {_told(other)}")
    return lines


def require_same(first: dict[str, Any], second: dict[str, Any], names: tuple[str, str]) -> None:
    """Refuse to compare metrics of two protocols.

    Args:
        first: what one protocol says.
        second: what the other says.
        names: what the metrics are called.

    Raises:
        ComparisonError: if they differ; the message spells out in what.
    """
    if digest(first) != digest(second):
        raise ComparisonError(
            f"{names[0]} (protocol {digest(first)}) and {names[1]} (protocol {digest(second)}) cannot be compared: "
            f"{'; '.join(differences(first, second))}.",
            "Evaluate both under one protocol.",
        )


def _told(value: Any) -> str:
    return "nothing" if value is None else str(value)
