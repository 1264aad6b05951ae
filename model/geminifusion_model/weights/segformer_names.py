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

_Rules = tuple[tuple[str, tuple[str, ...]], ...]

# From NVlabs' names to those of transformers, which counts stages from 0 and keeps keys and values apart: as its files
# hold them, and as its release 5 names them in memory.
_BLOCK = r"block(?P<stage>\d)\.(?P<block>\d+)\."
_KIND = r"\.(?P<kind>\w+)"


def _rules(block: str, embed: str, norm: str, **inner: tuple[str, ...]) -> _Rules:
    """Rules of an encoder, given where its parts stand and what a block's layers are called there."""
    return (
        (r"patch_embed(?P<stage>\d)\.proj" + _KIND, (embed + ".proj.{kind}",)),
        (r"patch_embed(?P<stage>\d)\.norm" + _KIND, (embed + ".layer_norm.{kind}",)),
        (r"norm(?P<stage>\d)" + _KIND, (norm + ".{kind}",)),
        *(
            (_BLOCK + ours.replace("_", r"\.") + _KIND, tuple(f"{block}.{name}.{{kind}}" for name in theirs))
            for ours, theirs in inner.items()
        ),
    )


_FILE_RULES = _rules(
    "block.{stage}.{block}",
    "patch_embeddings.{stage}",
    "layer_norm.{stage}",
    norm1=("layer_norm_1",),
    norm2=("layer_norm_2",),
    attn_q=("attention.self.query",),
    attn_kv=("attention.self.key", "attention.self.value"),
    attn_sr=("attention.self.sr",),
    attn_norm=("attention.self.layer_norm",),
    attn_proj=("attention.output.dense",),
    mlp_fc1=("mlp.dense1",),
    mlp_dwconv_dwconv=("mlp.dwconv.dwconv",),
    mlp_fc2=("mlp.dense2",),
)
_MEMORY_RULES = _rules(
    "stages.{stage}.blocks.{block}",
    "stages.{stage}.patch_embeddings",
    "stages.{stage}.layer_norm",
    norm1=("layernorm_before",),
    norm2=("layernorm_after",),
    attn_q=("attention.q_proj",),
    attn_kv=("attention.k_proj", "attention.v_proj"),
    attn_sr=("attention.sequence_reduction.sequence_reduction",),
    attn_norm=("attention.sequence_reduction.layer_norm",),
    attn_proj=("attention.o_proj",),
    mlp_fc1=("mlp.fc1",),
    mlp_dwconv_dwconv=("mlp.dwconv.dwconv",),
    mlp_fc2=("mlp.fc2",),
)


def _decoder_rules(projections: str) -> _Rules:
    return (
        (r"linear_c(?P<stage>\d)\.proj" + _KIND, (projections + ".{stage}.proj.{kind}",)),
        (r"linear_fuse\.conv" + _KIND, ("linear_fuse.{kind}",)),
        (r"linear_fuse\.bn" + _KIND, ("batch_norm.{kind}",)),
        (r"linear_pred" + _KIND, ("classifier.{kind}",)),
    )


@dataclass(frozen=True, kw_only=True)
class SegformerLayout:
    """How one kind of file names its parameters.

    Args:
        name: in words.
        prefix: of the encoder's names.
        encoder_rules, decoder_rules: from NVlabs' names to the file's; empty if those are NVlabs'.
        norm_eps, embed_norm_eps: of the network the file belongs to, as in `GeminiFusionConfig`.
    """

    name: str
    prefix: str
    encoder_rules: _Rules = ()
    decoder_rules: _Rules = ()
    norm_eps: float = 1e-5
    embed_norm_eps: float = 1e-5

    def encoder_names(self, official: str) -> tuple[str, ...] | None:
        """The file's names of an encoder's parameter, given the original's; several are concatenated."""
        single = single_stream_name(official)
        if single is None:
            return None
        names = _renamed(single, self.encoder_rules)
        return tuple(self.prefix + name for name in names)

    def names(self, official: str) -> tuple[str, ...] | None:
        """The same for a parameter of the whole network."""
        if not official.startswith("decoder."):
            return self.encoder_names(official)
        inner = official.removeprefix("decoder.")
        names = _renamed(inner, self.decoder_rules)
        return tuple("decode_head." + name for name in names)


_TRANSFORMERS = "SegFormer in the layout of Hugging Face transformers"
_LAYOUTS = (
    *(
        SegformerLayout(
            name=_TRANSFORMERS, prefix=prefix, encoder_rules=rules, decoder_rules=_decoder_rules(projections)
        )
        for rules, projections, prefixes in (
            (_FILE_RULES, "linear_c", ("segformer.encoder.", "encoder.")),
            (_MEMORY_RULES, "linear_projections", ("segformer.", "")),
        )
        for prefix in prefixes
    ),
    SegformerLayout(name="SegFormer in NVlabs' layout", prefix="backbone.", norm_eps=1e-6),
    SegformerLayout(name="NVlabs' MiT classifier", prefix="", norm_eps=1e-6),
)
_FIRST = "encoder.patch_embed1.proj.module.weight"


def segformer_layout(names: Collection[str]) -> SegformerLayout | None:
    """The layout of a file with these names; None if they are none of SegFormer's."""
    for layout in _LAYOUTS:
        first = layout.encoder_names(_FIRST)
        if first is not None and first[0] in names:
            return layout
    return None


def _renamed(name: str, rules: _Rules) -> tuple[str, ...]:
    if not rules:
        return (name,)
    for pattern, templates in rules:
        match = re.fullmatch(pattern, name)
        if match:
            parts = match.groupdict()
            if "stage" in parts:
                parts["stage"] = str(int(parts["stage"]) - 1)
            return tuple(template.format(**parts) for template in templates)
    raise AssertionError(f"no rule for SegFormer's parameter {name}")
