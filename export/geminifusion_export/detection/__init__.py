"""Detectors as artifacts: the graph, its verification, and the directory."""
