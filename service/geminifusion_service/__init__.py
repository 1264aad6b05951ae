"""The inference server: RGB + depth in, segmentation mask out, over HTTP and gRPC; never imports torch."""

import os

# ONNX Runtime's wheels report their use to Microsoft and leave a device id in the home directory; they read this when
# they are imported. Whoever wants that sets it to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
