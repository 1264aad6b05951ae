"""Prebuilt TensorRT engines: what they need, how they are loaded, how they run."""
