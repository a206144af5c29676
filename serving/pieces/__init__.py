"""The steps of the ensembles as ONNX graphs, one module per step."""
