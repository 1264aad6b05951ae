"""What runs a graph. One protocol, one module per runtime."""
