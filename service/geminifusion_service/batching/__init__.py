"""Who runs together, when, and on what."""
