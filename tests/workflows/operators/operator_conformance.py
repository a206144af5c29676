"""What every operator must satisfy, whichever back end runs it: one suite, inherited in a few lines by each operator.

To add an operator: a subclass of ``OperatorConformance`` with a ``training`` table and a ``graph``. Override ``values`` or ``rows`` where
its input is special, ``upstream`` where NVTabular fails or is wrong on rows that we must get right (and say so in docs/deviations.md),
and ``requests`` where the operator is for tables alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workflows.compiler.plan.compile_onnx import compile_onnx
from workflows.compiler.plan.compile_polars import compile_polars
from workflows.compiler.plan.graph import Plan
from workflows.compiler.plan.onnx_frames import encode_onnx, open_session
from workflows.compiler.plan.parity import check_parity
from workflows.compiler.plan.read import read_plan
from workflows.compiler.quiet import quiet_nvtabular
from workflows.encoding.encode import load_workflow

EXAMPLES = 100 if os.environ.get("CARTWHEEL_THOROUGH") else 10
"""Random tables of each operator; each is encoded by NVTabular too, which takes its time, and other ones are drawn the next time."""
INT64 = st.integers(-(2**63), 2**63 - 1)
FLOAT32 = st.floats(width=32, allow_nan=True, allow_infinity=True)
FLOAT64 = st.floats(allow_nan=True, allow_infinity=True)
WORDS = ["", "a", "b", "ä", "A", " a", "日本", "0", "nan", "None", "👟"]
TEXT = st.one_of(st.sampled_from(WORDS), st.text(max_size=6))


def fitted(graph: Callable[[Any, str], Any], training: pl.DataFrame, folder: Path) -> Any:
    """Fit a graph with NVTabular, save it, and load it again."""
    with quiet_nvtabular():
        from merlin.io import Dataset
        from nvtabular import Workflow, ops

        Workflow(graph(ops, str(folder))).fit(Dataset(training.to_pandas())).save(str(folder / "saved"))
    return load_workflow(folder / "saved")


def by_nvtabular(workflow: Any, plan: Plan, raw: pl.DataFrame) -> pl.DataFrame:
    """What NVTabular itself makes of the rows, in the plan's types; NaN is null."""
    with quiet_nvtabular():
        encoded = workflow.transform(raw.to_pandas())
    columns = {}
    for name in plan:
        kind = plan.type(name)
        rows = [row if row is None else list(row) for row in encoded[name]] if kind.is_list else encoded[name].tolist()
        if not kind.is_list and not kind.is_float:
            rows = [None if isinstance(value, float) and value != value else value for value in rows]
        series = pl.Series(name, rows, dtype=kind.polars, strict=False)
        columns[name] = series.fill_nan(None) if kind.is_float and not kind.is_list else series
    return pl.DataFrame(columns)


def nothing_missing(raw: pl.DataFrame) -> bool:
    """Whether there are rows and no nulls but in floats: what pandas can hold without changing the type of a column."""
    return raw.height > 0 and not any(series.null_count() for series in raw.get_columns() if not series.dtype.is_float())


def check_bits(plan: Plan, raw: pl.DataFrame, expected: pl.DataFrame, answer: pl.DataFrame, names: tuple[str, str]) -> None:
    """Check two encodings: floats to the last bit, or within what ``check_parity`` allows where there is a logarithm on the way."""
    check_parity(plan, raw, expected, answer, names)
    for column in answer.columns:
        same = expected[column].equals(answer[column])
        assert same or not all(step.is_exact for step in plan.steps(column)), f"{column}: {names} differ in the last bits"


class OperatorConformance:
    """What every operator must satisfy."""

    training: ClassVar[pl.DataFrame]
    values: ClassVar[st.SearchStrategy[Any]] = st.one_of(FLOAT32, st.none())
    requests: ClassVar[bool] = True

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        raise NotImplementedError

    @staticmethod
    def upstream(raw: pl.DataFrame) -> bool:
        """Whether NVTabular answers rightly for these rows."""
        return nothing_missing(raw)

    @pytest.fixture(scope="class")
    @classmethod
    def compiled(cls, tmp_path_factory: pytest.TempPathFactory) -> Any:
        workflow = fitted(cls.graph, cls.training, tmp_path_factory.mktemp("operator"))
        plan = read_plan(workflow)
        nullable = [name for name, kind in plan.raw.items() if not kind.is_float or kind.is_list]
        ragged = [name for name, kind in plan.raw.items() if kind.is_list]
        session = (
            open_session(compile_onnx(plan, list(plan), "operator", nullable=nullable, ragged=ragged)) if cls.requests else None
        )
        return workflow, plan, session

    def rows(self) -> st.SearchStrategy[pl.DataFrame]:
        schema = self.training.schema
        row = st.tuples(
            *[st.lists(self.values, max_size=4) if isinstance(kind, pl.List) else self.values for kind in schema.values()]
        )
        return st.lists(row, max_size=8).map(lambda rows: pl.DataFrame(rows, schema=schema, orient="row", strict=False))

    def check(self, compiled: Any, raw: pl.DataFrame) -> None:
        workflow, plan, session = compiled
        table = compile_polars(plan, raw.lazy()).collect()
        assert table.schema == {name: plan.type(name).polars for name in plan}
        if self.requests:
            check_bits(plan, raw, table, encode_onnx(session, raw), ("Polars", "ONNX"))
        if self.upstream(raw):
            check_parity(plan, raw, by_nvtabular(workflow, plan, raw), table, ("NVTabular", "Polars"))

    def test_all_agree_on_the_training_rows(self, compiled: Any) -> None:
        assert self.upstream(self.training)
        self.check(compiled, self.training)

    def test_all_agree_on_any_rows(self, compiled: Any) -> None:
        @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
        @given(self.rows())
        def law(raw: pl.DataFrame) -> None:
            self.check(compiled, raw)

        law()

    def test_a_row_alone_equals_the_row_among_others(self, compiled: Any) -> None:
        if not self.requests:
            pytest.skip("the operator is for tables alone")
        _, plan, session = compiled
        together = encode_onnx(session, self.training)
        for row in range(self.training.height):
            alone = encode_onnx(session, self.training[row])
            check_parity(plan, self.training[row], together[row], alone, ("among others", "alone"))
            assert alone.select(pl.selectors.float()).equals(together[row].select(pl.selectors.float()))

    def test_streaming_gives_the_same(self, compiled: Any) -> None:
        plan = compiled[1]
        frame = compile_polars(plan, self.training.lazy())
        assert frame.collect(engine="streaming").equals(frame.collect())

    def test_an_empty_table_has_the_types_of_the_plan(self, compiled: Any) -> None:
        self.check(compiled, self.training.clear())
