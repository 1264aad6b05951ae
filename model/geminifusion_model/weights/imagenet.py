"""Start an encoder from weights of an image classifier.

Read are NVlabs' MiT files, the same in the layout of Hugging Face transformers, and Microsoft's Swin files
(`{"model": …}`). They belong to one image; what ours keeps once per stream or modality is filled with the same values
for each. The fusions, the merge of further modalities and the norms of Swin's stage outputs have no counterpart and
keep their start values.

Two choices differ from the original, which loads less than its files hold, without saying so: the norm behind Swin's
patch embedding is loaded (there it is skipped, as no name fits), and with three or four modalities the patch norms of
all of them are (there only the first two's).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor
from torch.nn import functional as F

from geminifusion_model.encoder_sizes import SWIN_SIZES
from geminifusion_model.network import GeminiFusion
from geminifusion_model.weights.files import OfficialWeightsError, read_tensors
from geminifusion_model.weights.filling import any_of, plan_filling, single_stream_name
from geminifusion_model.weights.report import OfficialReport
from geminifusion_model.weights.segformer_names import segformer_layout

# The classifier itself and, in Swin files, the norm before it and what follows from the window; the decoder of a file
# for segmentation.
_NOT_NEEDED = any_of(
    r"head\..+",
    r"norm\.(weight|bias)",
    r".+\.(relative_position_index|attn_mask)",
    r"classifier\.(weight|bias)",
    r"(decode_head|auxiliary_head)\..+",
)


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
    tensors = {name.removeprefix("module."): tensor for name, tensor in read_tensors(source).items()}
    swin = net.config.encoder in SWIN_SIZES
    layout = None if swin else segformer_layout(tensors)
    filling = plan_filling(
        net,
        tensors,
        _single_stream_names if layout is None else layout.encoder_names,
        not_needed=_NOT_NEEDED,
        fitted=_fitted,
    )
    if strict and not filling.report.complete:
        family = "Microsoft's Swin" if swin else "NVlabs' MiT"
        if layout is not None and layout.encoder_rules:
            family = "transformers' MiT"
        raise OfficialWeightsError(
            f"expected {family} layout for {net.config.encoder}, but {filling.report.describe()}"
        )
    filling.apply()
    return filling.report


def _single_stream_names(official: str) -> tuple[str, ...] | None:
    name = single_stream_name(official)
    return None if name is None else (name,)


def _fitted(name: str, found: Tensor, target: Tensor) -> Tensor:
    """Resize a table of position biases `(2·window-1)² G` to the target's window."""
    if not name.endswith("relative_position_bias_table") or found.shape == target.shape:
        return found
    if found.dim() != 2 or found.shape[1] != target.shape[1] or math.isqrt(found.shape[0]) ** 2 != found.shape[0]:
        return found
    sides = [math.isqrt(table.shape[0]) for table in (found, target)]
    grid = found.T.reshape(1, -1, sides[0], sides[0])
    return F.interpolate(grid, size=(sides[1], sides[1]), mode="bicubic").flatten(2)[0].T
