"""The wire contract: tensors, limits and model configurations."""
