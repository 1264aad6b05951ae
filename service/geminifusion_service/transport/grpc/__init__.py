"""gRPC: our own interface, geminifusion.v1."""
