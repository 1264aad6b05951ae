"""Plumbing of HTTP and gRPC; knows no protocol of ours."""
