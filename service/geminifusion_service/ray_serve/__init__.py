"""Replicas on Ray Serve behind the transports of `server`: the same requests, answers and errors, several engines."""
