"""Translators as artifacts: the graph, its comparison with torch, and the export."""
