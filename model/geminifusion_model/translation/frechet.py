"""Distances between the distributions of two sets of images, by their features in a network.

The Fréchet distance (Heusel et al., NeurIPS 2017) and the kernel distance (Bińkowski et al., ICLR 2018) are called FID
and KID only with the features of the Inception network they are defined with, whose weights nothing here brings along.
With EfficientNet-Lite2's features they have names of their own, and their values compare with nothing but each other.
All of them compare only at one number of images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geminifusion_model.distillation.efficientnet_lite import open_efficientnet_lite
from geminifusion_model.training.errors import ConfigError

Features = NDArray[np.float64]

FEWEST_IMAGES = 2
_LITE_VARIANT = 2
_KERNEL_DEGREE = 3
_INCEPTION_FEATURES = "2048"
_INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"
_INCEPTION_ORIGIN = "from torch-fidelity's releases at GitHub"


@dataclass(frozen=True)
class FeatureSpace:
    """What turns images into features.

    Args:
        name: of the network, for tables.
        frechet, kernel: the names of the two distances in it.
        features: from `B 3 H W` uint8 to `B D`.
    """

    name: str
    frechet: str
    kernel: str
    features: Callable[[Tensor], Tensor]

    def of(self, images: Tensor) -> Features:
        """Features of `B 3 H W` uint8, `B D` float64."""
        with torch.inference_mode():
            found: Features = self.features(images).double().cpu().numpy()
        return found


def frechet_distance(first: Features, second: Features) -> float:
    """Between two Gaussians with the mean and covariance of `N D` and `M D` features.

    Raises:
        ValueError: a set has fewer than two images, or the numbers of features differ.
    """
    _check(first, second)
    # (X Xᵀ)(Y Yᵀ) has the square root's trace in the singular values of X Yᵀ, exactly and at any rank
    ours, theirs = ((features - features.mean(axis=0)) / np.sqrt(len(features) - 1) for features in (first, second))
    shared = np.linalg.svd(ours @ theirs.T, compute_uv=False).sum()
    apart = first.mean(axis=0) - second.mean(axis=0)
    return float(apart @ apart + (ours**2).sum() + (theirs**2).sum() - 2 * shared)


def kernel_distance(first: Features, second: Features) -> float:
    """The unbiased squared maximum mean discrepancy of the cubic kernel (x·y/D + 1)³ between two sets of features.

    Raises:
        ValueError: a set has fewer than two images, or the numbers of features differ.
    """
    _check(first, second)

    def kernel(ours: Features, theirs: Features) -> Features:
        found: Features = (ours @ theirs.T / ours.shape[1] + 1) ** _KERNEL_DEGREE
        return found

    def without_itself(features: Features) -> float:
        count = len(features)
        own = kernel(features, features)
        return float((own.sum() - np.trace(own)) / (count * (count - 1)))

    return without_itself(first) + without_itself(second) - 2 * float(kernel(first, second).mean())


def lite_features() -> FeatureSpace:
    """The pooled features of EfficientNet-Lite2, trained on ImageNet.

    Raises:
        ConfigError: its packages are not installed.
    """
    network = open_efficientnet_lite(_LITE_VARIANT)
    return FeatureSpace(
        name="EfficientNet-Lite2",
        frechet="Fréchet distance (EfficientNet-Lite2)",
        kernel="kernel distance (EfficientNet-Lite2)",
        features=lambda images: network.pooled(images.permute(0, 2, 3, 1)),
    )


def inception_features(weights: Path | None = None) -> FeatureSpace:
    """The features of FID and KID, by torch-fidelity: TensorFlow's Inception network of 2015, 2048 pooled features.

    Args:
        weights: its file `weights-inception-2015-12-05-6726825d.pth`; if None, torch-fidelity looks in torch's cache,
            and else fetches it from GitHub.

    Raises:
        ConfigError: torch-fidelity is not installed, or the weights cannot be had.
    """
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ModuleNotFoundError as error:
        raise ConfigError(
            f'FID and KID need {error.name}, which is not installed; run: pip install "geminifusion[fid]"'
        ) from None
    except (ImportError, RuntimeError, OSError) as error:  # torchvision built for another torch
        raise ConfigError(f"torch-fidelity cannot be imported ({_first_line(error)}); install it again") from None
    if weights is not None:
        _check_holds_weights_alone(weights)
    try:
        network: Any = FeatureExtractorInceptionV3(
            "inception-v3-compat",
            [_INCEPTION_FEATURES],
            feature_extractor_weights_path=None if weights is None else str(weights),
        )
    except Exception as error:  # whatever a download or a foreign file leads to
        where = "fetched from GitHub" if weights is None else f"read from {weights}"
        raise ConfigError(
            f"the Inception weights that FID and KID are defined with cannot be {where} ({_first_line(error)}); "
            f"download {_INCEPTION_FILE}, {_INCEPTION_ORIGIN}, and name it: --fid-weights FILE"
        ) from None

    def features(images: Tensor) -> Tensor:
        pooled: Tensor = network(images)[0]
        return pooled

    return FeatureSpace(name="Inception", frechet="FID", kernel="KID", features=features)


def _check_holds_weights_alone(path: Path) -> None:
    """Refuse a file that is more than weights: torch-fidelity would run the code in it."""
    try:
        torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from None
    except Exception:  # unpickling foreign bytes raises anything
        raise ConfigError(f"{path} is no file of weights alone; give {_INCEPTION_FILE}, {_INCEPTION_ORIGIN}") from None


def _first_line(error: Exception) -> str:
    """What an error of another library says, or its type where it says nothing."""
    return (str(error) or type(error).__name__).partition("\n")[0]


def _check(first: Features, second: Features) -> None:
    if min(len(first), len(second)) < FEWEST_IMAGES or first.shape[1:] != second.shape[1:]:
        raise ValueError(
            f"features have shapes {first.shape} and {second.shape}; expected two images or more each, and the same "
            "features"
        )
