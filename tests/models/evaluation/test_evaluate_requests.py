"""The cart model as requests ask it: each form with its own calibration, beside its own base rate."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cartwheel.core.onnx_model import OnnxModel
from evaluation.figures import Evaluation
from evaluation.report.line_segments import form_segments
from evaluation.requests import request_records
from evaluation.settings import EvaluateSettings
from models.metrics.classification import expected_calibration_error, log_loss
from models.training.calibration import sigmoid
from models.training.form_calibration import form_log_odds, read_forms
from workflows.features.columns import FORMS
from workflows.tasks.task_names import CART_LINE_OF, CART_OF

SETTINGS = EvaluateSettings(bootstrap=100)


def logits(run: Path, form: str) -> tuple[pl.DataFrame, np.ndarray]:
    """The test lines of a form and their logits."""
    examples = pl.read_parquet(run / "examples/test/cart_requests.parquet").with_row_index()
    features = pl.read_parquet(run / "features/test/cart_requests/part_0.parquet")
    rows = examples.filter(pl.col("form") == form)
    model = OnnxModel(run / "models/cart/model.onnx")
    columns = {name: features[name].to_numpy()[rows["index"].to_numpy()] for name in model.inputs}
    return rows, model.table(columns)[:, 0].astype(np.float64)


def test_each_form_is_judged_by_its_own_calibration(finished_run: Path) -> None:
    records, predicted = request_records(finished_run, SETTINGS, 1)
    evaluation = Evaluation(tuple(records))
    assert evaluation.tasks == tuple(task for form in FORMS for task in (CART_LINE_OF[form], CART_OF[form]))
    train = pl.read_parquet(finished_run / "examples/train/cart_requests.parquet")
    for place, form in enumerate(FORMS):
        rows, logit = logits(finished_run, form)
        label = rows["label"].to_numpy()
        several = rows.select(pl.len().over("cart_id") > 1).to_series().to_numpy()
        assert 0 < several.sum() < len(label)
        chance = np.where(several, sigmoid((place > 1) * place * logit - 0.1), sigmoid(place * logit - 0.2))
        found = evaluation.find(CART_LINE_OF[form], "dlrm", "log_loss")
        assert found is not None
        assert found.value == pytest.approx(log_loss(label, chance))
        assert found.low < found.value < found.high  # type: ignore[operator]
        assert found.protocol.sample_size == {"lines": len(label), "users": rows["user_key"].n_unique()}
        error = evaluation.find(CART_LINE_OF[form], "dlrm", "calibration_error")
        assert error is not None
        assert error.value == pytest.approx(expected_calibration_error(label, chance))
        rate = float(train.filter(pl.col("form") == form)["label"].mean())  # type: ignore[arg-type]
        base = evaluation.find(CART_LINE_OF[form], "base_rate", "log_loss")
        assert base is not None
        assert base.value == pytest.approx(log_loss(label, np.full(len(label), rate)))
        carts = evaluation.find(CART_OF[form], "dlrm", "roc_auc")
        assert carts is not None
        assert carts.n == rows["cart_id"].n_unique()
        np.testing.assert_allclose(predicted[form].forecasts[0].probability, chance)  # type: ignore[arg-type]


def test_a_cart_of_one_line_is_judged_by_the_chance_of_its_line(finished_run: Path) -> None:
    read = read_forms(finished_run / "models/cart")
    for form in FORMS:
        rows, logit = logits(finished_run, form)
        lines, carts, first = form_log_odds(read[form], rows["cart_id"].to_numpy(), logit)
        alone = rows.select(pl.len().over("cart_id") == 1).to_series().to_numpy()[first]
        assert 0 < alone.sum() < len(alone)
        np.testing.assert_allclose(carts[alone], lines[first][alone], rtol=1e-12)


def test_a_form_that_fell_back_to_the_base_rate_says_so(finished_run: Path) -> None:
    records, predicted = request_records(finished_run, SETTINGS, 1)
    remarks = {record.task: record.protocol.remark for record in records if record.model == "dlrm"}
    stranger = FORMS[0]  # the only form with slope 0 and weights 0 for carts of either size
    for task, what in ((CART_LINE_OF[stranger], "line"), (CART_OF[stranger], "cart")):
        assert remarks.pop(task) == f"every {what} gets a base rate, for on validation the model told no more"
    assert remarks.pop(CART_LINE_OF[FORMS[1]]) == (
        "every line of a cart of several lines gets a base rate, for on validation the model told no more"
    )
    assert set(remarks.values()) == {""}
    parts = form_segments(predicted, Evaluation(tuple(records)))
    assert [(part.name, bool(part.remark)) for part in parts] == [(form, form in FORMS[:2]) for form in FORMS]
    for part in parts:
        assert part.calibration_error is not None
        model, base = (each.value for each in part.log_loss)
        assert part.difference.value == pytest.approx(model - base)  # type: ignore[operator]


def test_without_requests_there_is_nothing_to_judge(own_run: Path) -> None:
    (own_run / "examples/test/cart_requests.parquet").unlink()
    assert request_records(own_run, SETTINGS, 1) == ([], {})


def test_a_form_without_training_rows_has_the_base_rate_of_all(own_run: Path) -> None:
    (own_run / "examples/train/cart_requests.parquet").unlink()
    evaluation = Evaluation(tuple(request_records(own_run, SETTINGS, 1)[0]))
    rate = float(pl.read_parquet(own_run / "examples/train/cart.parquet")["label"].mean())  # type: ignore[arg-type]
    label = logits(own_run, FORMS[1])[0]["label"].to_numpy()
    base = evaluation.find(CART_LINE_OF[FORMS[1]], "base_rate", "log_loss")
    assert base is not None
    assert base.value == pytest.approx(log_loss(label, np.full(len(label), rate)))


def test_the_files_hold_a_calibration_for_each_form(own_run: Path) -> None:
    path = own_run / "models/cart/head.json"
    assert set(json.loads(path.read_text())["forms"]) == set(FORMS)
