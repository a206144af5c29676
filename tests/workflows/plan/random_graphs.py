"""Random graphs of operators over random tables, each told by one seed, and what the executors make of them.

The law: NVTabular, Polars and ONNX agree to the last bit, or Cartwheel refuses the graph with an error of its taxonomy. Nothing else may
come out, whatever is drawn; so much is drawn that has no meaning. To run it at length, from the root of the project:
``PYTHONPATH=tests/workflows/operators python tests/workflows/plan/random_graphs.py 0 2000`` tries the graphs of the seeds 0 to 1999, and
tells what broke the law.
"""

from __future__ import annotations

import random
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from operator_conformance import check_bits

from cartwheel.core.errors import CartwheelError
from workflows.compiler.fit import fit_workflow
from workflows.compiler.lists import leaves
from workflows.compiler.plan.compile_onnx import compile_onnx
from workflows.compiler.plan.compile_polars import compile_polars
from workflows.compiler.plan.graph import Plan
from workflows.compiler.plan.onnx_frames import encode_onnx, open_session
from workflows.compiler.plan.read import read_plan
from workflows.compiler.plan.types import ColumnType
from workflows.compiler.quiet import quiet_nvtabular

INTEGERS: Final = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
WORDS: Final = ("", "a", "b", "ä", "a\0", "日本", "0", "nan", "None")
TAGS: Final = ("continuous", "categorical", "user", "item")
FEW_ROWS: Final = 12


@dataclass
class Node:
    """A node of a graph that is being drawn: NVTabular's, and the kind of each of its columns as far as it is known."""

    made: Any
    kinds: dict[str, str]
    logs: bool = False


@dataclass
class Drawing:
    """A random graph while it is drawn.

    Attributes:
        random: the source of all choices.
        ops: NVTabular's operators.
        folder: where operators of NVTabular's own fit would write.
        told: the graph as text.
        excused: why NVTabular's own answer does not count, as docs/deviations.md has it.
        in_range: whether NVTabular's answer counts for the rows of the fit alone, as integers beyond their range wrap around.
        orders: whether there are ids, whose order NVTabular leaves to chance, so that two fits do not compare.
    """

    random: random.Random
    ops: Any
    folder: str
    told: list[str] = field(default_factory=list)
    excused: set[str] = field(default_factory=set)
    in_range: bool = False
    orders: bool = False

    def one_of(self, *options: Any) -> Any:
        return self.random.choice(options)

    def chance(self, share: float) -> bool:
        return self.random.random() < share


# ---------------------------------------------------------------------------------------------------------------- tables


def draw_schema(source: random.Random) -> dict[str, ColumnType]:
    """Return columns of random types: a target, a float, an integer, a string, and some of any type."""
    kinds = [
        ColumnType("int64"),
        ColumnType(source.choice(("float32", "float64"))),
        ColumnType(source.choice(INTEGERS)),
        ColumnType("string"),
    ]
    for _ in range(source.randint(1, 4)):
        dtype = source.choice((*INTEGERS, "float32", "float64", "string", "bool"))
        kinds.append(ColumnType(dtype, is_list=dtype != "bool" and source.random() < 0.4))
    return dict(zip(("y", "f", "i", "s", "c1", "c2", "c3", "c4"), kinds, strict=False))


def draw_value(source: random.Random, dtype: str, extremes: bool) -> Any:
    """Return a value of a type; few different ones, so that they come again."""
    if dtype == "string":
        return source.choice(WORDS)
    if dtype == "bool":
        return source.random() < 0.5
    if dtype in ("float32", "float64"):
        value = source.choice((0.0, 1.0, 2.0, 0.1, 0.3, 2.5, 7.0, 100.0, -1.5, source.random() * 100, source.randint(0, 100)))
        value = source.choice((-0.0, 1e6 + 0.1, float("inf"), 1e-30)) if extremes and source.random() < 0.2 else value
        return float(np.float32(value)) if dtype == "float32" else float(value)
    ends = np.iinfo(dtype)
    value = source.choice((0, 1, 2, 3, 5, 7, 100, source.randint(0, 100), -1))
    value = source.choice((int(ends.min), int(ends.max))) if extremes and source.random() < 0.2 else value
    return max(int(ends.min), min(int(ends.max), value))


