"""Export of a run to a model repository that is checked against the offline models."""
