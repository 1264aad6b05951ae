"""3-D object detection without torch: boxes, calibrations, point clouds, pillars, anchors and suppression in NumPy.

The model package trains and evaluates with the same functions.
"""
