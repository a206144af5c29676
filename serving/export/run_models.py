"""The compiled feature graphs and trained models of a run, as serving composes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from cartwheel.core.errors import RunError
from cartwheel.core.onnx_model import OnnxModel
from cartwheel.core.run_layout import ModelLayout, RunLayout
from cartwheel.core.tables import read_json, read_table
from models.retrieval.fusion import read_fusion
from models.retrieval.retriever import retrieval_model
from serving.ensembles.served import RunModels
from serving.export.neighbours import read_served_blend
from serving.export.onnx_files import read_onnx
from serving.export.ranker import read_ranker
from serving.export.run_files import item_ids, strings
from serving.pieces.cart import CartModels, Floats
from serving.pieces.rank import RankingModels
from serving.pieces.retrieve import RetrievalModels
from workflows.compiler.onnx_graph import ENCODED_SUFFIX
from workflows.features.columns import FORMS, ITEM_CONTINUOUS, SIZES
from workflows.features.feature_set import FeatureSet


def read_models(run: Path) -> RunModels:
    """Read the ONNX files of a run.

    Raises:
        RunError: if one is missing or no ONNX.
    """
    layout = RunLayout(run)
    cross = read_onnx(layout.graph("cross"))
    fusion = read_fusion(layout.model("ranking").path)
    items, recents = len(item_ids(run)), int(read_json(layout.state)["recent_items"])
    blend = read_served_blend(run, items, recents)
    logits, lists = read_onnx(layout.model("ranking").scores), read_ranker(run, fusion, items, recents)
    item = read_onnx(layout.graph("item"))
    ranking = RankingModels(cross, logits, fusion.retrieval_weight, fusion.ranks, lists, item)
    return RunModels(
        query=read_onnx(layout.graph("query")),
        item=item,
        retrieval=RetrievalModels(
            read_onnx(retrieval_model(run).query), blend.bases, blend.tables, blend.factor_models(_users(run))
        ),
        ranking=ranking,
        cart=_read_cart(run, cross, item) if layout.model("cart").scores.exists() else None,
    )


def _users(run: Path) -> list[str]:
    return strings(read_table(RunLayout(run).snapshot("users"))["user_id"])


def _read_cart(run: Path, cross: onnx.ModelProto, item: onnx.ModelProto) -> CartModels:
    model = RunLayout(run).model("cart")
    slopes, intercepts, heads, biases = read_calibration(model)
    lines = read_onnx(model.scores)
    return CartModels(cross, read_onnx(RunLayout(run).graph("cart")), lines, slopes, intercepts, heads, biases, item)


def read_calibration(model: ModelLayout) -> tuple[Floats, Floats, Floats, Floats]:
    """Read how the cart model's logits become probabilities in each form of request and size of cart.

    Args:
        model: the files of the cart model.

    Returns:
        Slopes and intercepts of lines, [forms, sizes] each; weights [forms, sizes, 3] and biases [forms, sizes] of carts, those of carts of
        one line being their line's; float32.

    Raises:
        RunError: if a file is missing or lacks a form or a size.
    """
    calibration, head = read_json(model.calibration), read_json(model.head)
    try:
        lines = [[calibration["forms"][form][size] for size in SIZES] for form in FORMS]
        carts = [head["forms"][form] for form in FORMS]
        slopes, intercepts = (
            np.array([[own[name] for own in row] for row in lines], np.float32) for name in ("slope", "intercept")
        )
        weights, biases = (np.array([own[name] for own in carts], np.float32) for name in ("weights", "bias"))
    except KeyError as error:
        raise RunError(f"{model.path}: its calibration has no {error}.", "Run `cartwheel train` again.") from None
    of_line = np.stack([slopes[:, 0], np.zeros_like(slopes[:, 0]), np.zeros_like(slopes[:, 0])], axis=1)
    return slopes, intercepts, np.stack([of_line, weights], axis=1), np.stack([intercepts[:, 0], biases], axis=1)


def unknown_item(
    item: onnx.ModelProto, known: set[str], features: FeatureSet
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Encode an item of which nothing is known.

    Args:
        item: ``workflow/item.onnx``.
        known: all item ids, so that an id can be found that is none of them.
        features: the columns of the run.

    Returns:
        Its encoded ids and its encoded numbers, in the order of ``features``.
    """
    stranger = "?"
    while stranger in known:
        stranger += "?"
    feeds: dict[str, npt.NDArray[Any]] = {name: np.full((1, 1), 0.0, np.float32) for name in ITEM_CONTINUOUS}
    unknown = ("item_price", "item_price_ratio", *features.item_continuous[len(ITEM_CONTINUOUS) :])
    feeds.update({name: np.full((1, 1), np.nan, np.float32) for name in unknown})
    feeds.update({name: np.array([[stranger if name == "item_id" else ""]], dtype=object) for name in features.strings})
    encoded = OnnxModel(item.SerializeToString()).run(feeds)
    ids, numbers = (
        [encoded[name + ENCODED_SUFFIX].item() for name in names]
        for names in (features.item_categorical, features.item_continuous)
    )
    return np.array(ids, np.int64), np.array(numbers, np.float32)
