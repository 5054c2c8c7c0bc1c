"""Training: recipes, freezing, checkpoints; `speech` trains any speech model.

Needs the extra `train`.
"""
