"""TensorRT engines: built, inspected, loaded and run. Not run on a GPU by us."""
