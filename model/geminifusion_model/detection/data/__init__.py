"""Frames of a camera and a LiDAR with labeled boxes: KITTI's layout, drawn streets, augmentation and batches."""
