"""Which code computes the fusion on a GPU: what `torch.compile` makes of the formula, or the Triton kernels.

Both are measured at the shapes of the network's stages when a network is first opened or trained on a card, and the
result is kept in the user's cache by card and versions. A candidate that fails there, or is wrong, is out.
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
import logging
import os
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from geminifusion_model.fusion_op import FusionFunction, pixelwise_fusion_reference
from geminifusion_model.fusions.geminifusion import GeminiFusionBlock
from geminifusion_model.inference_form.fusion import FoldedFusion
from geminifusion_runtime import strict_json

_log = logging.getLogger(__name__)

COMPILED, TRITON = "compiled", "triton"
_ROWS = 19200  # tokens of the largest stage of a frame of 480x640
_MARGIN = 0.97  # of the compiled formula's time, that the kernel has to stay below
_REPEATS, _CALLS = 7, 20
_LARGEST_DIFFERENCE = 2e-2  # of the norm: several times the rounding of bfloat16


def use_fastest_fusion(net: nn.Module, device: torch.device, dtype: torch.dtype, *, training: bool) -> str | None:
    """Give every fusion of a network the faster code for this card; returns its name.

    Args:
        net: any network with fusions, as it is trained or in its inference form.
        dtype: what the fusion will be computed in.
        training: measure forward and backward together, not forward alone.

    Returns:
        `compiled` or `triton`; None where the fusions keep what they have: on a CPU, in a network without them, or if
        neither works.
    """
    fusions = [module for module in net.modules() if isinstance(module, GeminiFusionBlock | FoldedFusion)]
    if device.type != "cuda" or not fusions:
        return None
    widths = sorted({(fusion.channels, fusion.num_heads) for fusion in fusions})
    chosen = _kept_choice(device, dtype, widths, training=training)
    if chosen is not None:
        implementation = _candidates()[chosen]
        for fusion in fusions:
            fusion.mix_values = implementation
    return chosen


def _candidates() -> dict[str, FusionFunction]:
    found: dict[str, FusionFunction] = {COMPILED: _compiled_formula()}
    try:
        from geminifusion_model.fusion_kernels.triton_kernels import triton_fusion
    except ImportError as error:
        _log.info("no Triton kernels for the fusion: %s", error)
    else:
        found[TRITON] = triton_fusion
    return found


@functools.cache
def _compiled_formula() -> FusionFunction:
    return torch.compile(pixelwise_fusion_reference, dynamic=True)


def _kept_choice(
    device: torch.device, dtype: torch.dtype, widths: Sequence[tuple[int, int]], *, training: bool
) -> str | None:
    """The choice of an earlier process on such a card, or a new one, which is kept."""
    key = choice_key(torch.cuda.get_device_name(device), dtype, widths, training=training)
    path = cache_file()
    kept = read_choices(path)
    if kept.get(key) in _candidates():
        return kept[key]
    seconds = {name: _seconds(fuse, device, dtype, widths, training=training) for name, fuse in _candidates().items()}
    chosen = faster({name: value for name, value in seconds.items() if value is not None})
    _log.info("the fusion is computed by %s on %s: %s", chosen, key, seconds)
    if chosen is not None:
        write_choice(path, key, chosen)
    return chosen


def faster(seconds: Mapping[str, float]) -> str | None:
    """The kernel if it is faster than the compiled formula by more than noise, or the only one that works."""
    if COMPILED in seconds and not seconds.get(TRITON, float("inf")) < _MARGIN * seconds[COMPILED]:
        return COMPILED
    return TRITON if TRITON in seconds else None


def choice_key(card: str, dtype: torch.dtype, widths: Sequence[tuple[int, int]], *, training: bool) -> str:
    """All that a choice depends on, in words."""
    try:
        triton = importlib.metadata.version("triton")
    except importlib.metadata.PackageNotFoundError:
        triton = "none"
    shapes = " ".join(f"{channels}/{heads}" for channels, heads in widths)
    kind = str(dtype).removeprefix("torch.")
    return f"{card}, torch {torch.__version__}, triton {triton}, {kind}, {shapes}{', training' if training else ''}"


def cache_file() -> Path:
    """Where choices are kept: in XDG_CACHE_HOME, or else in the user's cache."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "geminifusion" / "fusion-choice.json"


