"""An inference request and its response, the same for both transports of the protocol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from geminifusion_service.api.open_inference.parameters import Parameter
from geminifusion_service.api.open_inference.tensors import Tensor


@dataclass(frozen=True, kw_only=True)
class InferenceRequest:
    """Input tensors, and the names of the outputs; none means those of the model's signature."""

    model_name: str
    model_version: str | None = None
    id: str = ""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    inputs: tuple[Tensor, ...]
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class InferenceResponse:
    """Output tensors, in the order in which they were requested."""

    model_name: str
    model_version: str
    id: str
    parameters: Mapping[str, Parameter]
    outputs: tuple[Tensor, ...]
