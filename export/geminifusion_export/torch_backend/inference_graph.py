"""A graph laid out and typed for speed: channels last, and the network's weights in a half type if asked for."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from geminifusion_export.graph import SegmentationGraph, modality_spec
from geminifusion_runtime.artifact import Precision

DTYPES: dict[Precision, torch.dtype] = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}


class InferenceGraph(nn.Module):
    """A `SegmentationGraph` whose network computes in one type, between float32 encodings and float32 outputs.

    The weights are converted once instead of by autocast in every pass. Torch keeps the sums of norms, softmax and
    products in float32 whatever the type of their operands.

    Args:
        graph: its network is converted in place.
    """

    def __init__(self, graph: SegmentationGraph, dtype: torch.dtype) -> None:
        super().__init__()
        self.graph = graph.eval()
        self.dtype = dtype
        # typed as nn.Module: its own overloads of `to` do not take both at once
        network: nn.Module = graph.network
        network.to(dtype=dtype)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def input_types(self) -> dict[str, torch.dtype]:
        """The type of each modality, in the order of `forward`."""
        return {
            modality.name: torch.uint8 if modality_spec(modality).dtype == "uint8" else torch.float32
            for modality in self.graph.task.modalities
        }

    @property
    def output_names(self) -> tuple[str, ...]:
        """The outputs, in the order that `forward` returns them."""
        return self.graph.output_names

    def forward(self, *modalities: Tensor) -> tuple[Tensor, ...]:
        """Compute the outputs from raw modalities; see `geminifusion_export.graph`."""
        encoded = self.graph.encode(*modalities)
        results = self.graph.network(
            *(each.to(self.dtype).contiguous(memory_format=torch.channels_last) for each in encoded)
        )
        return self.graph.answer(modalities[0], *(each.float() for each in results if each is not None))
