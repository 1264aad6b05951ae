"""Import weights in the original authors' layout.

Accepts a bare mapping, the main branch's files (`{"segmenter": …}` with keys prefixed `module.` by DDP) and the DeLiVER
branch's (`backbone.`/`decode_head.` instead of `encoder.`/`decoder.`). Files are read without unpickling code.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from geminifusion_model.config import GeminiFusionConfig
from geminifusion_model.encoders.sizes import MIT_SIZES
from geminifusion_model.network import GeminiFusion

# Ours -> original. `{m}` marks a parameter that ours stacks over streams and the original keeps once per stream.
_RULES: tuple[tuple[str, str], ...] = (
    (r"ensemble_logits", r"alpha"),
    (r"encoder\.stages\.(\d)\.patch_embed\.conv\.(\w+)", r"encoder.patch_embed<\1>.proj.module.\2"),
    (r"encoder\.stages\.(\d)\.patch_embed\.norm\.(\w+)", r"encoder.patch_embed<\1>.norm.ln_{m}.\2"),
    (r"encoder\.stages\.(\d)\.norm\.(\w+)", r"encoder.norm<\1>.ln_{m}.\2"),
    (r"encoder\.stages\.(\d)\.blocks\.(\d+)\.(norm[12])\.(\w+)", r"encoder.block<\1>.\2.\3.ln_{m}.\4"),
    (
        r"encoder\.stages\.(\d)\.blocks\.(\d+)\.attention\.query\.(\w+)",
        r"encoder.block<\1>.\2.attn.q.module.\3",
    ),
    (
        r"encoder\.stages\.(\d)\.blocks\.(\d+)\.attention\.key_value\.(\w+)",
        r"encoder.block<\1>.\2.attn.kv.module.\3",
    ),
    (
        r"encoder\.stages\.(\d)\.blocks\.(\d+)\.attention\.output\.(\w+)",
        r"encoder.block<\1>.\2.attn.proj.module.\3",
    ),
    (
        r"encoder\.stages\.(\d)\.blocks\.(\d+)\.attention\.reduce\.conv\.(\w+)",
        r"encoder.block<\1>.\2.attn.sr.module.\3",
    ),
    (
        r"encoder\.stages\.(\d)\.blocks\.(\d+)\.attention\.reduce\.norm\.(\w+)",
        r"encoder.block<\1>.\2.attn.norm.ln_{m}.\3",
    ),
    (
        r"encoder\.stages\.(\d)\.blocks\.(\d+)\.attention\.fusion\.in_proj_(\w+)",
        r"encoder.block<\1>.\2.attn.cross_attn_{m}_to_{o}.in_proj_\3",
    ),
    (
        r"encoder\.stages\.(\d)\.blocks\.(\d+)\.attention\.fusion\.out_proj_(\w+)",
        r"encoder.block<\1>.\2.attn.cross_attn_{m}_to_{o}.out_proj.\3",
    ),
    (
        r"encoder\.stages\.(\d)\.blocks\.(\d+)\.attention\.fusion\.(k)ey_noise",
        r"encoder.block<\1>.\2.attn.k_noise.weight",
    ),
    (
        r"encoder\.stages\.(\d)\.blocks\.(\d+)\.attention\.fusion\.(v)alue_noise",
        r"encoder.block<\1>.\2.attn.v_noise.weight",
    ),
    (
        r"encoder\.stages\.(\d)\.blocks\.(\d+)\.attention\.fusion\.relation\.(\w+)\.(\w+)",
        r"encoder.block<\1>.\2.attn.relation_judger.0.\3.\4",
    ),
    (r"encoder\.stages\.(\d)\.blocks\.(\d+)\.mlp\.(fc[12])\.(\w+)", r"encoder.block<\1>.\2.mlp.\3.module.\4"),
    (
        r"encoder\.stages\.(\d)\.blocks\.(\d+)\.mlp\.depthwise\.(\w+)",
        r"encoder.block<\1>.\2.mlp.dwconv.dwconv.\3",
    ),
    (r"decoder\.project\.(\d)\.(\w+)", r"decoder.linear_c<\1>.proj.\2"),
    (r"decoder\.fuse\.weight", r"decoder.linear_fuse.conv.weight"),
    (r"decoder\.norm\.(\w+)", r"decoder.linear_fuse.bn.\1"),
    (r"decoder\.classify\.(\w+)", r"decoder.linear_pred.\1"),
)


class OfficialWeightsError(ValueError):
    """The weights do not fit the network; the message lists the first offenders of each kind."""


@dataclass(frozen=True, kw_only=True)
class OfficialReport:
    """What an import did, all names in the original layout without prefixes.

    `mismatched` holds (name, shape found, shape expected).
    """

    used: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]

    @property
    def complete(self) -> bool:
        """Whether every weight was found, fitted, and none was left over."""
        return not (self.missing or self.unexpected or self.mismatched)


def load_official(
    source: str | Path | Mapping[str, Tensor], config: GeminiFusionConfig | None = None, strict: bool = True
) -> tuple[GeminiFusion, OfficialReport]:
    """A network, in eval mode, with weights in the original layout.

    Args:
        source: a `.pth`, `.pth.tar` or `.safetensors` file, or a mapping from the original's names to tensors.
        config: the network; inferred from names and shapes if none (8 fusion heads are assumed, as shapes do not tell).
        strict: raise if anything is missing, left over or of another shape; otherwise see the report, and what did not
            fit keeps its start value.

    Raises:
        FileNotFoundError: `source` names no file.
        OfficialWeightsError: the file holds no such weights, or `strict` and they do not fit.
    """
    raw = _read(source)
    tensors = _without_prefixes(raw)
    if config is None:
        # only the DeLiVER branch names its parts so, and it enlarges the logits inside the network
        deliver = any(name.removeprefix("module.").startswith("decode_head.") for name in raw)
        config = dataclasses.replace(infer_config(tensors), upsample_logits=deliver)
    net = GeminiFusion(config)
    own = net.state_dict()
    layout = {name: official_names(name, own[name]) for name in own}
    used: list[str] = []
    missing: list[str] = []
    mismatched: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = []
    for name, originals in layout.items():
        stacked = len(originals) > 1
        for stream, original in enumerate(originals):
            target = own[name][stream] if stacked else own[name]
            if original not in tensors:
                if not original.endswith("num_batches_tracked"):  # a counter nothing computes with; old files lack it
                    missing.append(original)
            elif tensors[original].shape != target.shape:
                mismatched.append((original, tuple(tensors[original].shape), tuple(target.shape)))
            else:
                target.copy_(tensors[original])  # state_dict tensors share the parameters' memory
                used.append(original)
    known = {original for originals in layout.values() for original in originals}
    report = OfficialReport(
        used=tuple(used),
        missing=tuple(missing),
        unexpected=tuple(sorted(set(tensors) - known)),
        mismatched=tuple(mismatched),
    )
    if strict and not report.complete:
        raise OfficialWeightsError(_describe(report))
    return net.eval(), report


def official_names(name: str, tensor: Tensor) -> tuple[str, ...]:
    """The original's name of one of our parameters, or one name per stream where ours is stacked."""
    for pattern, template in _RULES:
        match = re.fullmatch(pattern, name)
        if match:
            original = re.sub(r"<(\d)>", lambda stage: str(int(stage[1]) + 1), match.expand(template))
            if "{m}" not in original:
                return (original,)
            streams = tensor.shape[0]
            return tuple(original.format(m=stream, o=streams - 1 - stream) for stream in range(streams))
    raise AssertionError(f"no rule for parameter {name}")


