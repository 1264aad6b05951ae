"""Training: recipes, schedule, loss, the loop and its checkpoints."""
