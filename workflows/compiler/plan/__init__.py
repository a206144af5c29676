"""The plan: a fitted NVTabular workflow as a typed graph of column operations, with two back ends.

``read`` makes it from a workflow, ``graph`` is what it is, ``compile_onnx`` answers requests with it and ``compile_polars`` encodes
tables with it. What each operator means is in ``workflows.compiler.operators``, one file an operator.
"""
