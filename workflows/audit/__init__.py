"""The leakage audit: no example may have looked at its own future. It runs in every prepare and fails the run.

``examples`` audits the examples of a run, ``fitted`` what was fitted on them, ``table`` any table of an analyst.
"""
