"""Fusions: layers in which the two streams of a block meet."""
