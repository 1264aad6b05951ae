"""Weights of the golden cases of translation, under the original's names and ours (see tests/golden/README.md)."""

import gzip
import hashlib
import json
import re

import numpy as np
import torch
from golden import FOLDER, tensor_value

MANIFEST = json.loads(gzip.decompress((FOLDER / "i2i.json.gz").read_bytes()))

_BLOCK = (
    (r"(norm[12])\.(\w+)", r"\1.lrnorm_{m}.\2"),
    (r"attention\.query\.(\w+)", r"attn.q.module.\1"),
    (r"attention\.key_value\.(\w+)", r"attn.kv.module.\1"),
    (r"attention\.output\.(\w+)", r"attn.proj.module.\1"),
    (r"attention\.reduce\.conv\.(\w+)", r"attn.sr.module.\1"),
    (r"attention\.reduce\.norm\.(\w+)", r"attn.norm.NORM_{m}.\1"),
    (r"attention\.fusion\.in_proj_(\w+)", r"attn.cross_attn_{m}_to_{o}.in_proj_\1"),
    (r"attention\.fusion\.out_proj_(\w+)", r"attn.cross_attn_{m}_to_{o}.out_proj.\1"),
    (r"attention\.fusion\.key_noise", r"attn.k_noise.weight"),
    (r"attention\.fusion\.value_noise", r"attn.v_noise.weight"),
    (r"attention\.fusion\.relation\.(\w+\.\w+)", r"attn.relation_judger.0.\1"),
    (r"mlp\.(fc[12])\.(\w+)", r"mlp.\1.module.\2"),
    (r"mlp\.depthwise\.(\w+)", r"mlp.dwconv.dwconv.module.\1"),
)
_RULES = (
    (r"ensemble_logits", "alpha"),
    (r"encoder\.stages\.(\d)\.patch_embed\.conv\.(\w+)", r"patch_embed_enc.\1.proj.module.\2"),
    (r"encoder\.stages\.(\d)\.patch_embed\.norm\.(\w+)", r"patch_embed_enc.\1.norm.lrnorm_{m}.\2"),
    (r"encoder\.stages\.(\d)\.norm\.(\w+)", r"norm_enc.\1.lrnorm_{m}.\2"),
    (r"encoder\.stages\.(\d)\.blocks\.\d\.score_nets\.(.+)", r"score_predictor.\1.score_nets.\2"),
    (r"decoder\.levels\.(\d)\.upsampling\.conv\.(\w+)", r"patch_embed_dec.\1.proj.module.\2"),
    (r"decoder\.levels\.(\d)\.norm\.(\w+)", r"norm_dec.\1.lrnorm_{m}.\2"),
    (r"decoder\.upsampling\.conv\.(\w+)", r"patch_embed_dec.4.proj.module.\1"),
    (r"(?:decoder\.project|classify)\.(\w+)", r"project.module.\1"),
)


def original_names(name, tensor, known):
    """The original's name of one of our parameters, or one a stream where ours is stacked."""
    original = _first(name, _RULES)
    block = re.fullmatch(r"(encoder\.stages|decoder\.levels)\.(\d)\.blocks\.(\d)\.(.+)", name)
    if original is None:
        part, level, index, inner = block.groups()
        original = f"block_{'enc' if part.startswith('encoder') else 'dec'}.{level}.{index}.{_first(inner, _BLOCK)}"
        fused = original.replace("NORM", "ln")  # as GeminiFusion's attention spells it, which replaces TokenFusion's
        original = fused if fused.format(m=0, o=1) in known else original.replace("NORM", "lrnorm")
    if "{m}" not in original:
        return (original,)
    return tuple(original.format(m=stream, o=1 - stream) for stream in range(tensor.shape[0]))


def _first(name, rules):
    for pattern, template in rules:
        if match := re.fullmatch(pattern, name):
            return match.expand(template)
    return None


def case_weights(params, seed, gains, sha256):
    """The case's tensors under the original's names; their digest is checked."""
    arrays = {}
    for name, shape in params:
        factor = next((f for prefix, suffix, f in gains if name.startswith(prefix) and name.endswith(suffix)), 1.0)
        arrays[name] = (tensor_value(name, shape, seed) * factor).astype(np.float32)
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(arrays[name], dtype="<f4").tobytes())
    assert sha256 is None or digest.hexdigest() == sha256, "the weight rule gives other numbers on this machine"
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def fill(net, weights):
    """Load the original's tensors; every one of them is used, but for the norms that it never calls."""
    own, used = net.state_dict(), set()
    for name, tensor in own.items():
        names = original_names(name, tensor, weights)
        assert all(original in weights for original in names), (name, names)
        used |= set(names)
        stacked = [weights[original] for original in names]
        tensor.copy_(torch.stack(stacked) if len(names) > 1 else stacked[0])
    assert all(re.match(r"patch_embed_dec\.\d\.norm\.", name) for name in set(weights) - used)
    return net
