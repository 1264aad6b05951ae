"""Recordings of ROS 1, ROS 2 and MCAP, read without ROS."""
