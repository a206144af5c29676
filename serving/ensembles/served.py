"""The declaration of an ensemble: its tensors, pieces, health probe and parity check."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import onnx

from cartwheel.core.run_layout import RunLayout
from serving.contract.tasks import TaskForm
from serving.contract.tensors import Ensemble, Join, Sizes, StepModel, Tensor
from serving.pieces.cart import CartModels
from serving.pieces.predict import TaskModels
from serving.pieces.rank import RankingModels
from serving.pieces.retrieve import RetrievalModels
from serving.pieces.state import Snapshot
from serving.settings import ExportSettings


@dataclass(frozen=True)
class Plan:
    """What a repository holds, before anything is built.

    Attributes:
        sizes: of the recommender; None where the run has none.
        tasks: the declared tasks.
    """

    sizes: Sizes | None = None
    tasks: tuple[TaskForm, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the plan as a repository's metadata hold it."""
        return {"sizes": asdict(self.sizes) if self.sizes else None, "tasks": [task.parameter() for task in self.tasks]}


@dataclass(frozen=True)
class RunModels:
    """The ONNX files and figures of a recommender."""

    query: onnx.ModelProto
    item: onnx.ModelProto
    retrieval: RetrievalModels
    ranking: RankingModels
    cart: CartModels | None


@dataclass(frozen=True)
class ShopParts:
    """What the pieces of a recommender are built from."""

    snapshot: Snapshot
    models: RunModels
    sizes: Sizes


@dataclass(frozen=True)
class Parts:
    """What pieces are built from.

    Attributes:
        settings: export settings.
        recommender: None where the run has none.
        tasks: declared task -> what answers it.
    """

    settings: ExportSettings
    recommender: ShopParts | None = None
    tasks: Mapping[str, TaskModels] = field(default_factory=dict)

    @property
    def shop(self) -> ShopParts:
        """The parts of the recommender, whose ensembles are declared only where there is one."""
        assert self.recommender is not None
        return self.recommender


@dataclass(frozen=True)
class Piece:
    """One step.

    Attributes:
        model: its name, what it reads and what it gives.
        build: makes its graph.
    """

    model: StepModel
    build: Callable[[Parts], onnx.ModelProto]

    @property
    def name(self) -> str:
        """Name of the step."""
        return self.model.name

    @property
    def reads(self) -> tuple[Tensor, ...]:
        """Inputs."""
        return self.model.inputs

    @property
    def gives(self) -> tuple[Tensor, ...]:
        """Outputs."""
        return self.model.outputs


@dataclass(frozen=True)
class ServedGraph:
    """One ensemble.

    Attributes:
        name: what a client asks for.
        meaning: one sentence for the tables of the documentation.
        request: inputs.
        answer: outputs.
        pieces: what computes it, in an order that works; ensembles may share pieces.
        question: the inputs, flattened, with which the server asks itself whether it answers; it must not be refused.
        parity: ``module:function`` that compares its answers with offline answers, see ``serving.export.parity``.
        joins: how the pieces are joined; derived from equal names where it is left out.
        about: parameters of the ensemble beside those of the repository, shown to clients.
    """

    name: str
    meaning: str
    request: tuple[Tensor, ...]
    answer: tuple[Tensor, ...]
    pieces: tuple[Piece, ...]
    question: Mapping[str, Any]
    parity: str
    joins: tuple[Join, ...] = ()
    about: Mapping[str, str] = field(default_factory=dict)

    @property
    def ensemble(self) -> Ensemble:
        """The ensemble of the contract."""
        return Ensemble(self.name, self.meaning, self.request, self.answer, self.joins or self._joined())

    def _joined(self) -> tuple[Join, ...]:
        """Join tensors of equal names; a piece gives what a later one or the client reads, and reads what there is."""
        there = {tensor.name for tensor in self.request}
        joins = []
        for place, piece in enumerate(self.pieces):
            later = {tensor.name for other in self.pieces[place + 1 :] for tensor in other.reads}
            wanted = later | {tensor.name for tensor in self.answer}
            inputs = {tensor.name: tensor.name for tensor in piece.reads if tensor.name in there}
            outputs = {tensor.name: tensor.name for tensor in piece.gives if tensor.name in wanted}
            joins.append(Join(piece.name, inputs, outputs))
            there |= set(outputs)
        return tuple(joins)


@dataclass(frozen=True)
class Declaration:
    """A kind of ensembles: one, or one a declared task.

    Attributes:
        name: of the file.
        graphs: plan -> its ensembles.
        requires: run -> "", or why it is not exported, in a sentence.
    """

    name: str
    graphs: Callable[[Plan], tuple[ServedGraph, ...]]
    requires: Callable[[RunLayout], str]


def requires_snapshot(run: RunLayout) -> str:
    """Return "" where a run has the state of a recommender."""
    return "" if run.state.exists() else f"{run.state} is missing. Run `cartwheel prepare` and `cartwheel train` first."