def draw_table(source: random.Random, schema: dict[str, ColumnType], rows: int, *, nulls: bool, extremes: bool) -> pl.DataFrame:
    """Return rows of a schema; ``nulls`` may be anywhere, or else in floats alone, and no list is empty."""
    columns = {}
    for name, kind in schema.items():
        share = source.choice((0.0, 0.2, 0.5)) if nulls or (kind.is_float and not kind.is_list) else 0.0
        share = 1.0 if nulls and source.random() < 0.03 else share

        def value(kind: ColumnType = kind, share: float = share) -> Any:
            return None if source.random() < share else draw_value(source, kind.dtype, extremes)

        least = 0 if nulls else 1
        values = [[value() for _ in range(source.randint(least, 3))] if kind.is_list else value() for _ in range(rows)]
        columns[name] = pl.Series(name, values, dtype=kind.polars)
    return pl.DataFrame(columns)


def is_whole(raw: pl.DataFrame) -> bool:
    """Whether pandas holds a table without changing a type: there are rows, nothing is missing but in floats, and no list is empty."""
    for series in raw.get_columns():
        if isinstance(series.dtype, pl.List):
            if series.null_count() or not series.list.len().min() or leaves(series).null_count():
                return False
        elif series.null_count() and not series.dtype.is_float():
            return False
    return raw.height > 0


# ---------------------------------------------------------------------------------------------------------------- graphs


def draw_graph(drawing: Drawing, schema: dict[str, ColumnType]) -> Any:
    """Return a random graph: chains of operators over columns of the table or of what other chains make."""
    base = _base(drawing, schema)
    ends = [base]
    for number in range(drawing.random.randint(1, 4)):
        node = _source(drawing, base, ends)
        for _ in range(drawing.random.randint(1, 4)):
            node = _apply(drawing, node, schema)
        node = Node(
            node.made >> drawing.ops.Rename(postfix=f"_{number}"),
            {f"{name}_{number}": kind for name, kind in node.kinds.items()},
            node.logs,
        )
        drawing.told.append(f"chain {number}: {list(node.kinds)}")
        ends.append(node)
    output = ends[1].made
    for node in ends[2:]:
        output = output + node.made
    return output


def _base(drawing: Drawing, schema: dict[str, ColumnType]) -> Node:
    """Return the node of all columns, of which some rows may be dropped."""
    from workflows.compiler.comparison import Comparison, IsMissing

    names = list(schema)
    node = names >> drawing.ops.Rename(f=str)
    how = drawing.random.random()
    if how < 0.06:
        node = node >> drawing.ops.Dropna()
        drawing.told.append("Dropna of all")
    elif how < 0.12:
        condition = drawing.one_of(
            Comparison("y", ">", 0), Comparison("f", "<=", 2.5), ~IsMissing("i"), Comparison("s", "!=", "a")
        )
        node = node >> drawing.ops.Filter(condition)
        drawing.told.append(f"Filter of all: {condition}")
    return Node(node, {name: str(kind) for name, kind in schema.items()})


def _source(drawing: Drawing, base: Node, ends: Sequence[Node]) -> Node:
    """Return columns to begin with: of the table by name or by tag, or of another chain."""
    from merlin.dag import ColumnSelector

    how = drawing.random.random()
    if how < 0.08:
        tag = drawing.one_of(*TAGS)
        drawing.told.append(f"by tag {tag}")
        return Node(
            ColumnSelector(tags=[tag]) >> drawing.ops.Rename(f=str), dict(base.kinds)
        )  # which ones is found out by the schema
    node = drawing.one_of(*ends) if how < 0.35 else base
    count = drawing.random.randint(1, min(3, len(node.kinds)))
    alike = drawing.one_of(*node.kinds)
    pool = (
        [name for name, kind in node.kinds.items() if _family(kind) == _family(node.kinds[alike])]
        if drawing.chance(0.8)
        else list(node.kinds)
    )
    names = drawing.random.sample(pool, min(count, len(pool)))
    drawing.told.append(f"of {names}")
    return Node(node.made[names], {name: node.kinds[name] for name in names}, node.logs)


