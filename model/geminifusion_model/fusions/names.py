"""The fusions a configuration can name (no torch, so a configuration can be checked without it)."""

FUSIONS = ("geminifusion", "none")
