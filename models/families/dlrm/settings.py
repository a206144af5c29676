"""Settings of the DLRM."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from models.training.settings import TrainingSettings, Widths


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
