"""Our own interface, version 1: HTTP under /v1, a WebSocket, and gRPC."""
