"""The CUDA provider of ONNX Runtime, as far as it goes without a GPU."""

import numpy as np
import onnxruntime
import pytest

from geminifusion_runtime.artifact import MODEL_NAME
from geminifusion_runtime.backends.onnx_runtime import OnnxRuntimeBackend
from geminifusion_runtime.backends.onnx_runtime_cuda import OnnxRuntimeCudaBackend, run_bound


def test_a_bound_run_answers_as_a_plain_one(tiny_artifact):
    model = tiny_artifact / MODEL_NAME
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    plain = OnnxRuntimeBackend(model, threads=1, retained_pixels=48 * 64)
    rng = np.random.default_rng(0)
    for batch in (1, 3):
        inputs = {
            "rgb": rng.integers(0, 256, (batch, 48, 64, 3), dtype=np.uint8),
            "depth": rng.uniform(0.5, 4, (batch, 48, 64)).astype(np.float32),
        }
        bound, expected = run_bound(session, inputs, ("labels", "confidence", "gate"), "cpu", 0), plain.run(inputs)
        np.testing.assert_array_equal(bound["labels"], expected["labels"])
        np.testing.assert_array_equal(bound["confidence"], expected["confidence"])
        np.testing.assert_array_equal(bound["gate"], expected["gate"])
        assert bound["confidence"].dtype == np.float32


def test_a_silent_fall_back_to_the_cpu_is_an_error(tiny_artifact, monkeypatch):
    # A machine with the CUDA package and no working GPU: the provider is listed, the session leaves it out.
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None, raising=False)
    real = onnxruntime.InferenceSession

    def falls_back(model, options, providers):
        return real(model, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "InferenceSession", falls_back)
    with pytest.raises(RuntimeError, match=r"could not start CUDAExecutionProvider on GPU 2 and fell back to CPU"):
        OnnxRuntimeCudaBackend(tiny_artifact / MODEL_NAME, device=2, retained_pixels=1)
