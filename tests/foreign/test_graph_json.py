"""A workflow that NVTabular's main branch saved as ``graph.json`` (``tests/foreign/newer``, made by its ``make.py``)."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
from typer.testing import CliRunner

import cartwheel
from cartwheel.cli.main import app
from cartwheel.core.errors import CartwheelError, NotCompilableError, RunError
from workflows.compiler.plan.onnx_frames import encode_onnx, open_session

NEWER = Path(__file__).with_name("newer")
SAVED = NEWER / "workflow"
LIKED = {"stars": "CAST(stars > 3 AS BIGINT)"}


def rows() -> pl.DataFrame:
    return pl.from_pandas(pd.read_parquet(NEWER / "rows.parquet"))


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Leave no module of a user behind."""
    sys.modules.pop("functions", None)
    yield
    sys.modules.pop("functions", None)


@pytest.fixture
def unpickled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which of the ways to load a pickle were gone; none may be."""
    found: list[str] = []
    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, lambda *_, _name=name, **__: found.append(_name))
    return found


def test_every_column_equals_what_its_own_nvtabular_made(monkeypatch: pytest.MonkeyPatch, unpickled: list[str]) -> None:
    monkeypatch.syspath_prepend(str(NEWER))
    compiled = cartwheel.compile_workflow(SAVED, lambdas=LIKED)
    expected = pd.read_parquet(NEWER / "encoded.parquet")
    assert not unpickled
    assert set(compiled.columns) == set(expected)
    tables, requests = compiled.transform(rows()), encode_onnx(open_session(compiled.onnx()), rows())
    for name in set(expected) - {"device"}:  # of which NVTabular hands on the raw one: see docs/deviations.md
        wanted = [list(each) for each in expected[name]] if name == "tags" else pytest.approx(expected[name].tolist(), abs=1e-6)
        assert tables[name].to_list() == wanted, name
        assert requests[name].to_list() == wanted, name


def test_a_function_that_is_named_is_not_imported_unless_an_expression_stands_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(NEWER))
    with pytest.raises(NotCompilableError, match="LambdaOp"):
        cartwheel.compile_workflow(SAVED)
    compiled = cartwheel.compile_workflow(SAVED, leave_out=["stars_high"])
    assert "functions" not in sys.modules
    assert compiled.transform(rows()).height == 20
    cartwheel.compile_workflow(SAVED, lambdas=LIKED)
    assert "functions" in sys.modules


def test_a_function_that_cannot_be_imported_is_told() -> None:
    with pytest.raises(CartwheelError, match=r"functions\.high"):
        cartwheel.compile_workflow(SAVED, lambdas=LIKED)


def test_the_command_says_that_there_is_no_pickle(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["compile", str(SAVED), "--out", str(tmp_path / "out"), "--except", "stars_high"])
    assert done.exit_code == 0, done.output
    assert "without a pickle" in done.output.splitlines()[0]


def changed(folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    saved = Path(shutil.copytree(SAVED, folder / "saved"))
    graph = json.loads((saved / "graph.json").read_text())
    change(graph)
    (saved / "graph.json").write_text(json.dumps(graph))
    return saved


def node(graph: dict[str, Any], kind: str, **params: Any) -> dict[str, Any]:
    return next(
        each
        for each in graph["nodes"]
        if str(each["op_class"]).endswith("." + kind) and params.items() <= each["op_params"].items()
    )


def _outside(graph: dict[str, Any]) -> None:
    node(graph, "Categorify")["op_state"]["categories"][0]["path"] = "../../../../secret.parquet"


def _unknown(graph: dict[str, Any]) -> None:
    node(graph, "LogOp")["op_class"] = "os.system"


def _ambiguous(graph: dict[str, Any]) -> None:
    record = node(graph, "Categorify", encode_type="combo")
    record["selector"]["names"] = ["city", "device", "city_device"]
    record["op_state"]["storage_name"] = {}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_outside, "names a file outside the saved workflow"),
        (_unknown, "os.system, which is not known here"),
        (_ambiguous, "2 groups of them could be"),
        (lambda graph: graph.update(format_version=2), "has the format 2, expected 1"),
        (lambda graph: graph.update(output_node_id=999), "holds no graph of NVTabular"),
        (lambda graph: graph["nodes"][5].update(parent_ids=[77]), "holds no graph of NVTabular"),
        (lambda graph: graph.clear(), "holds no graph of NVTabular"),
        (lambda graph: node(graph, "Normalize")["op_state"].clear(), "holds no graph of NVTabular"),
    ],
)
def test_a_damaged_graph_is_refused_in_one_sentence(tmp_path: Path, change: Callable[[dict[str, Any]], None], said: str) -> None:
    with pytest.raises(CartwheelError) as error:
        cartwheel.compile_workflow(changed(tmp_path, change), leave_out=["stars_high"])
    assert said in error.value.found
    assert "\n" not in error.value.found


def test_what_is_no_json_or_of_another_release_is_refused(tmp_path: Path) -> None:
    saved = Path(shutil.copytree(SAVED, tmp_path / "saved"))
    (saved / "metadata.json").write_text(json.dumps({"versions": {"nvtabular": "26.3.0"}}))
    with pytest.raises(RunError, match=r"saved by NVTabular 26\.3\.0"):
        cartwheel.compile_workflow(saved)
    shutil.copyfile(SAVED / "metadata.json", saved / "metadata.json")
    (saved / "graph.json").write_text("{")
    with pytest.raises(RunError, match="holds no graph of NVTabular"):
        cartwheel.compile_workflow(saved)
    shutil.copyfile(SAVED / "graph.json", saved / "graph.json")
    shutil.rmtree(saved / "artifacts")
    with pytest.raises(RunError, match="is missing"):
        cartwheel.compile_workflow(saved)
