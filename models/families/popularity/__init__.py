"""Popularity: overall, recent, or by category."""
