"""An ensemble in the layout that Merlin Systems 23.x exports, by its public source; no export of Merlin Systems itself was at hand."""

from __future__ import annotations

import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import polars as pl
import pytest
from pipelines import Pipeline

import cartwheel
from cartwheel.core.errors import NotCompilableError, RunError, UsageError
from cartwheel.pipeline.foreign.checking import request_arrays
from cartwheel.pipeline.foreign.systems import read_steps
from serving.local import LocalRepository

HOMES = {
    "TransformWorkflow": "workflow",
    "PredictTensorflow": "tensorflow",
    "QueryFaiss": "faiss",
    "SoftmaxSampling": "softmax_sampling",
    "OwnStep": "own",
}


def graph(monkeypatch: pytest.MonkeyPatch, *steps: str) -> bytes:
    """Pickle objects of classes of these names, in the modules of Merlin Systems; one cannot be loaded without running its code."""
    held = []
    for step in steps:
        name = f"merlin.systems.dag.ops.{HOMES[step]}"
        module = ModuleType(name)
        kind = type(step, (), {"__module__": name, "__qualname__": step, "__setstate__": None})
        setattr(module, step, kind)
        monkeypatch.setitem(sys.modules, name, module)
        held.append(kind())
    content = pickle.dumps({"ops": held, "names": list(HOMES)})
    for step in steps:
        monkeypatch.delitem(sys.modules, f"merlin.systems.dag.ops.{HOMES[step]}")
    return content


@pytest.fixture
def exported(dlrm: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    def export(*steps: str) -> Path:
        folder = tmp_path / "exported"
        shutil.copytree(dlrm.workflow, folder / "0_transformworkflowtriton/1/workflow")
        shutil.copytree(dlrm.model, folder / "1_predicttensorflowtriton/1/model.savedmodel")
        (folder / "executor_model/1/ensemble").mkdir(parents=True)
        (folder / "executor_model/1/ensemble/ensemble.pkl").write_bytes(graph(monkeypatch, *steps))
        return folder

    return export


def test_a_workflow_and_a_model_become_ours(exported: Callable[..., Path], dlrm: Pipeline, tmp_path: Path) -> None:
    written = cartwheel.convert_systems(exported("TransformWorkflow", "PredictTensorflow"), tmp_path / "out")
    asked = request_arrays(written.form.columns, pl.DataFrame(dlrm.rows, schema_overrides={"age": pl.Float32}))
    [found] = LocalRepository(written.repository).ask("ensemble", **asked).values()
    [expected] = dlrm.answers.values()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_steps_are_told_by_name_without_loading_the_pickle(exported: Callable[..., Path]) -> None:
    steps = read_steps(exported("TransformWorkflow", "PredictTensorflow", "QueryFaiss", "SoftmaxSampling", "OwnStep"))
    assert {step.name: bool(step.becomes) for step in steps} == {
        "TransformWorkflow": True,
        "PredictTensorflow": True,
        "QueryFaiss": True,
        "SoftmaxSampling": False,
        "OwnStep": False,
    }


def test_a_step_without_a_form_is_refused_unless_one_does_without(exported: Callable[..., Path], tmp_path: Path) -> None:
    folder = exported("TransformWorkflow", "PredictTensorflow", "SoftmaxSampling")
    with pytest.raises(NotCompilableError, match="SoftmaxSampling is not supported: it draws items at random") as error:
        cartwheel.convert_systems(folder, tmp_path / "out")
    assert "--without SoftmaxSampling" in error.value.fix
    with pytest.raises(UsageError, match=r"has no steps \['QueryFeast'\]"):
        cartwheel.convert_systems(folder, tmp_path / "out", without=["QueryFeast"])
    assert not (tmp_path / "out").exists()


def test_a_faiss_index_wants_its_items(exported: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="searches a Faiss index"):
        cartwheel.convert_systems(exported("TransformWorkflow", "PredictTensorflow", "QueryFaiss"), tmp_path / "out")


def test_what_is_no_ensemble_is_refused(exported: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds 0 graphs of Merlin Systems"):
        cartwheel.convert_systems(tmp_path, tmp_path / "out")
    folder = exported("TransformWorkflow")
    (folder / "executor_model/1/ensemble/ensemble.pkl").write_bytes(b"none")
    with pytest.raises(RunError, match="is not a pickle"):
        read_steps(folder)
