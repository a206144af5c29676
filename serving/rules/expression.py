"""Filters over item columns, such as ``price < 20 and category in ("a", "b") and not brand == "x"``.

The grammar is a small part of Python's, read by ``ast`` and never executed: ``and``, ``or``, ``not``, comparisons and their chains, ``in``
and ``not in`` with a list of values, ``"name" in labels`` for a column of names, ``is None`` and ``is not None``, the four operations of
arithmetic, numbers, texts, ``True`` and ``False``. A number that is not known satisfies no comparison, not even ``!=``; a text that is not
known is ``""``.
"""

from __future__ import annotations

import ast
import difflib
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from cartwheel.core.errors import UsageError

Kind = Literal["number", "text", "names", "truth"]
Bools = npt.NDArray[np.bool_]
MOST_LETTERS: Final = 4_096
_MOST_PARTS: Final = 1_000
_EXAMPLE: Final = 'Write for example: price < 20 and category in ("lamps", "chairs").'
_COMPARE: Final[Mapping[type[ast.cmpop], Callable[[Any, Any], Any]]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_ARITHMETIC: Final[Mapping[type[ast.operator], Callable[[Any, Any], Any]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


@dataclass(frozen=True)
class Texts:
    """A column of texts.

    Attributes:
        codes: place of each item's text in ``words``, int32 [N].
        words: the texts; the first is ``""``, which is not known.
    """

    codes: npt.NDArray[np.int32]
    words: tuple[str, ...]


@dataclass(frozen=True)
class Names:
    """A column of lists of names, such as labels.

    Attributes:
        items: the item of each name, int32 [P].
        codes: the place of each name in ``words``, int32 [P].
        words: the names.
        count: number of items.
    """

    items: npt.NDArray[np.int32]
    codes: npt.NDArray[np.int32]
    words: tuple[str, ...]
    count: int


Column = Texts | Names | npt.NDArray[np.float64]
"""Numbers are float64 [N], NaN where not known; what is true or false is 1 or 0."""


@dataclass(frozen=True)
class _Value:
    """What a part of an expression stands for: a constant, or a column."""

    kind: Kind
    value: Any
    constant: bool = False


@dataclass(frozen=True)
class Expression:
    """A filter that was read, whose columns need not be there.

    Attributes:
        text: as it was given.
        tree: its syntax, of the allowed parts alone.
        field: what it was given as, for messages.
    """

    text: str
    tree: ast.expr
    field: str = "where"

    @classmethod
    def parsed(cls, text: str, field: str = "where") -> Expression:
        """Read an expression.

        Raises:
            UsageError: if it is none, naming what is not understood.
        """
        if len(text) > MOST_LETTERS:
            raise UsageError(f"{field} has {len(text):,} letters; the limit is {MOST_LETTERS:,}.", "Write a shorter one.")
        try:
            tree = ast.parse(text.strip(), mode="eval").body
            parts = sum(1 for _ in ast.walk(tree))
        except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
            reason = error.msg if isinstance(error, SyntaxError) and error.msg else "it cannot be read"
            raise UsageError(f"{field} is {_short(text)}, which is not an expression: {reason}.", _EXAMPLE) from None
        if parts > _MOST_PARTS:
            raise UsageError(f"{field} has {parts:,} parts; the limit is {_MOST_PARTS:,}.", "Write a shorter one.")
        found = cls(text, tree, field)
        _check_parts(found)
        return found

    def passing(self, columns: Mapping[str, Column], count: int) -> Bools:
        """Return which of ``count`` items satisfy it, bool [N].

        Raises:
            UsageError: if it names a column that there is not, or compares what cannot be compared.
        """
        found = _Evaluation(self, columns, count).truth(self.tree)
        return np.broadcast_to(np.asarray(found, dtype=bool), (count,)).copy()

    def clauses(self) -> tuple[Expression, ...]:
        """Return the parts that ``and`` joins, each of which an item must satisfy."""
        if isinstance(self.tree, ast.BoolOp) and isinstance(self.tree.op, ast.And):
            return tuple(
                clause for part in self.tree.values for clause in Expression(ast.unparse(part), part, self.field).clauses()
            )
        return (self,)


_ALLOWED: Final = (
    ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.UAdd, ast.Compare, ast.Name, ast.Load, ast.Constant, ast.Tuple,
    ast.List, ast.Set, ast.BinOp, ast.In, ast.NotIn, ast.Is, ast.IsNot, *_COMPARE, *_ARITHMETIC,
)  # fmt: skip


def _check_parts(expression: Expression) -> None:
    for part in ast.walk(expression.tree):
        if not isinstance(part, _ALLOWED):
            shown = ast.unparse(part) if isinstance(part, ast.expr) else type(part).__name__
            raise UsageError(
                f"{expression.field} has {_short(shown)}, which filters do not know: they compare columns and values.", _EXAMPLE
            )
        if isinstance(part, ast.Constant) and not isinstance(part.value, (str, int, float, type(None))):
            raise UsageError(
                f"{expression.field} has {part.value!r}; values are numbers, strings, True, False and None.", _EXAMPLE
            )


class _Evaluation:
    def __init__(self, expression: Expression, columns: Mapping[str, Column], count: int) -> None:
        self._expression, self._columns, self._count = expression, columns, count

    def truth(self, part: ast.expr) -> Any:
        if isinstance(part, ast.BoolOp):
            join = np.logical_and if isinstance(part.op, ast.And) else np.logical_or
            found = self.truth(part.values[0])
            for each in part.values[1:]:
                found = join(found, self.truth(each))
            return found
        if isinstance(part, ast.UnaryOp) and isinstance(part.op, ast.Not):
            return np.logical_not(self.truth(part.operand))
        if isinstance(part, ast.Compare):
            return self._chain(part)
        value = self._value(part)
        if value.kind == "truth":
            return value.value
        if value.kind == "number" and not value.constant:  # a column of yes and no
            return np.asarray(value.value) == 1
        raise self._wrong(part, "is neither true nor false")

    def _chain(self, part: ast.Compare) -> Any:
        found: Any = True
        sides = [part.left, *part.comparators]
        for left, how, right in zip(sides, part.ops, sides[1:], strict=False):
            found = np.logical_and(found, self._compared(left, how, right, part))
        return found

    def _compared(self, left: ast.expr, how: ast.cmpop, right: ast.expr, whole: ast.expr) -> Any:
        if isinstance(how, (ast.Is, ast.IsNot)):
            if not (isinstance(right, ast.Constant) and right.value is None):
                raise self._wrong(whole, "uses `is`, which only None may follow")
            unknown = self._unknown(self._value(left), whole)
            return unknown if isinstance(how, ast.Is) else np.logical_not(unknown)
        if isinstance(how, (ast.In, ast.NotIn)):
            found = self._within(self._value(left), right, whole)
            return found if isinstance(how, ast.In) else np.logical_not(found)
        one, other = self._value(left), self._value(right)
        if {one.kind, other.kind} <= {"number", "truth"}:
            return self._numbers(one, how, other)
        if one.kind == other.kind == "text":
            return self._texts(one, how, other, whole)
        raise self._wrong(whole, f"compares {_a(one.kind)} with {_a(other.kind)}")

    def _numbers(self, one: _Value, how: ast.cmpop, other: _Value) -> Any:
        left, right = (np.asarray(each.value, np.float64) for each in (one, other))
        with np.errstate(invalid="ignore"):
            found = _COMPARE[type(how)](left, right)
        return found & ~np.isnan(left) & ~np.isnan(right)

    def _texts(self, one: _Value, how: ast.cmpop, other: _Value, whole: ast.expr) -> Any:
        if not isinstance(how, (ast.Eq, ast.NotEq)):
            raise self._wrong(whole, "orders texts, which can only be equal or not")
        if one.constant and other.constant:
            found: Any = one.value == other.value
        elif one.constant or other.constant:
            column, word = (other.value, one.value) if one.constant else (one.value, other.value)
            found = _is_one_of(column, (word,))
        else:
            words = {word: place for place, word in enumerate(one.value.words)}
            table = np.array([words.get(word, -1) for word in other.value.words], np.int32)
            found = one.value.codes == table[other.value.codes]
        return found if isinstance(how, ast.Eq) else np.logical_not(found)

    def _within(self, one: _Value, right: ast.expr, whole: ast.expr) -> Any:
        if isinstance(right, (ast.Tuple, ast.List, ast.Set)):
            values = [self._value(each) for each in right.elts]
            if any(not value.constant for value in values):
                raise self._wrong(whole, "has a list with something else than values")
            given = tuple(value.value for value in values)
            kinds = {value.kind for value in values}
            if one.kind == "text" and kinds <= {"text"}:
                return one.value in given if one.constant else _is_one_of(one.value, given)
            if one.kind in ("number", "truth") and kinds <= {"number", "truth"}:
                return np.isin(np.asarray(one.value, np.float64), np.array(given, np.float64))
            raise self._wrong(whole, f"looks for {_a(one.kind)} among values of another kind")
        column = self._value(right)
        if column.kind == "names" and one.kind == "text" and one.constant:
            found = np.zeros(self._count, bool)
            if one.value in column.value.words:
                found[column.value.items[column.value.codes == column.value.words.index(one.value)]] = True
            return found
        raise self._wrong(whole, "uses `in` with neither a list of values nor a text and a column of names")

    def _unknown(self, value: _Value, whole: ast.expr) -> Any:
        if value.constant:
            raise self._wrong(whole, "asks whether a value is known; ask it of a column")
        if value.kind == "text":
            return value.value.codes == 0
        if value.kind == "names":
            return np.bincount(value.value.items, minlength=self._count) == 0
        return np.isnan(np.asarray(value.value, np.float64))

    def _value(self, part: ast.expr) -> _Value:
        if isinstance(part, ast.Constant):
            if isinstance(part.value, bool):
                return _Value("truth", part.value, constant=True)
            if isinstance(part.value, str):
                return _Value("text", part.value, constant=True)
            if part.value is None:
                raise self._wrong(part, "stands where a value is wanted; write `column is None`")
            return _Value("number", self._finite(part), constant=True)
        if isinstance(part, ast.Name):
            return self._column(part.id)
        if isinstance(part, ast.UnaryOp) and not isinstance(part.op, ast.Not):
            inner = self._number(part.operand)
            return _Value("number", -inner.value if isinstance(part.op, ast.USub) else inner.value, inner.constant)
        if isinstance(part, ast.BinOp):
            one, other = self._number(part.left), self._number(part.right)
            with np.errstate(all="ignore"):
                found = _ARITHMETIC[type(part.op)](np.asarray(one.value, np.float64), np.asarray(other.value, np.float64))
            return _Value("number", np.where(np.isfinite(found), found, np.nan), one.constant and other.constant)
        return (
            _Value("truth", self.truth(part))
            if isinstance(part, (ast.BoolOp, ast.Compare, ast.UnaryOp))
            else self._no_value(part)
        )

    def _no_value(self, part: ast.expr) -> _Value:
        raise self._wrong(part, "stands where a column or a value is wanted")

    def _finite(self, part: ast.Constant) -> float:
        try:
            number = float(part.value)  # type: ignore[arg-type]
        except OverflowError:
            number = np.inf
        if not np.isfinite(number):
            raise self._wrong(part, "is too large a number")
        return number

    def _number(self, part: ast.expr) -> _Value:
        value = self._value(part)
        if value.kind != "number":
            raise self._wrong(part, f"is {_a(value.kind)}, with which one cannot reckon")
        return value

    def _column(self, name: str) -> _Value:
        if name not in self._columns:
            near = difflib.get_close_matches(name, self._columns, n=1)
            meant = f"Did you mean {near[0]!r}? " if near else ""
            raise UsageError(
                f"{self._expression.field} names the column {name!r}, which items do not have.",
                f"{meant}There are {', '.join(sorted(self._columns))}.",
            )
        column = self._columns[name]
        if isinstance(column, Texts):
            return _Value("text", column)
        return _Value("names", column) if isinstance(column, Names) else _Value("number", column)

    def _wrong(self, part: ast.expr, what: str) -> UsageError:
        return UsageError(f"{self._expression.field}: {_short(ast.unparse(part))} {what}.", _EXAMPLE)


def _is_one_of(column: Texts, words: Sequence[str]) -> Bools:
    wanted = frozenset(words)
    table = np.array([word in wanted for word in column.words], bool)
    found: Bools = table[column.codes]
    return found


def _a(kind: Kind) -> str:
    return {"number": "a number", "text": "a text", "names": "a list of names", "truth": "true or false"}[kind]


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
