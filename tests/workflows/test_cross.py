"""Cross features by hand, and the same whether paired or broadcast."""

from __future__ import annotations

import numpy as np
import pytest

from workflows.features import columns
from workflows.features.pair import MISSING, PADDING, cross_features

NAN = float("nan")


def test_values_by_hand() -> None:
    recent = np.array([[1, 2, 1, MISSING], [1, PADDING, PADDING, PADDING], [PADDING] * 4])
    found = cross_features(
        recent, recent, np.array([10.0, NAN, 5.0]), np.array([1, 1, 1]), np.array([MISSING, 2, 1]), np.array([20.0, 20.0, 0.0])
    )
    assert tuple(found) == columns.CROSS
    assert found["category_affinity"].tolist() == [0.5, 1.0, 0.0]
    assert found["brand_affinity"].tolist() == [0.0, 0.0, 0.0]
    assert found["price_gap"][0] == pytest.approx(np.log(2), rel=1e-6)
    assert np.isnan(found["price_gap"][1:]).all()
    assert all(values.dtype == np.float32 for values in found.values())


def test_broadcasting_gives_what_pairs_give() -> None:
    rng = np.random.default_rng(0)
    recent, brands = rng.integers(-1, 4, (2, 5, 1, 6))
    price, category, brand, item_price = (
        rng.random((5, 1)),
        rng.integers(0, 4, (1, 7)),
        rng.integers(0, 4, (1, 7)),
        rng.random((1, 7)),
    )
    every = cross_features(recent, brands, price, category, brand, item_price)
    for name, values in every.items():
        assert values.shape == (5, 7)
        for query in range(5):
            one = np.full(7, query)
            paired = cross_features(recent[one, 0], brands[one, 0], price[one, 0], category[0], brand[0], item_price[0])
            np.testing.assert_array_equal(values[query], paired[name])
