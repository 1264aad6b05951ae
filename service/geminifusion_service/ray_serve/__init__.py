"""Replicas on Ray Serve behind the transports of `server`: the same requests and responses, several processes."""
