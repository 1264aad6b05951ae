"""Depth in space: points, registration to another camera, measures of classes, files. NumPy only.

Camera axes: x right, y down, z forward, in metres.
"""
