"""Compares a repository's answers with offline answers, and refuses a repository that differs.

Each ensemble names its check. Those of the recommender are here; that of declared tasks is in ``serving.export.task_parity``.

Four comparisons: (1) the compiled feature graphs and models against NVTabular's features and TensorFlow's scores on the test
split; (2) the encode step, which sees only a user id and an instant, against the offline features of the same users; (3) the encode
step and the whole of ``cart`` for requests of every form, with recent items and lines, and carts of both sizes, against their offline
features and probabilities, and the encode step once more with the same given as events; (4) the whole of ``recommend`` against the same
chain computed in NumPy.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from cartwheel.core.errors import ParityError
from cartwheel.core.onnx_model import OnnxModel
from cartwheel.core.run_layout import RELATIVE, SNAPSHOT, RunLayout
from cartwheel.core.tables import read_table
from models.retrieval.retriever import retrieval_model
from serving.ensembles.registry import served_graphs, written_plan
from serving.ensembles.served import ServedGraph
from serving.export.offline_carts import CartRequest, OfflineCarts, read_requests
from serving.export.offline_chain import OfflineChain
from serving.export.onnx_columns import FeatureGraph
from serving.export.parity_tables import Columns, differences, matrix, picked, raw_columns
from serving.export.run_files import floats, integers, padded, strings
from serving.export.snapshot import read_state
from serving.local import LocalRepository
from serving.settings import ExportSettings
from workflows.compiler.onnx_graph import ENCODED_SUFFIX
from workflows.features.columns import (
    CART,
    FORMS,
    ONE_LINE,
    QUERY_LISTS,
    SEVERAL_LINES,
    SIZES,
)
from workflows.features.feature_set import BUILT_IN, FeatureSet, ranking_columns, read_feature_set

if TYPE_CHECKING:
    import pyarrow as pa

FEATURE_TOLERANCE: Final = 1e-6
"""Largest difference of an encoded number: absolute, relative, or relative to mean / std where the mean was subtracted."""
SCORE_TOLERANCE: Final = 1e-5
"""Largest difference of a logit or a vector element, absolute or relative: single precision through a network."""
CHAIN_TOLERANCE: Final = 1e-4
"""Largest difference of a final score, absolute or relative."""
CHAIN_USERS: Final = 64
"""How many shoppers are asked for whole recommendations."""

_TOLD: Final = ("recent_items", "cart_items")
"""What a request tells of, in the order in which it happened: a stored run may name the two in any order."""
_CART_REQUESTS: Final = "cart_requests"
"""Table of cart lines as requests ask for them, in no order that matters here; ``workflows.tasks.cart_requests`` writes it."""


@dataclass(frozen=True)
class Check:
    """One comparison that held.

    Attributes:
        name: what was compared.
        rows: how many rows.
        difference: the largest difference found, absolute or relative, whichever is smaller.
        tolerance: the largest difference allowed.
    """

    name: str
    rows: int
    difference: float
    tolerance: float


@dataclass
class ParityReport:
    """All comparisons, in the order in which they were made."""

    checks: list[Check] = field(default_factory=list)

    def compare(self, name: str, served: npt.NDArray[Any], offline: npt.NDArray[Any], tolerance: float) -> None:
        """Add a comparison; ``tolerance`` 0 demands equality.

        Raises:
            ParityError: if shapes or values differ.
        """
        if served.shape != offline.shape:
            raise ParityError(
                f"{name}: serving gives the shape {list(served.shape)} and offline has {list(offline.shape)}.", _REFUSED
            )
        apart = differences(served, offline)
        worst = float(apart.max(initial=0.0))
        if not worst <= tolerance:
            place = np.unravel_index(int(np.argmax(apart)), apart.shape)
            where = f"row {place[0]}" + (f", element {', '.join(map(str, place[1:]))}" if len(place) > 1 else "")
            raise ParityError(
                f"{name}: serving gives {served[place]} and offline {offline[place]} at {where}; the difference {worst:.3g} is"
                f" above {tolerance:g} ({int((apart > tolerance).sum())} of {apart.size} values differ).",
                _REFUSED,
            )
        self.checks.append(Check(name, len(served), worst, tolerance))


@dataclass
class Compared:
    """A repository that is being compared with its run.

    Attributes:
        run: run directory.
        served: the repository.
        settings: export settings.
        report: what was compared so far.
    """

    run: Path
    served: LocalRepository
    settings: ExportSettings
    report: ParityReport = field(default_factory=ParityReport)
    _graphs: dict[str, FeatureGraph] = field(default_factory=dict)

    def graphs(self, *names: str) -> dict[str, FeatureGraph]:
        """Return compiled feature graphs of the recommender by name, each read once."""
        for name in names:
            if name not in self._graphs:
                self._graphs[name] = FeatureGraph(RunLayout(self.run).graph(name))
        return {name: self._graphs[name] for name in names}


_REFUSED = "The repository was not written; run `cartwheel prepare` and `cartwheel train` again so that all files are of one run."


def check_parity(run: Path, repository: Path, settings: ExportSettings) -> ParityReport:
    """Compare a repository with the run's offline answers.

    Args:
        run: run directory.
        repository: the repository, which need not be in its place yet.
        settings: export settings; ``parity_rows`` limits the rows compared.

    Returns:
        What was compared.

    Raises:
        ParityError: if something differs.
        RunError: if a file of the run is missing.
    """
    served = LocalRepository(repository)
    compared = Compared(run, served, settings)
    for graph in served_graphs(written_plan(served.metadata)):
        module, _, function = graph.parity.partition(":")
        check: Callable[[Compared, ServedGraph], None] = getattr(importlib.import_module(module), function)
        check(compared, graph)
    return compared.report


def check_recommend(compared: Compared, graph: ServedGraph) -> None:
    """Compare features, models, requests of every form, and whole recommendations."""
    del graph
    report, run, served, rows = compared.report, compared.run, compared.served, compared.settings.parity_rows
    graphs, features = compared.graphs("query", "item", "cross"), read_feature_set(RunLayout(run))
    recommend = _check_features(report, run, "recommend", graphs, features.recommend, rows)
    _check_vectors(report, run, recommend)
    ranking = _check_features(report, run, "ranking", graphs, ranking_columns(features), rows)
    _check_logits(report, run, "ranking", ranking)
    _check_snapshot(report, run, served, graphs["query"].offsets, rows)
    _check_requests(report, run, served, graphs["query"].offsets)
    _check_items(report, run)
    _check_chain(report, run, served, compared.settings)


def check_cart(compared: Compared, graph: ServedGraph) -> None:
    """Compare features, the model, and answers of ``cart``; without a cart model it is made of what ``recommend`` is made of."""
    report, run, rows, layout = compared.report, compared.run, compared.settings.parity_rows, RunLayout(compared.run)
    if all(piece.name != "cart_score" for piece in graph.pieces):
        return
    graphs, features = compared.graphs("query", "item", "cross", "cart"), read_feature_set(layout)
    columns = ranking_columns(features, CART)
    _check_logits(report, run, "cart", _check_features(report, run, "cart", graphs, columns, rows))
    if layout.examples("test", _CART_REQUESTS).exists():
        _check_features(report, run, _CART_REQUESTS, graphs, columns, rows)
    _check_carts(report, run, compared.served)


def check_similar_items(compared: Compared, graph: ServedGraph) -> None:
    """Compare item vectors."""
    del graph
    _check_items(compared.report, compared.run)


def _check_features(
    report: ParityReport, run: Path, table: str, graphs: Mapping[str, FeatureGraph], names: Sequence[str], rows: int
) -> Columns:
    """Compare encoded columns with NVTabular's, and return the served ones by name."""
    raw = read_table(RunLayout(run).examples("test", table))
    offline = read_table(RunLayout(run).features("test", table))
    if len(raw) != len(offline):
        raise ParityError(f"examples/test/{table} has {len(raw)} rows and features/test/{table} has {len(offline)}.", _REFUSED)
    width = read_state(run).recent_items
    wanted = list(dict.fromkeys((*read_feature_set(RunLayout(run)).query, *names)))
    feeds = raw_columns(raw.slice(0, rows), wanted, width)
    encoded: Columns = {}
    for graph in graphs.values():
        encoded.update({name.removesuffix(ENCODED_SUFFIX): value for name, value in graph.run_where_fed(feeds).items()})
    columns = {name: encoded[name] for name in names}
    offsets = {name: offset for graph in graphs.values() for name, offset in graph.offsets.items()}
    _compare_encoded(report, RELATIVE.features("test", table).as_posix(), columns, offline.slice(0, rows), offsets)
    return columns


