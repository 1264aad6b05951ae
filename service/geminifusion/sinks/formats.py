"""The formats of `geminifusion predict`; imports nothing, because the command line needs the names."""

from __future__ import annotations

# What opens each, `module:function`. Modules are imported when they are asked for: some need libraries of an extra.
SINKS = {
    "palette": "frame_files:palette_files",
    "overlay": "frame_files:overlay_files",
    "png": "frame_files:index_files",
    "npz": "frame_files:npz_files",
    "json": "frame_files:json_files",
    "ply": "clouds:ply_files",
    "pcd": "clouds:pcd_files",
    "cloud-npz": "clouds:cloud_npz_files",
    "jsonl": "json_lines:JsonLines",
    "video": "overlay_video:OverlayVideo",
    "mcap": "nav2_recording:Nav2Recording",
    "rerun": "rerun_log:RerunLog",
}
FORMATS = tuple(SINKS)
BOX_FORMATS = ("bev", "kitti")  # of boxes alone; `overlay` and `json` are for both
IMAGE_FORMATS = ("npy", "picture")  # of translated images alone; `png` is for both
