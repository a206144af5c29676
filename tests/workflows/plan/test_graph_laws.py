"""Any graph of operators, over any rows: ONNX, Polars and NVTabular agree."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from operator_conformance import FLOAT32, FLOAT64, INT64, TEXT, by_nvtabular, fitted, nothing_missing

from workflows.compiler.lists import leaves
from workflows.compiler.plan.compile_onnx import compile_onnx
from workflows.compiler.plan.compile_polars import compile_polars
from workflows.compiler.plan.onnx_frames import encode_onnx, open_session
from workflows.compiler.plan.parity import check_parity
from workflows.compiler.plan.read import read_plan

RAW: Final = {"i": "int", "n": "int", "f": "float", "d": "float", "s": "string", "l": "ints", "t": "strings"}
TRAINING: Final = pl.DataFrame(
    {
        "i": [1, 5, -7, 2**62, 5, 0],
        "n": [0, 3, 3, -(2**31), 2**31 - 1, 7],
        "f": [0.5, None, 3.25, 1e4, -0.0, 7.0],
        "d": [1e-3, 2.0, None, -9.5, 1e12, 9.0],
        "s": ["a", "b", "a", "ä", "日本", ""],
        "l": [[1, 2], [3], [1, 5, 9], [2**62], [2, 2], [1]],
        "t": [["a", "b"], ["ä"], ["b", "", "a"], ["c"], ["👟"], ["a"]],
    },
    schema_overrides={"n": pl.Int32, "f": pl.Float32},
)

CHANGES: Final[Mapping[str, Mapping[str, str]]] = {
    # operator -> type of the column that it is applied to -> type of the result; "scaled" is a float that no logarithm follows, as
    # near -1 that makes much of the last bit
    "fill": {"float": "float", "int": "int", "scaled": "scaled", "string": "string"},
    "median": {"float": "float", "scaled": "scaled"},
    "clip": {"float": "float", "int": "int", "scaled": "scaled"},
    "log": {"float": "scaled", "int": "scaled"},
    "normalize": {"float": "scaled", "int": "scaled", "scaled": "scaled"},
    "categorify": {"int": "int", "string": "int", "ints": "ints", "strings": "ints"},
    "first": {"ints": "ints", "strings": "strings"},
    "last": {"ints": "ints", "strings": "strings"},
    "rename": {kind: kind for kind in ("float", "int", "scaled", "string", "ints", "strings")},
}


def operator(ops: Any, name: str, kinds: set[str], place: int, folder: str) -> Any:
    """The operator of a step; each has a number of its own, so that no two write one file."""
    return {
        "fill": lambda: ops.FillMissing(fill_val="?" if kinds == {"string"} else place),
        "median": ops.FillMedian,
        "clip": lambda: ops.Clip(min_value=-place, max_value=100 * place),
        "log": ops.LogOp,
        "normalize": ops.Normalize,
        "categorify": lambda: ops.Categorify(out_path=f"{folder}/{place}", freq_threshold=place % 2),
        "first": lambda: ops.ListSlice(2),
        "last": lambda: ops.ListSlice(-2),
        "rename": lambda: ops.Rename(postfix=f"_{place}"),
    }[name]()


@dataclass(frozen=True)
class Instruction:
    """One node of a graph, made of earlier ones, which are told by their numbers."""

    operator: str
    sources: tuple[int, ...] = ()
    columns: tuple[str, ...] = ()


@st.composite
def programs(draw: st.DrawFn) -> list[Instruction]:
    """Draw a graph: selections, operators, sums, subsets and differences of whatever was made before; the last node is the output."""
    groups = st.sampled_from([("i", "n"), ("f", "d"), ("f",), ("s",), ("l",), ("t",)])
    made = [
        (Instruction("select", columns=group), {name: RAW[name] for name in group})
        for group in draw(st.lists(groups, min_size=2, max_size=4))
    ]
    encoded: set[str] = set()
    for _ in range(draw(st.integers(2, 8))):
        source = draw(st.integers(0, len(made) - 1))
        columns = made[source][1]
        options = [name for name, types in CHANGES.items() if set(columns.values()) <= set(types)]
        if encoded & set(columns):  # NVTabular saves the vocabularies of two operators over one column in one file
            options = [name for name in options if name != "categorify"]
        if "string" in columns.values() and len(set(columns.values())) > 1:
            options = [name for name in options if name != "fill"]
        named_as_raw = [name for name in columns if name in RAW]  # NVTabular's differences know no other columns
        parts = ["subset"] * (len(columns) > 1) + ["difference"] * (len(columns) > 1 and len(named_as_raw) > 0)
        how = draw(st.sampled_from([*options, "sum", "sum", *parts, *parts]))
        if how == "sum":
            other = draw(st.integers(0, len(made) - 1))
            made.append((Instruction(how, (source, other)), {**columns, **made[other][1]}))
        elif how in ("subset", "difference"):
            choice = sorted(columns if how == "subset" else named_as_raw)
            some = tuple(draw(st.lists(st.sampled_from(choice), min_size=1, max_size=len(columns) - 1, unique=True)))
            left = some if how == "subset" else tuple(name for name in columns if name not in some)
            made.append((Instruction(how, (source,), some), {name: columns[name] for name in left}))
        else:
            after = {name + (f"_{len(made)}" if how == "rename" else ""): CHANGES[how][kind] for name, kind in columns.items()}
            made.append((Instruction(how, (source,)), after))
            encoded |= set(columns) if how == "categorify" else set()
    return [instruction for instruction, _ in made]


def build(ops: Any, program: list[Instruction], folder: str) -> Any:
    """Build the graph of a program; what it leaves unused is added to the output."""
    nodes: list[Any] = []
    kinds: list[dict[str, str]] = []
    used: set[int] = set()
    for place, step in enumerate(program):
        used.update(step.sources)
        if step.operator == "select":
            nodes.append(list(step.columns) >> ops.Rename(f=str))
            kinds.append({name: RAW[name] for name in step.columns})
            continue
        source, columns = nodes[step.sources[0]], kinds[step.sources[0]]
        if step.operator == "sum":
            # a sum that is a sum's left side is extended in place by NVTabular, so each side gets a node of its own
            other = step.sources[1]
            nodes.append((source >> ops.Rename(f=str)) + (nodes[other] >> ops.Rename(f=str)))
            kinds.append({**columns, **kinds[other]})
        elif step.operator == "subset":
            nodes.append(source[list(step.columns)])
            kinds.append({name: columns[name] for name in step.columns})
        elif step.operator == "difference":
            nodes.append(source - source[list(step.columns)])
            kinds.append({name: kind for name, kind in columns.items() if name not in step.columns})
        else:
            nodes.append(source >> operator(ops, step.operator, set(columns.values()), place, folder))
            end = f"_{place}" if step.operator == "rename" else ""
            kinds.append({name + end: CHANGES[step.operator][kind] for name, kind in columns.items()})
    output = nodes[-1]
    for place in range(len(nodes) - 1):
        if place not in used:
            output = output + (nodes[place] >> ops.Rename(postfix=f"_unused_{place}"))
    return output


NULL: Final = st.none()
ROWS: Final = st.lists(
    st.fixed_dictionaries(
        {
            "i": st.one_of(st.sampled_from([0, 1, 5, 2**62]), INT64, NULL),
            "n": st.one_of(st.sampled_from([0, 3, -(2**31)]), st.integers(-(2**31), 2**31 - 1), NULL),
            "f": st.one_of(FLOAT32, NULL),
            "d": st.one_of(FLOAT64, NULL),
            "s": st.one_of(TEXT, NULL),
            "l": st.lists(st.one_of(st.sampled_from([1, 2, 9]), INT64, NULL), max_size=4),
            "t": st.lists(st.one_of(TEXT, NULL), max_size=4),
        }
    ),
    max_size=6,
).map(lambda rows: pl.DataFrame(rows, schema=TRAINING.schema))


def whole(raw: pl.DataFrame) -> bool:
    """Whether NVTabular answers rightly: nothing is missing but in floats, and no list is empty."""
    lists = [raw[name] for name in ("l", "t")]
    return nothing_missing(raw) and all(rows.list.len().min() and not leaves(rows).null_count() for rows in lists)


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # each example fits a workflow: making it smaller takes minutes
)
@given(programs(), st.lists(ROWS, min_size=3, max_size=3))
def test_any_graph_means_the_same_everywhere(program: list[Instruction], tables: list[pl.DataFrame]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        workflow = fitted(lambda ops, folder: build(ops, program, folder), TRAINING, Path(folder))
        plan = read_plan(workflow)
        lists = [name for name, kind in plan.raw.items() if kind.is_list]
        nullable = [name for name, kind in plan.raw.items() if not kind.is_float or kind.is_list]
        session = open_session(compile_onnx(plan, list(plan), "graph", nullable=nullable, ragged=lists))
        for raw in (TRAINING, TRAINING.clear(), *tables):
            table = compile_polars(plan, raw.lazy()).collect()
            assert table.schema == {name: plan.type(name).polars for name in plan}
            check_parity(plan, raw, table, encode_onnx(session, raw), ("Polars", "ONNX"))
            if whole(raw):
                check_parity(plan, raw, by_nvtabular(workflow, plan, raw), table, ("NVTabular", "Polars"))
