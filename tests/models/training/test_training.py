from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cartwheel.core.errors import ConfigError, RunError
from cartwheel.core.run_layout import ModelLayout
from models.training.loop import drop_ids, fit, load_weights, remove_checkpoint, save_weights
from models.training.settings import TrainingSettings
from models.training.tables import NULL_ID, OOV_ID, PADDING_ID


class Variable:
    """As much of a TensorFlow variable as the loop uses."""

    def __init__(self, value: Any) -> None:
        self.value = np.asarray(value, dtype=np.float64)

    @property
    def shape(self) -> Any:
        return self.value.shape

    def numpy(self) -> Any:
        return self.value.copy()

    def assign(self, value: Any) -> None:
        self.value = np.array(value)


class Momentum:
    """An optimizer with a state of its own, which a resumed training must restore."""

    def __init__(self) -> None:
        self.state = np.zeros(1)

    def get_weights(self) -> Any:
        return [self.state]

    def set_weights(self, weights: Any) -> None:
        self.state = weights[0]


class Toy:
    """Learns the sum of the rows seen, with noise; validation follows a script."""

    title = "toy"
    examples = 100

    def __init__(self, scores: Any = (), interrupt_at: Any = None, loss: Any = 1.0) -> None:
        self.variables, self.optimizer = [Variable([0.0])], Momentum()
        self.scores, self.calls, self.interrupt_at, self.loss = list(scores), 0, interrupt_at, loss

    def steps(self, rows: Any, rng: np.random.Generator) -> Any:
        for step in rows:
            self.calls += 1
            if self.calls == self.interrupt_at:
                raise KeyboardInterrupt
            self.optimizer.state = 0.9 * self.optimizer.state + step.sum() * rng.random()
            self.variables[0].assign(self.variables[0].numpy() + self.optimizer.state)
        return np.full(len(rows), self.loss)

    def validate(self) -> Any:
        return {"score": self.scores.pop(0)} if self.scores else {}


SETTINGS = TrainingSettings(epochs=6, patience=2, batch_size=10)


def test_the_best_weights_are_kept(tmp_path: Path) -> None:
    toy, best = Toy([1.0, 3.0, 2.0, 2.5]), Toy([1.0, 3.0])
    history = fit(toy, SETTINGS, 0, tmp_path / "a", "x")
    assert (history.best_epoch, len(history.epochs), history.stopped_early) == (1, 4, True)
    fit(best, TrainingSettings(epochs=2, batch_size=10), 0, tmp_path / "b", "x")
    assert toy.variables[0].numpy() == best.variables[0].numpy()


def test_without_validation_the_last_weights_are_kept(tmp_path: Path) -> None:
    history = fit(Toy(), SETTINGS, 0, tmp_path, "x")
    assert (history.best_epoch, history.stopped_early) == (5, False)


def test_a_killed_training_ends_as_if_it_was_not(tmp_path: Path) -> None:
    whole = Toy()
    expected = fit(whole, SETTINGS, 0, tmp_path / "whole", "x")
    with pytest.raises(KeyboardInterrupt):
        fit(Toy(interrupt_at=35), SETTINGS, 0, tmp_path / "killed", "x")
    resumed = Toy()
    history = fit(resumed, SETTINGS, 0, tmp_path / "killed", "x")
    assert resumed.calls == 30  # three epochs were done
    assert resumed.variables[0].numpy() == whole.variables[0].numpy()
    assert history == expected


def test_a_checkpoint_of_other_data_or_a_damaged_one_is_not_used(tmp_path: Path) -> None:
    fit(Toy(), SETTINGS, 0, tmp_path, "x")
    again = Toy()
    fit(again, SETTINGS, 0, tmp_path, "other")
    assert again.calls == 60
    (ModelLayout(tmp_path).checkpoint / "state.npz").write_bytes(b"half a file")
    third = Toy()
    fit(third, SETTINGS, 0, tmp_path, "other")
    assert third.calls == 60
    wider = Toy()
    wider.variables = [Variable([0.0, 0.0])]
    fit(wider, SETTINGS, 0, tmp_path, "other")
    assert wider.calls == 60
    remove_checkpoint(tmp_path)
    remove_checkpoint(tmp_path)
    assert not (ModelLayout(tmp_path).checkpoint).exists()


