"""The example tables of a run while they are made: each is in its file as soon as it is made, so that memory holds one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import polars as pl

from cartwheel.core.run_layout import ExamplesLayout
from workflows.tasks.split import SplitName


class ExampleTables(Mapping[tuple[SplitName, str], pl.LazyFrame]):
    """Example tables by (split, task), each read from its file.

    Args:
        layout: the folder that the files are written to.
    """

    def __init__(self, layout: ExamplesLayout) -> None:
        self._layout = layout
        self._rows: dict[tuple[SplitName, str], int] = {}

    def add(self, split: SplitName, task: str, table: pl.DataFrame) -> None:
        """Write a table."""
        file = self._layout.table(split, task)
        file.parent.mkdir(parents=True, exist_ok=True)
        table.write_parquet(file)
        self._rows[split, task] = len(table)

    def leave_out(self, *tasks: str) -> None:
        """Take the tables of some tasks away again, in every split."""
        for split, task in [name for name in self._rows if name[1] in tasks]:
            self._layout.table(split, task).unlink()
            del self._rows[split, task]

    def rows(self, split: SplitName) -> dict[str, int]:
        """Return how many rows each table of a split has, by task."""
        return {task: rows for (of, task), rows in self._rows.items() if of == split}

    def __getitem__(self, name: tuple[SplitName, str]) -> pl.LazyFrame:
        """Return a table, of which nothing is read before it is asked for.

        Raises:
            KeyError: if there is none of this name.
        """
        if name not in self._rows:
            raise KeyError(name)
        return pl.scan_parquet(self._layout.table(*name))

    def __iter__(self) -> Iterator[tuple[SplitName, str]]:
        """Go through the names, in the order in which the tables were made."""
        return iter(self._rows)

    def __len__(self) -> int:
        """Return how many tables there are."""
        return len(self._rows)
