"""Recall of each retriever of the sum: the share of true items among its first candidates, and of those that none finds."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from evaluation.report.details import RetrieverShare, RetrieverTable
from models.metrics.ranked_lists import Judged
from models.questions.anchors import Anchors, judge
from models.retrieval.retrieval import Retrieval
from models.retrieval.retriever import blended, retriever


def retriever_table(retrieval: Retrieval, done: Mapping[str, Judged], anchors: Anchors, candidates: int) -> RetrieverTable | None:
    """Ask each retriever by itself for as many candidates as the sum hands on.

    A true item that is as good as others by a retriever's scores counts as found only if all of those are within the first candidates.

    Args:
        retrieval: the sum, over the anchors' split.
        done: what has been evaluated of the anchors already, the sum among it; a retriever that is there is not asked again.
        anchors: A anchors.
        candidates: C, how many candidates are handed on.

    Returns:
        The shares; None where the retrieval model retrieves alone, or there is no anchor.
    """
    if retrieval.blend.alone or not len(anchors):
        return None
    both, parts = blended(retriever(retrieval.run)), retrieval.parts()
    judged = (done.get(name) or judge(scorer, anchors, 1, f"candidates of {name}") for name, scorer in parts.items())
    found = np.stack([_found(each, candidates) for each in judged])
    by_sum, total = _found(done[both], candidates), int(anchors.n_truth.sum())
    by = found.sum(axis=0)
    shares = [
        RetrieverShare(retriever=name, found=float(own.sum()) / total, only=float((own & (by == 1)).sum()) / total)
        for name, own in zip(parts, found, strict=True)
    ]
    return RetrieverTable(
        candidates=candidates,
        truth=total,
        shares=tuple(shares),
        sum=RetrieverShare(
            retriever=both,
            found=float(by_sum.sum()) / total,
            only=float((by_sum & (by == 0)).sum()) / total,
        ),
        none=1.0 - float((by_sum | (by > 0)).sum()) / total,
    )


def _found(judged: Judged, candidates: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    place = judged.placement
    return np.asarray(place.above + place.tied <= candidates)
