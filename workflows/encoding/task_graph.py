"""Encodes the examples of a declared task: an NVTabular workflow that follows from the columns' kinds, fitted on training rows alone.

ID, CATEGORY and CALENDAR become ids (2 is a value that training did not see, from 3 on the values, most frequent first; an empty text is
a value like others), TAGS and ID_LIST become lists of ids, and numbers standardised float32, counts, amounts and ratios after a
logarithm. VECTOR passes as it is. Beside a number that is missing in training stands ``<name>_filled``, 1 where it is. The fitted graph
is compiled to Polars for tables and to ONNX for requests, and both are held to NVTabular's own transform on rows of every split.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import onnx
import polars as pl

from cartwheel.core.errors import DataError
from cartwheel.core.files import atomic_path, write_json
from cartwheel.core.frames import read_frame
from cartwheel.core.run_layout import TaskLayout
from cartwheel.core.tables import read_json
from workflows.compiler.onnx_graph import ENCODED_SUFFIX
from workflows.compiler.plan.compile_onnx import compile_onnx
from workflows.compiler.plan.compile_polars import compile_polars
from workflows.compiler.plan.onnx_frames import encode_onnx, open_session
from workflows.compiler.plan.parity import check_parity, unpadded
from workflows.compiler.plan.read import read_plan
from workflows.compiler.quiet import quiet_nvtabular
from workflows.encoding.encode import encode
from workflows.encoding.vocabulary import choose
from workflows.features.column import CATEGORICAL, CONTINUOUS, LISTS, Column, Kind
from workflows.features.scale import Scale

FLAG: Final = "_filled"
"""Follows the name of a number: the column that says where it was missing."""
PARITY_ROWS: Final = 256
RESERVED: Final = 3
"""Ids that no value has: padding, missing, not seen in training."""
SPLITS: Final = ("train", "valid", "test")


@dataclass(frozen=True)
class Encoding:
    """What the rows of a task became.

    Attributes:
        columns: the encoded columns in their order, those that flag missing numbers behind the raw ones.
        sizes: column of ids -> how many ids, the reserved ones included.
        scales: column of numbers -> how its values are read back in their own unit.
    """

    columns: tuple[Column, ...]
    sizes: Mapping[str, int]
    scales: Mapping[str, Scale]

    def write(self, layout: TaskLayout) -> None:
        """Write ``encoding.json``."""
        columns, scales = (
            [column.to_json() for column in self.columns],
            {name: each.to_json() for name, each in self.scales.items()},
        )
        write_json(layout.encoding, {"columns": columns, "sizes": dict(self.sizes), "scales": scales})

    @staticmethod
    def read(layout: TaskLayout) -> Encoding:
        """Read ``encoding.json``.

        Raises:
            RunError: if it is missing.
        """
        content = read_json(layout.encoding)
        scales = {name: Scale.from_json(each) for name, each in content.get("scales", {}).items()}
        return Encoding(tuple(Column.from_json(each) for each in content["columns"]), content["sizes"], scales)


def encode_task(layout: TaskLayout, columns: Sequence[Column], engine: str = "polars") -> Encoding:
    """Fit, save and compile the encoding of a task, and encode its splits.

    Reads ``examples/``; writes ``workflow/``, ``encode.onnx``, ``encoding.json`` and ``features/``.

    Args:
        layout: the task's files.
        columns: the raw columns, in the order in which they are encoded.
        engine: what fits, one of ``workflows.compiler.fit.ENGINES``.

    Raises:
        RunError: if a split is missing or lacks a column.
        DataError: if there is nothing to fit on, or a column is of another type than its kind has.
        ParityError: if a compiled graph differs from NVTabular; nothing is written then.
    """
    tables = {split: _read(layout.examples(split), columns) for split in SPLITS}
    flagged = [column for column in columns if column.kind in CONTINUOUS and tables["train"][column.name].null_count()]
    encoded = (*columns, *(_flag(column) for column in flagged))
    with atomic_path(layout.workflow) as folder:
        workflow, sizes, scales = _fit(tables["train"].select(c.name for c in columns), columns, flagged, folder, engine)
        plan = read_plan(workflow)
        names = [column.name for column in encoded]
        model = compile_onnx(plan, names, layout.name)
        _check(workflow, plan, model, tables, names)
        onnx.save_model(_as_numbers(model, [_flag(column).name for column in flagged]), str(layout.graph))
    numbers = [pl.col(_flag(column).name).cast(pl.Float32) for column in flagged]
    for split, table in tables.items():
        raw = table.select(column.name for column in columns)
        values = compile_polars(plan, raw.lazy(), names).collect().with_columns(numbers)
        kept = table.select(
            name for name in ("entity", "anchor", "label", "treated", "_ahead", "_scale") if name in table.columns
        )
        with atomic_path(layout.features(split)) as folder:
            folder.mkdir()
            pl.concat([kept, values], how="horizontal").write_parquet(folder / "part.0.parquet")
    encoding = Encoding(encoded, sizes, scales)
    encoding.write(layout)
    return encoding


def _read(path: Path, columns: Sequence[Column]) -> pl.DataFrame:
    table = read_frame(path)
    for column in columns:
        found = table.schema.get(column.name)
        if found != column.raw_type:
            raise DataError(
                f"{path}: column {column.name!r} is {found or 'not there'}, expected {column.raw_type}.", "Run prepare again."
            )
        if column.kind not in CONTINUOUS and table[column.name].null_count():
            raise DataError(
                f"{path}: column {column.name!r} has {table[column.name].null_count()} nulls; {column.missing!r} means missing.",
                "Run prepare again.",
            )
    if table.is_empty():
        raise DataError(f"{path} has no rows.", "Give the task a longer log, or move the split.")
    return table


def _flag(column: Column) -> Column:
    return Column(column.name + FLAG, column.owner, Kind.NUMBER, f"{column.title} is not known")


def _fit(
    table: pl.DataFrame, columns: Sequence[Column], flagged: Sequence[Column], folder: Path, engine: str
) -> tuple[Any, dict[str, int], dict[str, Scale]]:
    """Fit and save the workflow; return it, the number of ids of each column of ids, and the scale of each number."""
    vocabularies = _vocabularies(table, columns)
    scratch = folder.with_name(folder.name + ".fitting")
    scratch.mkdir(parents=True)
    try:
        with quiet_nvtabular():
            import nvtabular
            from merlin.schema import Schema
            from nvtabular import ops

            from workflows.encoding import feature_graph

            fitting = feature_graph.Fitting(scratch, engine)
            chains = list(feature_graph.categorical_block(vocabularies, scratch, _shared(columns)))
            calendar = [column.name for column in columns if column.kind is Kind.CALENDAR]
            if calendar:
                chains += feature_graph.fit_calendar(table.select(calendar), fitting)
            numbers = [column.name for column in columns if column.kind in CONTINUOUS]
            scales: dict[str, Scale] = {}
            if numbers:
                fitted = feature_graph.fit_numbers(table.select(numbers), fitting, columns)
                chains, scales = [*chains, *fitted], feature_graph.scales_of(fitted)
            nodes = [feature_graph.node_of(chain) for chain in chains]
            filled = ops.FillMissing(fill_val=0, add_binary_cols=True)
            nodes += [([column.name] >> filled)[column.name + FLAG] for column in flagged]
            nodes += [[column.name] >> ops.Rename(f=str) for column in columns if column.kind is Kind.VECTOR]
            raw = Schema([feature_graph.raw_schema(column) for column in columns])
            workflow = nvtabular.Workflow(feature_graph.joined(nodes)).fit_schema(raw)
            workflow.save(str(folder))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    sizes = {name: RESERVED + len(values) for name, values in vocabularies.items()}
    sizes |= {column.name: sizes[column.vocabulary] for column in columns if column.vocabulary}
    sizes |= {name: RESERVED + table[name].n_unique() for name in calendar}
    return workflow, sizes, scales


def _vocabularies(table: pl.DataFrame, columns: Sequence[Column]) -> dict[str, list[str]]:
    """Return the values of each vocabulary that training rows hold often enough, most frequent first."""
    owners = [column for column in columns if column.kind in LISTS | (CATEGORICAL - {Kind.CALENDAR})]
    held: dict[str, list[pl.Series]] = {}
    for column in owners:
        values = table[column.name]
        values = values.explode() if column.kind in LISTS else values
        held.setdefault(column.vocabulary or column.name, []).append(values.drop_nulls().alias("value"))
    least = {column.name: column.min_events for column in owners}
    chosen = {}
    for name, parts in held.items():
        counts = pl.concat(parts).to_frame().group_by("value").agg(pl.len().alias("count"))
        counts = counts if counts.height else pl.DataFrame({"value": [""], "count": [0]})
        chosen[name] = choose(counts, least.get(name, 1))
    return chosen


def _shared(columns: Sequence[Column]) -> dict[str, str]:
    return {column.name: column.vocabulary for column in columns if column.vocabulary}


def _check(workflow: Any, plan: Any, model: onnx.ModelProto, tables: Mapping[str, pl.DataFrame], names: Sequence[str]) -> None:
    """Check both back ends on rows of every split against NVTabular's own transform."""
    session = open_session(model)
    inputs = list(workflow.input_schema.column_names)
    types = {name: plan.type(name).polars for name in plan}
    for table in tables.values():
        raw = table.select(inputs).gather_every(max(1, table.height // PARITY_ROWS)).head(PARITY_ROWS)
        expected = encode(workflow, raw, types)
        check_parity(plan, raw, expected, compile_polars(plan, raw.lazy(), names).collect(), ("NVTabular", "Polars"))
        check_parity(plan, raw, expected, unpadded(encode_onnx(session, raw), expected), ("NVTabular", "ONNX"))


def _as_numbers(model: onnx.ModelProto, flags: Sequence[str]) -> onnx.ModelProto:
    """Return the graph with boolean outputs made float32."""
    for output in model.graph.output:
        name = output.name
        if name.removesuffix(ENCODED_SUFFIX) not in flags:
            continue
        for node in model.graph.node:
            node.output[:] = [f"{name}_bool" if each == name else each for each in node.output]
            node.input[:] = [f"{name}_bool" if each == name else each for each in node.input]
        model.graph.node.append(onnx.helper.make_node("Cast", [f"{name}_bool"], [name], to=onnx.TensorProto.FLOAT))
        output.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    onnx.checker.check_model(model)
    return model
