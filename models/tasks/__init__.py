"""Fitting the learners of a declared task, choosing the one that is served, and explaining its answers."""