def _family(kind: str) -> str:
    element = kind.removeprefix("list[").removesuffix("]")
    element = "integer" if "int" in element else "float" if "float" in element else element
    return f"list[{element}]" if kind.startswith("list") else element


def _apply(drawing: Drawing, node: Node, schema: dict[str, ColumnType]) -> Node:
    """Apply a random operator; more often than not one that has a meaning for the columns."""
    families = {_family(kind) for kind in node.kinds.values()}
    fitting = [name for name, (takes, _) in OPERATORS.items() if families <= takes]
    name = drawing.one_of(*fitting) if fitting and drawing.chance(0.96) else drawing.one_of(*OPERATORS)
    drawing.told.append(name)
    return OPERATORS[name][1](drawing, node, schema)


NUMBERS: Final = {"integer", "float"}
SCALARS: Final = {"integer", "float", "string", "bool"}
LISTS: Final = {"list[integer]", "list[float]", "list[string]"}
ANY: Final = SCALARS | LISTS
DISCRETE: Final = {"integer", "string", "bool", "list[integer]", "list[string]"}
Draw = Callable[[Drawing, Node, dict[str, ColumnType]], Node]


def _same(drawing: Drawing, node: Node, operator: Any, dtype: str = "", *, logs: bool = False) -> Node:
    """Apply an operator that makes one column of each; ``dtype`` is what the elements become."""
    drawing.told[-1] += f" {_options(operator)}"
    kinds = {
        name: kind if not dtype else f"list[{dtype}]" if kind.startswith("list") else dtype for name, kind in node.kinds.items()
    }
    return Node(node.made >> operator, kinds, node.logs or logs)


def _options(operator: Any) -> str:
    told = {
        name: value
        for name, value in vars(operator).items()
        if isinstance(value, (int, float, str, list, dict, tuple)) and value not in ({}, "", [])
    }
    return str({name: value for name, value in told.items() if name not in ("out_path", "_label", "file_digests")})


def _fill(drawing: Drawing, node: Node, schema: dict[str, ColumnType]) -> Node:
    strings = any("string" in kind for kind in node.kinds.values())
    floats = any("float" in kind for kind in node.kinds.values())
    value = (
        drawing.one_of("?", "a\0", "") if strings else drawing.one_of(0, -1, 2.5, 300) if floats else drawing.one_of(0, 1, 100)
    )
    value = drawing.one_of(-1, 2.5, 300, "x") if drawing.chance(0.05) else value
    flags = drawing.chance(0.2)
    filled = _same(drawing, node, drawing.ops.FillMissing(fill_val=value, add_binary_cols=flags))
    return Node(filled.made, filled.kinds | ({f"{name}_filled": "bool" for name in node.kinds} if flags else {}), node.logs)


def _arithmetic(drawing: Drawing, node: Node, schema: dict[str, ColumnType]) -> Node:
    from workflows.compiler.column_arithmetic import Arithmetic
    from workflows.compiler.operators.arithmetic import OPERATIONS

    names = list(node.kinds)[:2]
    constant = drawing.one_of(3, 0.1, 7.7, -2, 0, 1e-3)
    sides: list[Any] = names if len(names) > 1 else drawing.one_of([names[0], constant], [constant, names[0]])
    operator = Arithmetic(drawing.one_of(*OPERATIONS), *sides, name="made", dtype=drawing.one_of("float32", "float64"))
    drawing.told[-1] += f" {_options(operator)}"
    lists = node.kinds[names[0]].startswith("list")
    return Node(node.made[names] >> operator, {"made": f"list[{operator.dtype}]" if lists else operator.dtype}, node.logs)


def _bucketize(drawing: Drawing, node: Node, schema: dict[str, ColumnType]) -> Node:
    grid = drawing.one_of([number / 10 for number in range(-20, 21)], [0, 1, 2, 5, 100], [0.1, 0.3, 1.0], [5.0, 2.0, 0.0])
    if node.logs:
        drawing.excused.add("a logarithm at a boundary")
    return _same(drawing, node, drawing.ops.Bucketize(grid), "int32")


