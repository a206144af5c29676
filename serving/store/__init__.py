"""The store of events since the export; needs neither a run nor ONNX nor Polars."""
