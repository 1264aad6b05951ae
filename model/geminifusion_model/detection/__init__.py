"""3-D object detection from a camera and a LiDAR: data, the network, its training and its evaluation."""
