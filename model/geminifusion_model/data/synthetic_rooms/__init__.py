"""Synthetic indoor RGB-D scenes with the 13 classes of NYU Depth V2."""

from geminifusion_model.data.synthetic_rooms.dataset import RoomGeometry, Rooms

__all__ = ["RoomGeometry", "Rooms"]
