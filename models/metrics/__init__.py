"""The figures that judge a model, each with its formula, its source and its rule for ties."""
