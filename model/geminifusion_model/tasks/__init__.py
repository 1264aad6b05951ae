"""The tasks networks are trained for (`registry`), and the class lists of known data sets (`*.yaml`)."""
