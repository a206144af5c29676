"""What every other part may use and what uses none of them: errors, files, progress, the layout of a run, its tables and ONNX models."""
