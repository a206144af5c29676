"""A ranker of candidates that learns from the candidates of earlier windows."""
