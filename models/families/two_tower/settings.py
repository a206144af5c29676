"""What may be set about the two-tower model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from models.training.settings import TrainingSettings, Widths

HistoryKind = Literal["pooling", "attention", "gru"]


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
    learning_rate: Annotated[float, Field(gt=0.0)] = 0.003
    """Step size of Adam in an epoch of up to 800 steps; in a longer one less, in inverse proportion, so that a long log is not learnt by
    heart within its first epoch."""
    id_dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.3
    """As for every model; more of it than in ranking, because a shopper's own id is what this model learns by heart first."""
    epochs: Annotated[int, Field(gt=0)] = 20
    """As for every model; a short log has few steps in an epoch, and a long one stops by itself."""
    average_epochs: Annotated[int, Field(ge=1, le=20)] = 3
    """As for every model; a softmax over few negatives is noisy, and the mean of three epochs is less so."""
    start: Literal["spectral", "random"] = "spectral"
    """Where the item embeddings begin: ``"spectral"`` at the leading eigenvectors of how often items follow one another, with towers
    that at first pass them through, so that training starts from a neighbourhood model
    (``models/families/two_tower/spectral_start.py``); ``"random"``."""
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
