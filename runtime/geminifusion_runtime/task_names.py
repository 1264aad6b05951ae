"""The names of the tasks, as checkpoints, artifacts, requests and descriptions spell them."""

from __future__ import annotations

from typing import Final

SEGMENTATION: Final = "semantic-segmentation"
TRANSLATION: Final = "image-translation"
DETECTION: Final = "object-detection-3d"
