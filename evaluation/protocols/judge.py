"""Ranks the catalogue for each question under a protocol, a chunk of questions at a time, so that no [q, items] matrix is ever held."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evaluation.protocols.protocol import FullRanking, Protocol, SampledRanking
from evaluation.protocols.splits import Questions
from models.families.recommender import Recommender, Scores
from models.metrics.ranked_lists import Chunk, Judged, rank
from models.questions.interactions import Bools, Interactions, Ints


def judge(recommender: Recommender, questions: Questions, train: Interactions, protocol: Protocol, depth: int) -> Judged:
    """Ask a fitted recommender and find where the truth stands in its lists.

    Args:
        recommender: fitted on ``train``.
        questions: q questions with their answers.
        train: what the recommender learnt from.
        protocol: what competes, and the seed of what is drawn.
        depth: K, how long the lists are that diversity, coverage and examples look at.

    Returns:
        Placements exact in expectation over ties, and the lists, whose ties go to the lower item code.
    """
    competing = _competing(questions, train, protocol)

    def chunk(start: int, stop: int) -> Chunk:
        part = questions.take(np.arange(start, stop))
        scores = recommender.scores(part.queries)
        return Chunk(scores, part.truth_row, part.truth_item, part.n_truth, lambda each: competing.only(each, part, start))

    return rank(len(questions), train.items, depth, f"evaluate {recommender.name}", chunk, shared=recommender.shared)


@dataclass(frozen=True)
class _Competing:
    """What competes for the places of a list, beside what is hidden from it."""

    trained: Bools | None
    """[items] whether the item was trained on; None where that does not matter."""
    sample: Ints | None
    """[q, m] sampled items of each question, -1 where there were fewer; None for full ranking."""

    def only(self, scores: Scores, part: Questions, start: int) -> Scores:
        """Write ``-inf`` into ``scores`` for what does not compete in the questions ``part``, which begin at number ``start``."""
        if self.sample is not None:
            inside = np.zeros(scores.shape, bool)
            drawn = self.sample[start : start + len(part)]
            row, slot = np.nonzero(drawn >= 0)
            inside[row, drawn[row, slot]] = True
            inside[part.truth_row, part.truth_item] = True
            scores[~inside] = -np.inf
        if self.trained is not None:
            scores[:, ~self.trained] = -np.inf
        scores[part.hidden_row, part.hidden_item] = -np.inf
        return scores


def _competing(questions: Questions, train: Interactions, protocol: Protocol) -> _Competing:
    candidates = protocol.candidates
    if isinstance(candidates, FullRanking):
        trained = np.bincount(train.item, minlength=train.items) > 0
        return _Competing(trained if candidates.items == "trained" else None, None)
    return _Competing(None, sampled_competitors(questions, train, candidates, protocol.seed))


def sampled_competitors(questions: Questions, train: Interactions, candidates: SampledRanking, seed: int) -> Ints:
    """Draw items that each asker never turned to: neither in the history nor as an answer."""
    generator = np.random.default_rng(seed)
    weight = (
        np.bincount(train.item, minlength=train.items).astype(np.float64)
        if candidates.by == "popularity"
        else np.ones(train.items)
    )
    drawn = np.full((len(questions), candidates.negatives), -1, np.int64)
    truth_starts = np.searchsorted(questions.truth_row, np.arange(len(questions) + 1))
    starts = questions.queries.starts
    for row in range(len(questions)):
        allowed = weight.copy()
        allowed[questions.queries.history[starts[row] : starts[row + 1]]] = 0.0
        allowed[questions.truth_item[truth_starts[row] : truth_starts[row + 1]]] = 0.0
        number = min(candidates.negatives, int(np.count_nonzero(allowed)))
        # The items of the largest log(u) / w are a sample without replacement in proportion to w (Efraimidis and Spirakis, 2006).
        key = np.full(train.items, -np.inf)
        key[allowed > 0] = np.log(generator.random(int(np.count_nonzero(allowed)))) / allowed[allowed > 0]
        drawn[row, :number] = np.argpartition(-key, number - 1)[:number] if number else []
    return drawn
