"""Versions: what was exported, kept beside one another, brought in under load, and taken back."""
