"""Declared tasks through the generic ensemble: in this process, and on the embedded Triton over gRPC."""

from __future__ import annotations

import asyncio
import json
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from synthetic_run import write_synthetic_run
from synthetic_tasks import FACTOR, INTERCEPT, SLOPE, SPREAD, SyntheticTask, write_tasks
from tritonclient.utils import InferenceServerException
from typer.testing import CliRunner

from benchmarks.fault_cases.malformed import Given, message, strings
from cartwheel.cli.main import app
from cartwheel.core.errors import ParityError, RunError, UsageError
from serving.client.async_client import AsyncClient
from serving.client.client import Client
from serving.contract.questions import written_question
from serving.contract.tasks import TaskColumn, TaskForm
from serving.ensembles.predict import graph_of
from serving.ensembles.registry import contract, served_graphs, written_plan
from serving.export.repository import write_repository
from serving.local import LocalRepository
from serving.server.server import EmbeddedServer
from serving.settings import ExportSettings, ServeSettings

FIRST = {"user_events": 8.0, "spent": 3.5, "favourite": "garden", "weekday": 2, "liked": ["books", "books"], "taste": [1.0, -1.0]}


@pytest.fixture(scope="module")
def tasks_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, SyntheticTask]]:
    """A run of declared tasks alone, exported."""
    path = tmp_path_factory.mktemp("tasks") / "run"
    tasks = write_tasks(path)
    write_repository(path, ExportSettings())
    return path, tasks


@pytest.fixture(scope="module")
def tasks(tasks_run: tuple[Path, dict[str, SyntheticTask]]) -> dict[str, SyntheticTask]:
    return tasks_run[1]


@pytest.fixture(scope="module")
def local_tasks(tasks_run: tuple[Path, dict[str, SyntheticTask]]) -> LocalRepository:
    return LocalRepository(tasks_run[0] / "repository")


@pytest.fixture(scope="module")
def tasks_server(tasks_run: tuple[Path, dict[str, SyntheticTask]]) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(tasks_run[0] / "repository", ServeSettings(queue_seconds=60.0)) as running:
        yield running


@pytest.fixture
def shop(tasks_server: EmbeddedServer) -> Iterator[Client]:
    with Client(tasks_server.endpoint.grpc) as client:
        yield client


