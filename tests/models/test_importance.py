"""Permutation importance: what the score uses counts, what it ignores does not."""

import numpy as np
import pytest

from evaluation.importance import permutation_importance

N = 4_000


def columns() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {name: generator.normal(size=N) for name in ("ignored", "weak", "strong")}


def label(inputs: dict[str, np.ndarray]) -> np.ndarray:
    return (inputs["strong"] + 0.3 * inputs["weak"] > 0).astype(np.int64)


def test_inputs_come_by_how_much_the_order_rests_on_them() -> None:
    inputs = columns()
    found = permutation_importance(lambda each: each["strong"] + 0.3 * each["weak"], inputs, label(inputs), seed=1)
    assert [each.column for each in found] == ["strong", "weak", "ignored"]
    # Shuffled, the score has the correlation r = 0.09 / 1.09 with what decides; its ROC AUC is then about Phi(r * 2 / sqrt(pi)) = 0.537.
    assert found[0].drop == pytest.approx(1 - 0.537, abs=0.02)
    assert found[2].drop == found[2].least == found[2].most == 0.0
    assert all(each.least <= each.drop <= each.most for each in found)


def test_an_input_that_does_harm_is_below_zero() -> None:
    inputs = columns()
    found = permutation_importance(lambda each: each["strong"] + each["ignored"], inputs, label(inputs), seed=1)
    assert found[-1].column == "ignored"
    harmful = permutation_importance(lambda each: each["weak"] - each["strong"], inputs, label(inputs), seed=1)
    assert harmful[-1].column == "strong"
    assert harmful[-1].drop < -0.2


def test_one_seed_gives_one_answer() -> None:
    inputs = columns()
    twice = [permutation_importance(lambda each: each["strong"] * each["weak"], inputs, label(inputs), seed=3) for _ in range(2)]
    assert twice[0] == twice[1]


def test_lists_are_shuffled_by_rows() -> None:
    lists = np.arange(12).reshape(6, 2)
    rows: list[set[tuple[int, ...]]] = []

    def score(each: dict[str, np.ndarray]) -> np.ndarray:
        rows.append({tuple(row) for row in each["lists"].tolist()})
        return each["lists"][:, 0].astype(float)

    permutation_importance(score, {"lists": lists}, np.array([0, 0, 0, 1, 1, 1]), seed=1)
    assert all(found == {tuple(row) for row in lists.tolist()} for found in rows)
