"""Two-tower, DLRM and their peers: training, evaluation and ONNX export."""
