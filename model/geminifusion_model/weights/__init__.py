"""Weights in layouts of others: the original authors' files and ImageNet classifiers."""
