"""3-D object detection from a camera and a LiDAR: MVX-Net with GeminiFusion, and a detector on pillars of the project's
own.
"""
