"""Settings of the two-tower model."""

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
    """Examples per step, each of which is a negative for all others; smaller batches are cheaper per epoch and learn more from it."""
    learning_rate: Annotated[float, Field(gt=0.0)] = 0.003
    """Step size of Adam in an epoch of up to 800 steps; in longer epochs it is inversely proportional to the steps, which prevents
    overfitting to a long log in the first epoch."""
    id_dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.3
    """As for every model; higher than in ranking, because this model overfits to the shopper's id first."""
    epochs: Annotated[int, Field(gt=0)] = 20
    """As for every model; a short log has few steps per epoch, and on a long one training stops early."""
    average_epochs: Annotated[int, Field(ge=1, le=20)] = 3
    """As for every model; a softmax over few negatives is noisy, and averaging three epochs reduces the noise."""
    start: Literal["spectral", "random"] = "spectral"
    """Initial item embeddings: ``"spectral"`` uses the leading eigenvectors of the matrix of items that follow one another, and towers that
    initially pass them through, so that training starts from a neighbourhood model (``models/families/two_tower/spectral_start.py``);
    ``"random"``."""
    temperature: Annotated[float, Field(gt=0.0)] = 0.1
    """Divides the logits of the in-batch softmax."""
    history: HistoryKind = "pooling"
    """How the query tower encodes the recent items: ``"pooling"`` is their learned recency-weighted mean and the last one. ``"attention"``
    adds the state at the last item after self-attention (SASRec, Kang and McAuley, 2018, https://arxiv.org/abs/1808.09781); ``"gru"`` adds
    that of a recurrent network (GRU4Rec, Hidasi et al., 2016, https://arxiv.org/abs/1511.06939)."""
    attention_blocks: Annotated[int, Field(ge=1, le=4)] = 1
    """Blocks of ``history = "attention"``; with one, each item attends to the others once."""
    attention_heads: Annotated[int, Field(gt=0)] = 2
    """Heads of each block; ``embedding_dimension`` must be a multiple of it."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Dropout rate of embedding values and of the attention output in training."""
    refit: bool = True
    """Whether the model that is tested and served is trained again, for the number of epochs that validation selected, on the training and
    validation examples together: the latest interactions are the most informative, and the baselines use them too. The weights chosen on
    validation (those of the neighbours and of the retrieval score) are chosen with the model that has not seen it."""
    uniform_negatives: Annotated[int, Field(ge=0)] = 0
    """Uniformly drawn negatives in each step, in addition to the batch's own items (mixed negative sampling, Yang et al., WWW 2020
    companion, https://doi.org/10.1145/3366424.3386195); with as many as there are items, the loss is a softmax over all of them."""

    hard_negatives: Annotated[int, Field(ge=0)] = 0
    """Negatives drawn in each step among those that the model, as of the start of the epoch, scores like a positive of the batch (ANCE,
    Xiong et al., ICLR 2021, https://arxiv.org/abs/2007.00808); they are treated as uniformly drawn, which overweights them."""

    @model_validator(mode="after")
    def _heads_divide_the_embedding(self) -> Self:
        if self.history == "attention" and self.embedding_dimension % self.attention_heads:
            raise ValueError(
                f"embedding_dimension is {self.embedding_dimension}, which attention_heads = {self.attention_heads} does not divide; "
                "set one of them so that it does"
            )
        return self
