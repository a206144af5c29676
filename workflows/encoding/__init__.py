"""Encoded features: the graph of NVTabular operators, its vocabularies and its schema."""
