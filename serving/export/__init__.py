"""From a run to a model repository that is proved equal to the offline models."""
