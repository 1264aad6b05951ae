"""Compiling the TensorRT plugin and the custom operators for ONNX Runtime."""
