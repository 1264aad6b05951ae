"""Reading and writing weights: our checkpoints, and the original authors' files."""