def _hash(drawing: Drawing, node: Node, schema: dict[str, ColumnType]) -> Node:
    drawing.excused.add("hashes mix in the row")
    return _same(drawing, node, drawing.ops.HashBucket(drawing.one_of(2, 7, 1000)), "int32")


def _cross(drawing: Drawing, node: Node, schema: dict[str, ColumnType]) -> Node:
    drawing.excused.add("hashes mix in the row")
    operator = drawing.ops.HashedCross(drawing.one_of(3, 1000))
    return Node(node.made >> operator, {"_X_".join(node.kinds): "int32"}, node.logs)


def _categorify(drawing: Drawing, node: Node, schema: dict[str, ColumnType]) -> Node:
    drawing.orders = True
    options: dict[str, Any] = drawing.one_of(
        {}, {}, {"freq_threshold": 2}, {"max_size": 5}, {"num_buckets": 3, "freq_threshold": 2}
    )
    if "num_buckets" in options:
        drawing.excused.add("hashes mix in the row")
    return _same(drawing, node, drawing.ops.Categorify(out_path=drawing.folder, **options), "int64")


def _group(drawing: Drawing, node: Node, schema: dict[str, ColumnType]) -> Node:
    """Combine or encode jointly: the selection becomes a group."""
    names = list(node.kinds)
    drawing.orders = True
    combo = drawing.chance(0.7)
    separator = drawing.one_of("_", "_", "-")
    operator = drawing.ops.Categorify(out_path=drawing.folder, encode_type="combo" if combo else "joint", name_sep=separator)
    drawing.told[-1] += f" of {names} {operator.encode_type} {separator}"
    drawing.excused.add("combinations hand their inputs on") if combo else None
    made = (node.made >> drawing.ops.Rename(f=str))[[tuple(names)] if len(names) > 1 else names] >> operator
    return Node(made, {separator.join(names): "int64"} if combo else dict.fromkeys(names, "int64"), node.logs)


def _target(drawing: Drawing, node: Node, schema: dict[str, ColumnType]) -> Node:
    folds = drawing.one_of(1, 1, 3)
    if folds > 1:
        drawing.excused.add("folds")
    if node.kinds.keys() & {"y"}:
        drawing.excused.add("the target encoded by itself")
    operator = drawing.ops.TargetEncoding(
        drawing.one_of("y", "y", "i"),
        kfold=folds,
        p_smooth=drawing.one_of(0, 2, 20),
        fold_seed=drawing.one_of(42, None),
        out_path=drawing.folder,
        out_dtype=drawing.one_of(None, "float64"),
    )
    drawing.told[-1] += f" {_options(operator)}"
    target = operator.target.selector.names[0]
    dtype = operator.out_dtype or "float32"
    return Node(node.made >> operator, {f"TE_{name}_{target}": dtype for name in node.kinds}, node.logs)


def _join(drawing: Drawing, node: Node, schema: dict[str, ColumnType]) -> Node:
    """Join a table by the first column: of its kind, now and then with a key twice."""
    import pandas as pd

    name, kind = next(iter(node.kinds.items()))
    element = kind.removeprefix("list[").removesuffix("]")
    keys = sorted({draw_value(drawing.random, element, extremes=False) for _ in range(6)})
    keys += keys[:1] if drawing.chance(0.15) else []
    table = pd.DataFrame({name: pd.Series(keys, dtype=object if element == "string" else element)})
    for extra in ("u", "v")[: drawing.random.randint(0, 2)]:
        table[f"{extra}_of_{name}"] = [drawing.one_of(1, 2, 3) if extra == "u" else drawing.one_of(0.5, 1.5) for _ in keys]
    how = "inner" if drawing.chance(0.1) else "left"
    drawing.excused.add("integers of a joined table") if "u_of_" + name in table else None
    drawing.told[-1] += f" {how} {table.to_dict('list')}"
    made = node.made >> drawing.ops.JoinExternal(table, on=name, how=how)
    return Node(
        made, node.kinds | {column: "int64" if column.startswith("u_") else "float64" for column in table.columns[1:]}, node.logs
    )


