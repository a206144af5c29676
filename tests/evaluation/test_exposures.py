"""Which exposure a click belongs to, and who is in an experiment."""

import numpy as np
import polars as pl
import pytest

from evaluation.off_policy.exposures import Exposure, clicked, entered, logged

HOUR = 3_600_000_000


def shown(at: float, user: str, *items: str, version: str = "old") -> Exposure:
    return Exposure(int(at * HOUR), f"{at}", version, user, items, (0.5,) * len(items), items, "")


def events(*rows: tuple[str, str, float]) -> pl.DataFrame:
    frame = pl.DataFrame(
        [(user, item, int(at * HOUR)) for user, item, at in rows], ["user_id", "item_id", "timestamp"], orient="row"
    )
    return frame.with_columns(pl.from_epoch("timestamp", "us"))


def test_a_click_belongs_to_the_latest_exposure_that_held_the_item() -> None:
    exposures = [shown(0, "u", "a", "b"), shown(1, "u", "b", "c"), shown(2, "v", "a"), shown(3, "u", "a")]
    found = clicked(exposures, events(("u", "b", 1.5), ("u", "a", 2.5), ("u", "c", 26.5), ("v", "a", 1.9), ("w", "a", 3)), 24)
    assert [rewards.tolist() for rewards in found] == [[1, 0], [1, 0], [0], [0]]


def test_rows_are_shown_items_with_what_the_target_would_have_shown_there() -> None:
    exposures = [shown(0, "u", "a", "b"), shown(1, "v", "b", "a")]
    log = logged(exposures, [np.array([1.0, 0.0]), np.array([0.0, 0.0])], [["a", "x"], ["a"]])
    assert log.target.tolist() == [1, 0, 0, 0]
    assert log.rewards.tolist() == [1, 0, 0, 0]
    assert log.weights.tolist() == [2, 0, 0, 0]
    assert log.shoppers.tolist() == ["u", "u", "v", "v"]


def test_a_shopper_counts_once_for_the_first_arm_when_the_window_has_closed() -> None:
    exposures = [
        shown(0, "u", "a"),
        shown(0.5, "v", "a", version="new"),
        shown(1, "u", "b"),
        shown(2, "u", "a", version="new"),
        shown(9, "late", "a"),
    ]
    rewards = [np.zeros(1), np.zeros(1), np.ones(1), np.ones(1), np.ones(1)]
    found = entered(exposures, rewards, 1, 10 * HOUR)
    assert found.versions == ["old", "new"]
    assert found.clicked.tolist() == [1, 0]
    assert found.crossed == 1


@pytest.mark.parametrize("hours", [0.5, 24])
def test_what_is_clicked_too_late_is_not_of_that_exposure(hours: float) -> None:
    found = clicked([shown(0, "u", "a")], events(("u", "a", 1)), hours)
    assert found[0].tolist() == [float(hours > 1)]
