"""NVTabular's workflows fitted and compiled to Polars and ONNX; knows no shop."""
