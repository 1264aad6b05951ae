"""Posted bytes to arrays."""
