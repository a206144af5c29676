"""Every family of the registry keeps the laws of feature families."""

from __future__ import annotations

from pathlib import Path

import pytest

from cartwheel.core.errors import ConfigError
from cartwheel.testing import FeatureFamilyConformance
from workflows.features.family import FeatureFamily
from workflows.features.registry import FAMILIES, make_family
from workflows.tasks.future_events import FutureEvents
from workflows.tasks.task import Entity


class TestUserActivity(FeatureFamilyConformance):
    def family(self) -> FeatureFamily:
        return make_family("user_activity")


class TestBuyingCycle(FeatureFamilyConformance):
    def family(self) -> FeatureFamily:
        return make_family("buying_cycle")


class TestItemActivity(FeatureFamilyConformance):
    def family(self) -> FeatureFamily:
        return make_family("item_activity")


class TestSessionActivity(FeatureFamilyConformance):
    def family(self) -> FeatureFamily:
        return make_family("session_activity")


class TestSessionItems(FeatureFamilyConformance):
    def family(self) -> FeatureFamily:
        return make_family("session_items")


class TestCalendar(FeatureFamilyConformance):
    def family(self) -> FeatureFamily:
        return make_family("calendar")


class TestPastWindows(FeatureFamilyConformance):
    def family(self) -> FeatureFamily:
        return make_family("past_windows")


class TestPastWindowsOfUsers(FeatureFamilyConformance):
    """Of windows of two and a half days, of how many events."""

    def family(self) -> FeatureFamily:
        return make_family("past_windows").for_label(FutureEvents(Entity.USER, ("view", "purchase"), "count", 2.5))


class TestWindowsAhead(FeatureFamilyConformance):
    def family(self) -> FeatureFamily:
        return make_family("windows_ahead")


def test_past_windows_of_what_does_not_add_up_are_refused() -> None:
    with pytest.raises(ConfigError, match="the task predicts something else"):
        make_family("past_windows").for_label(FutureEvents(Entity.USER, ("purchase",), "none", 30.0))


def test_every_registered_family_is_tested_here() -> None:
    tested = {kind().family().name for name, kind in globals().items() if name.startswith("Test")}
    assert tested == set(FAMILIES)


def test_a_name_with_a_typing_error_gets_the_right_one() -> None:
    with pytest.raises(ConfigError, match=r"no feature family 'user_activty'\. Did you mean 'user_activity'\?"):
        make_family("user_activty")


@pytest.mark.parametrize(
    ("source", "reference", "said"),
    [
        ("x = 1", "mood_a:Mood", "module mood_a has no 'Mood'"),
        ("def Mood():\n    raise ValueError('too sad')", "mood_b:Mood", r"raised ValueError: too sad \(mood_b.py, line 2\)"),
        ("Mood = 3", "mood_c:Mood", "is a int, where a FeatureFamily is expected"),
        ("def Mood():\n    return 3", "mood_d:Mood", "gave a int, where a FeatureFamily is expected"),
        ("import nowhere_at_all", "mood_e:Mood", "raised ModuleNotFoundError"),
        ("1 / 0", "mood_f:Mood", "raised ZeroDivisionError"),
        ("", "mood_of_nobody:Mood", "there is no module 'mood_of_nobody'"),
        ("", "mood:", "is not a Python reference"),
    ],
)
def test_a_hook_that_is_none_is_refused_in_a_sentence(tmp_path: Path, source: str, reference: str, said: str) -> None:
    if source:
        (tmp_path / f"{reference.partition(':')[0]}.py").write_text(source)
    with pytest.raises(ConfigError, match=said):
        make_family(reference, tmp_path)
