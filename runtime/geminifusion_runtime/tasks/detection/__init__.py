"""Running a detector: from frames to boxes, and the frames it is checked with."""
