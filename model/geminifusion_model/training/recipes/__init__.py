"""Named configurations: ours, and the original authors'."""
