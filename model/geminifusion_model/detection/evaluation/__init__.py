"""How good detections are: KITTI's average precision, intervals, and what a wrong sensor costs."""