def _compare_encoded(report: ParityReport, where: str, served: Columns, offline: pa.Table, offsets: Mapping[str, float]) -> None:
    for name, value in served.items():
        if name in QUERY_LISTS:
            report.compare(f"{where} {name}", value, padded(offline[name], value.shape[1], 0, np.int64), 0.0)
        elif value.dtype.kind == "i":
            report.compare(f"{where} {name}", value[:, 0], integers(offline[name]), 0.0)
        else:
            tolerance = FEATURE_TOLERANCE * max(1.0, offsets.get(name, 0.0))
            report.compare(f"{where} {name}", value[:, 0], floats(offline[name]), tolerance)


def _check_vectors(report: ParityReport, run: Path, encoded: Columns) -> None:
    model = retrieval_model(run)
    offline = read_table(model.offline)
    feeds, kept = picked(encoded, offline)
    if len(kept):
        vectors = OnnxModel(model.query).run(feeds)["query_vector"]
        report.compare(f"models/{model.path.name} query vectors", vectors, matrix(offline["query_vector"])[kept], SCORE_TOLERANCE)


def _check_logits(report: ParityReport, run: Path, model: str, encoded: Columns) -> None:
    offline = read_table(RunLayout(run).model(model).offline)
    feeds, kept = picked(encoded, offline)
    if len(kept):
        logits = OnnxModel(RunLayout(run).model(model).scores).run(feeds)["logit"]
        report.compare(f"models/{model} logits", logits[:, 0], floats(offline["logit"])[kept], SCORE_TOLERANCE)


