"""Writes the Triton model repository of a run: self-contained, relocatable, versioned, and checked before publication."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx

import cartwheel
from cartwheel.core.errors import RunError
from cartwheel.core.files import atomic_path, sha256, write_json
from cartwheel.core.progress import progress
from cartwheel.core.run_layout import RunLayout
from serving.contract.limits import PARAMETER, STORED, Limits
from serving.contract.programs import VERSION, programs
from serving.contract.questions import PARAMETER as QUESTION
from serving.contract.questions import question_parameter
from serving.contract.tensors import Sizes
from serving.contract.triton_config import ensemble_config, program_config
from serving.ensembles.registry import contract, pieces, served_graphs
from serving.ensembles.served import Parts, Plan, ShopParts
from serving.export.behaviour import write_behaviour
from serving.export.fallback import write_fallback
from serving.export.history import write_history
from serving.export.items import write_items
from serving.export.left_out import write_left_out
from serving.export.parity import check_parity
from serving.export.reference import write_reference
from serving.export.run_files import item_ids
from serving.export.run_models import read_models, unknown_item
from serving.export.snapshot import read_snapshot
from serving.export.tasks import read_tasks
from serving.local import METADATA, read_metadata
from serving.pieces.state import Snapshot
from serving.settings import ExportSettings, ServeSettings
from workflows.features.columns import QUERY_CATEGORICAL, QUERY_CONTINUOUS
from workflows.features.feature_set import read_feature_set

_RUNNER = Path(__file__).resolve().parents[1] / "server" / "runner.py"


def write_repository(run: Path, settings: ExportSettings, candidates: int = 200) -> Path:
    """Write ``<run>/repository`` from what ``prepare`` and ``train`` left in the run, and check it against offline answers.

    A run of declared tasks alone gives a repository of their ensembles alone.

    Args:
        run: run directory.
        settings: export settings.
        candidates: how many retrieved items the ranking step sees (``EvaluateSettings.candidates``).

    Returns:
        The repository's path.

    Raises:
        RunError: if the run lacks a file or its files do not fit together.
        ParityError: if the repository answers differently than the offline models; the previous repository stays.
    """
    layout = RunLayout(run)
    tasks = read_tasks(layout)
    shop = read_shop(run, settings, candidates) if layout.state.exists() or not tasks else None
    plan = Plan(shop.sizes if shop else None, tuple(task.form for task in tasks))
    parts = Parts(settings, shop, {task.form.name: task for task in tasks})
    with atomic_path(layout.repository) as aside:
        _write(aside, plan, parts, run)
        check_parity(run, aside, settings)
        if parts.recommender is not None:
            write_reference(aside, parts.recommender, settings.max_batch)
            _sign(aside, read_metadata(aside))
    return layout.repository


def read_shop(run: Path, settings: ExportSettings, candidates: int) -> ShopParts:
    """Read what the ensembles of the recommender are built from.

    Raises:
        RunError: if the run lacks a file or its files do not fit together.
    """
    models = read_models(run)
    snapshot = read_snapshot(run, unknown_item(models.item, set(item_ids(run)), read_feature_set(RunLayout(run))))
    return ShopParts(snapshot, models, repository_sizes(snapshot, settings, candidates, has_cart=models.cart is not None))


def repository_sizes(snapshot: Snapshot, settings: ExportSettings, candidates: int, *, has_cart: bool) -> Sizes:
    """Return the fixed sizes; at least as many candidates as an answer can hold are ranked, where there are so many items."""
    count = len(snapshot.catalogue.ids)
    if count == 0:
        raise RunError("The catalogue of the run is empty.", "Run `cartwheel prepare` on a log with at least one item.")
    features = snapshot.catalogue.features
    return Sizes(
        recents=snapshot.state.recent_items,
        candidates=min(count, max(candidates, settings.max_k)),
        neighbours=min(count, settings.max_k),
        max_k=settings.max_k,
        has_cart=has_cart,
        own_ids=len(features.query_categorical) - len(QUERY_CATEGORICAL),
        own_numbers=len(features.query_continuous) - len(QUERY_CONTINUOUS),
    )


def _write(root: Path, plan: Plan, parts: Parts, run: Path) -> None:
    graphs = served_graphs(plan)
    tensors = contract(plan)
    programs_, ensembles = programs(tensors, parts.settings.target)
    stored = STORED + (int(np.diff(parts.shop.snapshot.shoppers.left_out_starts).max()) if parts.recommender else 0)
    by_name = {piece.name: piece for piece in pieces(graphs)}
    with progress("export steps", len(by_name)) as advance:
        for program in programs_:
            folder = root / program.model.name / VERSION
            folder.mkdir(parents=True)
            for step, file in zip(program.steps, program.files, strict=True):
                _save(by_name[step.name].build(parts), folder / file)
                advance(note=step.name)
            if parts.settings.target == "embedded":
                shutil.copyfile(_RUNNER, folder / "model.py")
            (folder.parent / "config.pbtxt").write_text(program_config(program, parts.settings, stored), encoding="utf-8")
    metadata = {**_metadata(parts), **plan.to_json(), "contract": tensors.to_json()}
    shown = _shown(metadata, parts, stored)
    for graph, ensemble in zip(graphs, ensembles, strict=True):
        folder = root / ensemble.name / VERSION
        folder.mkdir(parents=True)
        # Triton wants the version folder of an ensemble, and many ways of copying leave out empty folders.
        (folder / ".keep").touch()
        parameters = {**shown, **graph.about, QUESTION: question_parameter(graph.request, graph.question)}
        (folder.parent / "config.pbtxt").write_text(ensemble_config(ensemble, parameters), encoding="utf-8")
    if parts.recommender is not None:
        write_fallback(root, parts.recommender)
        write_items(root, run, parts.recommender)
        write_history(root, run, parts.recommender)
        write_left_out(root, parts.recommender.snapshot)
    write_behaviour(root, RunLayout(run), plan.tasks)
    _sign(root, metadata)


def _sign(root: Path, metadata: Mapping[str, Any]) -> None:
    """Write what the repository holds, with the hash of each of its files."""
    paths = [path for path in sorted(root.rglob("*")) if path.is_file() and path != root / METADATA]
    write_json(root / METADATA, {**metadata, "files": {path.relative_to(root).as_posix(): sha256(path) for path in paths}})


def _shown(metadata: Mapping[str, Any], parts: Parts, stored: int) -> dict[str, str]:
    """Return the parameters of every ensemble, which clients read."""
    names = ("as_of", "cartwheel", "catalogue_size", "last_event_us", "max_k", "no_cart")
    shown = {name: str(metadata[name]) for name in names if name in metadata}
    if parts.recommender is not None:
        shown["retrievers"] = json.dumps(parts.recommender.models.retrieval.names)
    shown.update({f"{column}_type": kind for column, kind in metadata["id_types"].items()})
    if parts.settings.target == "embedded":
        shown[PARAMETER] = Limits.of(ServeSettings(), parts.settings.max_batch, stored).parameter()
    return shown


def _save(model: onnx.ModelProto, path: Path) -> None:
    try:
        onnx.save(model, path)
    except ValueError as error:
        raise RunError(f"The step {path.parent.parent.name} is too large for one ONNX file (2 GB): {error}.",
                       "Prepare with fewer items, users or dimensions.") from None  # fmt: skip


def _metadata(parts: Parts) -> dict[str, Any]:
    of_all = {"cartwheel": cartwheel.__version__, "target": parts.settings.target, "max_k": parts.settings.max_k}
    if parts.recommender is None:
        return {**of_all, "id_types": {}}
    state = parts.shop.snapshot.state
    return {
        **of_all,
        "id_types": state.id_types,
        "has_cart": parts.shop.sizes.has_cart,
        "no_cart": state.no_cart,
        "as_of": state.as_of,
        "as_of_us": state.as_of_us,
        "last_event_us": state.last_event_us,
        "catalogue_size": len(parts.shop.snapshot.catalogue.ids),
    }
