"""Training: recipes, checkpoints, the loop. Needs the extra `train`."""
