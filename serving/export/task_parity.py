"""Compares the ensemble of a declared task with its learner's own answers.

(1) The first test examples, their columns given in the request, against the scores, answers and reasons that the learner left when it was
trained; (2) stored entities, asked by their id alone, against encoding and model run one after the other on what is stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cartwheel.core.onnx_model import OnnxModel
from cartwheel.core.run_layout import RunLayout
from cartwheel.core.tables import read_json, read_table
from serving.contract.tasks import ENTITY, REASONS
from serving.ensembles.served import ServedGraph
from serving.export.parity import CHAIN_TOLERANCE, Compared, ParityReport
from serving.export.run_files import floats, strings
from serving.export.tasks import offline_rows, raw_columns, raw_values
from workflows.compiler.onnx_graph import ENCODED_SUFFIX

Columns = dict[str, npt.NDArray[Any]]
_ROWS = 64
"""Rows of one request."""


def check_task(compared: Compared, graph: ServedGraph) -> None:
    """Compare one task; see the module."""
    layout = RunLayout(compared.run).task(graph.name)
    columns = raw_columns(read_json(layout.spec))
    answer = next(name for name in ("probability", "quantity", "effect") if name in {tensor.name for tensor in graph.answer})
    offline = read_table(offline_rows(layout)).slice(0, compared.settings.parity_rows)
    examples = read_table(layout.examples("test")).slice(0, len(offline))
    given: Columns = {column.name: raw_values(column, examples[column.name]) for column in columns}
    found = _asked(compared, graph.name, given)
    report, name = compared.report, f"task {graph.name!r}"
    report.compare(f"{name}: score of test examples", found["score"][:, 0], floats(offline["score"]), CHAIN_TOLERANCE)
    report.compare(f"{name}: {answer} of test examples", found[answer][:, 0], floats(offline["answer"]), CHAIN_TOLERANCE)
    for end in ("low", "high", "order"):
        if end in offline.column_names:
            report.compare(
                f"{name}: {end} of test examples", found[f"quantity_{end}"][:, 0], floats(offline[end]), CHAIN_TOLERANCE
            )
    reasons = {each.removeprefix("reason_"): floats(offline[each]) for each in offline.column_names if each.startswith("reason_")}
    _check_reasons(report, name, found, reasons)
    if any(tensor.name == ENTITY for tensor in graph.request):
        stored = read_table(layout.stored).slice(0, compared.settings.parity_rows)
        ids = np.array([*strings(stored[ENTITY]), None], dtype=object)[:-1].reshape(-1, 1)
        raw = {column.name: raw_values(column, stored[column.name]) for column in columns}
        encoded = OnnxModel(layout.graph).run(raw)
        model = OnnxModel(layout.model(read_json(layout.leaderboard)["served"]).scores)
        scores = model.run({each.removesuffix(ENCODED_SUFFIX): value for each, value in encoded.items()})["score"]
        by_id = _asked(compared, graph.name, {ENTITY: ids})
        report.compare(f"{name}: score of stored entities", by_id["score"][:, 0], scores[:, 0], CHAIN_TOLERANCE)
        report.compare(f"{name}: stored entities are known", by_id["known"], np.ones_like(by_id["known"]), 0.0)


def _asked(compared: Compared, task: str, inputs: Mapping[str, npt.NDArray[Any]]) -> Columns:
    """Ask in requests of some rows each, and return the answers below each other."""
    rows = len(next(iter(inputs.values())))
    answers: Sequence[Columns] = [
        compared.served.ask(task, **{name: value[start : start + _ROWS] for name, value in inputs.items()})
        for start in range(0, rows, _ROWS)
    ]
    return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}


def _check_reasons(report: ParityReport, name: str, found: Columns, reasons: Columns) -> None:
    """Compare how strong the reasons are, and each with the offline one of its column; equal ones may stand in any order."""
    names = list(reasons)
    table = np.stack([*reasons.values(), *[np.zeros(len(found["score"]), np.float32)] * max(0, REASONS - len(names))], axis=1)
    strongest = -np.sort(-np.abs(table), axis=1)[:, :REASONS]
    report.compare(f"{name}: strength of reasons", np.abs(found["contributions"]), strongest, CHAIN_TOLERANCE)
    own = np.zeros_like(found["contributions"])
    for place, column in np.ndindex(own.shape):
        reason = found["reasons"][place, column]
        own[place, column] = table[place, names.index(reason)] if reason else 0.0
    report.compare(f"{name}: reasons", found["contributions"], own, CHAIN_TOLERANCE)
