"""An inference request and its answer, the same for both transports of the protocol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from geminifusion_service.api.open_inference.parameters import Parameter
from geminifusion_service.api.open_inference.tensors import Tensor


@dataclass(frozen=True, kw_only=True)
class InferenceRequest:
    """Tensors in, and which to answer; no `outputs` means those of the model's metadata."""

    model_name: str
    model_version: str | None = None
    id: str = ""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    inputs: tuple[Tensor, ...]
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class InferenceResponse:
    """Tensors out, in the order they were asked for."""

    model_name: str
    model_version: str
    id: str
    parameters: Mapping[str, Parameter]
    outputs: tuple[Tensor, ...]
