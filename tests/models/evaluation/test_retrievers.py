"""What each retriever of a sum finds by itself."""

from pathlib import Path

import numpy as np
import pytest

from evaluation.report.details import Details, RetrieverShare, RetrieverTable
from evaluation.report.sections import retrievers
from evaluation.retrievers import retriever_table
from models.families.neighbours.blend import Base, Blend, TableShares
from models.families.neighbours.table import Neighbours
from models.metrics.ranking import Numbers
from models.questions.anchors import allowed, judge, read_anchors
from models.retrieval.retrieval import Retrieval

CANDIDATES, SUM = 5, "two_tower+item_to_item"


@pytest.fixture
def summed(own_run: Path) -> Path:
    """A run whose retrieval adds up the two-tower, popularity and a table in which each item goes with the three behind it."""
    blend = Blend((TableShares("ease", {1.0: 2.0}),), Base(1.0, (0.5, 0.0)), Base(1.0, (0.5, 0.0)))
    (own_run / "models/item_to_item").mkdir(exist_ok=True)
    blend.write(own_run)
    columns = (np.arange(60)[:, None] + np.arange(1, 4)) % 60
    Neighbours(columns.astype(np.int32), np.tile(np.float32([3, 2, 1]), (60, 1))).write(
        own_run / "models/item_to_item/test_ease.npz"
    )
    return own_run


def first(scores: Numbers, row: int, column: int) -> bool:
    """Whether an item is certainly among the first candidates."""
    return int((scores[row] >= scores[row, column]).sum()) <= CANDIDATES


def test_shares_are_counted(summed: Path) -> None:
    anchors = read_anchors(summed, "test")
    retrieval = Retrieval(summed, "test", anchors.row)
    told = retriever_table(retrieval, {SUM: judge(retrieval, anchors, 1, "sum")}, anchors, CANDIDATES)
    assert told is not None
    parts = retrieval.parts()
    assert [each.retriever for each in told.shares] == ["two_tower", "popularity", "ease"] == list(parts)
    assert told.sum.retriever == SUM
    scores = [allowed(scorer(anchors.row), anchors) for scorer in (*parts.values(), retrieval)]
    pairs = list(zip(anchors.truth_row.tolist(), anchors.truth_column.tolist(), strict=True))
    hits = np.array([[first(each, *pair) for pair in pairs] for each in scores])
    total = anchors.n_truth.sum()
    by = hits[:-1].sum(axis=0)
    for each, own in zip(told.shares, hits, strict=False):
        assert each.found == pytest.approx(own.sum() / total)
        assert each.only == pytest.approx((own & (by == 1)).sum() / total)
    assert told.sum.found == pytest.approx(hits[-1].sum() / total)
    assert told.sum.only == pytest.approx((hits[-1] & (by == 0)).sum() / total)
    assert told.none == pytest.approx(1 - hits.any(axis=0).sum() / total)
    assert any(each.only > 0 for each in told.shares), "the parts of this sum find different items"


def test_the_parts_add_up_to_the_sum(summed: Path) -> None:
    anchors = read_anchors(summed, "test")
    retrieval = Retrieval(summed, "test", anchors.row)
    total = sum(scorer(anchors.row).astype(np.float64) for scorer in retrieval.parts().values())
    np.testing.assert_allclose(total, retrieval(anchors.row), rtol=1e-4, atol=1e-5)


def test_one_retriever_has_no_table(own_run: Path) -> None:
    anchors = read_anchors(own_run, "test")
    retrieval = Retrieval(own_run, "test", anchors.row)
    assert retrieval.blend.alone
    assert retriever_table(retrieval, {"two_tower": judge(retrieval, anchors, 1, "alone")}, anchors, CANDIDATES) is None


def test_the_report_shows_them() -> None:
    told = RetrieverTable(
        candidates=200,
        truth=1234,
        shares=(RetrieverShare(retriever="ease", found=0.5, only=0.125),),
        sum=RetrieverShare(retriever="two_tower+item_to_item", found=0.625, only=0.0625),
        none=0.25,
    )
    page = "".join(retrievers(Details(retrievers=told)))
    for text in ("ease", "50.0%", "12.5%", "62.5%", "6.2%", "1,234", "25.0%"):
        assert text in page
    assert retrievers(Details()) == []
