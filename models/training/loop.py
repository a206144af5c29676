"""One fit loop for every trained model: seeds, early stopping with the best weights, progress, and resumption.

All randomness of an epoch (the order of the examples, the dropped ids) comes from a generator seeded with
``(seed, epoch)``, so an epoch is the same whether or not the process was killed before it.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from cartwheel.core.errors import ConfigError, RunError
from cartwheel.core.files import atomic_path
from cartwheel.core.progress import progress
from cartwheel.core.run_layout import ModelLayout
from models.training.settings import TrainingSettings
from models.training.tables import NULL_ID, OOV_ID, PADDING_ID, Array

_EARLIER: Final = "earlier"
_ROWS_AT_ONCE: Final = 1 << 15
"""Examples whose steps are taken in one call of TensorFlow: enough that the call costs little, and few enough to see progress."""
Weights = Sequence[Array]
"""The value of each variable of a model, in their order."""
DROPPED: Final = ("user_id", "item_id", "recent_items")
"""Columns whose ids are dropped in training."""


class Learner(Protocol):
    """What the fit loop needs of a model."""

    @property
    def title(self) -> str:
        """The model's name."""

    @property
    def examples(self) -> int:
        """How many training examples there are."""

    @property
    def variables(self) -> Sequence[Any]:
        """The weights, in a fixed order."""

    @property
    def optimizer(self) -> Any:
        """A Keras optimizer whose slots exist already."""

    def steps(self, rows: Array, rng: np.random.Generator) -> Array:
        """Take some steps, one after the other.

        Args:
            rows: ``[S, B]`` the training examples that each learns from.
            rng: decides all that is random in them, in the order of the steps: how many are taken at once changes nothing.

        Returns:
            float32 ``[S]``, the mean loss of each.
        """

    def validate(self) -> dict[str, float]:
        """Return validation figures, the deciding one as ``score`` (higher is better); empty without validation rows."""


@dataclass
class History:
    """What happened in training.

    Attributes:
        epochs: one record an epoch: ``epoch`` (from 0), ``loss`` and the validation figures.
        best_epoch: the epoch whose weights were kept.
        stopped_early: whether training ended because validation no longer improved.
    """

    epochs: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = -1
    stopped_early: bool = False

    @property
    def best(self) -> dict[str, float]:
        """The record of the best epoch."""
        return self.epochs[self.best_epoch]

    def content(self) -> dict[str, Any]:
        """Return what ``history.json`` holds."""
        return asdict(self)


