"""3-D object detection for clients: in this process, and by a server."""
