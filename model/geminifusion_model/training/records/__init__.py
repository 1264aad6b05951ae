"""Records of a run: its data, code and machine, its metrics and images."""
