"""What is asked of a teacher. Any object that answers so will do; `teachers.py` lists those that have names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self

import torch
from torch import Tensor


class TeacherOutput(NamedTuple):
    """What a teacher makes of a batch.

    Args:
        pyramid: maps `B C_i H_i W_i` float32 at 1/4, 1/8, 1/16 and 1/32 of the input's sides, rounded up.
        class_map: `B K h w` float32, whose mean over all places is the classifier's logits. A classifier that ends
            in an average and a linear map has one: the linear map at each place (ReLabel, arXiv:2101.05022, sec. 3.2).
    """

    pyramid: tuple[Tensor, Tensor, Tensor, Tensor]
    class_map: Tensor


@dataclass(frozen=True, kw_only=True)
class TeacherInfo:
    """What can be said of a teacher without asking it.

    Args:
        name: of the network, as provenance states it.
        origin: whose weights these are, what they were trained on and under which license they are given.
        channels: of the four maps.
        num_classes: of the class map.
    """

    name: str
    origin: str
    channels: tuple[int, int, int, int]
    num_classes: int


class Teacher(Protocol):
    """A frozen classifier that was trained on many images."""

    info: TeacherInfo

    def to(self, device: torch.device) -> Self:
        """The same teacher on this device."""
        ...

    def __call__(self, rgb: Tensor) -> TeacherOutput:
        """Look at `B H W 3` uint8 RGB; no gradients, and the same answer each time."""
        ...
