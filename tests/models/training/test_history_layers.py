"""The layers that read a padded list, by themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cartwheel.merlin_compat import tf


def plain(number: int) -> Any:
    from models.families.two_tower.history_layers import StepDropout

    return StepDropout(0.0, tf.Variable([0, 0], dtype=tf.int32), number)


def state_of(history: Any) -> Any:
    from models.families.two_tower.history_layers import sequence_state

    tf.keras.utils.set_random_seed(1)
    return sequence_state(history, 8, 2, 2, plain)


def embedded(ids: Any) -> list[Any]:
    """Fixed embeddings of the ids, and of two more columns of them."""
    rng = np.random.default_rng(0)
    return [tf.gather(rng.normal(size=(20, width)).astype(np.float32), ids) for width in (8, 2, 2)]


@pytest.mark.parametrize("history", ["attention", "gru"])
def test_the_state_of_an_empty_list_is_zero(history: Any) -> None:
    ids = np.array([[3, 4, 5], [0, 0, 0]])
    found = state_of(history)(ids, embedded(ids)).numpy()
    assert found.shape == (2, 8)
    assert np.abs(found[0]).max() > 0.01
    assert (found[1] == 0).all()


@pytest.mark.parametrize("history", ["attention", "gru"])
def test_order_matters_and_padding_does_not(history: Any) -> None:
    state = state_of(history)
    ids = np.array([[3, 4, 5, 6, 0, 0], [4, 3, 5, 6, 0, 0], [3, 4, 5, 6, 0, 0]])
    vectors = embedded(ids)
    vectors[0] = tf.concat([vectors[0][:2], vectors[0][2:] + 5.0 * tf.cast(ids[2:] == 0, tf.float32)[:, :, None]], axis=0)
    found = state(ids, vectors).numpy()
    assert np.abs(found[0] - found[1]).max() > 1e-4
    np.testing.assert_allclose(found[0], found[2], atol=1e-6)  # whatever stands in the padding
    short = ids[:, :4]
    np.testing.assert_allclose(state(short, embedded(short)).numpy(), found, atol=1e-6)


def test_pooling_is_a_mean_and_the_last() -> None:
    from models.families.two_tower.history_layers import RecencyPooling

    pooling = RecencyPooling()
    ids = np.array([[3, 4, 0], [0, 0, 0], [7, 8, 9]])
    expected = [[[0.5, 0.5, 0], [0, 1, 0]], [[0, 0, 0], [0, 0, 0]], [[1 / 3, 1 / 3, 1 / 3], [0, 0, 1]]]
    np.testing.assert_allclose(pooling(ids).numpy(), expected, atol=1e-6)
    pooling.age_logits.assign(np.where(np.arange(256) == 1, np.log(3.0), 0.0))  # age 1 weighs thrice
    np.testing.assert_allclose(pooling(ids).numpy()[[0, 2], 0], [[0.75, 0.25, 0], [0.2, 0.6, 0.2]], atol=1e-6)


def test_dropout_follows_its_seed_and_is_for_training() -> None:
    from models.families.two_tower.history_layers import StepDropout

    seed, ones = tf.Variable([1, 2], dtype=tf.int32), tf.ones([100, 100])
    first, second = StepDropout(0.25, seed, 0), StepDropout(0.25, seed, 1)
    dropped = first(ones, training=True).numpy()
    assert np.mean(dropped == 0) == pytest.approx(0.25, abs=0.02)
    np.testing.assert_allclose(dropped[dropped > 0], 4 / 3, rtol=1e-6)
    np.testing.assert_array_equal(first(ones, training=True), dropped)
    assert (second(ones, training=True).numpy() != dropped).any()
    seed.assign([1, 3])
    assert (first(ones, training=True).numpy() != dropped).any()
    np.testing.assert_array_equal(first(ones), ones)
