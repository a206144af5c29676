"""Writes the Triton model repository of a run: self-contained, relocatable, versioned, and checked before it is let in."""

from __future__ import annotations

import shutil
from dataclasses import asdict
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
from serving.contract.tensors import Sizes, StepModel, contract
from serving.contract.triton_config import ensemble_config, program_config
from serving.export.parity import check_parity
from serving.export.run_files import item_ids
from serving.export.run_models import RunModels, read_models, unknown_item
from serving.export.snapshot import read_snapshot
from serving.local import METADATA
from serving.pieces.cart import cart_graph
from serving.pieces.encode import encode_graph
from serving.pieces.order import OrderRules, order_graph
from serving.pieces.rank import rank_graph
from serving.pieces.retrieve import retrieve_graph
from serving.pieces.similar import neighbours_graph, similar_graph
from serving.pieces.state import Snapshot
from serving.settings import ExportSettings, ServeSettings
from workflows.features.feature_set import read_feature_set

_RUNNER = Path(__file__).resolve().parents[1] / "server" / "runner.py"


def write_repository(run: Path, settings: ExportSettings, candidates: int = 200) -> Path:
    """Write ``<run>/repository`` from what ``prepare`` and ``train`` left in the run, and check it against offline answers.

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
    models = read_models(run)
    snapshot = read_snapshot(run, unknown_item(models.item, set(item_ids(run)), read_feature_set(RunLayout(run))))
    sizes = repository_sizes(snapshot, settings, candidates, has_cart=models.cart is not None)
    target = RunLayout(run).repository
    with atomic_path(target) as aside:
        _write(aside, snapshot, models, sizes, settings)
        check_parity(run, aside, settings)
    return target


def repository_sizes(snapshot: Snapshot, settings: ExportSettings, candidates: int, *, has_cart: bool) -> Sizes:
    """Return the fixed sizes; at least as many candidates as an answer can hold are ranked, where there are so many items."""
    count = len(snapshot.catalogue.ids)
    if count == 0:
        raise RunError("The catalogue of the run is empty.", "Run `cartwheel prepare` on a log with at least one item.")
    return Sizes(
        recents=snapshot.state.recent_items,
        candidates=min(count, max(candidates, settings.max_k)),
        neighbours=min(count, settings.max_k),
        max_k=settings.max_k,
        has_cart=has_cart,
    )


def build_step(
    model: StepModel, snapshot: Snapshot, models: RunModels, sizes: Sizes, settings: ExportSettings
) -> onnx.ModelProto:
    """Build the graph of one step."""
    catalogue = snapshot.catalogue
    if model.name == "recommend_encode":
        return encode_graph(model, snapshot, models.query)
    if model.name == "recommend_retrieve":
        integers = settings.target == "embedded"
        return retrieve_graph(model, catalogue, models.retrieval, sizes.recents, sizes.candidates, integers=integers)
    if model.name == "recommend_rank":
        return rank_graph(model, catalogue, models.ranking, sizes.recents)
    if model.name == "recommend_order":
        rules = OrderRules(sizes.candidates, sizes.recents, sizes.max_k, settings.diversity, settings.max_per_category)
        return order_graph(model, catalogue, rules)
    if model.name == "similar_items_retrieve":
        return neighbours_graph(model, catalogue, sizes.neighbours)
    if model.name == "similar_items_order":
        return similar_graph(model, catalogue, sizes.neighbours, sizes.max_k)
    assert models.cart is not None
    return cart_graph(model, catalogue, models.cart, sizes.recents)


def _write(root: Path, snapshot: Snapshot, models: RunModels, sizes: Sizes, settings: ExportSettings) -> None:
    tensors = contract(sizes)
    parts, ensembles = programs(tensors, settings.target)
    stored = STORED + int(np.diff(snapshot.shoppers.left_out_starts).max())
    with progress("export steps", len(tensors.models)) as advance:
        for program in parts:
            folder = root / program.model.name / VERSION
            folder.mkdir(parents=True)
            for step, file in zip(program.steps, program.files, strict=True):
                _save(build_step(step, snapshot, models, sizes, settings), folder / file)
                advance(note=step.name)
            if settings.target == "embedded":
                shutil.copyfile(_RUNNER, folder / "model.py")
            (folder.parent / "config.pbtxt").write_text(program_config(program, settings, stored), encoding="utf-8")
    metadata = _metadata(snapshot, sizes, settings)
    shown = {name: str(metadata[name]) for name in ("as_of", "cartwheel", "catalogue_size", "max_k", "no_cart")}
    shown.update({f"{column}_type": kind for column, kind in snapshot.state.id_types.items()})
    if settings.target == "embedded":
        shown[PARAMETER] = Limits.of(ServeSettings(), settings.max_batch, stored).parameter()
    for ensemble in ensembles:
        folder = root / ensemble.name / VERSION
        folder.mkdir(parents=True)
        # Triton wants the version folder of an ensemble, and many ways of copying leave out empty folders.
        (folder / ".keep").touch()
        (folder.parent / "config.pbtxt").write_text(ensemble_config(ensemble, shown), encoding="utf-8")
    files = {path.relative_to(root).as_posix(): sha256(path) for path in sorted(root.rglob("*")) if path.is_file()}
    write_json(root / METADATA, {**metadata, "files": files})


def _save(model: onnx.ModelProto, path: Path) -> None:
    try:
        onnx.save(model, path)
    except ValueError as error:
        raise RunError(f"The step {path.parent.parent.name} is too large for one ONNX file (2 GB): {error}.",
                       "Prepare with fewer items, users or dimensions.") from None  # fmt: skip


def _metadata(snapshot: Snapshot, sizes: Sizes, settings: ExportSettings) -> dict[str, Any]:
    return {
        "cartwheel": cartwheel.__version__,
        "target": settings.target,
        "id_types": snapshot.state.id_types,
        "has_cart": sizes.has_cart,
        "no_cart": snapshot.state.no_cart,
        "max_k": sizes.max_k,
        "as_of": snapshot.state.as_of,
        "as_of_us": snapshot.state.as_of_us,
        "catalogue_size": len(snapshot.catalogue.ids),
        "sizes": asdict(sizes),
    }
