"""What validation adds to the retrieval model, as ``models/item_to_item`` of a run holds it, over the catalogue that is served."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cartwheel.core.run_layout import SNAPSHOT, RunLayout
from cartwheel.core.tables import read_table
from models.families.factors.scores import FactorScores
from models.families.neighbours.blend import POPULARITY, Blend, log_popularity, read_blend
from models.families.neighbours.table import Neighbours
from serving.export.run_files import floats
from serving.pieces.retrieve import Bases, FactorModel
from serving.pieces.state import NeighbourTable


@dataclass(frozen=True)
class ServedBlend:
    """What a run adds to the scores of its retrieval model.

    Attributes:
        bases: what popularity adds and how much the model's own score counts; None where it retrieves alone.
        tables: the tables of neighbours.
        factors: factor models that count, and their weights [2], without a history and with one.
        names: what answers call the factor models.
    """

    bases: Bases | None
    tables: tuple[NeighbourTable, ...]
    factors: tuple[tuple[FactorScores, npt.NDArray[np.float32]], ...] = ()
    names: tuple[str, ...] = ()

    def factor_models(self, users: Sequence[str]) -> tuple[FactorModel, ...]:
        """Return the factor models over the rows of the snapshot's ``users``."""
        return tuple(
            FactorModel(model.over(users).query_model(), model.items, weight, name)
            for (model, weight), name in zip(self.factors, self.names, strict=True)
        )


def read_served_blend(run: Path, items: int, recents: int) -> ServedBlend:
    """Read the blend of a run.

    Args:
        run: run directory.
        items: N, size of the served catalogue.
        recents: L, most recent items of a query.

    Raises:
        RunError: if a file is corrupt or of another catalogue.
    """
    blend = read_blend(run)
    if blend.alone:
        return ServedBlend(None, ())
    files = RunLayout(run).item_to_item
    models = {name: FactorScores.read(files.factor_scores(SNAPSHOT, name), items) for name in blend.factors}
    bases = _bases(run, blend, {name: model.bias for name, model in models.items()})
    factors = tuple((model, blend.factors[name]) for name, model in models.items())
    return ServedBlend(bases, tuple(_tables(run, blend, items, recents)), factors, tuple(models))


def _bases(run: Path, blend: Blend, biases: Mapping[str, npt.NDArray[np.float32]]) -> Bases:
    snapshot = read_table(RunLayout(run).snapshot("items"))
    logs = log_popularity({name: floats(snapshot[name]) for name in POPULARITY})
    return Bases(blend.bases(logs, biases), blend.retrieval)


def _tables(run: Path, blend: Blend, items: int, recents: int) -> list[NeighbourTable]:
    tables = []
    for shares in blend.tables:
        columns, additions = served_table(run, shares.learner, items)
        tables.append(NeighbourTable(columns.astype(np.int64), additions, shares.by_age(recents)))
    return tables


def served_table(run: Path, learner: str, items: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Return the neighbours of N items and of the unknown one, [N + 1, K], and their additions; N and 0 where there is none."""
    table = Neighbours.read(RunLayout(run).item_to_item.neighbours(SNAPSHOT, learner), items)
    columns = np.pad(table.columns, ((0, 1), (0, 0)), constant_values=-1)
    additions = np.where(columns < 0, np.float32(0), np.pad(table.weights, ((0, 1), (0, 0))))
    return np.where(columns < 0, np.int32(items), columns), additions
