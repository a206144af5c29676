"""Clients for gRPC; they need neither ONNX nor a run."""