def fit(learner: Learner, settings: TrainingSettings, seed: int, folder: Path, fingerprint: str, doing: str = "train") -> History:
    """Train until validation stops improving, and leave the best weights in the learner's variables.

    Args:
        learner: the model with its data.
        settings: epochs, patience and batch size.
        seed: fixes the order of examples and every drop-out.
        folder: the model's folder; the state after each epoch is kept in its ``.checkpoint``.
        fingerprint: a checkpoint with another fingerprint (other data, settings or seed) is not resumed.
        doing: what the progress calls it.

    Weights are judged, and kept, as the mean of what they were after each of the last ``settings.average_epochs`` epochs (Izmailov et al.,
    "Averaging weights leads to wider optima and better generalization", UAI 2018, https://arxiv.org/abs/1803.05407); training itself goes
    on from where it was.

    Returns:
        The history, of the epochs before an interruption too.

    Raises:
        ConfigError: if the loss becomes NaN or infinite.
    """
    state = ModelLayout(folder).checkpoint / "state.npz"
    history, best, latest = _resume(learner, state, fingerprint)
    batch = min(settings.batch_size, learner.examples)
    steps = learner.examples // batch
    at_once = max(1, _ROWS_AT_ONCE // batch)
    with progress(f"{doing} {learner.title}", settings.epochs * steps) as advance:
        if history.epochs:
            advance(len(history.epochs) * steps, "resumed")
        while not history.stopped_early and len(history.epochs) < settings.epochs:
            epoch = len(history.epochs)
            rng = np.random.default_rng([seed, epoch])
            order = rng.permutation(learner.examples)[: steps * batch].reshape(steps, batch)
            total = 0.0
            for first in range(0, steps, at_once):
                losses = learner.steps(order[first : first + at_once], rng)
                for step, loss in enumerate(losses.tolist(), start=first):
                    if not math.isfinite(loss):
                        raise _diverged(learner.title, epoch, step, loss, settings)
                    total += loss
                advance(len(losses), f"epoch {epoch + 1}/{settings.epochs} loss {total / (first + len(losses)):.4f}")
            latest = [*latest, values_of(learner.variables)][-settings.average_epochs :]
            mean = latest[-1] if len(latest) == 1 else [sum(parts) / len(latest) for parts in zip(*latest, strict=True)]
            assign(learner.variables, mean)
            if _record(history, epoch, total / steps, learner.validate(), settings.patience):
                best = mean
            assign(learner.variables, latest[-1])
            _save(learner, best, latest[:-1], history, state, fingerprint)
    assign(learner.variables, best)
    return history


def lazy_adam(learning_rate: float, variables: Sequence[Any]) -> Any:
    """Return Merlin's lazy Adam, which touches only the embeddings of a batch, with its moments already made.

    Made later, they would have the training step traced twice, and could not be restored from a checkpoint before it.
    """
    from models.training.lazy_adam import LazyAdam

    optimizer = LazyAdam(learning_rate)
    _ = optimizer.iterations
    optimizer._create_all_weights(list(variables))
    return optimizer


def in_turn(learn: Callable[..., Any]) -> Any:
    """Compile a training step into a function that takes several, one after the other, without coming back to Python in between.

    Args:
        learn: one step's tensors -> its loss, a scalar.

    Returns:
        A function of the same tensors of all steps, each with an axis for the steps in front; it returns their losses ``[S]``.
    """
    from cartwheel.merlin_compat import tf

    def every(*stacked: Any) -> Any:
        count = tf.shape(stacked[0])[0]
        losses = tf.TensorArray(tf.float32, count)

        def body(step: Any, kept: Any) -> Any:
            return step + 1, kept.write(step, learn(*(values[step] for values in stacked)))

        return tf.while_loop(lambda step, _: step < count, body, (0, losses), parallel_iterations=1)[1].stack()

    return tf.function(every, autograph=False, reduce_retracing=True)


def drop_ids(columns: Mapping[str, Array], rate: float, rng: np.random.Generator) -> dict[str, Array]:
    """Replace a share of the user and item ids by the out-of-vocabulary id, so that its embedding is learnt.

    Half of the dropped users become the null id instead: the shopper who is not known at all. Padding stays padding.

    Args:
        columns: a batch, ``[B, 1]`` or ``[B, L]`` ids.
        rate: share of the ids to drop.
        rng: decides which.

    Returns:
        The batch with new arrays for the columns of ``DROPPED``.
    """
    dropped = dict(columns)
    for name in DROPPED if rate > 0 else ():
        if name not in columns:
            continue
        ids = columns[name]
        chance = rng.random(ids.shape, dtype=np.float32)
        stranger = np.where(chance < rate / 2, NULL_ID, OOV_ID) if name == "user_id" else OOV_ID
        dropped[name] = np.where((chance < rate) & (ids != PADDING_ID), stranger, ids).astype(ids.dtype)
    return dropped


def forget_strangers(ids: Array, before: Array, user: int, own: Sequence[int]) -> None:
    """Take from shoppers whose id became the null id their own columns too, in place: a server knows neither of a stranger.

    They get the out-of-vocabulary id, which is what a missing value is encoded as where no training row lacks it.

    Args:
        ids: ``[B, columns]`` ids after ``drop_ids``.
        before: ``[B]`` user ids before it.
        user: the column of user ids.
        own: the columns of the shop's own ids of shoppers.
    """
    nobody = (ids[:, user] == NULL_ID) & (before != NULL_ID)
    for column in own:
        ids[nobody, column] = OOV_ID


def remove_checkpoint(folder: Path) -> None:
    """Forget the state of a training whose outputs are all written."""
    shutil.rmtree(ModelLayout(folder).checkpoint, ignore_errors=True)


def save_weights(folder: Path, variables: Sequence[Any]) -> None:
    """Write a model's weights to ``weights.npz``, in the order of its variables."""
    with atomic_path(ModelLayout(folder).weights) as aside, aside.open("wb") as stream:
        np.savez(stream, **{f"{number:04d}": variable.numpy() for number, variable in enumerate(variables)})


def load_weights(folder: Path, variables: Sequence[Any]) -> None:
    """Put the weights of ``weights.npz`` into a model of the same shape.

    Raises:
        RunError: if the file is missing, unreadable or of another model.
    """
    path = ModelLayout(folder).weights
    try:
        with np.load(path) as stored:
            values = [stored[name] for name in sorted(stored.files)]
    except Exception as error:  # zipfile, numpy and the file system each raise their own
        raise RunError(f"{path} cannot be read ({error}).", "Train the model again.") from error
    found, expected = [value.shape for value in values], [tuple(variable.shape) for variable in variables]
    if found != expected:
        raise RunError(f"{path} holds arrays of shapes {found}, but config.json describes {expected}.", "Train the model again.")
    assign(variables, values)


def _record(history: History, epoch: int, loss: float, figures: dict[str, float], patience: int) -> bool:
    """Append an epoch; return whether it is the best so far (the latest one where there is no validation)."""
    history.epochs.append({"epoch": epoch, "loss": loss, **figures})
    better = not figures or history.best_epoch < 0 or figures["score"] > history.best["score"]
    if better:
        history.best_epoch = epoch
    history.stopped_early = epoch - history.best_epoch >= patience
    return better


def _diverged(title: str, epoch: int, step: int, loss: float, settings: TrainingSettings) -> ConfigError:
    return ConfigError(
        f"Training of {title}: the loss became {loss} in epoch {epoch + 1}, step {step + 1}, where a finite number is expected.",
        f"Lower {title}.learning_rate, now {settings.learning_rate}.",
    )


def _save(learner: Learner, best: Weights, earlier: Sequence[Weights], history: History, path: Path, fingerprint: str) -> None:
    parts = {"model": values_of(learner.variables), "best": best, "optimizer": learner.optimizer.get_weights()}
    parts |= {f"{_EARLIER}{number}": values for number, values in enumerate(earlier)}
    arrays = {f"{part}_{n:04d}": np.asarray(value) for part, values in parts.items() for n, value in enumerate(values)}
    about = json.dumps({"fingerprint": fingerprint, "history": history.content()})
    with atomic_path(path) as aside, aside.open("wb") as stream:
        np.savez(stream, about=np.array(about), **arrays)


def _resume(learner: Learner, path: Path, fingerprint: str) -> tuple[History, Weights, list[Weights]]:
    """Restore the state of an interrupted training of the same model on the same data, if there is one.

    Returns:
        The history, the best weights, and those after each of the latest epochs; of a training that begins there are none.
    """
    fresh = History(), values_of(learner.variables), list[Weights]()
    try:
        with np.load(path) as stored:
            about = json.loads(str(stored["about"]))
            if about["fingerprint"] != fingerprint:
                return fresh
            parts: dict[str, list[Array]] = {}
            for name in sorted(stored.files):
                parts.setdefault(name.rpartition("_")[0], []).append(stored[name])
    except FileNotFoundError:
        return fresh
    except Exception:  # noqa: BLE001  a damaged checkpoint costs time, never the run
        return fresh
    if [value.shape for value in parts["model"]] != [tuple(variable.shape) for variable in learner.variables]:
        return fresh  # of another version of the model
    assign(learner.variables, parts["model"])
    learner.optimizer.set_weights(parts["optimizer"])
    earlier = [parts[name] for name in sorted(parts) if name.startswith(_EARLIER)]
    return History(**about["history"]), parts["best"], [*earlier, parts["model"]]


def values_of(variables: Sequence[Any]) -> list[Array]:
    """Return a copy of each variable's value."""
    return [variable.numpy() for variable in variables]


def assign(variables: Sequence[Any], values: Sequence[Array]) -> None:
    """Give each variable its value."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
