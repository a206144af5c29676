"""Items that go together, as one table that retrieval adds to the two-tower's scores and that is served with it."""
