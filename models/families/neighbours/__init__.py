"""Items that go together, by counting: nearest neighbours, EASE, rules and sessions."""
