"""The page at `/` to try a model on, and the files it consists of."""
