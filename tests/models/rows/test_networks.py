"""Networks of rows; that NumPy, ONNX and the trained weights agree is the suite's, that TensorFlow trains the same network is held here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest

from cartwheel.core.errors import DataError
from cartwheel.core.onnx_model import OnnxModel
from cartwheel.testing import LearnerConformance
from cartwheel.testing.learner import COLUMNS, encoded, sizes_of, training_data
from models.families.rows.dlrm import RowDLRMLearner
from models.families.rows.mlp import MLPLearner
from models.families.rows.network import Draw, Network, NetworkLearner, Shape
from models.families.rows.ops import NumpyOps, TensorFlowOps
from models.families.rows.sequence import SequenceLearner, SequenceSettings
from models.metrics.classification import roc_auc
from workflows.features.column import Column, Kind, Owner
from workflows.tasks.task import Answer

QUICK: Mapping[str, Any] = {"epochs": 10, "learning_rate": 0.006, "id_dropout": 0.02}


class TestMLP(LearnerConformance):
    learner = MLPLearner
    settings: ClassVar[Mapping[str, Any]] = QUICK


class TestDLRM(LearnerConformance):
    learner = RowDLRMLearner
    settings: ClassVar[Mapping[str, Any]] = QUICK


class TestSequence(LearnerConformance):
    learner = SequenceLearner
    settings: ClassVar[Mapping[str, Any]] = {**QUICK, "epochs": 8}


ENCODERS = ("gru", "lstm", "cnn", "attention")
FAMILIES: tuple[tuple[type[NetworkLearner[Any]], dict[str, Any]], ...] = (
    (MLPLearner, {}),
    (RowDLRMLearner, {}),
    *((SequenceLearner, {"encoder": encoder}) for encoder in ENCODERS),
)


@pytest.mark.parametrize(("family", "settings"), FAMILIES)
def test_tensorflow_trains_and_onnx_serves_the_network_that_numpy_scores(
    family: type[NetworkLearner[Any]], settings: dict[str, Any]
) -> None:
    from cartwheel.merlin_compat import tf

    learner, table = family(family.settings(dropout=0.0, **settings)), encoded(COLUMNS, 50, 0)
    shape = Shape(COLUMNS, sizes_of(COLUMNS), learner.config)
    rng = np.random.default_rng(0)
    weights = {name: value + rng.normal(size=value.shape) * 0.1 for name, value in learner.initial(shape, Draw(rng)).items()}
    weights["bias"] = np.array([0.3])
    inputs = table.batch(slice(None), [column.name for column in COLUMNS])
    found = learner.forward(NumpyOps(weights), shape, inputs)
    variables = {name: tf.constant(value, tf.float32) for name, value in weights.items()}
    trained = learner.forward(
        TensorFlowOps(variables, tf.constant([1, 2])), shape, {k: tf.constant(v) for k, v in inputs.items()}
    )
    np.testing.assert_allclose(trained.numpy(), found, rtol=1e-5, atol=1e-5)
    network = Network(shape, learner.forward, weights, None)
    served = OnnxModel(network.onnx().SerializeToString()).table(table.columns, "score")
    np.testing.assert_allclose(served, found, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_padding_changes_no_answer_and_order_does(encoder: str) -> None:
    short, long = (Column("recent", Owner.SHOPPER, Kind.ID_LIST, "recent items", width=width) for width in (4, 7))
    learner = SequenceLearner(SequenceSettings(encoder=encoder))  # type: ignore[arg-type]
    shapes = [Shape((column,), {"recent": 12}, learner.config) for column in (short, long)]
    weights = learner.initial(shapes[1], Draw(np.random.default_rng(0)))
    weights = {name: value * (30 if name.startswith("table") else 1) for name, value in weights.items()}
    weights["bias"] = np.zeros(1, np.float32)
    ids = np.array([[3, 4, 5, 0], [5, 4, 3, 0], [3, 4, 5, 9], [0, 0, 0, 0]])
    own = {**weights, "recent/places": weights["recent/places"][:4]} if encoder == "attention" else weights
    first = learner.forward(NumpyOps(own), shapes[0], {"recent": ids})
    padded = learner.forward(NumpyOps(weights), shapes[1], {"recent": np.pad(ids, ((0, 0), (0, 3)))})
    np.testing.assert_allclose(first, padded, rtol=1e-12)
    assert abs(first[0, 0] - first[1, 0]) > 1e-6
    assert abs(first[0, 0] - first[2, 0]) > 1e-6
    assert np.isfinite(first).all()


def test_a_sequence_network_needs_a_list_in_order() -> None:
    data = training_data([column for column in COLUMNS if column.kind is not Kind.ID_LIST], Answer.PROBABILITY)
    with pytest.raises(DataError, match="needs a column of kind id_list"):
        SequenceLearner().fit(data, 0)


@pytest.mark.parametrize(
    "encoder", ["gru", "cnn", *(pytest.param(each, marks=pytest.mark.thorough) for each in ("lstm", "attention"))]
)
def test_what_only_the_order_of_a_list_tells_is_learnt(encoder: str) -> None:
    """The label is whether an odd item came before the first even one, which no bag of items tells."""
    column = Column("recent", Owner.SHOPPER, Kind.ID_LIST, "recent items", width=4)
    data = training_data((column,), Answer.PROBABILITY, 1500)
    labels = [
        ((table["recent"][:, 0] % 2 == 1) & (table["recent"][:, 1] % 2 == 0)).astype(float) for table in (data.train, data.valid)
    ]
    data = replace(data, label=labels[0], valid_label=labels[1])
    settings = SequenceSettings(encoder=encoder, epochs=20, learning_rate=0.01, id_dropout=0.0)  # type: ignore[arg-type]
    score = SequenceLearner(settings).fit(data, 0).scores(data.valid)
    assert roc_auc(labels[1].astype(np.int64), score) > 0.95


def test_dropout_leaves_out_its_share_and_only_in_training() -> None:
    from cartwheel.merlin_compat import tf

    value = tf.ones([200, 50])
    ops = TensorFlowOps({}, tf.constant([1, 2]))
    first, second = ops.dropout(value, 0.3).numpy(), ops.dropout(value, 0.3).numpy()
    assert (first == 0).mean() == pytest.approx(0.3, abs=0.02)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(TensorFlowOps({}, tf.constant([1, 2])).dropout(value, 0.3).numpy(), first)
    np.testing.assert_array_equal(NumpyOps({}).dropout(value.numpy(), 0.3), value.numpy())
