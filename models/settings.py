"""Typed configuration of each model and of evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from cartwheel.core.settings import Settings

Baseline = Literal["popular_in_category", "item_knn", "vsknn", "ease", "als", "bpr", "markov_next_item"]
HistoryKind = Literal["pooling", "attention", "gru"]
Widths = tuple[Annotated[int, Field(gt=0)], ...]


class TrainingSettings(Settings):
    """What every trained model shares."""

    epochs: Annotated[int, Field(gt=0)] = 10
    """Passes over the training examples, at most; early stopping ends sooner."""
    patience: Annotated[int, Field(gt=0)] = 2
    """Epochs without a better validation figure before training stops; the best weights are kept."""
    batch_size: Annotated[int, Field(gt=1)] = 2048
    """Examples in a step."""
    average_epochs: Annotated[int, Field(ge=1, le=20)] = 1
    """Latest epochs over whose weights the mean is judged and kept; 1 takes those of each epoch as they are."""
    learning_rate: Annotated[float, Field(gt=0.0)] = 0.003
    """Step size of Adam."""
    embedding_l2: Annotated[float, Field(ge=0.0)] = 0.0
    """Weight of the squared embeddings in the loss."""
    id_dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.1
    """Share of user and item ids replaced by the out-of-vocabulary id in training, so that strangers are learnt too."""


class TwoTowerSettings(TrainingSettings):
    """The retrieval model (Yi et al., RecSys 2019, https://doi.org/10.1145/3298689.3346996)."""

    dimension: Annotated[int, Field(gt=1)] = 64
    """Length of the query and item vectors."""
    embedding_dimension: Annotated[int, Field(gt=1)] = 64
    """Length of each id embedding; other categorical features get a quarter of it."""
    hidden: Widths = (128,)
    """Widths of each tower's hidden layers."""
    batch_size: Annotated[int, Field(gt=1)] = 512
    """Examples in a step, each of which is a negative to all others; smaller ones cost less an epoch and learn more from it."""
    id_dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.3
    """As for every model; more of it than in ranking, because a shopper's own id is what this model learns by heart first."""
    epochs: Annotated[int, Field(gt=0)] = 20
    """As for every model; a short log has few steps in an epoch, and a long one stops by itself."""
    average_epochs: Annotated[int, Field(ge=1, le=20)] = 3
    """As for every model; a softmax over few negatives is noisy, and the mean of three epochs is less so."""
    start: Literal["spectral", "random"] = "spectral"
    """Where the item embeddings begin: ``"spectral"`` at the leading eigenvectors of how often items follow one another, with towers
    that at first pass them through, so that training starts from a neighbourhood model (``models/spectral_start.py``); ``"random"``."""
    temperature: Annotated[float, Field(gt=0.0)] = 0.1
    """Divides the logits of the in-batch softmax."""
    history: HistoryKind = "pooling"
    """How the query tower reads the recent items: ``"pooling"`` is their learned recency-weighted mean and the last one. Beside that
    stands, with ``"attention"``, the state at the last item after self-attention (SASRec, Kang and McAuley, 2018,
    https://arxiv.org/abs/1808.09781); with ``"gru"``, that of a recurrent network (GRU4Rec, Hidasi et al., 2016,
    https://arxiv.org/abs/1511.06939)."""
    attention_blocks: Annotated[int, Field(ge=1, le=4)] = 1
    """Blocks of ``history = "attention"``; one makes each item look at the others once."""
    attention_heads: Annotated[int, Field(gt=0)] = 2
    """Heads of each block; ``embedding_dimension`` must be a multiple of it."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Share of the embeddings' values, and of what attention adds, that is dropped in a training step."""
    refit: bool = True
    """Whether, once validation has told how many epochs to train, the model that is tested and served is trained anew for as many on the
    training and the validation examples together: the latest interactions say most, and the baselines learn from them too. What is
    chosen on validation (how much the neighbours and the retrieval score count) is chosen with the model that has not seen it."""
    uniform_negatives: Annotated[int, Field(ge=0)] = 0
    """Items drawn uniformly in each step, to tell the positives from beside the batch's own items (mixed negative sampling, Yang et al.,
    WWW 2020 companion, https://doi.org/10.1145/3366424.3386195); as many as there are items make it a softmax over all of them."""

    hard_negatives: Annotated[int, Field(ge=0)] = 0
    """Items drawn in each step among those that the model, as it is when the epoch begins, takes for like a positive of the batch (ANCE,
    Xiong et al., ICLR 2021, https://arxiv.org/abs/2007.00808); they count as drawn uniformly, so for more than their share."""

    @model_validator(mode="after")
    def _heads_divide_the_embedding(self) -> Self:
        if self.history == "attention" and self.embedding_dimension % self.attention_heads:
            raise ValueError(
                f"embedding_dimension is {self.embedding_dimension}, which attention_heads = {self.attention_heads} does not divide; "
                "set one of them so that it does"
            )
        return self


class RetrievalSettings(Settings):
    """Which model finds the candidates; the DLRM orders them, whichever it is."""

    model: Literal["two_tower", "als", "bpr"] = "two_tower"
    """The two-tower, or a factor model that may be better where histories say all: ``"als"`` (Hu, Koren and Volinsky, ICDM 2008,
    https://doi.org/10.1109/ICDM.2008.22) or ``"bpr"`` (Rendle et al., UAI 2009, https://arxiv.org/abs/1205.2618)."""
    parameters: Mapping[str, bool | int | float | str] = {}
    """``[retrieval.parameters]``: parameters of a factor model that are not its defaults, such as those that `cartwheel tune` found for
    the baseline of that name. The two-tower has a section of its own."""

    @model_validator(mode="after")
    def _parameters_are_used(self) -> Self:
        if self.model == "two_tower" and self.parameters:
            raise ValueError(
                f'parameters holds {", ".join(self.parameters)}, which model = "two_tower" does not read; '
                'set model = "als" or "bpr", or write settings of the two-tower into [two_tower]'
            )
        return self


class ItemToItemSettings(Settings):
    """The table of items that go together, which is added to the scores of the retrieval model.

    Linden, Smith and York, IEEE Internet Computing 2003, https://doi.org/10.1109/MIC.2003.1167344.
    """

    learner: Literal["auto", "none", "item_knn", "ease", "sequential_rules", "discounted_rules"] = "auto"
    """What it is learnt by; ``auto`` takes what validation likes best, and none of them where the retrieval model alone is as good."""
    neighbours: Annotated[int, Field(gt=0, le=1000)] = 50
    """Neighbours kept of each item."""


class DLRMSettings(TrainingSettings):
    """The ranking model (Naumov et al., 2019, https://arxiv.org/abs/1906.00091)."""

    learning_rate: Annotated[float, Field(gt=0.0)] = 0.001
    """Step size of Adam."""
    embedding_dimension: Annotated[int, Field(gt=1)] = 16
    """Length of every embedding and of the bottom MLP's output."""
    bottom: Widths = (64,)
    """Hidden widths of the MLP over continuous features."""
    top: Widths = (64, 32)
    """Widths of the MLP over the interactions."""


CART_DEFAULTS: Final = DLRMSettings(epochs=30, patience=3, batch_size=512, learning_rate=0.0003, id_dropout=0.5)
"""Carts are few beside interactions: smaller steps, and ids that are seldom told."""


class EvaluateSettings(Settings):
    """How models are judged."""

    cutoffs: tuple[Annotated[int, Field(gt=0)], ...] = (10, 20, 100)
    """Values of k."""
    bootstrap: Annotated[int, Field(ge=100)] = 500
    """Resamples of users behind each interval; for chances of purchase at least 500, which also test the lead in an area."""
    candidates: Annotated[int, Field(gt=0)] = 200
    """How many retrieved items the ranking stage sees, in evaluation and in serving."""
    max_two_stage_anchors: Annotated[int, Field(gt=0)] = 2_000
    """Test anchors on which the two stages are judged together."""
    threshold: Literal["f1", "cost"] | Annotated[float, Field(ge=0.0, le=1.0)] = "f1"
    """The least chance that counts as a yes, for accuracy, precision, recall and F1: a number, or chosen for each model on the
    validation rows: ``"f1"`` has the highest F1 there, ``"cost"`` the lowest cost."""
    cost_of_false_positive: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] | None = None
    """With ``threshold = "cost"``: what a wrong yes costs."""
    cost_of_false_negative: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] | None = None
    """With ``threshold = "cost"``: what a wrong no costs, in the same unit."""
    baselines: tuple[Baseline, ...] = (
        "popular_in_category",
        "item_knn",
        "vsknn",
        "ease",
        "als",
        "bpr",
        "markov_next_item",
    )
    """What stands beside the models, fitted on what happened before the split; most popular and recently popular always do."""
    baseline_parameters: Mapping[Baseline, Mapping[str, bool | int | float | str]] = {}
    """``[evaluate.baseline_parameters.<baseline>]``: parameters of a baseline that are not its defaults, such as those that
    `cartwheel tune` found."""

    @model_validator(mode="after")
    def _costs_are_used(self) -> Self:
        costs = (self.cost_of_false_positive, self.cost_of_false_negative)
        if self.threshold == "cost" and None in costs:
            raise ValueError('threshold = "cost" needs cost_of_false_positive and cost_of_false_negative; set both')
        if self.threshold != "cost" and costs != (None, None):
            raise ValueError('cost_of_false_positive and cost_of_false_negative need threshold = "cost"; set it, or neither cost')
        return self
