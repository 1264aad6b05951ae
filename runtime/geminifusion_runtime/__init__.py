"""Running an exported model: artifact, decoding, backends, encoding. No torch, no onnx, no web framework."""
