"""Metrics, logs and the context of requests."""
