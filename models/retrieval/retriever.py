"""The retrieval model of a run: its folder, and the names used in evaluation."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from cartwheel.core.run_layout import ModelLayout, RunLayout

TWO_TOWER: Final = "two_tower"
FACTOR_MODELS: Final = ("als", "bpr")
"""Baselines that are a product of factors, and so can stand where the two-tower does."""


def retriever(run: Path) -> str:
    """Return the name of a run's retrieval model, ``two_tower`` where training left none."""
    return next((name for name in FACTOR_MODELS if RunLayout(run).model(name).path.is_dir()), TWO_TOWER)


def retrieval_model(run: Path) -> ModelLayout:
    """Return the files of a run's retrieval model."""
    return RunLayout(run).model(retriever(run))


def forget_others(run: Path, name: str) -> None:
    """Remove the retrieval models of a run but for ``name``, so that the one that is trained next is the one that is served."""
    for other in (TWO_TOWER, *FACTOR_MODELS):
        if other != name:
            shutil.rmtree(RunLayout(run).model(other).path, ignore_errors=True)


def blended(name: str) -> str:
    """Return what a retrieval model is called with the neighbours.

    >>> blended("als")
    'als+item_to_item'
    """
    return f"{name}+item_to_item"


def two_stage(name: str) -> str:
    """Return what a retrieval model is called with the ranking model behind it.

    >>> two_stage("als")
    'als+dlrm'
    """
    return f"{name}+dlrm"


def ordered(name: str, *, dlrm: bool, trees: bool) -> str:
    """Return what a retrieval model is called with what orders its candidates.

    >>> ordered("two_tower", dlrm=False, trees=True)
    'two_tower+lambdarank'
    """
    return f"{two_stage(name) if dlrm else name}{'+lambdarank' if trees else ''}"
