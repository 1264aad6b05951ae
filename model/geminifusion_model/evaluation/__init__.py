"""Scores, by named protocol."""
