"""HTTP: our own interface under /v1."""
