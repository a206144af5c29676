"""Replay of recorded requests."""
