"""Autoencoder: anomalies are rows that a network with a bottleneck, trained on normal rows, cannot reconstruct.

M. Sakurada and T. Yairi, "Anomaly Detection Using Autoencoders with Nonlinear Dimensionality Reduction", MLSDA 2014,
https://doi.org/10.1145/2689746.2689747; the network is scikit-learn's.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
from onnx import TensorProto
from pydantic import Field

from cartwheel.core.settings import Settings
from models.families.family import Floats, Tune
from models.families.rows.anomaly import AnomalyLearner, Detector
from models.families.rows.design import Matrix
from models.families.rows.ops import NumpyOps, OnnxOps, Ops
from models.families.rows.weights import read_weights, write_weights
from workflows.compiler.onnx_graph import GraphBuilder


class AutoencoderSettings(Settings):
    """Settings of an autoencoder."""

    width: Annotated[int, Field(ge=1, le=512)] = 16
    """Units of the layers before and after the bottleneck."""
    narrow: Annotated[int, Field(ge=1, le=256), Tune(2, 32, log=True)] = 6
    """Units of the bottleneck."""
    epochs: Annotated[int, Field(ge=1)] = 40
    """Maximum number of passes over the rows; early stopping on a held-out tenth ends sooner."""
    rows: Annotated[int, Field(ge=100)] = 50_000
    """Maximum number of training rows, drawn with the seed."""


@dataclass
class Reconstruction(Detector):
    """A network from a row to itself.

    Attributes:
        weights: ``w0``, ``b0``, ``w1``, ... of the layers, float32.
    """

    weights: dict[str, npt.NDArray[np.float32]]

    def strangeness(self, rows: Matrix) -> Floats:
        """Return [n] the logarithm of one and the mean squared difference between a row and what the network gives back."""
        return np.asarray(np.log1p(self._error(NumpyOps(self.weights), rows.astype(np.float64)))[:, 0], np.float64)

    def add(self, graph: GraphBuilder, rows: str) -> str:
        """Add the network, in float64: what the error says of the label may weigh a thousand times what it is."""
        exact = graph.add("Cast", rows, to=TensorProto.DOUBLE)
        error = self._error(OnnxOps(graph, self.weights, np.float64), exact)
        return graph.add("Log", graph.add("Add", error, graph.constant(1.0, np.float64)))

    def _error(self, ops: Ops, rows: Any) -> Any:
        """Return the mean squared error of each row, ``[B, 1]``."""
        layers, value = len(self.weights) // 2, rows
        for place in range(layers):
            value = ops.add(ops.matmul(value, ops.weight(f"w{place}")), ops.weight(f"b{place}"))
            value = value if place == layers - 1 else ops.relu(value)
        apart = ops.add(rows, ops.multiply(value, ops.number(-1.0)))
        width = self.weights[f"b{layers - 1}"].shape[0]
        return ops.reshape(ops.multiply(ops.total(ops.multiply(apart, apart), 1), ops.number(1.0 / width)), -1, 1)

    def save(self, folder: Path) -> None:
        """Write the weights."""
        write_weights(folder, self.weights)


class AutoencoderLearner(AnomalyLearner[AutoencoderSettings]):
    """Trains a network that gives usual rows back."""

    name: ClassVar[str] = "autoencoder"
    title: ClassVar[str] = "autoencoder"
    settings: ClassVar[type[Settings]] = AutoencoderSettings

    def detector(self, usual: Matrix, seed: int) -> Reconstruction:
        """Train the network."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPRegressor

        config = self.config
        rows = usual[np.sort(np.random.default_rng(seed).permutation(len(usual))[: config.rows])].astype(np.float64)
        shape = (config.width, config.narrow, config.width)
        network = MLPRegressor(
            hidden_layer_sizes=shape,
            max_iter=config.epochs,
            early_stopping=len(rows) >= 100,
            n_iter_no_change=10,
            learning_rate_init=0.003,
            random_state=seed,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            network.fit(rows, rows if rows.shape[1] > 1 else rows[:, 0])
        weights = {f"w{place}": each.astype(np.float32) for place, each in enumerate(network.coefs_)}
        return Reconstruction(
            {**weights, **{f"b{place}": each.astype(np.float32) for place, each in enumerate(network.intercepts_)}}
        )

    def read(self, folder: Path) -> Reconstruction:
        """Read the weights."""
        return Reconstruction(read_weights(folder))
