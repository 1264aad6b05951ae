"""What the service needs to know of each task that a model may have."""
