"""Start an encoder from weights of an image classifier.

Two layouts are read: NVlabs' MiT files and Microsoft's Swin files (`{"model": …}`). Both belong to one image; what ours
keeps once per stream or modality is filled with the same values for each. The fusions, the merge of further modalities
and the norms of Swin's stage outputs have no counterpart and keep their start values.

Two choices differ from the original, which loads less than its files hold, without saying so: the norm behind Swin's
patch embedding is loaded (there it is skipped, as no name fits), and with three or four modalities the patch norms of
all of them are (there only the first two's).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor
from torch.nn import functional as F

from geminifusion_model.encoders.sizes import SWIN_SIZES
from geminifusion_model.network import GeminiFusion
from geminifusion_model.weights.files import OfficialWeightsError, read_tensors
from geminifusion_model.weights.official_names import official_names
from geminifusion_model.weights.report import OfficialReport

_WITHOUT_COUNTERPART = re.compile(r"cross_attn_|relation_judger|[kv]_noise|extra_score_predictor|encoder\.body\.norm\d")

# Kept once per stream or modality, and by a network of one stream still with that axis.
_STACKED = re.compile(r"\.ln_\d\.")

# The classifier itself and, in Swin files, the norm before it and what follows from the window.
_NOT_NEEDED = re.compile(r"head\..+|norm\.(weight|bias)|.+\.(relative_position_index|attn_mask)")


def load_imagenet(net: GeminiFusion, source: str | Path | Mapping[str, Tensor], strict: bool = True) -> OfficialReport:
    """Fill the encoder of `net` in place.

    Swin's tables of position biases are resized bicubically where the file's window differs.

    Args:
        net: any network; its encoder says which layout is read.
        source: a `.pth` or `.safetensors` file, or a mapping from names to tensors.
        strict: raise if anything the encoder needs is missing or of another shape, or anything but the classifier is
            left over; `net` is then unchanged. Otherwise see the report (its names are the file's).

    Raises:
        FileNotFoundError: `source` names no file.
        OfficialWeightsError: the file holds no such weights, or `strict` and they do not fit.
    """
    tensors = read_tensors(source)
    own = net.state_dict()
    plan: list[tuple[Tensor, Tensor]] = []
    used: dict[str, None] = {}
    missing: list[str] = []
    mismatched: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = []
    for name, parameter in own.items():
        originals = official_names(name, parameter, net.config.encoder)
        imagenet = imagenet_name(originals[0])
        if imagenet is None:
            continue
        target = parameter[0] if is_stacked(originals[0]) else parameter
        if imagenet not in tensors:
            missing.append(imagenet)
            continue
        found = _fitted(imagenet, tensors[imagenet], target)
        if found.shape != target.shape:
            mismatched.append((imagenet, tuple(found.shape), tuple(target.shape)))
            continue
        plan.append((parameter, found))
        used[imagenet] = None
    faulty = {name for name, _, _ in mismatched}
    left_over = sorted(set(tensors) - used.keys() - faulty)
    ignored = tuple(name for name in left_over if _NOT_NEEDED.fullmatch(name))
    report = OfficialReport(
        used=tuple(used),
        missing=tuple(missing),
        unexpected=tuple(name for name in left_over if name not in ignored),
        mismatched=tuple(mismatched),
        ignored=ignored,
    )
    if strict and not report.complete:
        family = "Microsoft's Swin" if net.config.encoder in SWIN_SIZES else "NVlabs' MiT"
        raise OfficialWeightsError(f"expected {family} layout for {net.config.encoder}, but {report.describe()}")
    for parameter, found in plan:
        parameter.copy_(found)  # a stacked parameter takes the same values for every stream
    return report


def imagenet_name(official: str) -> str | None:
    """What a classifier's file calls a parameter with this official name; none if it has no such thing."""
    if not official.startswith("encoder.") or _WITHOUT_COUNTERPART.search(official):
        return None
    single = re.sub(r"\.(module|ln_\d)(?=\.)", "", official)
    return single.removeprefix("encoder.").removeprefix("body.")


def is_stacked(official: str) -> bool:
    """Whether ours keeps a parameter with this official name once per stream or modality, on a leading axis."""
    return _STACKED.search(official) is not None


def _fitted(name: str, found: Tensor, target: Tensor) -> Tensor:
    """Resize a table of position biases `(2·window-1)² G` to the target's window."""
    if not name.endswith("relative_position_bias_table") or found.shape == target.shape:
        return found
    if found.dim() != 2 or found.shape[1] != target.shape[1] or math.isqrt(found.shape[0]) ** 2 != found.shape[0]:
        return found
    sides = [math.isqrt(table.shape[0]) for table in (found, target)]
    grid = found.T.reshape(1, -1, sides[0], sides[0])
    return F.interpolate(grid, size=(sides[1], sides[1]), mode="bicubic").flatten(2)[0].T
