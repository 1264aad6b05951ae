"""SegFormer's parameters in the files of others (arXiv:2105.15203).

| layout | encoder, query of the first block | decoder, projection of the first stage |
|---|---|---|
| NVlabs, segmentation | `backbone.block1.0.attn.q` | `decode_head.linear_c1.proj` |
| NVlabs, classifier | `block1.0.attn.q` | |
| transformers, segmentation | `segformer.encoder.block.0.0.attention.self.query` | `decode_head.linear_c.0.proj` |
| transformers, classifier | the same | |
| transformers, bare encoder | `encoder.block.0.0.attention.self.query` | |

All epsilons of transformers' LayerNorms are 1e-5; NVlabs' are 1e-6, but 1e-5 behind the convolutions.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from geminifusion_model.weights.filling import single_stream_name

# From NVlabs' names to those of transformers, which counts stages from 0 and keeps keys and values apart.
_BLOCK = r"block(?P<stage>\d)\.(?P<block>\d+)\."
_ENCODER_RULES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"patch_embed(?P<stage>\d)\.proj\.(?P<kind>\w+)", ("patch_embeddings.{stage}.proj.{kind}",)),
    (r"patch_embed(?P<stage>\d)\.norm\.(?P<kind>\w+)", ("patch_embeddings.{stage}.layer_norm.{kind}",)),
    (_BLOCK + r"norm(?P<which>\d)\.(?P<kind>\w+)", ("block.{stage}.{block}.layer_norm_{which}.{kind}",)),
    (_BLOCK + r"attn\.q\.(?P<kind>\w+)", ("block.{stage}.{block}.attention.self.query.{kind}",)),
    (
        _BLOCK + r"attn\.kv\.(?P<kind>\w+)",
        (
            "block.{stage}.{block}.attention.self.key.{kind}",
            "block.{stage}.{block}.attention.self.value.{kind}",
        ),
    ),
    (_BLOCK + r"attn\.sr\.(?P<kind>\w+)", ("block.{stage}.{block}.attention.self.sr.{kind}",)),
    (_BLOCK + r"attn\.norm\.(?P<kind>\w+)", ("block.{stage}.{block}.attention.self.layer_norm.{kind}",)),
    (_BLOCK + r"attn\.proj\.(?P<kind>\w+)", ("block.{stage}.{block}.attention.output.dense.{kind}",)),
    (_BLOCK + r"mlp\.fc(?P<which>\d)\.(?P<kind>\w+)", ("block.{stage}.{block}.mlp.dense{which}.{kind}",)),
    (_BLOCK + r"mlp\.dwconv\.dwconv\.(?P<kind>\w+)", ("block.{stage}.{block}.mlp.dwconv.dwconv.{kind}",)),
    (r"norm(?P<stage>\d)\.(?P<kind>\w+)", ("layer_norm.{stage}.{kind}",)),
)
_DECODER_RULES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"linear_c(?P<stage>\d)\.proj\.(?P<kind>\w+)", ("linear_c.{stage}.proj.{kind}",)),
    (r"linear_fuse\.conv\.(?P<kind>\w+)", ("linear_fuse.{kind}",)),
    (r"linear_fuse\.bn\.(?P<kind>\w+)", ("batch_norm.{kind}",)),
    (r"linear_pred\.(?P<kind>\w+)", ("classifier.{kind}",)),
)


@dataclass(frozen=True, kw_only=True)
class SegformerLayout:
    """How one kind of file names its parameters.

    Args:
        name: in words.
        prefix: of the encoder's names.
        renamed: whether names are those of transformers.
        norm_eps, embed_norm_eps: of the network the file belongs to, as in `GeminiFusionConfig`.
    """

    name: str
    prefix: str
    renamed: bool
    norm_eps: float
    embed_norm_eps: float

    def encoder_names(self, official: str) -> tuple[str, ...] | None:
        """The file's names of an encoder's parameter, given the original's; several are concatenated."""
        single = single_stream_name(official)
        if single is None:
            return None
        names = _renamed(single, _ENCODER_RULES) if self.renamed else (single,)
        return tuple(self.prefix + name for name in names)

    def names(self, official: str) -> tuple[str, ...] | None:
        """The same for a parameter of the whole network."""
        if not official.startswith("decoder."):
            return self.encoder_names(official)
        inner = official.removeprefix("decoder.")
        names = _renamed(inner, _DECODER_RULES) if self.renamed else (inner,)
        return tuple("decode_head." + name for name in names)


_TRANSFORMERS = "SegFormer in the layout of Hugging Face transformers"
_LAYOUTS = (
    SegformerLayout(name=_TRANSFORMERS, prefix="segformer.encoder.", renamed=True, norm_eps=1e-5, embed_norm_eps=1e-5),
    SegformerLayout(name=_TRANSFORMERS, prefix="encoder.", renamed=True, norm_eps=1e-5, embed_norm_eps=1e-5),
    SegformerLayout(
        name="SegFormer in NVlabs' layout", prefix="backbone.", renamed=False, norm_eps=1e-6, embed_norm_eps=1e-5
    ),
    SegformerLayout(name="NVlabs' MiT classifier", prefix="", renamed=False, norm_eps=1e-6, embed_norm_eps=1e-5),
)
_FIRST = "encoder.patch_embed1.proj.module.weight"


def segformer_layout(names: Collection[str]) -> SegformerLayout | None:
    """The layout of a file with these names; None if they are none of SegFormer's."""
    for layout in _LAYOUTS:
        first = layout.encoder_names(_FIRST)
        if first is not None and first[0] in names:
            return layout
    return None


def _renamed(name: str, rules: tuple[tuple[str, tuple[str, ...]], ...]) -> tuple[str, ...]:
    for pattern, templates in rules:
        match = re.fullmatch(pattern, name)
        if match:
            parts = match.groupdict()
            if "stage" in parts:
                parts["stage"] = str(int(parts["stage"]) - 1)
            return tuple(template.format(**parts) for template in templates)
    raise AssertionError(f"no rule for SegFormer's parameter {name}")
