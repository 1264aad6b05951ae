"""Reading RGB-X data sets."""
