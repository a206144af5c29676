"""Every element type, alone and in lists, through Triton's reader, runner and batching: no model of a library is needed for that."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import polars as pl
import pytest

import cartwheel
from cartwheel.core.errors import UsageError
from cartwheel.pipeline.foreign.checking import request_arrays
from cartwheel.pipeline.foreign.export_model import features_of
from serving.contract.model_form import Answered, ModelForm
from serving.foreign.graph import Handed, joined
from serving.foreign.repository import write_model_repository
from serving.local import LocalRepository
from serving.server.server import EmbeddedServer
from serving.settings import ExportSettings, ServeSettings
from workflows.compiler.onnx_graph import GraphBuilder
from workflows.compiler.operators.fill import Fill, IsMissing
from workflows.compiler.operators.groupby import EndOfList, ListLength
from workflows.compiler.operators.step import FLOAT64
from workflows.compiler.plan.graph import Node, Plan
from workflows.compiler.plan.types import DTYPES, ColumnType

NUMBERS = [dtype for dtype in DTYPES if dtype not in ("string", "bool")]


def plan() -> Plan:
    """Of each type a column, filled where it is missing; lists, of which the lengths, the ends and the values count."""
    nodes: list[Node] = []
    outputs = {}

    def add(name: str, kind: ColumnType, step: Any = None, *inputs: int) -> int:
        nodes.append(Node(name, kind, step, inputs))
        return len(nodes) - 1

    for dtype in DTYPES:
        kind = ColumnType(dtype)
        raw = add(dtype, kind)
        step = IsMissing() if dtype in ("string", "bool") else Fill(7)
        outputs[f"{dtype}_made"] = add(f"{dtype}_made", step.result([kind]), step, raw)
    for dtype in ("string", "int16", "float64"):
        kind = ColumnType(dtype, is_list=True)
        raw = add(f"{dtype}_list", kind)
        step = ListLength()
        outputs[f"{dtype}_length"] = add(f"{dtype}_length", step.result([kind]), step, raw)
        if dtype != "string":
            step = EndOfList(last=True)
            last = add(f"{dtype}_end", step.result([kind]), step, raw)
            outputs[f"{dtype}_last"] = add(f"{dtype}_last", ColumnType(dtype), Fill(3), last)
    outputs["values"] = next(place for place, node in enumerate(nodes) if node.name == "int16_list")
    return Plan(tuple(nodes), (), outputs)


def model(columns: dict[str, str]) -> onnx.ModelProto:
    """The sum of all columns, and beside it that of the values of a list, which come as Merlin's loader gives them."""
    builder = GraphBuilder("sum")
    total = ""
    for name, dtype in columns.items():
        builder.input(name, dtype, ["B", 1])
        number = builder.add("Cast", name, to=FLOAT64)
        total = builder.add("Add", total, number) if total else number
    builder.input("values__values", "int16", ["N"])
    builder.input("values__offsets", "int32", ["M"])
    builder.output(total, "total", "float64", ["B", 1])
    values = builder.add("Cast", "values__values", to=FLOAT64)
    sums = builder.add(
        "Concat", builder.constant([0.0], np.float64), builder.add("CumSum", values, builder.constant(0, np.int64)), axis=0
    )
    ends = builder.add("Gather", sums, "values__offsets")
    begins = builder.add("Slice", ends, builder.constant([0]), builder.constant([-1]), builder.constant([0]))
    ends = builder.add("Slice", ends, builder.constant([1]), builder.constant([2**62]), builder.constant([0]))
    builder.output(builder.add("Sub", ends, begins), "listed", "float64", ["B"])
    return builder.model()


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = plan()
    single = {name: made.type(name).dtype for name in made if name != "values"}
    features, columns = features_of(made, list(made))
    handed = [Handed(name, dtype, "column", (name,), encoded=dtype) for name, dtype in single.items()]
    handed.append(Handed("values", "int16", "ragged", ("values__values", "values__offsets"), offsets="int32", encoded="int16"))
    graph = joined(features, model(single), handed, {"total": 2, "listed": 1})
    form = ModelForm("types", "ONNX", columns, (Answered("total", "float64"), Answered("listed", "float64")))
    target = tmp_path_factory.mktemp("types") / "repository"
    return write_model_repository(target, form, graph, ExportSettings(), lambda _: None, together=True)


@pytest.fixture(scope="module")
def address(repository: Path) -> Iterator[str]:
    with EmbeddedServer(repository, ServeSettings(max_list=5)) as server:
        yield server.grpc_address


