"""ROS messages without ROS: images out of them, and the messages that Nav2 takes."""
