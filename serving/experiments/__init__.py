"""Experiments on served shops: assignment, exploration, and the exposure log."""