def _slice(drawing: Drawing, node: Node, schema: dict[str, ColumnType]) -> Node:
    start, end = drawing.one_of((0, 1), (0, 2), (-1, None), (-2, None), (1, 3), (0, 0))
    pad = drawing.chance(0.3) and end is not None
    strings = any("string" in kind for kind in node.kinds.values())
    options: dict[str, Any] = {"pad": True, "pad_value": "\0" if strings else 0} if pad else {}
    drawing.excused |= {"padding of lists"} if pad else set()
    drawing.excused |= {"empty lists"} if (start, end) in ((0, 0), (1, 3)) else set()
    return _same(drawing, node, drawing.ops.ListSlice(start, end, **options))


def _reduce(drawing: Drawing, node: Node, schema: dict[str, ColumnType]) -> Node:
    drawing.in_range = True
    drawing.excused |= {"lists taken for values"} if any(kind.startswith("list") for kind in node.kinds.values()) else set()
    return _same(drawing, node, drawing.ops.ReduceDtypeSize())


def _min_max(drawing: Drawing, node: Node, schema: dict[str, ColumnType]) -> Node:
    drawing.in_range = True
    return _same(drawing, node, drawing.ops.NormalizeMinMax(out_dtype=drawing.one_of(None, "float32")), "float64")


def _plain(make: Callable[[Drawing], Any], dtype: str = "", *, logs: bool = False) -> Draw:
    return lambda drawing, node, schema: _same(drawing, node, make(drawing), dtype, logs=logs)


OPERATORS: Final[dict[str, tuple[set[str], Draw]]] = {
    # what it takes, and how it is drawn; what is often found behind arithmetic stands twice
    "FillMissing": (ANY, _fill),
    "FillMedian": (NUMBERS, _plain(lambda drawing: drawing.ops.FillMedian(add_binary_cols=drawing.chance(0.2)))),
    "Clip": (NUMBERS, _plain(lambda drawing: drawing.ops.Clip(*drawing.one_of((0, None), (None, 50), (-3, 100), (0, 7))))),
    "LogOp": (NUMBERS, _plain(lambda drawing: drawing.ops.LogOp(), "float32", logs=True)),
    "Normalize": (NUMBERS, _plain(lambda drawing: drawing.ops.Normalize(out_dtype=drawing.one_of(None, "float32")), "float64")),
    "Normalize, lists": (NUMBERS | {"list[integer]", "list[float]"}, _plain(lambda drawing: drawing.ops.Normalize(), "float64")),
    "NormalizeMinMax": (NUMBERS, _min_max),
    "Arithmetic": (NUMBERS, _arithmetic),
    "Bucketize": (NUMBERS, _bucketize),
    "Bucketize again": (NUMBERS, _bucketize),
    "HashBucket": (SCALARS, _hash),
    "HashBucket of floats": ({"float"}, _hash),
    "HashedCross": (SCALARS - {"float"}, _cross),
    "Categorify": (DISCRETE, _categorify),
    "Categorify again": (DISCRETE, _categorify),
    "Categorify groups": ({"integer", "string"}, _group),
    "TargetEncoding": ({"integer", "string"}, _target),
    "JoinExternal": ({"integer", "string"}, _join),
    "ListSlice": (LISTS, _slice),
    "ReduceDtypeSize": (ANY, _reduce),
    "ValueCount": (LISTS, _plain(lambda drawing: drawing.ops.ValueCount())),
    "AddTags": (ANY, _plain(lambda drawing: drawing.ops.AddTags([drawing.one_of(*TAGS)]))),
    "Dropna": (set(), _plain(lambda drawing: drawing.ops.Dropna())),
}


# ---------------------------------------------------------------------------------------------------------------- the law


@dataclass(frozen=True)
class Case:
    """A graph that was tried.

    Attributes:
        seed: what it was drawn by.
        told: the graph and its table as text.
        outcome: how it ended: what agreed, or where what kind of error refused it.
        failure: what must not be, or "".
    """

    seed: int
    told: str
    outcome: str
    failure: str = ""


