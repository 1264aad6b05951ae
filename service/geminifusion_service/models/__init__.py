"""What is loaded, and how it comes and goes."""
