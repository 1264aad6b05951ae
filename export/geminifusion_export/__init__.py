"""From a GeminiFusion checkpoint to an artifact that can be served without torch."""

import os

# ONNX Runtime's wheels report their use to Microsoft and leave a device id in the home directory; they read this when
# they are imported. Whoever wants that sets it to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
