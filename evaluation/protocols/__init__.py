"""Offline protocols: splits, folds, candidates and judging."""
