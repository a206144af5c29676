"""What shoppers did since the export, kept where every request finds it; it needs neither a run nor ONNX nor Polars."""
