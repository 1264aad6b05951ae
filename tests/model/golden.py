"""Regenerate the weights and inputs of the golden cases (the rule is described in tests/golden/README.md)."""

import functools
import hashlib
import json
import re
import zlib
from pathlib import Path

import numpy as np
import torch

FOLDER = Path(__file__).parent.parent / "golden"
DELIVER_STEP = 29  # of the large DeLiVER logits every 29th is stored
MANIFEST = json.loads((FOLDER / "manifest.json").read_text())


def tensor_value(name, shape, seed=0, probe=False):
    """The float32 array of one tensor, from its name in the original's layout."""
    seed = (zlib.crc32(name.encode()) + seed) % 2**32
    r = np.random.RandomState(seed).standard_normal(tuple(shape))
    if name.endswith("running_var"):
        value = (0.5 + np.abs(r)) * (1e-5 if probe else 1)
    elif name.endswith("running_mean"):
        value = 0.1 * r * (3e-3 if probe else 1)
    else:
        value = _kind_scale(name, shape) * r + (1.0 if _is_norm_weight(name, shape) else 0.0)
        value = value * (3e-3 if probe and _feeds_a_norm(name) else 1)
    return value.astype(np.float32)


def _is_norm_weight(name, shape):
    learned = ("k_noise.weight", "v_noise.weight", "relative_position_bias_table", "alpha", "bias")
    return len(shape) == 1 and not name.endswith(learned)


def _kind_scale(name, shape):
    if name.endswith(("k_noise.weight", "v_noise.weight", "relative_position_bias_table", "alpha")):
        return 0.5
    if name.endswith("bias"):
        return 0.05
    if len(shape) == 1:
        return 0.1
    gain = 6.0 if "relation_judger" in name and name.endswith("fc2.weight") else 1.0
    gain = 2.0 if name.endswith("in_proj_weight") else gain
    return gain / np.sqrt(np.prod(shape[1:]))


def _feeds_a_norm(name):
    if "patch_embed" in name:
        return True
    written = ("attn.sr.", "attn.proj.", "attn.module.proj.", "mlp.fc2.", "reduction.", "linear_fuse.conv.")
    if name.startswith("encoder.body."):  # there the fusion's output goes straight to the residual
        written += ("cross_attn_0_to_1.out_proj.", "cross_attn_1_to_0.out_proj.")
    return "relation_judger" not in name and any(part in name for part in written)


def case_weights(case):
    """The weights of a manifest case as torch tensors, in the original's layout; their digest is checked."""
    params = tuple((name, tuple(shape)) for name, shape in case["params"])
    return with_integers(_weights(params, case["weight_seed"], case["probe"], case["weights_sha256"]))


@functools.lru_cache(maxsize=2)  # neighboring cases often differ in their inputs only
def _weights(params, seed, probe, sha256):
    arrays = {name: tensor_value(name, shape, seed, probe) for name, shape in params}
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(arrays[name], dtype="<f4").tobytes())
    assert digest.hexdigest() == sha256, "the weight rule gives other numbers on this machine"
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def without_prefix(name):
    """The name as `OfficialReport` gives it: the DeLiVER branch's parts under the main branch's names."""
    return re.sub("^decode_head", "decoder", re.sub("^backbone", "encoder", name))


def with_integers(tensors):
    """Add the integer tensors of the original's layout, which the rule leaves out."""
    head = "decode_head" if "decode_head.linear_pred.weight" in tensors else "decoder"
    tables = [name for name in tensors if name.endswith(".relative_position_bias_table")]
    indices = {name.replace("bias_table", "index"): position_index(tensors[name].shape[0]) for name in tables}
    return {**tensors, **indices, f"{head}.linear_fuse.bn.num_batches_tracked": torch.tensor(0)}


def position_index(table_rows):
    """Which row of Swin's bias table belongs to each pair of pixels of a window, pair by pair as the paper counts."""
    side = (int(np.sqrt(table_rows)) + 1) // 2
    pixels = [(row, column) for row in range(side) for column in range(side)]
    return torch.tensor(
        [[(r1 - r2 + side - 1) * (2 * side - 1) + c1 - c2 + side - 1 for r2, c2 in pixels] for r1, c1 in pixels]
    )


def case_inputs(seed, num_modalities, batch, height, width):
    """Standard-normal images, one per modality, drawn from one stream of random numbers."""
    random = np.random.RandomState(seed)
    shape = (batch, 3, height, width)
    return [torch.from_numpy(random.standard_normal(shape).astype(np.float32)) for _ in range(num_modalities)]
