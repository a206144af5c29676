"""Versions: stored exports, their deployment under load, and rollback."""
