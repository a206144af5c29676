"""Retrieval and ranking: the retrieval model, the sum of retrievers, and the two stages together."""