def try_graph(seed: int) -> Case:
    """Draw a graph and a table, fit, compile, and compare all executors."""
    source = random.Random(seed)
    schema = draw_schema(source)
    nulls, extremes = source.random() < 0.5, source.random() < 0.2
    events = draw_table(source, schema, source.randint(1, FEW_ROWS), nulls=nulls, extremes=extremes)
    others = [draw_table(source, schema, source.randint(1, FEW_ROWS), nulls=more, extremes=extremes) for more in (False, True)]
    with quiet_nvtabular(), tempfile.TemporaryDirectory() as folder:
        from merlin.schema import ColumnSchema, Schema
        from nvtabular import Workflow, ops

        tags = Schema(
            [
                ColumnSchema(name, tags=source.choice(([], TAGS[:1], TAGS[1:2], TAGS[::2], TAGS[1::2], TAGS[2:])))
                for name in schema
            ]
        )
        drawing = Drawing(source, ops, folder)
        stage = "drawing"
        try:
            state = source.getstate()
            workflow = Workflow(draw_graph(drawing, schema))
        except Exception as error:  # noqa: BLE001  NVTabular's own constructors refuse what has no meaning
            return Case(seed, _text(drawing, events), f"not drawn: {type(error).__name__}")
        try:
            stage = "fit"
            tagged = tags if source.random() < 0.9 else None
            fit_workflow(workflow, events, Path(folder), schema=tagged)
            stage = "plan"
            plan = read_plan(workflow)
            stage = "Polars"
            tables = [compile_polars(plan, raw.lazy()).collect() for raw in (events, events.clear(), *others)]
            for table in tables:
                assert table.schema == {name: plan.type(name).polars for name in plan}
            stage = "ONNX"
            agreed = _onnx_agrees(plan, (events, events.clear(), *others), tables)
            stage = "NVTabular"
            agreed += _nvtabular_agrees(workflow, plan, drawing, (events, *others), (tables[0], *tables[2:]))
            if is_whole(events) and not extremes and not drawing.orders and "hashes mix in the row" not in drawing.excused:
                source.setstate(state)
                theirs = Workflow(draw_graph(Drawing(source, ops, folder), schema))
                agreed += _fits_agree(workflow, theirs, events, Path(folder), tagged)
        except CartwheelError as error:
            if type(error).__name__ != "ParityError":
                return Case(seed, _text(drawing, events), f"{stage}: {type(error).__name__}")
            return Case(seed, _text(drawing, events), "differs", f"{stage}: {error}")
        except Exception as error:  # noqa: BLE001  that is what is looked for
            return Case(
                seed,
                _text(drawing, events),
                "raw",
                f"{stage}: {''.join(traceback.format_exception(error, limit=-5, chain=False))}",
            )
    return Case(seed, _text(drawing, events), agreed)


def _text(drawing: Drawing, events: pl.DataFrame) -> str:
    return "\n".join(
        [*drawing.told, f"excused: {sorted(drawing.excused)}", str(events.to_dict(as_series=False)), str(dict(events.schema))]
    )


def _onnx_agrees(plan: Plan, raws: Sequence[pl.DataFrame], tables: Sequence[pl.DataFrame]) -> str:
    lists = [name for name, kind in plan.raw.items() if kind.is_list]
    nullable = [name for name, kind in plan.raw.items() if not kind.is_float or kind.is_list]
    try:
        session = open_session(compile_onnx(plan, list(plan), "graph", nullable=nullable, ragged=lists))
    except CartwheelError:
        return "Polars"
    for raw, table in zip(raws, tables, strict=True):
        check_bits(plan, raw, table, encode_onnx(session, raw), ("Polars", "ONNX"))
    return "Polars = ONNX"


