"""What a translator was trained to do: the domains of its inputs and its target, with units and encoding.

Stored in the checkpoint and carried to the artifact, so that no unit has to be guessed.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from pydantic import ConfigDict

from geminifusion_model.translation.domains import Domain
from geminifusion_model.translation.transforms import check_size
from geminifusion_model.validation import validated


@dataclass(frozen=True, kw_only=True)
class TranslationTask:
    """Inputs and target.

    Args:
        data: the data set's name.
        inputs: the domains of the input images, in the network's order.
        target: the domain of what is made of them.
        size: height and width of the images that the network was trained on, multiples of 32.
        data_license: of the frames.

    Raises:
        ValueError: the size does not fit.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    data: str
    inputs: tuple[Domain, ...]
    target: Domain
    size: tuple[int, int]
    data_license: str = "unknown"

    def __post_init__(self) -> None:
        check_size(self.size)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the inputs' domains."""
        return tuple(domain.name for domain in self.inputs)

    def identity(self) -> dict[str, Any]:
        """What a run's data must not change in: everything but names and licence of the data."""
        values = self.to_dict()
        return {name: values[name] for name in ("inputs", "target", "size")}

    def to_dict(self) -> dict[str, Any]:
        """The task as a plain dict for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TranslationTask:
        """The inverse of `to_dict`.

        Raises:
            ValueError: a field is unknown, missing, of another type or out of range; the message names it.
        """
        return validated(cls, values, "task")
