"""What passes over the wire: tensors, limits and model configurations."""
