"""What a run writes down about itself: its data, code and machine, metrics and images."""
