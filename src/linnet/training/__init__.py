"""Training: recipes, what is frozen, checkpoints; `speech` trains any speech model, `digits` the embedded one.

Needs the extra `train`.
"""
