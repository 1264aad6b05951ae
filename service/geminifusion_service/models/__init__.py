"""The life of a model in the server: found, loaded, self-tested, served, replaced, unloaded."""