def rows(count: int, seed: int = 0) -> dict[str, list[Any]]:
    generator = np.random.default_rng(seed)
    found: dict[str, list[Any]] = {}
    for dtype in DTYPES:
        values: list[Any] = generator.integers(0, 100, count).tolist()
        if dtype == "string":
            values = [f"ä{value}" for value in values]
        elif dtype == "bool":
            values = [value > 50 for value in values]
        found[dtype] = [None if generator.random() < 0.2 else value for value in values]
    for dtype in ("string", "int16", "float64"):
        lists = [generator.integers(-9, 9, generator.integers(0, 5)).tolist() for _ in range(count)]
        found[f"{dtype}_list"] = [[str(value) for value in each] for each in lists] if dtype == "string" else lists
    return found


def expected(asked: dict[str, list[Any]]) -> tuple[list[float], list[float]]:
    """The sums, in plain Python."""
    totals = []
    for row in range(len(asked["bool"])):
        total: float = sum(7 if asked[dtype][row] is None else asked[dtype][row] for dtype in NUMBERS)
        total += sum(asked[dtype][row] is None for dtype in ("string", "bool"))
        for dtype in ("string", "int16", "float64"):
            values = asked[f"{dtype}_list"][row]
            total += len(values)
            if dtype != "string":  # the end of an empty list is 0, or NaN, which is filled
                total += values[-1] if values else 3 if dtype == "float64" else 0
        totals.append(total)
    return totals, [float(sum(values)) for values in asked["int16_list"]]


def test_every_type_is_read_and_computed(address: str) -> None:
    asked = rows(30)
    with cartwheel.Client(address) as client:
        answer = client.infer("types", asked)
    totals, listed = expected(asked)
    assert answer["total"][:, 0].tolist() == totals
    assert answer["listed"][:, 0].tolist() == listed


def test_requests_with_lists_of_any_width_are_answered_together_as_each_by_itself(address: str) -> None:
    async def ask() -> list[tuple[float, float]]:
        async with cartwheel.AsyncClient(address) as client:
            asked = [rows(1, seed) for seed in range(60)]
            answers = await asyncio.gather(*(client.infer("types", each) for each in asked))
            return [(float(each["total"][0, 0]), float(each["listed"][0, 0])) for each in answers]

    wanted = [tuple(each[0] for each in expected(rows(1, seed))) for seed in range(60)]
    assert asyncio.run(ask()) == wanted


def test_lists_whose_lengths_are_left_out_are_as_long_as_they_are_wide(address: str, repository: Path) -> None:
    from tritonclient.grpc import InferenceServerClient, InferInput

    form = ModelForm.parsed(LocalRepository(repository).metadata["model"])
    asked = rows(1)
    asked |= {"string_list": [["a", "b"]], "int16_list": [[1, 2, 3]], "float64_list": [[0.5]]}
    table = pl.DataFrame(asked, schema={column.name: _polars(column) for column in form.columns})
    with InferenceServerClient(address) as client:
        inputs = []
        for name, value in request_arrays(form.columns, table).items():
            if not name.endswith("__lengths"):
                kind = {"object": "BYTES", "bool": "BOOL", "float32": "FP32", "float64": "FP64"}
                tensor = InferInput(name, list(value.shape), kind.get(value.dtype.name, value.dtype.name.upper()))
                encoded = np.array([[text.encode() for text in row] for row in value], object) if value.dtype == object else value
                tensor.set_data_from_numpy(encoded)
                inputs.append(tensor)
        found = client.infer("types", inputs)
    assert found.as_numpy("listed")[0, 0] == 6
    assert found.as_numpy("total")[0, 0] == expected(asked)[0][0]


def _polars(column: Any) -> Any:
    return ColumnType(column.dtype, column.listed).polars


def test_a_list_that_is_too_wide_is_refused_by_its_setting(address: str, repository: Path) -> None:
    asked = rows(1) | {"int16_list": [[1] * 6]}
    with (
        cartwheel.Client(address) as client,
        pytest.raises(UsageError, match="int16_list holds 6 values; this server reads at most 5"),
    ):
        client.infer("types", asked)


def test_a_value_of_another_type_is_refused_before_it_is_sent(address: str) -> None:
    with cartwheel.Client(address) as client:
        for name, wrong, said in (
            ("uint8", 256, "uint8 holds 0 to 255"),
            ("bool", 1, "expected a truth value"),
            ("float64", "1", "expected a number"),
            ("int32", 1.5, "expected a whole number"),
            ("string", 3, "expected a text"),
            ("int16_list", 3, "expected a list"),
        ):
            with pytest.raises(UsageError) as error:
                client.infer("types", rows(1) | {name: [wrong]})
            assert said in str(error.value)
