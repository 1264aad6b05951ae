"""What files and cameras there are; imports nothing, because the command line needs the names."""

from __future__ import annotations

VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm")
RECORDING_SUFFIXES = (".bag", ".db3", ".mcap")
# Module and class of each adapter, and the extra's package that it imports.
CAMERA_ADAPTERS = {
    "oak": "oak:OakCamera",
    "orbbec": "orbbec:OrbbecCamera",
    "realsense": "realsense:RealSenseCamera",
}
CAMERAS = tuple(CAMERA_ADAPTERS)
