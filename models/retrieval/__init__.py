"""Candidates and their order: which model retrieves, what is added to it, and the two stages together."""
