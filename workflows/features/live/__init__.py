"""The request's face of feature families: the same columns from plain arrays, where neither Polars nor the log is at hand."""
