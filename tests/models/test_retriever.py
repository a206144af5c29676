"""Which model retrieves in a run."""

from pathlib import Path

import pytest

from evaluation.report.names import model_name
from models.retrieval.retriever import blended, forget_others, retrieval_model, retriever, two_stage


def test_the_two_tower_retrieves_where_nothing_else_does(tmp_path: Path) -> None:
    assert retriever(tmp_path) == "two_tower"
    assert retrieval_model(tmp_path).path == tmp_path / "models" / "two_tower"


@pytest.mark.parametrize("name", ["als", "bpr", "two_tower"])
def test_the_model_trained_last_retrieves(tmp_path: Path, name: str) -> None:
    for other in ("two_tower", "als", "bpr", "ranking"):
        (tmp_path / "models" / other).mkdir(parents=True)
    forget_others(tmp_path, name)
    assert retriever(tmp_path) == name
    assert {folder.name for folder in (tmp_path / "models").iterdir()} == {name, "ranking"}


def test_the_report_names_each_part() -> None:
    assert [model_name(made("als")) for made in (blended, two_stage)] == ["ALS + neighbours", "ALS + DLRM"]
    assert [model_name(made("two_tower")) for made in (blended, two_stage)] == ["two-tower + neighbours", "two-tower + DLRM"]
