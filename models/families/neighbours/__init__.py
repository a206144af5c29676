"""Item neighbours by counting: nearest neighbours, EASE, rules and sessions."""
