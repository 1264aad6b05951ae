"""Stubs generated from protos/geminifusion/v1; `make protos` writes them again."""
