"""Evaluation: protocols, metrics of a run, and its report."""