def test_nan_loss_names_the_setting_to_change(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nan in epoch 1, step 1.*Lower toy\.learning_rate, now 0\.003"):
        fit(Toy(loss=float("nan")), SETTINGS, 0, tmp_path, "x")


def test_fewer_examples_than_a_batch(tmp_path: Path) -> None:
    toy = Toy()
    fit(toy, TrainingSettings(epochs=2, batch_size=4096), 0, tmp_path, "x")
    assert toy.calls == 2


def test_dropped_ids() -> None:
    ids = np.full((20_000, 1), 7, np.int32)
    recents = np.tile(np.array([7, 8, PADDING_ID], np.int32), (20_000, 1))
    columns = {"user_id": ids, "item_id": ids, "recent_items": recents, "hour": ids}
    dropped = drop_ids(columns, 0.2, np.random.default_rng(0))
    assert dropped["hour"] is ids
    assert np.mean(dropped["item_id"] == OOV_ID) == pytest.approx(0.2, abs=0.01)
    assert np.mean(dropped["user_id"] == OOV_ID) == pytest.approx(0.1, abs=0.01)
    assert np.mean(dropped["user_id"] == NULL_ID) == pytest.approx(0.1, abs=0.01)
    assert (dropped["recent_items"][:, 2] == PADDING_ID).all()
    assert np.mean(dropped["recent_items"][:, :2] == OOV_ID) == pytest.approx(0.2, abs=0.01)
    assert (ids == 7).all()
    same = drop_ids(columns, 0.2, np.random.default_rng(0))
    assert all((same[name] == dropped[name]).all() for name in columns)
    assert drop_ids(columns, 0.0, np.random.default_rng(0))["item_id"] is ids


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    save_weights(tmp_path, [Variable([1.0, 2.0])])
    variable = Variable([0.0, 0.0])
    load_weights(tmp_path, [variable])
    assert variable.numpy().tolist() == [1.0, 2.0]
    with pytest.raises(RunError, match="shapes"):
        load_weights(tmp_path, [Variable([0.0])])
    (tmp_path / "weights.npz").write_bytes(b"")
    with pytest.raises(RunError, match="cannot be read"):
        load_weights(tmp_path, [variable])


def test_the_mean_of_the_latest_epochs_is_judged_and_kept_and_training_goes_on_from_its_own(tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"epochs": 4, "average_epochs": 3})
    each, judged = list[Any](), list[Any]()

    class Seen(Toy):
        def validate(self) -> Any:
            judged.append(self.variables[0].numpy())
            return super().validate()

    for epochs in range(1, 5):
        plain = Toy()
        fit(plain, settings.model_copy(update={"epochs": epochs, "average_epochs": 1}), 0, tmp_path / str(epochs), "x")
        each.append(plain.variables[0].numpy())
    toy = Seen([1.0, 4.0, 2.0, 3.0])
    history = fit(toy, settings, 0, tmp_path / "mean", "x")
    expected = [np.mean(each[max(0, epoch - 2) : epoch + 1], axis=0) for epoch in range(4)]
    np.testing.assert_allclose(judged, expected)
    assert history.best_epoch == 1
    np.testing.assert_allclose(toy.variables[0].numpy(), expected[1])


def test_a_mean_is_the_same_where_training_was_interrupted(tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"epochs": 5, "average_epochs": 3})
    whole, killed, resumed = Toy(), Toy(interrupt_at=37), Toy()
    fit(whole, settings, 0, tmp_path / "whole", "x")
    with pytest.raises(KeyboardInterrupt):
        fit(killed, settings, 0, tmp_path / "killed", "x")
    fit(resumed, settings, 0, tmp_path / "killed", "x")
    assert resumed.calls == 50 - 30
    np.testing.assert_array_equal(resumed.variables[0].numpy(), whole.variables[0].numpy())
