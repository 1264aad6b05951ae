"""Running an exported model: artifact, decoding, backends, encoding. No torch, no onnx, no web framework.

Start with `model.Model.open`, which verifies an artifact and loads it, and `artifact`, which defines what one is.
Importing this package imports neither; what clients import (`types`, `errors`, `options`) needs pydantic at most.
"""

import os

# ONNX Runtime's wheels report their use to Microsoft and leave a device ID in the home directory. They read this
# variable when they are imported, so it is set here, below everything that imports them. Set it to 0 to opt in.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
