"""Models that were trained elsewhere, by Merlin Models, Keras or whatever writes ONNX, each as one ONNX graph with its interface."""
