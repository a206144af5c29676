"""Offline evaluation: interactions, protocols that split them, recommenders that score them, and the judgement of their lists."""