def expected(task: SyntheticTask, rows: dict[str, list[Any]]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    encoded = task.encoded(rows)
    return task.score(encoded), task.contributions(encoded)


def test_a_stored_user_is_answered_from_what_is_stored(local_tasks: LocalRepository, tasks: dict[str, SyntheticTask]) -> None:
    answer = local_tasks.ask("churn", entity=[["u3"], ["u7"]])
    score, reasons = expected(tasks["churn"], tasks["churn"].stored)
    np.testing.assert_allclose(answer["score"][:, 0], score[[3, 7]], rtol=1e-5, atol=1e-6)
    probability = 1 / (1 + np.exp(-(SLOPE * score[[3, 7]] + INTERCEPT)))
    np.testing.assert_allclose(answer["probability"][:, 0], probability, rtol=1e-5)
    assert answer["decision"][:, 0].tolist() == (probability >= 0.25).tolist()
    assert answer["threshold"].tolist() == answer["base_rate"].tolist() == [[0.25], [0.25]]
    assert answer["known"].tolist() == answer["calibrated"].tolist() == [[1], [1]]
    for row, place in enumerate((3, 7)):
        ranked = sorted(reasons, key=lambda name: -abs(reasons[name][place]))[:3]
        assert answer["reasons"][row].tolist() == ranked
        np.testing.assert_allclose(answer["contributions"][row], [reasons[name][place] for name in ranked], atol=1e-5)


def test_what_is_given_replaces_what_is_stored_and_nothing_else(
    local_tasks: LocalRepository, tasks: dict[str, SyntheticTask]
) -> None:
    churn = tasks["churn"]
    stored = {name: [values[3]] for name, values in churn.stored.items()}
    for name, value in FIRST.items():
        row = {**stored, name: [value]}
        answer = local_tasks.ask("churn", entity=[["u3"]], **{name: churn.feeds(row)[name]})
        np.testing.assert_allclose(answer["score"][:, 0], expected(churn, row)[0], rtol=1e-5, atol=1e-6, err_msg=name)


def test_an_unknown_user_has_missing_values_and_is_told_apart(
    local_tasks: LocalRepository, tasks: dict[str, SyntheticTask]
) -> None:
    churn = tasks["churn"]
    weekday = int(np.bincount(churn.stored["weekday"]).argmax())
    blank = {
        "user_events": [None],
        "spent": [None],
        "favourite": [""],
        "weekday": [weekday],
        "liked": [[]],
        "taste": [[0.0, 0.0]],
    }
    for answer in (
        local_tasks.ask("churn", entity=[["nobody"]]),
        local_tasks.ask("churn", entity=[[""]]),
        local_tasks.ask("churn"),
    ):
        assert answer["known"].tolist() == [[0]]
        np.testing.assert_allclose(answer["score"][:, 0], expected(churn, blank)[0], rtol=1e-5, atol=1e-6)


def test_a_quantity_has_no_decision_and_a_row_no_entity(local_tasks: LocalRepository) -> None:
    quantity, row = local_tasks.ask("demand", entity=[["u1"]]), local_tasks.ask("intent", spent=[[2.0]], favourite=[["books"]])
    assert "probability" not in quantity
    assert "decision" not in quantity
    np.testing.assert_allclose(quantity["quantity"], FACTOR * quantity["score"], rtol=1e-6)
    assert quantity["calibrated"].tolist() == [[1]]
    ends = SPREAD.bounds(quantity["quantity"][:, 0].astype(np.float64))
    for name, expected in zip(("low", "high", "order"), ends, strict=True):
        np.testing.assert_allclose(quantity[f"quantity_{name}"][:, 0], expected, rtol=1e-5)
    assert "quantity_low" not in row
    assert "known" not in row
    assert row["reasons"][0, 2] == ""
    assert row["contributions"][0, 2] == 0


def test_a_typical_value_is_no_reason(local_tasks: LocalRepository) -> None:
    answer = local_tasks.ask("intent", spent=[[1.0]], favourite=[[""]])
    assert answer["reasons"].tolist() == [["", "", ""]]
    assert answer["contributions"].tolist() == [[0.0, 0.0, 0.0]]


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"colour": [["red"]]}, r"no inputs \['colour'\]"),
        ({"taste": [[1.0, 2.0, 3.0]]}, r"'taste' has shape \[1, 3\]. Give it with shape \['B', 2\]"),
        ({"taste": [[1.0, math.nan]]}, "'taste' holds nan; give a finite number"),
        ({"spent": [[math.inf]]}, "'spent' holds inf; give a finite number"),
        ({"entity": [["u1"], ["u2"]], "spent": [[1.0]]}, "differ in their number of rows"),
    ],
)
def test_a_wrong_request_is_refused_here(local_tasks: LocalRepository, inputs: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        local_tasks.ask("churn", **inputs)


def test_the_client_gets_typed_answers_over_grpc(shop: Client, tasks: dict[str, SyntheticTask]) -> None:
    answer = shop.predict("churn", entity="u3", **FIRST)
    score, reasons = expected(tasks["churn"], {name: [value] for name, value in FIRST.items()})
    assert answer.score == pytest.approx(score[0], rel=1e-5)
    assert (answer.task, answer.entity, answer.known, answer.calibrated, answer.threshold) == ("churn", "u3", True, True, 0.25)
    assert answer.probability == pytest.approx(1 / (1 + math.exp(-(SLOPE * score[0] + INTERCEPT))), rel=1e-5)
    assert answer.decision is (answer.probability >= 0.25)
    strongest = max(reasons, key=lambda name: abs(reasons[name][0]))
    assert answer.reasons[0].column == strongest
    assert answer.reasons[0].title == next(c.title for c in tasks["churn"].columns if c.name == strongest)
    assert answer.reasons[0].contribution == pytest.approx(reasons[strongest][0], abs=1e-5)
    assert shop.predict("demand", entity="nobody").known is False
    assert shop.predict("intent", spent=None, favourite="garden").entity is None


def test_many_are_asked_in_one_request_and_the_asyncio_client_answers_alike(shop: Client, tasks_server: EmbeddedServer) -> None:
    many = shop.predict_many("churn", ["u1", "nobody", "u2"], spent=[1.0, None, 2.0])
    assert [answer.known for answer in many] == [True, False, True]
    assert many[0] == shop.predict("churn", "u1", spent=1.0)

    async def ask() -> Any:
        async with AsyncClient(tasks_server.endpoint.grpc) as client:
            return await client.predict_many("churn", ["u1", "nobody", "u2"], spent=[1.0, None, 2.0])

    assert asyncio.run(ask()) == many


@pytest.mark.parametrize(
    ("task", "entity", "columns", "words"),
    [
        ("churn", "u1", {"colour": "red"}, r"churn has no column 'colour'. Its columns are user_events, spent"),
        ("churn", "u1", {"spent": "much"}, "spent is 'much'; expected a number. Pass None"),
        ("churn", "u1", {"spent": math.nan}, "spent is nan; expected a finite number. Pass None"),
        ("churn", "u1", {"spent": True}, "spent is True; expected a number"),
        ("churn", "u1", {"weekday": 2.5}, "weekday is 2.5; expected a whole number"),
        ("churn", "u1", {"favourite": 2.5}, "favourite is 2.5; expected a string"),
        ("churn", "u1", {"liked": "books"}, r"liked is 'books'; expected a list of strings"),
        ("churn", "u1", {"liked": ["a"] * 4}, "liked holds 4 values; at most 3 are read"),
        ("churn", "u1", {"taste": [1.0]}, "taste is 1 numbers; expected 2 numbers"),
        ("churn", "u1", {"taste": [1.0, math.inf]}, "taste is inf; expected a finite number"),
        ("churn", None, {}, "The request to churn is empty. Give an entity or a column"),
        ("churn", 2.5, {}, r"entity\[0\] is 2.5, a float; expected a string or a whole number"),
        ("intent", "u1", {}, "intent is about each row, and the server stores nothing about it. Give only columns"),
    ],
)
def test_the_client_refuses_in_a_sentence(shop: Client, task: str, entity: Any, columns: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        shop.predict(task, entity, columns)


def test_too_many_rows_and_rows_that_differ_are_refused(shop: Client) -> None:
    with pytest.raises(UsageError, match=r"65 rows are requested; this server answers at most 64 at once"):
        shop.predict_many("churn", ["u1"] * 65)
    with pytest.raises(UsageError, match=r"differ in their number of rows: {'spent': 1, 'entity': 2}"):
        shop.predict_many("churn", ["u1", "u2"], spent=[1.0])


FLOATS = {"nan": math.nan, "inf": math.inf, "huge": 3.2e38}
HOSTILE = {
    "a string cut off": Given("entity", "BYTES", [1, 1], b"\x05\x00\x00\x00u1"),
    "another type": Given("entity", "INT64", [1, 1], bytes(8)),
    "no row": Given("entity", "BYTES", [0, 1], b""),
    "a vector too short": Given("taste", "FP32", [1, 1], bytes(4)),
    "a list too long": Given("liked", "BYTES", [1, 4], b"\0\0\0\0" * 4),
    "a column that is not there": Given("colour", "BYTES", [1, 1], b"\0\0\0\0"),
    "too many rows": Given("spent", "FP32", [65, 1], bytes(4 * 65)),
    "an infinite number": Given("spent", "FP32", [1, 1], struct.pack("<f", math.inf)),
    "a vector with NaN": Given("taste", "FP32", [1, 2], struct.pack("<ff", 0.0, math.nan)),
    "bytes that are missing": Given("spent", "FP32", [1, 1], b"\0"),
}


@pytest.mark.parametrize("wrong", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_request_is_refused_and_the_next_answered(tasks_server: EmbeddedServer, shop: Client, wrong: Given) -> None:
    import grpc

    with grpc.insecure_channel(tasks_server.endpoint.grpc) as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        with pytest.raises(grpc.RpcError) as refused:
            call(message("churn", wrong).SerializeToString(), timeout=30.0)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT, refused.value.details()
        assert "Traceback" not in refused.value.details()
        call(message("churn", strings("entity", b"\xff\xfe")).SerializeToString(), timeout=30.0)  # no text: an unknown entity
    assert shop.predict("churn", "u1").known is True


def test_a_task_that_is_not_there_is_refused(shop: Client) -> None:
    with pytest.raises(Exception, match="does not have the requested model") as missing:
        shop.predict("loyalty", "u1")
    assert not isinstance(missing.value, InferenceServerException)


def test_the_command_line_answers_in_words_and_in_json(tasks_server: EmbeddedServer) -> None:
    runner, where = CliRunner(), ["--server", tasks_server.endpoint.grpc]
    words = runner.invoke(app, ["predict", "churn", "u1", "nobody", "--set", "spent=2", *where], env={"COLUMNS": "120"})
    assert words.exit_code == 0, words.output
    assert "nobody (not known)" in words.output
    assert "Positive from 25.0% on" in words.output
    told = runner.invoke(app, ["predict", "churn", "u1", "--set", "liked=books", "--set", "liked=garden", "--json", *where])
    assert json.loads(told.output)["entity"] == "u1"
    assert 0 < json.loads(told.output)["probability"] < 1
    for given, sentence in (
        ("spent", "expected column=value"),
        ("spent=much", "expected a number"),
        ("colour=red", "no column 'colour'"),
    ):
        refused = runner.invoke(app, ["predict", "churn", "u1", "--set", given, *where])
        assert sentence in str(refused.exception)


def test_each_ensemble_is_asked_a_question_of_its_own(
    tasks_run: tuple[Path, Any], run: Path, local_tasks: LocalRepository
) -> None:
    asked = {path.parent.name for path in (tasks_run[0] / "repository").glob("*/config.pbtxt") if written_question(path)}
    assert asked == {"churn", "demand", "intent"}
    asked = {path.parent.name for path in (run / "repository").glob("*/config.pbtxt") if written_question(path)}
    assert asked == {"recommend", "cart", "similar_items"}


def conforms(repository: LocalRepository) -> None:
    """Hold every registered ensemble of a repository to what it declares."""
    graphs = served_graphs(written_plan(repository.metadata))
    assert [graph.name for graph in graphs] == [ensemble.name for ensemble in repository.contract.ensembles]
    assert contract(written_plan(repository.metadata)) == repository.contract
    for graph in graphs:
        by_name = {tensor.name: tensor for tensor in graph.request}
        inputs = {
            name: np.array([values] if by_name[name].batched else values, dtype=object) for name, values in graph.question.items()
        }
        answer = repository.ask(graph.name, **inputs)
        assert list(answer) == [tensor.name for tensor in graph.answer]
        for tensor in graph.answer:
            fixed = [size for size in tensor.shape if not isinstance(size, str)]
            assert list(answer[tensor.name].shape[len(tensor.shape) - len(fixed) :]) == fixed, tensor.name
        module, _, function = graph.parity.partition(":")
        assert callable(getattr(__import__(module, fromlist=[function]), function))


def test_every_ensemble_answers_its_question_as_declared(local: LocalRepository, local_tasks: LocalRepository) -> None:
    conforms(local)
    conforms(local_tasks)


def test_a_run_of_both_serves_both(tmp_path: Path) -> None:
    run = write_synthetic_run(tmp_path / "run")
    SyntheticTask(run, "churn").write()
    both = LocalRepository(write_repository(run, ExportSettings()))
    conforms(both)
    assert both.ask("churn", entity=[["u1"]])["known"].tolist() == [[1]]
    assert both.ask("recommend", user_id=[["u1"]])["items"].shape == (1, 10)


@pytest.mark.parametrize(
    ("column", "words"),
    [("score", "score of test examples"), ("answer", "probability of test examples"), ("reason_taste", "reasons")],
)
def test_an_answer_that_differs_from_the_learners_is_not_exported(tmp_path: Path, column: str, words: str) -> None:
    layout = SyntheticTask(tmp_path, "churn").write()
    path = layout.model("linear").offline
    table = pq.read_table(path)
    values = table[column].to_numpy() + 0.5
    pq.write_table(table.set_column(table.column_names.index(column), column, [values]), path)
    with pytest.raises(ParityError, match=rf"task 'churn': .*{words}"):
        write_repository(tmp_path, ExportSettings())
    assert not (tmp_path / "repository").exists()


def test_a_file_that_lacks_something_is_named(tmp_path: Path) -> None:
    layout = SyntheticTask(tmp_path, "churn").write()
    layout.model("linear").config.write_text("{}")
    with pytest.raises(RunError, match="task 'churn' lack what serving needs"):
        write_repository(tmp_path, ExportSettings())


def test_a_column_with_the_name_of_an_output_is_refused() -> None:
    form = TaskForm("t", "t", "row", "probability", (TaskColumn("score", "s", "float32"),), 0.5, 0.5, calibrated=False)
    with pytest.raises(RunError, match="column 'score', which is the name of another tensor"):
        graph_of(form)
