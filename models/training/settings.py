"""What may be set about the training of any model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from cartwheel.core.settings import Settings

Widths = tuple[Annotated[int, Field(gt=0)], ...]


class TrainingSettings(Settings):
    """What every trained model shares."""

    epochs: Annotated[int, Field(gt=0)] = 10
    """Maximum number of passes over the training examples; early stopping ends sooner."""
    patience: Annotated[int, Field(gt=0)] = 2
    """Epochs without a better validation metric before training stops; the best weights are kept."""
    batch_size: Annotated[int, Field(gt=1)] = 2048
    """Examples per step."""
    average_epochs: Annotated[int, Field(ge=1, le=20)] = 1
    """Number of latest epochs whose weights are averaged before they are evaluated and kept; 1 disables averaging."""
    learning_rate: Annotated[float, Field(gt=0.0)] = 0.003
    """Step size of Adam."""
    embedding_l2: Annotated[float, Field(ge=0.0)] = 0.0
    """Weight of the squared embeddings in the loss."""
    id_dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.1
    """Share of user and item ids replaced by the out-of-vocabulary id in training, so that the model learns about strangers."""
    start_from: Path | None = None
    """An earlier run with the same settings whose weights are the starting point; embeddings of new ids start as the mean of those of their
    category, or of all. Needs ``features.keep_ids_of`` for the same run; use fewer ``epochs`` with it."""
