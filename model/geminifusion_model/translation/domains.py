"""The domains of translation: what an image of one shows, and how its values become a network's [-1, 1] and back.

Two sets share names where they mean the same kind of image: those that are measured in or computed from RGB-D
frames (`FRAME_DOMAINS`), and those that Taskonomy publishes (`TASKONOMY_DOMAINS`; Zamir et al., CVPR 2018). Two are
the same only if all of their fields are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ConfigDict
from torch import Tensor
from torch.nn import functional as F

from geminifusion_model.task import ModalityEncoding

Floats = NDArray[np.float32]

GEOMETRY = "geometry"  # what Taskonomy's domains other than RGB are rendered from: a mesh


class DomainError(ValueError):
    """A domain is unknown, is not there, or is not the one a network was trained for; the message says what to do."""


@dataclass(frozen=True, kw_only=True)
class Domain:
    """One kind of image.

    Args:
        name: as files, configurations and checkpoints spell it.
        kind: which measures compare two images of it: `color`, `depth`, `normal` or `gray`.
        unit: of its values: `intensity` (0…255), `metre`, `unit vector` (x right, y up, z towards the camera) or
            `share` (0…1).
        range: the values that become -1 and 1; what is outside is clipped.
        scale: of the way between them: `linear`, or `log` of the value plus `log_offset`.
        log_offset: in the unit.
        computed_from: the domains that it is computed from; none if it is measured.
        definition: how its values come about.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    name: str
    kind: Literal["color", "depth", "normal", "gray"]
    unit: Literal["intensity", "metre", "unit vector", "share"]
    range: tuple[float, float]
    scale: Literal["linear", "log"] = "linear"
    log_offset: float = 0.0
    computed_from: tuple[str, ...] = ()
    definition: str

    def __post_init__(self) -> None:
        low, high = self.range
        if not low < high or (self.scale == "log" and low + self.log_offset <= 0):
            raise ValueError(f"range of {self.name} is {self.range}; expected low < high, above 0 for a logarithm")

    @property
    def channels(self) -> int:
        """1 or 3; one is repeated to three for the network."""
        return 3 if self.kind in ("color", "normal") else 1

    def encode(self, values: NDArray[np.generic]) -> Floats:
        """Values in the unit as a network takes them.

        Args:
            values: `H W`, or `H W 3` for three channels.

        Returns:
            Float32 in [-1, 1] of the same shape. Depth that is 0, negative or not finite, which is no measurement, is
            0, as everywhere in this project.
        """
        low, high = self._bounds()
        plain = values.astype(np.float32)
        if self.kind == "depth":
            measured = (plain > 0) & (plain < np.inf)
            scaled = self._scaled(np.where(measured, plain, self.range[1]))
            return np.where(measured, 2 * (scaled - low) / (high - low) - 1, np.float32(0)).astype(np.float32)
        return (2 * (self._scaled(plain) - low) / (high - low) - 1).astype(np.float32)

    def decode(self, image: Tensor) -> Tensor:
        """What a network put out, in the unit.

        Args:
            image: `… 3 H W` in [-1, 1]; what is outside is clipped.

        Returns:
            Float32: `… 3 H W`, of length 1 for normals; `… H W`, of the channels' mean, for one channel.
        """
        image = image.clamp(-1.0, 1.0)
        if self.kind == "normal":
            return F.normalize(image, dim=-3, eps=1e-6)
        low, high = self._bounds()
        if self.channels == 1:
            image = image.mean(dim=-3)
        scaled = (image + 1.0) * ((high - low) / 2) + low
        return scaled.exp() - self.log_offset if self.scale == "log" else scaled

    def decoded(self, image: Floats) -> Floats:
        """The inverse of `encode` of one channel, `H W` in [-1, 1], but for what `encode` clipped."""
        three = torch.from_numpy(np.ascontiguousarray(image))[None].expand(3, -1, -1)
        found: Floats = self.decode(three).numpy()
        return found

    def modality(self) -> ModalityEncoding:
        """The domain as a network's input, in the words of the artifact contract: encoded so, it is in [-1, 1].

        Where `log_offset` is not 0 (Taskonomy's depth) it is left out, which at 0.2 m and more changes the input by
        less than the 256 steps that the files were trained in.
        """
        if self.kind == "depth":
            low, high = max(self.range[0], self.log_offset), self.range[1]
            if self.scale == "log":
                ends = math.log(low), math.log(high)
                return ModalityEncoding(
                    name=self.name,
                    encoding="log",
                    unit="metre",
                    range=(low, high),
                    mean=((ends[0] + ends[1]) / 2,),
                    std=((ends[1] - ends[0]) / 2,),
                )
            middle, half = (low + high) / 2, (high - low) / 2
            return ModalityEncoding(
                name=self.name, encoding="metric", unit="metre", range=self.range, mean=(middle,), std=(half,)
            )
        return ModalityEncoding(
            name=self.name,
            encoding="imagenet" if self.kind == "color" else "raw",
            unit="intensity",
            range=(0.0, 1.0),
            mean=(0.5,) * self.channels,
            std=(0.5,) * self.channels,
        )

    def _bounds(self) -> tuple[float, float]:
        low, high = self.range
        if self.scale == "log":
            return math.log(low + self.log_offset), math.log(high + self.log_offset)
        return low, high

    def _scaled(self, values: Floats) -> Floats:
        clipped = np.clip(values, *self.range)
        return np.log(clipped + np.float32(self.log_offset)) if self.scale == "log" else clipped


RGB = Domain(name="rgb", kind="color", unit="intensity", range=(0.0, 255.0), definition="photograph")


