"""Label maps to files and run lengths."""
