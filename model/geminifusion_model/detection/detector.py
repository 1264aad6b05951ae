"""The detector: points and their images to boxes.

Axes: B samples, P_b points of sample b, V voxels, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from geminifusion_model.checkpoint import load_weights
from geminifusion_model.detection.bev import BevNetwork
from geminifusion_model.detection.checkpoint import read_detector
from geminifusion_model.detection.config import DetectorConfig
from geminifusion_model.detection.head import DetectionHead, HeadOutput
from geminifusion_model.detection.image_pyramid import ImagePyramid
from geminifusion_model.detection.pillars import PillarMap
from geminifusion_model.detection.point_encoder import PointEncoder
from geminifusion_model.detection.sparse_conv import SparseEncoder
from geminifusion_model.detection.voxels import MiddleEncoder, VoxelGrid, Voxels
from geminifusion_model.fusions.point_fusion import project_points
from geminifusion_runtime.detection.selection import Detections, select


class Detector(nn.Module):
    """3-D object detection from a point cloud and an image (MVX-Net, arXiv:1904.01649, with GeminiFusion's fusion).

    Built without any file or network access.
    """

    middle: MiddleEncoder

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.config = config
        self.image: ImagePyramid | None = None
        if config.uses_images:
            self.image = ImagePyramid(config.image_encoder, config.pyramid_channels)
        self.points = PointEncoder(config, 0 if self.image is None else self.image.num_levels)
        self.middle = _middle_encoder(config, self.points.out_channels)
        self.bev = BevNetwork(
            self.middle.out_channels, config.bev_channels, config.bev_depths, config.bev_strides, config.neck_channels
        )
        self.head = DetectionHead(self.bev.out_channels, config.anchors.per_cell, len(config.class_names))

    def forward(self, images: Tensor | None, points: Sequence[Tensor], lidar2image: Tensor | None = None) -> HeadOutput:
        """Detect objects in a batch.

        Args:
            images: `B 3 H W`, as `image_pyramid.normalized` gives them and padded at the right and bottom to multiples
                of 32; None without a fusion.
            points: `P_b 4` of each sample: x, y, z in metres in LiDAR axes, and reflectance 0…1.
            lidar2image: `B 4 4`, from the points as they are to pixels of `images` (see `projection`); None without a
                fusion.

        Raises:
            ValueError: the numbers of samples or shapes do not fit.
        """
        self._check(images, points, lidar2image)
        kept, voxels = self.middle.voxelize(points)
        return self._dense(images, kept, voxels, lidar2image)

    def forward_pillars(
        self, images: Tensor | None, points: Tensor, pillar_index: Tensor, lidar2image: Tensor | None = None
    ) -> HeadOutput:
        """The same for one frame whose points are in pillars already; traceable (see `pillars`)."""
        if not isinstance(self.middle, PillarMap):
            raise ValueError(f"this detector has {self.config.middle} convolutions; only one on pillars can be traced")
        return self._dense(images, [points], self.middle.voxels(pillar_index, 1), lidar2image)

    @classmethod
    def from_pretrained(cls, directory: str | Path) -> Detector:
        """A detector in eval mode with the weights of a checkpoint directory (`config.json` + `model.safetensors`).

        Raises:
            CheckpointError: a file is missing or damaged, or the weights do not fit the network.
        """
        directory = Path(directory)
        detector = cls(read_detector(directory).network)
        load_weights(detector, directory)
        return detector.eval()

    @torch.no_grad()
    def detect(self, output: HeadOutput) -> list[Detections]:
        """The boxes of each sample, for what `forward` returned."""
        config = self.config
        num_classes = len(config.class_names)
        return [
            select(output.frame_maps(sample, num_classes), config.anchors, config.grid, config.selection)
            for sample in range(len(output.classes))
        ]

    def _dense(
        self, images: Tensor | None, points: Sequence[Tensor], voxels: Voxels, lidar2image: Tensor | None
    ) -> HeadOutput:
        pyramid: list[Tensor] = []
        pixels: list[Tensor] = []
        if self.image is not None:
            assert images is not None
            assert lidar2image is not None
            pyramid = self.image(images)
            height, width = images.shape[-2:]
            pixels = [
                project_points(cloud, matrix, (height, width))
                for cloud, matrix in zip(points, lidar2image.unbind(0), strict=True)
            ]
        features = self.points(torch.cat(tuple(points)), voxels, pyramid, pixels)
        return self.head(self.bev(self.middle(features, voxels, len(points))))

    def _check(self, images: Tensor | None, points: Sequence[Tensor], lidar2image: Tensor | None) -> None:
        if not points or any(cloud.dim() != 2 or cloud.shape[1] != 4 for cloud in points):
            raise ValueError(f"points are {[tuple(cloud.shape) for cloud in points]}; expected P 4 of each sample")
        if self.image is None:
            return
        if images is None or lidar2image is None:
            raise ValueError(f"images or lidar2image are missing; fusion {self.config.fusion!r} needs both")
        if images.dim() != 4 or images.shape[1] != 3 or lidar2image.shape[1:] != (4, 4):
            raise ValueError(
                f"images are {tuple(images.shape)} and lidar2image {tuple(lidar2image.shape)}; expected B 3 H W and "
                "B 4 4"
            )
        if not len(points) == len(images) == len(lidar2image):
            raise ValueError(
                f"got points of {len(points)} samples, {len(images)} images and {len(lidar2image)} projections; "
                "expected the same number"
            )


def _middle_encoder(config: DetectorConfig, in_channels: int) -> PillarMap | SparseEncoder:
    if config.middle == "pillars":
        return PillarMap(in_channels, config.grid)
    grid = VoxelGrid(low=config.point_range[:3], size=config.voxel_size, shape=config.grid_shape)
    return SparseEncoder(in_channels, grid)
