"""The lowest layer: errors, files, progress, the layout of a run, its tables and ONNX models."""
