"""Running an exported model: artifact, decoding, backends, encoding. No torch, no onnx, no web framework."""

import os

# ONNX Runtime's wheels report their use to Microsoft and leave a device ID in the home directory. They read this
# variable when they are imported, so it is set here, below everything that imports them. Set it to 0 to opt in.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
