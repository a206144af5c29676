"""Off-policy evaluation from a log of partly random choices."""
