"""Measuring latency and memory, and probing what a machine can run."""
