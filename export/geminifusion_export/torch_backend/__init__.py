"""The network in torch as a backend: the reference of every verification, and a runtime to serve with.

`TorchBackend` is the reference: plain eager float32. `ServingBackend` is what `geminifusion serve --backend torch`
runs. The service never imports torch itself: it finds `open_torch` by the entry point `torch` of the group
`geminifusion.backends`.
"""

from geminifusion_export.torch_backend.opening import open_torch
from geminifusion_export.torch_backend.reference import TorchBackend
from geminifusion_export.torch_backend.serving import ServingBackend

__all__ = ["ServingBackend", "TorchBackend", "open_torch"]
