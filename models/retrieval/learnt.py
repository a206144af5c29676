"""Neighbour tables and factor models, fitted on the events before a split, a window or the end of the log."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cartwheel.core.run_layout import SNAPSHOT, RunLayout
from models.families.factors.fit_scores import factor_scores, unfitted_factors
from models.families.factors.scores import FactorScores
from models.families.kept import Keepable, keep
from models.families.neighbours.sequential_rules import SequentialRules
from models.families.neighbours.table import Neighbours
from models.families.neighbours.top_k_per_row import top_k_per_row
from models.families.recommender import ItemToItem, Recommender
from models.families.registry import BASELINES, EASE, ItemKNN
from models.metrics.ranking import Ints
from models.questions.interactions import Interactions
from models.questions.run_log import catalogue_codes, split_start

EASE_ITEMS: Final = 5_000
"""The most popular items, which are all that EASE learns: its time grows with their cube, and it is learnt up to five times."""
_JUDGED: Final = "test"
"""The split whose baselines are evaluated: what they share with the sum is kept for them."""


def learners(most: int) -> Mapping[str, Callable[[], ItemToItem]]:
    """Return name -> the model that is fitted, for ``most`` neighbours; discounted rules hold back what follows everything."""
    return {
        "item_knn": lambda: ItemKNN(neighbours=most),
        "ease": lambda: EASE(max_items=EASE_ITEMS),
        "sequential_rules": lambda: SequentialRules(discount=0.0),
        "discounted_rules": SequentialRules,
    }


@dataclass(frozen=True)
class Learnt:
    """Learns what precedes a split or a window over its catalogue.

    Attributes:
        run: run directory.
        log: all its interactions.
        most: neighbours of an item.
        seed: of the factor models.
    """

    run: Path
    log: Interactions
    most: int
    seed: int
    _before: dict[str, tuple[Interactions, Ints]] = field(default_factory=dict, repr=False, compare=False)

    def table(self, split: str, name: str) -> Neighbours:
        """Return the table of one learner."""
        model, (before, columns) = learners(self.most)[name](), self._of(split)
        self._fit(model, before, split, name)
        matrix: Any = model.similarities(self.most)
        return Neighbours.from_matrix(top_k_per_row(matrix[columns][:, columns].tocsr(), self.most), self.most)

    def factors(self, split: str, name: str) -> FactorScores:
        """Return a factor model."""
        before, columns = self._of(split)
        model = unfitted_factors(name, before, self.seed)
        self._fit(model, before, split, name)
        return factor_scores(model, before, columns)

    def _fit(self, model: Recommender, before: Interactions, split: str, name: str) -> None:
        """Fit a model, and keep what it has learnt where a baseline of the same parameters is evaluated later."""
        model.fit(before)
        if split != _JUDGED or name not in BASELINES or not isinstance(model, Keepable):
            return
        judged = BASELINES[name](self.seed)
        if isinstance(judged, Keepable) and judged.parameters(before) == model.parameters(before):
            keep(RunLayout(self.run).item_to_item.learnt(split, name), model, before)

    def _of(self, split: str) -> tuple[Interactions, Ints]:
        """Return the interactions before a split, and the code of each item of its catalogue."""
        if split not in self._before:
            self._before.clear()  # who asks goes from split to split, and a long log fills the memory
            layout = RunLayout(self.run)
            path = layout.snapshot("items") if split == SNAPSHOT else layout.examples(split, "catalogue")
            log = self.log if split == SNAPSHOT else self.log.take(self.log.time < split_start(self.run, split))
            self._before[split] = log, catalogue_codes(path, self.log)
        return self._before[split]
