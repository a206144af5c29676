"""Metrics of models, each with its formula, source and rule for ties."""
