"""Synthetic indoor RGB-D scenes with the 13 classes of NYU Depth V2."""

from geminifusion_model.data.synthetic_rooms.dataset import Rooms

__all__ = ["Rooms"]
