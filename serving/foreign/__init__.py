"""Repositories of models that were not trained here: workflow and model as one graph behind the same reader, runner and limits."""