def infer_config(tensors: Mapping[str, Tensor]) -> GeminiFusionConfig:
    """Read the configuration off the original's names and shapes.

    Raises:
        OfficialWeightsError: they are not those of a MiT GeminiFusion network.
    """
    try:
        channels = tuple(tensors[f"encoder.norm{stage}.ln_0.weight"].shape[0] for stage in range(1, 5))
        num_classes, decoder_channels = tensors["decoder.linear_pred.weight"].shape[:2]
    except KeyError as error:
        raise OfficialWeightsError(
            f"no weights of a GeminiFusion MiT network: {error.args[0]} is absent. "
            f"Found {len(tensors)} tensors, the first ones: {', '.join(list(tensors)[:3]) or 'none'}"
        ) from None
    depths = tuple(
        len({key.split(".")[2] for key in tensors if key.startswith(f"encoder.block{stage}.")}) for stage in range(1, 5)
    )
    for encoder, size in MIT_SIZES.items():
        if (size.channels, size.depths) == (channels, depths):
            fused = "encoder.block1.0.attn.k_noise.weight" in tensors
            return GeminiFusionConfig(
                encoder=encoder,
                num_classes=num_classes,
                decoder_channels=decoder_channels,
                fusion="geminifusion" if fused else "none",
            )
    raise OfficialWeightsError(f"no MiT encoder has channels {channels} and depths {depths}")


def _read(source: str | Path | Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    if isinstance(source, Mapping):
        return source
    path = Path(source)
    if path.suffix == ".safetensors":
        return load_file(path)
    content: Any = torch.load(path, map_location="cpu", weights_only=True)
    for wrapper in ("segmenter", "model_state_dict", "state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
            break
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise OfficialWeightsError(
            f"{path} holds a {type(content).__name__}; expected a mapping from names to tensors, "
            "bare or under 'segmenter' or 'model_state_dict'"
        )
    return content


def _without_prefixes(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    renamed = {}
    for name, tensor in tensors.items():
        # only a leading `module.` is DDP's; `.module.` inside a name is the original's own
        name = name.removeprefix("module.")
        name = re.sub(r"^backbone\.", "encoder.", name)
        renamed[re.sub(r"^decode_head\.", "decoder.", name)] = tensor
    return renamed


def _describe(report: OfficialReport) -> str:
    parts = []
    for label, names in (
        ("missing", report.missing),
        ("unexpected", report.unexpected),
        (
            "of another shape",
            tuple(f"{n} {found} instead of {wanted}" for n, found, wanted in report.mismatched),
        ),
    ):
        if names:
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            parts.append(f"{len(names)} {label}: {', '.join(names[:5])}{more}")
    return "the weights do not fit the network. " + "; ".join(parts) + ". Pass strict=False to load the rest."