def read_choices(path: Path) -> dict[str, str]:
    """What is kept, by key; nothing if the file is missing or damaged, which only costs measuring again."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(key): str(value) for key, value in kept.items()} if isinstance(kept, dict) else {}


def write_choice(path: Path, key: str, chosen: str) -> None:
    """Keep a choice beside the others; a cache that cannot be written is left alone."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        text = strict_json.dumps(read_choices(path) | {key: chosen}, indent=1)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as unfinished:
            unfinished.write(text)
        Path(unfinished.name).replace(path)  # in one step: another process may be doing the same
    except OSError as error:
        _log.warning("the choice of the fusion's code is not kept: %s", error)


def _seconds(
    fuse: FusionFunction, device: torch.device, dtype: torch.dtype, widths: Sequence[tuple[int, int]], *, training: bool
) -> float | None:
    """Median seconds of one pass at every width; None if it fails or is wrong."""
    total = 0.0
    try:
        for channels, num_heads in widths:
            # a stage has a fourth of the tokens of the one before, and about twice its channels
            shape = (max(1, _ROWS * 32 // channels), channels)
            *tensors, outer = (torch.randn(shape, device=device, dtype=dtype) for _ in range(5))
            require_agreement(fuse, tensors, outer, num_heads)
            total += _timed(_call(fuse, tensors, outer, num_heads, training=training))
    except Exception as error:  # a compiler that is missing or fails: the other candidate remains
        _log.warning("one code of the fusion does not work here: %s", error)
        return None
    return total


def require_agreement(fuse: FusionFunction, tensors: Sequence[Tensor], outer: Tensor, num_heads: int) -> None:
    """Hold a code to the formula, values and gradients: compiled gradients were seen to be wrong (`loop/compiled.py`).

    Raises:
        ValueError: they differ by more than rounding.
    """
    found = _pass(fuse, tensors, outer, num_heads)
    expected = _pass(pixelwise_fusion_reference, [tensor.float() for tensor in tensors], outer.float(), num_heads)
    for ours, theirs in zip(found, expected, strict=True):
        difference = float((ours.float() - theirs).norm() / theirs.norm())
        if not difference <= _LARGEST_DIFFERENCE:
            raise ValueError(f"it differs from the formula by {difference:.1g} of the norm")


def _pass(fuse: FusionFunction, tensors: Sequence[Tensor], outer: Tensor, num_heads: int) -> tuple[Tensor, ...]:
    """The mixed values, and the gradients of all tensors if that of the values is `outer`."""
    inputs = [tensor.detach().requires_grad_() for tensor in tensors]
    q, k_diff, v_self, v_cross = inputs
    mixed = fuse(q, k_diff, v_self, v_cross, num_heads)
    return (mixed.detach(), *torch.autograd.grad(mixed, inputs, outer))


def _call(
    fuse: FusionFunction, tensors: Sequence[Tensor], outer: Tensor, num_heads: int, *, training: bool
) -> Callable[[], object]:
    if training:
        return lambda: _pass(fuse, tensors, outer, num_heads)
    q, k_diff, v_self, v_cross = tensors
    return lambda: fuse(q, k_diff, v_self, v_cross, num_heads)


def _timed(call: Callable[[], object]) -> float:
    for _ in range(3):
        call()
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    seconds = []
    for _ in range(_REPEATS):
        begin.record()
        for _ in range(_CALLS):
            call()
        end.record()
        end.synchronize()
        seconds.append(1e-3 * begin.elapsed_time(end) / _CALLS)
    return statistics.median(seconds)
