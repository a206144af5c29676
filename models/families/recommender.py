"""The interface of offline recommenders: fit on interactions, score the catalogue for a question."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt

from models.questions.interactions import Interactions, Queries

Scores = npt.NDArray[np.floating[Any]]


class Recommender(ABC):
    """A model that scores all items for each question.

    A recommender is a frozen or plain dataclass of its parameters; ``fit`` sets what it learns. Every one must

    - learn from the interactions it is given and nothing else, and answer from what it learnt and the question's own history;
    - answer a stranger (``user`` -1), an empty history, and items that it never saw, with finite scores;
    - order what it cannot tell apart by popularity in training, so that a question without a history gets the most popular items first
      (``models.families.popularity_order``): ties would make it a list at random;
    - answer alike whether questions come one by one or together;
    - be fixed by its ``seed`` where it draws at random.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """The field's name of the model in snake case, for example ``item_knn``."""

    @property
    def shared(self) -> bool:
        """Whether several threads may ask for ``scores`` at a time: yes where it only reads what ``fit`` has learnt.

        Not where it sets how many threads a library has, which all threads share, or draws in the order in which it is asked.
        """
        return True

    @abstractmethod
    def fit(self, interactions: Interactions) -> None:
        """Learn.

        Args:
            interactions: the training interactions; at least one.
        """

    @abstractmethod
    def scores(self, queries: Queries) -> Scores:
        """Score the catalogue.

        Args:
            queries: q questions.

        Returns:
            [q, items], finite, higher is better; float32 or float64; a new array, which the caller may write to. Seen items are
            scored like all others: the protocol decides whether they are left out.
        """


class ItemToItem(Recommender):
    """A recommender whose score is a sum over the items of the history (Linden et al., 2003, https://doi.org/10.1109/MIC.2003.1167344).

    So what it learnt is one number for each pair of items, and it can be served as a table; see ``models.families.neighbours.table``.
    """

    @abstractmethod
    def similarities(self, most: int) -> Any:
        """Return what an item of a history adds to the score of each other item.

        Args:
            most: keep so many of each item, the greatest.

        Returns:
            ``scipy.sparse.csr_matrix`` [items, items], row i for item i of a history; all above 0, nothing on the diagonal.
        """