def _check_snapshot(report: ParityReport, run: Path, served: LocalRepository, offsets: Mapping[str, float], rows: int) -> None:
    """Ask the encode step about users whom it knows only by id, at the instant of the snapshot."""
    state = read_state(run)
    raw = read_table(RunLayout(run).snapshot("queries")).slice(0, rows)
    users = np.array(strings(raw["user_id"]), dtype=object).reshape(-1, 1)
    answer = served.run("recommend_encode", {"user_id": users, "timestamp": np.full(users.shape, state.as_of_us, np.int64)})
    columns = unpacked(answer, state.recent_items, read_feature_set(RunLayout(run)))
    features = read_table(RunLayout(run).features("snapshot", "queries")).slice(0, rows)
    _compare_encoded(report, RELATIVE.features(SNAPSHOT, "queries").as_posix(), columns, features, offsets)
    offline = matrix(read_table(retrieval_model(run).offline_queries)["query_vector"])[:rows]
    vectors = OnnxModel(retrieval_model(run).query).run(columns)["query_vector"]
    report.compare("snapshot query vectors", vectors, offline, SCORE_TOLERANCE)


def _check_requests(report: ParityReport, run: Path, served: LocalRepository, offsets: Mapping[str, float]) -> None:
    """Ask the encode step requests of every form, and again with what they tell of given as events of the types that it counts as."""
    state, requests = read_state(run), read_requests(run)
    features = read_table(RunLayout(run).features("snapshot", "requests"))
    who = {
        "user_id": np.array([[request.user] for request in requests], dtype=object),
        "timestamp": np.array([[request.timestamp] for request in requests], np.int64),
    }

    def ask(told: Columns, how: str = "") -> Columns:
        answer = served.run("recommend_encode", {**told, **who})
        columns = unpacked(answer, state.recent_items, read_feature_set(RunLayout(run)))
        _compare_encoded(report, f"{RELATIVE.features(SNAPSHOT, 'requests').as_posix()}{how}", columns, features, offsets)
        return answer

    answer = ask({name: _padded([getattr(request, name) for request in requests]) for name in _TOLD})
    forms = np.array([[FORMS.index(request.form)] for request in requests])
    report.compare("form of each request", answer["form"], forms, 0.0)
    if set(state.request_kinds.values()) <= set(state.interaction_types):
        ask(_as_events(requests, state.request_kinds), " as events")


def _as_events(requests: Sequence[CartRequest], kinds: Mapping[str, str]) -> Columns:
    """Return what requests tell of as events of the types that it counts as, in the order in which it happened."""
    told = [name for name in _TOLD if name in kinds]
    rows = [[(kinds[name], _last_mentions(getattr(request, name))) for name in told] for request in requests]
    events = [[(item, kind) for kind, items in row for item in items] for row in rows]
    return {
        f"events_{name}": _padded([[event[place] for event in row] for row in events])
        for place, name in enumerate(("item", "type"))
    }


