"""Image translation for clients: in this process, and by a server."""
