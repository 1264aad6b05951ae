"""GeminiFusion: RGB-X semantic segmentation."""

__version__ = "0.1.0"
