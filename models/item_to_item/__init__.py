"""Items that go together, as one table that retrieval adds to the retrieval model's scores and that is served with it."""
