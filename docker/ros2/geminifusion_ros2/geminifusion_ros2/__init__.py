"""A ROS 2 node over the stream of a geminifusion server."""
