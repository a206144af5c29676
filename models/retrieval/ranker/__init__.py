"""The candidate ranker, trained on the candidates of earlier windows."""
