"""Prices that a request tells count as an export's would that had them, in ranking and in carts; and nothing changes where none is told."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from cartwheel.core.onnx_model import OnnxModel, open_session
from serving.ensembles.registry import contract
from serving.ensembles.served import ShopParts
from serving.export.repository import read_shop
from serving.local import LocalRepository
from serving.pieces.cart import cart_graph
from serving.pieces.rank import rank_graph
from serving.settings import ExportSettings
from workflows.compiler.onnx_graph import ENCODED_SUFFIX

SET = {3: 2.5, 7: 99.0, 8: float("nan"), 11: 0.0}
"""Catalogue index -> what it costs now."""


@pytest.fixture(scope="module")
def parts(run: Path) -> ShopParts:
    return read_shop(run, ExportSettings(), 60)


def with_prices(parts: ShopParts) -> ShopParts:
    """The same shop, exported when the prices had been set: what was encoded of them is encoded anew."""
    catalogue = parts.snapshot.catalogue
    prices, continuous = catalogue.prices.copy(), catalogue.continuous.copy()
    encode = OnnxModel(parts.models.item.SerializeToString())
    for place, price in SET.items():
        prices[place] = price
        if np.isnan(price):
            continue
        told: dict[str, Any] = {"item_price": price, "item_price_ratio": price / catalogue.usual_prices[place]}
        feeds = {
            name: np.array([[told.get(name, 0.0)]], np.float32)
            if kind is np.float32
            else np.array([[""]], dtype=object)
            for name, kind in encode.inputs.items()
        }  # fmt: skip
        made = encode.run(feeds)
        for name in told:
            continuous[place, catalogue.features.item_continuous.index(name)] = made[name + ENCODED_SUFFIX].item()
    changed = dataclasses.replace(catalogue, prices=prices, continuous=continuous)
    return dataclasses.replace(parts, snapshot=dataclasses.replace(parts.snapshot, catalogue=changed))


class Step:
    """A step, which is given also what a request may leave out."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._session = open_session(model.SerializeToString())

    def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        names = [output.name for output in self._session.get_outputs()]
        return dict(zip(names, self._session.run(names, feeds), strict=True))


def given(rows: int) -> dict[str, np.ndarray]:
    places = np.array([[place + 1 for place in SET] + [0, 0]] * rows, np.int32)
    return {"priced_now": places, "prices_now": np.array([[*SET.values(), 5.0, 7.0]] * rows, np.float32)}


def test_ranking_is_that_of_an_export_with_these_prices(parts: ShopParts, local: LocalRepository) -> None:
    step = next(model for model in contract(parts.sizes).models if model.name == "recommend_rank")
    encoded = local.run("recommend_encode", {"user_id": np.array([["u1"], ["u4"], [""]], dtype=object)})
    read = next(model for model in contract(parts.sizes).models if model.name == "recommend_retrieve").inputs
    found = {**encoded, **local.run("recommend_retrieve", {tensor.name: encoded[tensor.name] for tensor in read})}
    feeds = {tensor.name: found[tensor.name] for tensor in step.inputs if tensor.name in found}
    assert {3, 7, 8, 11} <= set(found["candidates"].ravel().tolist())
    width = parts.sizes.recents
    plain = Step(rank_graph(step, parts.snapshot.catalogue, parts.models.ranking, width))
    other = with_prices(parts)
    later = Step(rank_graph(step, other.snapshot.catalogue, other.models.ranking, width))
    before, now = plain.run(feeds)["ranking_scores"], plain.run({**feeds, **given(3)})["ranking_scores"]
    np.testing.assert_allclose(now, later.run(feeds)["ranking_scores"], rtol=1e-6, atol=1e-6)
    moved = np.isin(found["candidates"], [3, 7, 11]) & np.isfinite(before)
    assert (now[moved] != before[moved]).any()
    same = ~np.isin(found["candidates"], list(SET))
    np.testing.assert_array_equal(now[same], before[same], err_msg="others stay as they are, to the last bit")
    nothing = {"priced_now": np.zeros((3, 2), np.int32), "prices_now": np.ones((3, 2), np.float32)}
    np.testing.assert_array_equal(plain.run({**feeds, **nothing})["ranking_scores"], before)


def test_carts_are_those_of_an_export_with_these_prices(parts: ShopParts, local: LocalRepository) -> None:
    step = next(model for model in contract(parts.sizes).models if model.name == "cart_score")
    ids = parts.snapshot.catalogue.ids
    lines = np.array([[ids[3], ids[8], ids[20]], [ids[7], ids[11], ""]], dtype=object)
    who = {"user_id": np.array([["u1"], [""]], dtype=object), "recent_items": np.array([[ids[5]], [ids[6]]], dtype=object)}
    found = local.run("recommend_encode", {**who, "cart_items": lines})
    feeds = {tensor.name: found[tensor.name] for tensor in step.inputs if tensor.name in found}
    other = with_prices(parts)
    assert parts.models.cart is not None
    width = parts.sizes.recents
    plain = Step(cart_graph(step, parts.snapshot.catalogue, parts.models.cart, width))
    later = Step(cart_graph(step, other.snapshot.catalogue, parts.models.cart, width))
    wanted, now, before = later.run(feeds), plain.run({**feeds, **given(2)}), plain.run(feeds)
    for name in ("line_probability", "cart_probability"):
        np.testing.assert_allclose(now[name], wanted[name], rtol=1e-5, atol=1e-6)
    assert not np.array_equal(now["line_probability"], before["line_probability"], equal_nan=True)
