"""Building and inspecting TensorRT engines."""
