"""Fill a network from a file of a network with one stream: what ours keeps once per stream or modality gets the same
values for each.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from geminifusion_model.network import GeminiFusion
from geminifusion_model.weights.official_names import is_inert, official_names
from geminifusion_model.weights.report import OfficialReport

_WITHOUT_COUNTERPART = re.compile(r"cross_attn_|relation_judger|[kv]_noise|extra_score_predictor|encoder\.body\.norm\d")

# Kept once per stream or modality, and by a network of one stream still with that axis.
_STACKED = re.compile(r"\.ln_\d\.")

# From the original's name of a parameter to the file's; several are concatenated, None has no counterpart there.
NamesInFile = Callable[[str], tuple[str, ...] | None]


@dataclass(frozen=True, kw_only=True)
class Filling:
    """Pairs of a parameter of the network and its values, and what was found on the way."""

    pairs: tuple[tuple[Tensor, Tensor], ...]
    report: OfficialReport

    def apply(self) -> None:
        """Copy the values into the network; a stacked parameter takes the same ones for every stream."""
        for parameter, values in self.pairs:
            parameter.copy_(values)


def plan_filling(
    net: GeminiFusion,
    tensors: Mapping[str, Tensor],
    names_in_file: NamesInFile,
    *,
    not_needed: Callable[[str], bool],
    fitted: Callable[[str, Tensor, Tensor], Tensor] = lambda _name, found, _target: found,
) -> Filling:
    """Find the values of every parameter that has a counterpart in the file; the network is left as it is.

    Args:
        not_needed: whether a tensor that is left over is no fault.
        fitted: from name, values and target to values of the target's shape, if they can be brought to it.
    """
    pairs: list[tuple[Tensor, Tensor]] = []
    used: dict[str, None] = {}
    missing: list[str] = []
    mismatched: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = []
    for name, parameter in net.state_dict().items():
        original = official_names(name, parameter, net.config.encoder)[0]
        names = names_in_file(original)
        if names is None:
            continue
        absent = [each for each in names if each not in tensors]
        if absent:
            used |= dict.fromkeys(each for each in names if each in tensors)
            if not is_inert(original, len(net.config.modalities)):
                missing += absent
            continue
        target = parameter[0] if is_stacked(original) else parameter
        found = fitted(names[0], _joined([tensors[each] for each in names]), target)
        used |= dict.fromkeys(names)
        if found.shape == target.shape:
            pairs.append((parameter, found))
        else:
            mismatched.append((names[0], tuple(found.shape), tuple(target.shape)))
    left_over = sorted(set(tensors) - used.keys())
    ignored = tuple(name for name in left_over if not_needed(name))
    faulty = {name for name, _, _ in mismatched}
    return Filling(
        pairs=tuple(pairs),
        report=OfficialReport(
            used=tuple(name for name in used if name not in faulty),
            missing=tuple(missing),
            unexpected=tuple(name for name in left_over if name not in ignored),
            mismatched=tuple(mismatched),
            ignored=ignored,
        ),
    )


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def single_stream_name(official: str) -> str | None:
    """The name of an encoder's parameter in a network of one stream, NVlabs' for a MiT and Microsoft's for a Swin.

    None for a parameter that such a network does not have.
    """
    if not official.startswith("encoder.") or _WITHOUT_COUNTERPART.search(official):
        return None
    single = re.sub(r"\.(module|ln_\d)(?=\.)", "", official)
    return single.removeprefix("encoder.").removeprefix("body.")


def is_stacked(official: str) -> bool:
    """Whether ours keeps a parameter of this name once per stream or modality, on a leading axis."""
    return _STACKED.search(official) is not None


def any_of(*patterns: str) -> Callable[[str], bool]:
    """Whether a name matches one of the patterns entirely."""
    compiled = re.compile("|".join(patterns))
    return lambda name: compiled.fullmatch(name) is not None
