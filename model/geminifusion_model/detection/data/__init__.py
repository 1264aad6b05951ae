"""Frames of a camera and a LiDAR with labeled boxes: KITTI's layout, rendered streets, augmentation and batches."""