def _share(name: str, *computed_from: str, definition: str, color: bool = False) -> Domain:
    """A domain of 0…1 (`gray`), or of 0…255 in color, that is computed."""
    if color:
        return Domain(
            name=name,
            kind="color",
            unit="intensity",
            range=(0.0, 255.0),
            computed_from=computed_from,
            definition=definition,
        )
    return Domain(
        name=name, kind="gray", unit="share", range=(0.0, 1.0), computed_from=computed_from, definition=definition
    )


def _normal(parent: str, definition: str) -> Domain:
    return Domain(
        name="normal",
        kind="normal",
        unit="unit vector",
        range=(-1.0, 1.0),
        computed_from=(parent,),
        definition=definition,
    )


def _by_name(domains: Iterable[Domain]) -> dict[str, Domain]:
    return {domain.name: domain for domain in domains}


FRAME_DOMAINS: Mapping[str, Domain] = _by_name(
    (
        RGB,
        Domain(
            name="depth",
            kind="depth",
            unit="metre",
            range=(0.3, 10.0),
            scale="log",
            definition="metres along the optical axis",
        ),
        _normal("depth", "of the surface, computed from depth or exact in rendered rooms"),
        _share("shade", "normal", definition="Lambertian shading by one light above the camera"),
        _share("edge_texture", "rgb", definition="Sobel magnitude of the smoothed gray image"),
        _share("edge_occlusion", "depth", definition="relative jumps of depth to neighboring surfaces"),
    )
)

# Published with the data set: units of 1/512 m, 16 bits. The original's log(1 + v) of v units reaches 1 at 11.1.
TASKONOMY_METRES_PER_UNIT = 1 / 512
TASKONOMY_LOG_SPAN = 11.1


def _taskonomy_depth(name: str, definition: str) -> Domain:
    unit = TASKONOMY_METRES_PER_UNIT
    return Domain(
        name=name,
        kind="depth",
        unit="metre",
        range=(0.0, math.expm1(TASKONOMY_LOG_SPAN) * unit),
        scale="log",
        log_offset=unit,
        computed_from=(GEOMETRY,),
        definition=f"Taskonomy: {definition}",
    )


TASKONOMY_DOMAINS: Mapping[str, Domain] = _by_name(
    (
        RGB,
        _normal(GEOMETRY, "Taskonomy: of the mesh"),
        _share("reshading", "normal", definition="Taskonomy: Lambertian shading by a light at the camera"),
        _taskonomy_depth("depth_euclidean", "distance from the camera"),
        _taskonomy_depth("depth_zbuffer", "distance along the optical axis"),
        _share("principal_curvature", GEOMETRY, definition="Taskonomy: curvatures of the mesh", color=True),
        _share("edge_occlusion", GEOMETRY, definition="Taskonomy: occlusion edges"),
        _share("edge_texture", "rgb", definition="Taskonomy: edges of the photograph"),
        _share("segment_unsup2d", "rgb", definition="Taskonomy: graph-based segments of the photograph"),
        _share("segment_unsup25d", "rgb", GEOMETRY, definition="Taskonomy: segments of photograph and mesh"),
    )
)

NAMES: tuple[str, ...] = tuple(dict.fromkeys((*FRAME_DOMAINS, *TASKONOMY_DOMAINS)))


def check_names(inputs: Sequence[str], target: str) -> None:
    """Refuse a pair of inputs and target that no data set can have.

    Raises:
        DomainError: a domain is unknown, there are not one or two inputs, or one is named twice.
    """
    named = (*inputs, target)
    if unknown := [name for name in named if name not in NAMES]:
        raise DomainError(f"there is no domain {unknown[0]!r}; the domains are {', '.join(NAMES)}")
    if len(inputs) not in (1, 2):
        raise DomainError(f"{len(inputs)} inputs were given; a translator has one or two")
    if len(set(named)) != len(named):
        raise DomainError(f"inputs {', '.join(inputs)} and target {target} name a domain twice; give different ones")


def find(known: Mapping[str, Domain], names: Iterable[str], where: str) -> tuple[Domain, ...]:
    """The domains of these names.

    Args:
        where: what has the known ones, for the message.

    Raises:
        DomainError: one is not among them.
    """
    names = tuple(names)
    if absent := [name for name in names if name not in known]:
        raise DomainError(f"{where} has no domain {absent[0]!r}; it has {', '.join(known)}")
    return tuple(known[name] for name in names)


def relation(name: str, inputs: Sequence[str], target: str, known: Mapping[str, Domain]) -> str:
    """What ties an input to the target and to the other inputs, for tables: an input that is computed from the target
    makes a task easy, and one computed from another input adds nothing.

    Args:
        name: the input; one of `inputs`.
        known: the domains that say what is computed from what.
    """
    own, of_target = _sources(name, known), _sources(target, known)
    if target in own:
        return "computed from the target"
    if name in of_target:
        return "the target is computed from it"
    if others := [other for other in inputs if other != name and other in own]:
        return f"computed from {others[0]}, which is an input too"
    if shared := sorted(own & of_target):
        return f"computed from {shared[0]}, as the target is"
    return "independent of the target"


def _sources(name: str, known: Mapping[str, Domain]) -> set[str]:
    """Everything that a domain is computed from, directly or not."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        domain = known.get(waiting.pop())
        fresh = set(domain.computed_from if domain else ()) - found
        found |= fresh
        waiting += fresh
    return found


def to_bytes(image: Tensor) -> Tensor:
    """`… 3 H W` in [-1, 1] as uint8 of the same shape, as an image file would hold it."""
    return ((image.clamp(-1.0, 1.0) + 1.0) * 127.5).round().to(torch.uint8)
