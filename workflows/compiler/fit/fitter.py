"""Common code of the operators' fitters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shutil import copy, copytree
from typing import Any, Final

from cartwheel.core.errors import DataError, NotCompilableError, RunError
from cartwheel.core.progress import Advance
from workflows.compiler.file_digests import written_over
from workflows.compiler.fit.passes import Accumulator, Inputs
from workflows.compiler.plan.types import ColumnType

Group = str | tuple[str, ...]
"""What an operator is applied to: a column, or several together."""


@dataclass
class Store:
    """The folder that one fit writes into, and nobody else.

    Attributes:
        folder: its root, which operators hold as their ``out_path``.
    """

    folder: Path
    _claims: Counter[str] = field(default_factory=Counter)

    def claim(self, file: str) -> Path:
        """Return a folder for a file: ``categories``, or another where an earlier operator wrote a file of that name.

        NVTabular puts all of them into one folder, where of two files of one name the later replaces the earlier.
        """
        place = self._claims[file]
        self._claims[file] += 1
        folder = self.folder / (f"categories.{place}" if place else "categories")
        folder.mkdir(exist_ok=True)
        return folder

    def adopt(self, operator: Any) -> None:
        """Copy the vocabularies that an operator was given, so that the fit has all its files to itself, and none of one name twice.

        Raises:
            RunError: if another operator has written over one of them since.
        """
        for name, given in operator.vocabs.items():
            if written_over(operator, name, Path(given)):
                raise RunError(
                    f"The vocabulary {name!r} that {type(operator).__name__} was given is no longer in {given}: another operator has "
                    "written over it.",
                    "Give each operator an out_path of its own.",
                )
            file = f"unique.{name}.parquet"
            path = self.claim(file) / file
            try:
                copytree(given, path) if Path(given).is_dir() else copy(given, path)
            except OSError as error:
                raise RunError(f"The vocabulary {given} cannot be read ({error.strerror}).", "Give one that is there.") from error
            operator.categories[name] = str(path)


@dataclass(frozen=True)
class Applied:
    """An operator that is to be fitted, and what it is applied to.

    Attributes:
        operator: the NVTabular operator.
        groups: the operator's selection.
        columns: name of each column that reaches the operator -> its name in ``inputs``.
        inputs: where the columns are read.
    """

    operator: Any
    groups: tuple[Group, ...]
    columns: Mapping[str, str]
    inputs: Inputs

    @property
    def kind(self) -> str:
        """The operator's name, for messages."""
        return type(self.operator).__name__

    @property
    def names(self) -> list[str]:
        """The columns of the selection, groups taken apart."""
        return list(dict.fromkeys(name for group in self.groups for name in members(group)))

    def type(self, name: str) -> ColumnType:
        """Return the type of a column that reaches the operator."""
        return self.inputs.type(self.columns[name])

    def require(self, name: str, what: str, *, met: bool) -> None:
        """Refuse a column that is not ``what`` the operator needs.

        Raises:
            DataError: if it is not ``met``.
        """
        if not met:
            raise DataError(
                f"{self.kind} is fitted on column {name!r}, which is {self.type(name)}.", f"Give it {what}, or cast the column."
            )

    def refuse(self, why: str, instead: str) -> NotCompilableError:
        """Return the error that says what Polars cannot fit."""
        return NotCompilableError(f"{self.kind} over {self.names} {why}.", instead)


class Fitter(ABC):
    """Fits one operator: checks its columns first, then gathers statistics, then puts them into the operator.

    Args:
        applied: the operator and its columns.
        store: where to write.
        advance: called once for each vocabulary that is written.
    """

    def __init__(self, applied: Applied, store: Store, advance: Advance) -> None:
        self.applied = applied
        self.store = store
        self.advance = advance
        self.check()

    @abstractmethod
    def check(self) -> None:
        """Refuse columns or options that cannot be fitted, before anything is read or written.

        Raises:
            DataError: if a column has not the type that the operator needs.
            NotCompilableError: if the operator is used in a way that Polars cannot fit.
        """

    def accumulators(self) -> Sequence[Accumulator]:
        """Return what is to be gathered from the events in order."""
        return ()

    @abstractmethod
    def finish(self) -> None:
        """Put the statistics into the operator; what must be written goes into ``store``."""

    def _numbers(self) -> None:
        for name in self.applied.names:
            self.applied.require(name, "numbers", met=self.applied.type(name).is_number)


def members(group: Group) -> tuple[str, ...]:
    """Return the columns of a group; a column by itself is a group of one."""
    return (group,) if isinstance(group, str) else group


def joined(group: Group, separator: str) -> str:
    """Return the name of a group."""
    return separator.join(members(group))


NAN: Final = float("nan")
