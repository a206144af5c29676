"""Families that learn from encoded rows with labels, one a file."""
