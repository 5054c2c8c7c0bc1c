"""Training of any speech model of Transformers by a recipe: `run.run_speech` is the way in."""
