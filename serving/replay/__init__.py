"""Recorded requests, asked again."""
