"""Offline protocols: splits, folds, candidates and evaluation."""
