"""Sample-ratio check: whether every arm has its intended share of the shoppers.

Where it has not, something lost or moved shoppers of one arm more than of another, and no difference between the arms can be trusted
(Fabijan et al., "Diagnosing Sample Ratio Mismatch in Online Controlled Experiments", KDD 2019, https://doi.org/10.1145/3292500.3330722).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from scipy.stats import chi2

from cartwheel.core.errors import UsageError

Arm = TypeVar("Arm", bound=Hashable)
LEVEL: Final = 0.001
"""Below this p-value the ratio counts as wrong; the check is made often, and its alarm stops an experiment."""


@dataclass(frozen=True)
class SampleRatio:
    """A chi-squared test (Pearson, 1900).

    Attributes:
        statistic: sum over arms of (observed - expected)^2 / expected.
        p_value: probability of one at least as large if shoppers were assigned as meant.
    """

    statistic: float
    p_value: float

    @property
    def is_sound(self) -> bool:
        """Whether nothing speaks against the ratio."""
        return self.p_value >= LEVEL


def sample_ratio(counts: Mapping[Arm, int], shares: Mapping[Arm, float]) -> SampleRatio:
    """Test the numbers of shoppers of the arms.

    Args:
        counts: arm -> how many shoppers it has; an arm that is missing has none.
        shares: arm -> the share that it was meant to have; they count in proportion to their sum.

    Raises:
        UsageError: if there are fewer than two arms, a share is not above 0, nobody is counted, or an arm is counted that has no share.

    >>> sample_ratio({"a": 5_000, "b": 5_050}, {"a": 0.5, "b": 0.5}).is_sound
    True
    >>> sample_ratio({"a": 5_000, "b": 5_500}, {"a": 0.5, "b": 0.5}).is_sound
    False
    """
    strange = [arm for arm in counts if arm not in shares]
    if strange:
        raise UsageError(f"The arm {strange[0]!r} has counts but no share.", f"Give a share to each of {list(counts)}.")
    if len(shares) < 2 or min(shares.values()) <= 0:
        raise UsageError(f"The shares are {dict(shares)}.", "Give at least two arms, each with a share above 0.")
    total = sum(counts.values())
    if total <= 0:
        raise UsageError("No shopper is counted in any arm.", "Wait for exposures.")
    whole = sum(shares.values())
    expected = {arm: total * share / whole for arm, share in shares.items()}
    statistic = sum((counts.get(arm, 0) - each) ** 2 / each for arm, each in expected.items())
    return SampleRatio(float(statistic), float(chi2.sf(statistic, len(shares) - 1)))
