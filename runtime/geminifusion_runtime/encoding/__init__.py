"""Label maps to what a client asked for."""
