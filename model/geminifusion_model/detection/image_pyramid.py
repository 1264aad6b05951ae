"""The image branch: an encoder and a feature pyramid network (arXiv:1612.03144), whose levels the points sample.

Two encoders: ResNet-50 in the form of Caffe, as the published detector has it (the stride is in a bottleneck's first
convolution, images are BGR without a division), and the project's own Mix Transformer with one stream.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geminifusion_model.detection.config import RESNET
from geminifusion_model.detection.layers import ConvNorm
from geminifusion_model.encoder_sizes import MIT_SIZES
from geminifusion_model.encoders.mit import MixTransformer
from geminifusion_model.encoding import encode
from geminifusion_model.task import IMAGENET_RGB
from geminifusion_runtime.detection.images import MULTIPLE

CAFFE_MEANS_BGR = (102.9801, 115.9465, 122.7717)
_RESNET_DEPTHS = (3, 4, 6, 3)
_RESNET_CHANNELS = (256, 512, 1024, 2048)
_RESNET_EPS = 1e-5
_EXPANSION = 4  # of a bottleneck's last convolution
_NUM_LEVELS_RESNET = 5
_DROP_PATH_RATE = 0.1


def normalized(images: Tensor, image_encoder: str) -> Tensor:
    """Images as the encoder takes them; traceable.

    Padding comes behind: it is 0 in what this returns.

    Args:
        images: `B H W 3` RGB, uint8 or float32, 0…255.

    Returns:
        `B 3 H W` float32.
    """
    if image_encoder == RESNET:
        return images.float().flip(3).permute(0, 3, 1, 2) - images.new_tensor(
            CAFFE_MEANS_BGR, dtype=torch.float32
        ).view(3, 1, 1)
    return encode(images, IMAGENET_RGB)


class ImagePyramid(nn.Module):
    """Normalized images `B 3 H W`, H and W multiples of 32, to levels `B C H_l W_l`.

    From 1/4 of the size down to 1/32, and 1/64 with `resnet50_caffe`.
    """

    def __init__(self, image_encoder: str, channels: int) -> None:
        super().__init__()
        caffe = image_encoder == RESNET
        self.backbone = ResNet50Caffe() if caffe else _one_stream_mit(image_encoder)
        self.neck = FeaturePyramid(self.backbone.channels, channels, caffe=caffe)
        self.num_levels = _NUM_LEVELS_RESNET if caffe else len(self.backbone.channels)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Normalized images to the levels, the finest first.

        Raises:
            ValueError: the sides are not multiples of 32.
        """
        height, width = images.shape[-2:]
        if height % MULTIPLE or width % MULTIPLE:
            raise ValueError(f"images are {height}x{width}; pad them to multiples of {MULTIPLE}")
        return self.neck(self.backbone(images))


def _one_stream_mit(image_encoder: str) -> MixTransformer:
    encoder = MixTransformer(MIT_SIZES[image_encoder], "none", 1, _DROP_PATH_RATE, num_modalities=1, num_streams=1)
    encoder.init_weights()
    return encoder


class FeaturePyramid(nn.Module):
    """Each level reduced, the coarser one's added to it, and smoothed.

    Args:
        caffe: as the published detector: norms instead of biases, whose scale and shift are fixed, and a fifth level of
            every second pixel of the fourth.
    """

    def __init__(self, level_channels: Sequence[int], channels: int, *, caffe: bool) -> None:
        super().__init__()
        self.caffe = caffe
        self.lateral = nn.ModuleList(_pyramid_conv(level, channels, 1, caffe) for level in level_channels)
        self.smooth = nn.ModuleList(_pyramid_conv(channels, channels, 3, caffe) for _ in level_channels)
        _freeze_norms(self)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """The encoder's maps to the levels."""
        levels = [layer(feature) for layer, feature in zip(self.lateral, features, strict=True)]
        for index in range(len(levels) - 1, 0, -1):
            finer = levels[index - 1]
            levels[index - 1] = finer + F.interpolate(levels[index], size=finer.shape[-2:], mode="nearest")
        smooth = [layer(level) for layer, level in zip(self.smooth, levels, strict=True)]
        return [*smooth, smooth[-1][:, :, ::2, ::2]] if self.caffe else smooth


def _pyramid_conv(in_channels: int, channels: int, kernel: int, caffe: bool) -> nn.Module:
    conv = nn.Conv2d(in_channels, channels, kernel, padding=kernel // 2, bias=not caffe)
    nn.init.xavier_uniform_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return ConvNorm(conv, eps=_RESNET_EPS) if caffe else conv


class ResNet50Caffe(nn.Module):
    """ResNet-50 (arXiv:1512.03385) with the stride in the first convolution of a bottleneck.

    It is trained from weights of others only: all norms stay as they are, and so do the stem and the first stage.
    """

    channels = _RESNET_CHANNELS

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvNorm(nn.Conv2d(3, 64, 7, 2, padding=3, bias=False), eps=_RESNET_EPS)
        self.stages = nn.ModuleList()
        in_channels = 64
        for index, (depth, channels) in enumerate(zip(_RESNET_DEPTHS, _RESNET_CHANNELS, strict=True)):
            blocks = []
            for number in range(depth):
                blocks.append(_Bottleneck(in_channels, channels, 2 if index and not number else 1))
                in_channels = channels
            self.stages.append(nn.Sequential(*blocks))
        _freeze_norms(self)
        self.stem.requires_grad_(False)
        self.stages[0].requires_grad_(False)

    def train(self, mode: bool = True) -> ResNet50Caffe:
        """As of any module, but norms keep their statistics."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def forward(self, images: Tensor) -> list[Tensor]:
        """`B 3 H W` to maps of 256, 512, 1024 and 2048 channels at 1/4, 1/8, 1/16 and 1/32."""
        x = F.max_pool2d(F.relu(self.stem(images)), 3, 2, padding=1)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


class _Bottleneck(nn.Module):
    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        width = channels // _EXPANSION
        self.reduce = ConvNorm(nn.Conv2d(in_channels, width, 1, stride, bias=False), eps=_RESNET_EPS)
        self.spatial = ConvNorm(nn.Conv2d(width, width, 3, padding=1, bias=False), eps=_RESNET_EPS)
        self.expand = ConvNorm(nn.Conv2d(width, channels, 1, bias=False), eps=_RESNET_EPS)
        self.shortcut = None
        if in_channels != channels:
            self.shortcut = ConvNorm(nn.Conv2d(in_channels, channels, 1, stride, bias=False), eps=_RESNET_EPS)

    def forward(self, x: Tensor) -> Tensor:
        own = x if self.shortcut is None else self.shortcut(x)
        hidden = F.relu(self.spatial(F.relu(self.reduce(x))))
        return F.relu(own + self.expand(hidden))


def _freeze_norms(module: nn.Module) -> None:
    for each in module.modules():
        if isinstance(each, nn.BatchNorm2d):
            each.requires_grad_(False)