def _fits_agree(ours: Any, theirs: Any, events: pl.DataFrame, folder: Path, schema: Any) -> str:
    """Compare the statistics of two fits; NVTabular adds up some in float32, and may lose a deviation beside a large mean."""
    from merlin.dag.node import postorder_iter_nodes

    try:
        fit_workflow(theirs, events, folder, engine="nvtabular", schema=schema)
    except CartwheelError:
        return " (NVTabular cannot fit)"
    pairs = zip(postorder_iter_nodes(ours.output_node), postorder_iter_nodes(theirs.output_node), strict=True)
    compared = 0
    for mine, other in pairs:
        for statistic in ("means", "mins", "maxs", "medians", "stds"):
            for name, value in getattr(mine.op, statistic, {}).items():
                expected = float(getattr(other.op, statistic)[name])
                size = abs(value) + sum(abs(getattr(mine.op, of, {}).get(name, value)) for of in ("means", "stds"))
                close = np.isclose(
                    float(value), expected, rtol=1e-4, atol=1e-4 * size if np.isfinite(size) else np.inf, equal_nan=True
                )
                compared += 1
                noise = (
                    statistic == "stds" and value == 0.0
                )  # NVTabular may have the root of rounding noise, or of less than nothing
                assert close or noise or not np.isfinite(size), (
                    f"{type(mine.op).__name__} {statistic} of {name}: {value}, NVTabular {expected}"
                )
    return " = fit" if compared else ""


def _nvtabular_agrees(
    workflow: Any, plan: Plan, drawing: Drawing, raws: Sequence[pl.DataFrame], tables: Sequence[pl.DataFrame]
) -> str:
    if drawing.excused:
        return ""
    compared = 0
    if _wraps(workflow):
        return ""
    for raw, table in list(zip(raws, tables, strict=True))[: 1 if drawing.in_range else None]:
        if not is_whole(raw) or table.height != raw.height:
            continue
        try:
            encoded = workflow.transform(raw.to_pandas())
        except Exception as error:  # noqa: BLE001  whatever pandas meets
            message = traceback.format_exception(error)[-1].strip()
            return f" (NVTabular fails: {message[:60]})"
        check_bits(plan, raw, in_plan_types(plan, encoded), table, ("NVTabular", "Polars"))
        compared += 1
    return " = NVTabular" if compared else ""


def _wraps(workflow: Any) -> bool:
    """Whether integers are scaled to a range that makes NVTabular leave their type: one that never varied, or one too wide for it."""
    from merlin.dag.node import postorder_iter_nodes

    for node in postorder_iter_nodes(workflow.output_node):
        for name, low in getattr(node.op, "mins", {}).items():
            high, kind = node.op.maxs[name], node.input_schema[name].dtype
            if low == high or (kind.is_integer and int(high) - int(low) >= 1 << (kind.element_size - 1)):
                return True
    return False


def in_plan_types(plan: Plan, encoded: Any) -> pl.DataFrame:
    """Return what NVTabular made as a Polars table in the types of a plan; NaN is null."""
    columns = {}
    for name in plan:
        kind = plan.type(name)
        rows = [row if row is None else list(row) for row in encoded[name]] if kind.is_list else encoded[name].tolist()
        if not kind.is_list and not kind.is_float:
            rows = [None if isinstance(value, float) and value != value else value for value in rows]
        series = pl.Series(name, rows, dtype=kind.polars, strict=False)
        columns[name] = series.fill_nan(None) if kind.is_float and not kind.is_list else series
    return pl.DataFrame(columns)


def main(first: int, last: int) -> int:
    """Try the graphs of many seeds, and print what came of them; return how many broke the law."""
    outcomes: Counter[str] = Counter()
    failures = []
    for seed in range(first, last):
        case = try_graph(seed)
        outcomes[case.outcome] += 1
        if case.failure:
            failures.append(case)
            print(f"--- seed {seed}\n{case.told}\n{case.failure}", flush=True)
    for outcome, count in outcomes.most_common():
        print(f"{count:6} {outcome}")
    print(f"{len(failures)} of {last - first} graphs break the law: {[case.seed for case in failures]}")
    return len(failures)


if __name__ == "__main__":
    sys.exit(1 if main(int(sys.argv[1]), int(sys.argv[2])) else 0)
