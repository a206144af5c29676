"""Evaluates the cart model by form of request, next to the base rate of each form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from cartwheel.core.frames import read_frame
from cartwheel.core.onnx_model import OnnxModel
from cartwheel.core.run_layout import RunLayout
from cartwheel.core.tables import check_aligned
from evaluation.figures import Protocol, Record
from evaluation.forecasts import Forecasts
from evaluation.lists import NOTHING
from evaluation.probabilities import Forecast, probability_records
from evaluation.settings import EvaluateSettings
from models.families.tabular.logistic_regression import BASE_RATE
from models.training.base_rates import BaseRates
from models.training.calibration import sigmoid
from models.training.form_calibration import BySize, FormCalibration, form_log_odds, read_forms
from workflows.features.columns import FORMS, SIZES
from workflows.tasks.cart_requests import CART_REQUESTS
from workflows.tasks.task_names import CART, CART_LINE_OF, CART_OF, DLRM, SPLIT

_FALLEN: Final = "every {} gets a base rate, for on validation the model told no more"
_HAS_FALLEN: Final[dict[str, Callable[[FormCalibration], bool]]] = {
    "line": lambda own: own.lines.slope == 0,
    "cart": lambda own: not any(own.cart.weights),
}


def request_records(run: Path, settings: EvaluateSettings, seed: int) -> tuple[list[Record], dict[str, Forecasts]]:
    """Judge ``models/cart`` on ``features/test/cart_requests``, its lines and its carts, each form of request by itself.

    Args:
        run: run directory.
        settings: resamples.
        seed: fixes the resamples.

    Returns:
        The records; and for each form that has lines what was predicted for them, the model first and then the base rate.

    Raises:
        RunError: if a file or a column is missing or tables are not row-aligned.
    """
    layout = RunLayout(run)
    path, folder = (run / kind / SPLIT / CART_REQUESTS for kind in ("examples", "features"))
    path = path.with_suffix(".parquet")
    if not layout.model(CART).scores.is_file() or not path.is_file():
        return [], {}
    examples, features = read_frame(path, ["form", "cart_id", "user_key", "label", "cart_label"]), read_frame(folder)
    check_aligned(path, len(examples), folder, len(features))
    model = OnnxModel(layout.model(CART).scores)
    logit = model.table({name: features[name].to_numpy() for name in model.inputs})[:, 0]
    forms, rates = (
        read_forms(layout.model(CART).path),
        BaseRates.of(layout.examples("train", CART), layout.examples("train", CART_REQUESTS)),
    )
    records: list[Record] = []
    predicted = {}
    for form in FORMS:
        rows = np.flatnonzero((examples["form"] == form).to_numpy())
        if len(rows):
            lines, carts = _forecasts(
                examples[rows], logit[rows].astype(np.float64), forms[form], (rates.of_lines(form), rates.of_carts(form))
            )
            predicted[form] = lines
            for what, task, found in (("line", CART_LINE_OF[form], lines), ("cart", CART_OF[form], carts)):
                records += _records(task, what, form, found, settings, seed, remark=_remark(forms[form], what))
    return records, predicted


def _forecasts(
    examples: pl.DataFrame, logit: npt.NDArray[np.float64], form: BySize, rates: tuple[float, float]
) -> tuple[Forecasts, Forecasts]:
    """Return what is predicted for lines and for carts."""
    of_lines, of_carts, first = form_log_odds(form, examples["cart_id"].to_numpy(), logit)
    lines, carts = _beside(of_lines, rates[0]), _beside(of_carts, rates[1])
    users = examples["user_key"].to_numpy()
    return (
        Forecasts(examples["label"].to_numpy().astype(np.int64), users, lines),
        Forecasts(examples["cart_label"].to_numpy()[first].astype(np.int64), users[first], carts),
    )


def _beside(log_odds: npt.NDArray[np.float64], rate: float) -> tuple[Forecast, ...]:
    constant = np.full(len(log_odds), rate)
    return Forecast(DLRM, "model", log_odds, sigmoid(log_odds)), Forecast(BASE_RATE, "baseline", constant, constant)


def _remark(form: BySize, what: str) -> str:
    """Return where the base rate is answered, or nothing."""
    fallen = [size for size in SIZES if _HAS_FALLEN[what](form[size])]
    if len(fallen) == len(SIZES):
        return _FALLEN.format(what)
    of = "line of a cart" if what == "line" else "cart"
    return "; ".join(_FALLEN.format(f"{of} of {size}") for size in fallen)


def _records(
    task: str, what: str, form: str, found: Forecasts, settings: EvaluateSettings, seed: int, *, remark: str
) -> list[Record]:
    sizes = {f"{what}s": len(found.label), "users": len(np.unique(found.users))}
    protocol = Protocol(SPLIT, f"{what}s of carts, asked for as a request of the form: {form}", "", sizes, NOTHING, "")
    records = probability_records(task, found.label, found.users, found.forecasts, settings, seed, protocol)
    return [replace(each, protocol=replace(each.protocol, remark=remark)) if each.model == DLRM else each for each in records]
