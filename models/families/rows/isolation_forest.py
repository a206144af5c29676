"""Isolation forest: anomalies are rows that few random splits isolate.

F. T. Liu, K. M. Ting and Z.-H. Zhou, "Isolation Forest", ICDM 2008, https://doi.org/10.1109/ICDM.2008.17; the trees are scikit-learn's.
A row's path lengths are rounded to a 1,024th, so that their sum over trees is exact in float32 and a server answers as the model does.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final

import numpy as np
import numpy.typing as npt
from onnx import TensorProto
from pydantic import Field

from cartwheel.core.settings import Settings
from models.families.family import Floats, Tune
from models.families.rows.anomaly import AnomalyLearner, Detector
from models.families.rows.design import Matrix
from models.families.rows.weights import read_weights, write_weights
from workflows.compiler.onnx_graph import GraphBuilder

Ints = npt.NDArray[np.int64]
_STEP: Final = 1024.0
_EULER: Final = 0.5772156649015329


class IsolationForestSettings(Settings):
    """Settings of an isolation forest."""

    trees: Annotated[int, Field(ge=10, le=500)] = 100
    """Number of random trees over the normal rows."""
    rows_a_tree: Annotated[int, Field(ge=2, le=4096), Tune(32, 2048, log=True)] = 256
    """Number of rows per tree, drawn with the seed."""


@dataclass
class Forest(Detector):
    """Trees as flat arrays over all nodes [N] of all trees, children by their place.

    Attributes:
        roots: [T] int64, the first node of each tree.
        feature: [N] int64, what a node splits on; -1 of a leaf.
        threshold: [N] float32; a row goes left where its value is at most this.
        left: [N] int64.
        right: [N] int64.
        length: [N] float64, of a leaf the expected path length of a row in it.
        usual: mean path length of a row in a random tree of so many rows, which lengths are measured in.
        depth: splits on the longest path.
    """

    roots: Ints
    feature: Ints
    threshold: npt.NDArray[np.float32]
    left: Ints
    right: Ints
    length: Floats
    usual: float
    depth: int

    def strangeness(self, rows: Matrix) -> Floats:
        """Return [n] 2 to the power of -(mean path length / usual one): near 1 where few splits set a row apart."""
        total, every = np.zeros(len(rows)), np.arange(len(rows))
        for root in self.roots:
            node = np.full(len(rows), root)
            for _ in range(self.depth):
                feature = self.feature[node]
                below = rows[every, np.maximum(feature, 0)] <= self.threshold[node]
                node = np.where(feature < 0, node, np.where(below, self.left[node], self.right[node]))
            total += self.length[node]
        return np.asarray(np.exp2(-total / (len(self.roots) * self.usual)), np.float64)

    def add(self, graph: GraphBuilder, rows: str) -> str:
        """Add a ``TreeEnsembleRegressor`` that sums path lengths."""
        tree = np.repeat(np.arange(len(self.roots)), np.diff([*self.roots, len(self.feature)]))
        place = np.arange(len(self.feature)) - self.roots[tree]
        leaf = self.feature < 0
        summed = graph.add(
            "TreeEnsembleRegressor",
            rows,
            domain="ai.onnx.ml",
            n_targets=1,
            aggregate_function="SUM",
            nodes_treeids=tree.tolist(),
            nodes_nodeids=place.tolist(),
            nodes_featureids=np.maximum(self.feature, 0).tolist(),
            nodes_modes=["LEAF" if each else "BRANCH_LEQ" for each in leaf],
            nodes_values=[float(each) for each in self.threshold],
            nodes_truenodeids=np.where(leaf, 0, self.left - self.roots[tree]).tolist(),
            nodes_falsenodeids=np.where(leaf, 0, self.right - self.roots[tree]).tolist(),
            target_treeids=tree[leaf].tolist(),
            target_nodeids=place[leaf].tolist(),
            target_ids=[0] * int(leaf.sum()),
            target_weights=[float(each) for each in self.length[leaf]],
        )
        scale = graph.constant(-1.0 / (len(self.roots) * self.usual), np.float64)
        power = graph.add("Mul", graph.add("Cast", summed, to=TensorProto.DOUBLE), scale)
        return graph.add("Exp", graph.add("Mul", power, graph.constant(np.log(2.0), np.float64)))

    def save(self, folder: Path) -> None:
        """Write the arrays."""
        write_weights(folder, {name: np.asarray(value) for name, value in vars(self).items()})


class IsolationForestLearner(AnomalyLearner[IsolationForestSettings]):
    """Grows random trees over usual rows."""

    name: ClassVar[str] = "isolation_forest"
    title: ClassVar[str] = "isolation forest"
    settings: ClassVar[type[Settings]] = IsolationForestSettings

    def detector(self, usual: Matrix, seed: int) -> Forest:
        """Grow the trees."""
        from sklearn.ensemble import IsolationForest

        rows = min(self.config.rows_a_tree, len(usual))
        grown = IsolationForest(n_estimators=self.config.trees, max_samples=rows, random_state=seed, n_jobs=1).fit(usual)
        trees: list[Any] = [each.tree_ for each in grown.estimators_]
        roots = np.cumsum([0, *(tree.node_count for tree in trees)])
        joined: dict[str, list[Any]] = {"feature": [], "threshold": [], "left": [], "right": [], "length": []}
        for start, tree in zip(roots, trees, strict=False):
            leaf = tree.children_left < 0
            joined["feature"].append(np.where(leaf, -1, tree.feature))
            joined["threshold"].append(np.where(leaf, np.float32(0.0), _down(tree.threshold)))
            joined["left"].append(np.where(leaf, 0, tree.children_left + start))
            joined["right"].append(np.where(leaf, 0, tree.children_right + start))
            joined["length"].append(np.where(leaf, np.round((_depths(tree) + _usual(tree.n_node_samples)) * _STEP) / _STEP, 0.0))
        flat = {name: np.concatenate(parts) for name, parts in joined.items()}
        usual_length = max(float(_usual(np.array([rows]))[0]), 1.0)
        return Forest(roots[:-1], **flat, usual=usual_length, depth=max(int(tree.max_depth) for tree in trees))

    def read(self, folder: Path) -> Forest:
        """Read the arrays."""
        held = read_weights(folder)
        return Forest(**{**held, "usual": float(held["usual"]), "depth": int(held["depth"])})


def _down(threshold: Floats) -> npt.NDArray[np.float32]:
    """Return the largest float32 that is at most each threshold, which sends every float32 value the same way."""
    rounded = threshold.astype(np.float32)
    return np.where(rounded.astype(np.float64) > threshold, np.nextafter(rounded, np.float32(-np.inf)), rounded)


def _depths(tree: Any) -> Floats:
    """Return [nodes] the splits above each node."""
    depth = np.zeros(tree.node_count)
    for node in range(tree.node_count):  # a parent stands before its children
        if tree.children_left[node] >= 0:
            depth[[tree.children_left[node], tree.children_right[node]]] = depth[node] + 1
    return depth


def _usual(rows: Any) -> Floats:
    """Return [n] the mean path length of an unsuccessful search among so many rows (equation 1 of the paper)."""
    many = np.maximum(np.asarray(rows, np.float64), 3.0)
    found = 2.0 * (np.log(many - 1.0) + _EULER) - 2.0 * (many - 1.0) / many
    return np.asarray(np.where(np.asarray(rows) <= 1, 0.0, np.where(np.asarray(rows) == 2, 1.0, found)), np.float64)
