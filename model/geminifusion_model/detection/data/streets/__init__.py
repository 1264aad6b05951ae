"""Rendered streets: labeled frames of one camera and one spinning LiDAR, of boxes, without data of others.

Made so that the camera matters: pedestrians, cyclists and cars have each a double of the same shape and reflectance
that only its colors tell apart, and far objects have few points.
"""

from geminifusion_model.detection.data.streets.dataset import Streets

__all__ = ["Streets"]
