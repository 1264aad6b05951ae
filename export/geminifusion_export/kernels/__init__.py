"""Compiling the plugin of TensorRT and the operators of ONNX Runtime."""
