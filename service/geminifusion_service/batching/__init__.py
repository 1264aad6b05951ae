"""Dynamic batching: which requests run together, when, and on which engine instance."""
