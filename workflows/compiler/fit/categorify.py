"""The fitter of ``Categorify``: counts of values, and from them vocabularies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import polars as pl

from cartwheel.core.errors import DataError, UsageError
from workflows.compiler.fit.fitter import Fitter, Group, joined, members
from workflows.compiler.fit.vocabulary import COUNT, Limits, choose, read_vocabulary, write_vocabulary
from workflows.compiler.plan.types import ColumnType

_NUMBERING: Final = ("encode_type", "num_buckets", "name_sep", "single_table")  # options that old ids hang on


class FitCategorify(Fitter):
    """Counts, orders, writes.

    Attributes:
        earlier: an operator of the same place in an earlier workflow, whose values keep their ids; None numbers anew.
    """

    earlier: Any = None

    def check(self) -> None:
        """Take single columns, groups of columns of one kind ("joint"), and combinations of scalars ("combo").

        Raises:
            DataError: if a group mixes kinds, or combines lists.
            UsageError: if ``max_size`` leaves no room for a value.
        """
        operator = self.applied.operator
        if operator.encode_type == "joint" and len(set(self._all())) < len(self._all()):
            raise UsageError(f"Categorify jointly encodes {self.applied.groups}, in which a column is twice.", "Name each once.")
        for group in self._groups():
            types = [self.applied.type(name) for name in members(group)]
            if operator.encode_type == "combo":
                if len(types) > 1 and any(kind.is_list for kind in types):
                    raise DataError(f"Categorify combines {members(group)}, of which one is a list.", "Combine scalars.")
            elif len({_family(kind) for kind in types}) > 1:
                told = ", ".join(f"{name!r} {kind}" for name, kind in zip(members(group), types, strict=True))
                raise DataError(f"Categorify jointly encodes columns of different kinds: {told}.", "Cast them to one type.")
            _ = self._limits(group)

    def grow_from(self, earlier: Any) -> None:
        """Keep the ids of an earlier operator.

        Raises:
            UsageError: if an option differs on which ids hang.
        """
        operator = self.applied.operator
        if operator.single_table or earlier.single_table:
            raise UsageError(
                f"Categorify over {self.applied.names} numbers all columns in one table, where ids cannot stay as columns grow.",
                "Use single_table=False, or fit without the earlier workflow.",
            )
        for option in _NUMBERING:
            old, new = getattr(earlier, option), getattr(operator, option)
            if old != new:
                raise UsageError(
                    f"Categorify over {self.applied.names} has {option}={new!r}, and {old!r} in the earlier workflow, so ids would move.",
                    "Give the earlier value, or fit without the earlier workflow.",
                )
        self.earlier = earlier

    def finish(self) -> None:
        """Count each group, write its vocabulary, and set ``categories`` and ``storage_name``."""
        operator = self.applied.operator
        operator.out_path = str(self.store.folder)
        operator.split_out = 1  # one file a vocabulary is what is written
        operator.cat_cache = "host" if operator.cat_cache == "device" else operator.cat_cache
        operator.search_sorted = False  # pandas cannot, as NVTabular says
        self.store.adopt(operator)
        offset = 0
        for group in self._groups():
            name = joined(group, operator.name_sep)
            limits = self._limits(group)
            counts = self._count(group)
            vocabulary = choose(counts, limits, self._earlier(name, counts))
            folder = self.store.claim(f"unique.{name}.parquet")
            path = write_vocabulary(folder, name, vocabulary, limits.first + offset, limits.buckets)
            operator.categories[name] = str(path)
            if operator.single_table:
                offset += vocabulary.values.height
            self.advance(1, f"{vocabulary.values.height} values of {name}")
        for group in self.applied.groups:
            if not isinstance(group, str) and len(group) > 1:
                operator.storage_name.update(dict.fromkeys(group, joined(group, operator.name_sep)))

    def _all(self) -> list[str]:
        return [name for group in self.applied.groups for name in members(group)]

    def _groups(self) -> list[Group]:
        """Return the groups whose vocabulary was not given."""
        operator = self.applied.operator
        return [group for group in self.applied.groups if joined(group, operator.name_sep) not in operator.vocabs]

    def _limits(self, group: Group) -> Limits:
        operator = self.applied.operator
        return Limits(
            threshold=self._option(operator.freq_threshold, group) or 0,
            max_size=self._option(operator.max_size, group) or 0,
            buckets=self._option(operator.num_buckets, group) or 1,
        )

    def _option(self, option: int | Mapping[str, int] | None, group: Group) -> int | None:
        """Return an option's value for a group: under its name, or under that of its first column."""
        if not isinstance(option, Mapping):
            return option
        return option.get(joined(group, self.applied.operator.name_sep), option.get(members(group)[0]))

    def _count(self, group: Group) -> pl.DataFrame:
        """Return each value of a group, under the names of the file, and ``COUNT``."""
        inputs, names = self.applied.inputs, members(group)
        columns = [self.applied.columns[name] for name in names]
        if self.applied.operator.encode_type == "combo":
            counts = inputs.count(list(dict.fromkeys(columns)), COUNT)
            return counts.select(*(pl.col(column).alias(name) for name, column in zip(names, columns, strict=True)), COUNT)
        name = joined(group, self.applied.operator.name_sep)
        parts = [inputs.count([column], COUNT).rename({column: name}) for column in columns]
        if len(parts) == 1:
            return parts[0]
        return pl.concat(parts, how="vertical_relaxed").group_by(name).agg(pl.col(COUNT).sum())

    def _earlier(self, name: str, counts: pl.DataFrame) -> pl.DataFrame | None:
        if self.earlier is None or name not in self.earlier.categories:
            return None
        keys = [column for column in counts.columns if column != COUNT]
        return read_vocabulary(Path(self.earlier.categories[name]), keys, counts.schema)


def match_earlier(fitters: Sequence[FitCategorify], earlier: list[tuple[Any, Sequence[Group]]]) -> None:
    """Find, for each operator, the one of an earlier workflow that encoded the same columns, and keep its ids.

    Of several over the same columns the first belongs to the first, and so on; an operator over new columns numbers anew.

    Args:
        fitters: the operators that are fitted, in the order of the graph.
        earlier: the operators of the earlier workflow with their selections, in the order of its graph; those that are found are taken
            out.
    """
    for fitting in fitters:
        wanted = {joined(group, fitting.applied.operator.name_sep) for group in fitting.applied.groups}
        for place, (operator, groups) in enumerate(earlier):
            if wanted & {joined(group, operator.name_sep) for group in groups}:
                fitting.grow_from(operator)
                del earlier[place]
                break


def _family(kind: ColumnType) -> str:
    if kind.is_integer:
        return "uint64" if kind.dtype == "uint64" else "integer"
    return "float" if kind.is_float else kind.dtype
