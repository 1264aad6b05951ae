"""What running an artifact needs to know of its task."""
