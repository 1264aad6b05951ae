"""Tasks: what each makes of a request and of a graph's outputs, found through `registry`."""
