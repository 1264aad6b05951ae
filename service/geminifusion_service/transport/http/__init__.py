"""HTTP plumbing."""
