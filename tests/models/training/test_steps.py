"""What makes training steps quick changes nothing of what they compute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cartwheel.core.errors import ConfigError
from models.families.dlrm.model import CATEGORICAL, CONTINUOUS, LABEL, DLRMLearner, build_dlrm
from models.families.dlrm.settings import DLRMSettings
from models.families.two_tower.model import TwoTowerLearner, build_two_tower, item_probabilities
from models.families.two_tower.settings import TwoTowerSettings
from models.training.loop import fit
from models.training.tables import read_sizes, read_table
from workflows.features.columns import ITEM, QUERY

BATCH = 64


def dlrm_learner(run: Path, name: str = "ranking", **settings: Any) -> DLRMLearner:
    folder = run / "features/train" / name
    sizes = read_sizes(folder)
    train = read_table(folder, (*CATEGORICAL, *CONTINUOUS[name], LABEL), sizes)
    return DLRMLearner(build_dlrm(name, DLRMSettings(batch_size=BATCH, **settings), sizes, 1), train, None)


def two_tower_learner(run: Path, **settings: Any) -> TwoTowerLearner:
    folder = run / "features/train/recommend"
    sizes = read_sizes(folder)
    train = read_table(folder, (*QUERY, *ITEM), sizes)
    given = TwoTowerSettings(batch_size=BATCH, embedding_dimension=8, dimension=8, hidden=(8,), **settings)
    tower = build_two_tower(given, sizes, 1, item_probabilities(train, sizes["item_id"]))
    return TwoTowerLearner(tower, train, None, None)


def weights_after(learner: Any, at_once: int, steps: int = 6) -> tuple[Any, list[Any]]:
    rng = np.random.default_rng(5)
    rows = rng.permutation(learner.examples)[: steps * BATCH].reshape(steps, BATCH)
    losses = [learner.steps(rows[first : first + at_once], rng) for first in range(0, steps, at_once)]
    return np.concatenate(losses), [variable.numpy() for variable in learner.variables]


@pytest.mark.parametrize("name", ["ranking", "cart"])
@pytest.mark.parametrize("l2", [0.0, 0.5])
def test_the_graph_of_a_training_step_is_merlins_model(small_run: Path, name: str, l2: float) -> None:
    from cartwheel.merlin_compat import tf

    learner = dlrm_learner(small_run, name, embedding_l2=l2)
    dlrm, rng = learner.dlrm, np.random.default_rng(0)
    for variable in dlrm.variables:  # the head and the linear part start at nought, where gradients vanish
        variable.assign(rng.normal(0, 0.3, variable.shape))
    columns = {column: rng.integers(dlrm.sizes[column], size=(BATCH, 1)).astype(np.int32) for column in CATEGORICAL}
    columns |= {column: rng.normal(size=(BATCH, 1)).astype(np.float32) for column in CONTINUOUS[name]}
    labels = rng.integers(2, size=BATCH).astype(np.float32)
    with tf.GradientTape() as tape:
        theirs = dlrm.merlin(columns, training=True)
        losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=labels[:, None], logits=theirs)
        their_loss = tf.add_n([tf.reduce_mean(losses), *dlrm.merlin.losses])
    expected = tape.gradient(their_loss, dlrm.variables)
    with tf.GradientTape() as tape:
        packed = [np.concatenate([columns[c] for c in part], axis=1) for part in (dlrm.parts.columns, dlrm.parts.continuous)]
        our_loss, ours = learner.loss(*packed, labels)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert float(our_loss) == pytest.approx(float(their_loss), rel=1e-5)
    for found, wanted, variable in zip(tape.gradient(our_loss, dlrm.variables), expected, dlrm.variables, strict=True):
        dense = tf.convert_to_tensor(wanted)
        np.testing.assert_allclose(tf.convert_to_tensor(found), dense, atol=1e-5, err_msg=variable.name)
        assert np.abs(dense).max() > 0


@pytest.mark.parametrize(
    "make",
    [
        dlrm_learner,
        two_tower_learner,
        lambda run: two_tower_learner(run, uniform_negatives=20, dropout=0.1),
        lambda run: two_tower_learner(run, hard_negatives=20),
    ],
    ids=["dlrm", "two-tower", "two-tower with uniform negatives", "two-tower with hard negatives"],
)
def test_how_many_steps_are_taken_at_once_changes_nothing(small_run: Path, make: Any) -> None:
    losses, weights = weights_after(make(small_run), 1)
    losses_at_once, weights_at_once = weights_after(make(small_run), 4)
    assert np.isfinite(losses).all()
    assert len(set(losses.tolist())) == len(losses)
    np.testing.assert_array_equal(losses, losses_at_once)
    for one, other in zip(weights, weights_at_once, strict=True):
        np.testing.assert_array_equal(one, other)


def prepared(optimizer: Any, variables: list[Any]) -> Any:
    """Make the moments, which a compiled step must not."""
    _ = optimizer.iterations
    optimizer._create_all_weights(variables)
    return optimizer


def test_lazy_adam_is_merlins_to_the_last_bit() -> None:
    from cartwheel.merlin_compat import mm, tf
    from models.training.loop import lazy_adam

    def trained(make: Any) -> Any:
        rng = np.random.default_rng(0)
        variables = [
            tf.Variable(tf.ones(shape)) for shape in ([50, 4], [4, 3], [900, 4], [30, 6], [70, 4], [20])
        ]  # the second is dense

        @tf.function  # type: ignore[untyped-decorator]
        def step(gradients: Any) -> None:
            optimizer.apply_gradients(zip(gradients, variables, strict=True))

        optimizer = make(variables)
        for count in (40, 2_000, 3, 40, 40):
            gradients = []
            for number, variable in enumerate(variables):
                length, *width = variable.shape
                values = tf.constant(rng.normal(size=(length if number == 1 else count, *width)), tf.float32)
                rows = tf.constant(rng.integers(length, size=count), tf.int32 if number else tf.int64)  # some of them twice
                gradients.append(values if number == 1 else tf.IndexedSlices(values, rows, tf.constant([length, *width])))
            step(gradients)
        return [*(variable.numpy() for variable in variables), *optimizer.get_weights()]

    ours, theirs = (
        trained(lambda variables: lazy_adam(0.01, variables)),
        trained(lambda given: prepared(mm.LazyAdam(0.01), given)),
    )
    assert len(ours) == len(theirs) == 6 + 1 + 12
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_step_that_diverged_is_named_though_others_followed(small_run: Path, tmp_path: Path) -> None:
    learner = dlrm_learner(small_run)
    given = learner.steps

    def steps(rows: Any, rng: Any) -> Any:
        losses = given(rows, rng)
        losses[3:] = np.nan
        return losses

    learner.steps = steps  # type: ignore[method-assign]
    with pytest.raises(ConfigError, match=r"nan in epoch 1, step 4,"):
        fit(learner, learner.dlrm.settings, 1, tmp_path, "x")
