"""The questions that a model is asked in evaluation, as arrays."""