def _last_mentions(items: Sequence[str]) -> list[str]:
    """Return each item once, where it stands last."""
    return list(dict.fromkeys(reversed(items)))[::-1]


def _padded(rows: Sequence[Sequence[str]]) -> npt.NDArray[Any]:
    width = max((len(row) for row in rows), default=1)
    return np.array([[*row, *[""] * (max(width, 1) - len(row))] for row in rows], dtype=object)


def _check_carts(report: ParityReport, run: Path, served: LocalRepository) -> None:
    """Ask ``cart`` requests of every form and size of cart and compute the same offline; an empty cart counts as one of one line."""
    carts = OfflineCarts(run)
    kinds = [(form, size) for form in FORMS for size in SIZES]
    lines, whole, found_lines, found_whole = ({kind: [np.zeros(0)] for kind in kinds} for _ in range(4))
    for place, request in enumerate(carts.requests):
        asked = {"recent_items": [request.recent_items or [""]], "cart_items": [request.cart_items or [""]]}
        answer = served.ask("cart", user_id=[[request.user]], timestamp=[[request.timestamp]], **asked)
        probabilities, cart = carts.probabilities(place)
        kind = request.form, SEVERAL_LINES if len(set(request.cart_items)) > 1 else ONE_LINE
        lines[kind].append(probabilities)
        whole[kind].append(np.array([cart]))
        found_lines[kind].append(answer["line_probability"][0, : len(probabilities)])
        found_whole[kind].append(answer["cart_probability"][0])
    for kind in kinds:
        name = f"cart of {kind[1]} asked by a {kind[0]}"
        for what, found, offline in (("lines", found_lines, lines), ("carts", found_whole, whole)):
            report.compare(f"{name}: {what}", np.concatenate(found[kind]), np.concatenate(offline[kind]), CHAIN_TOLERANCE)


def unpacked(answer: Mapping[str, npt.NDArray[Any]], recents: int, columns_of: FeatureSet = BUILT_IN) -> Columns:
    """Return the encoded columns of queries by name from the encode step's packed outputs."""
    columns: Columns = {}
    packed = (
        ("query_categorical", columns_of.query_categorical, 1),
        ("query_continuous", columns_of.query_continuous, 1),
        ("query_lists", QUERY_LISTS, recents),
    )
    for name, names, width in packed:
        columns.update({part: answer[name][:, place * width : (place + 1) * width] for place, part in enumerate(names)})
    return columns


def _check_items(report: ParityReport, run: Path) -> None:
    features = read_table(RunLayout(run).features("snapshot", "items"))
    stored = np.load(retrieval_model(run).item_vectors, allow_pickle=False)
    tower = OnnxModel(retrieval_model(run).item)
    columns = {
        name: (integers if tower.inputs[name] is np.int64 else floats)(features[name]).reshape(-1, 1) for name in tower.inputs
    }
    report.compare("item vectors", tower.run(columns)["item_vector"], stored, SCORE_TOLERANCE)


def _check_chain(report: ParityReport, run: Path, served: LocalRepository, settings: ExportSettings) -> None:
    """Ask ``recommend`` for shoppers of the snapshot and compute the same offline."""
    chain = OfflineChain(run, served.contract, settings)
    k = min(settings.max_k, len(chain.ids))
    for place in chain.places(CHAIN_USERS):
        answer = served.ask("recommend", user_id=[[chain.users[place]]], k=[k])
        expected = chain.recommend(place, k)
        if not expected.comparable:
            continue
        shown = answer["items"][0].tolist()
        name = f"recommend for user {chain.users[place]!r}"
        offline = np.array([expected.scores.get(item, np.nan if item else -np.inf) for item in shown], np.float32)
        sure = np.array([item not in expected.unsure for item in shown])
        scores = answer["scores"][0][sure]
        report.compare(f"{name}: score of each item", scores, offline[sure], CHAIN_TOLERANCE)
        if not expected.ambiguous:
            report.compare(f"{name}: best scores", scores, expected.best[: len(scores)], CHAIN_TOLERANCE)
