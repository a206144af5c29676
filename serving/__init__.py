"""Triton model repository, ensembles, embedded server and client."""
