"""Training any speech model of Transformers from a recipe."""
