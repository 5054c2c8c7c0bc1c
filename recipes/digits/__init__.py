"""The embedded model's own task, as an example of any other: its data, composed on the fly, its losses, its model.

`recipe.DigitsRecipe` is what the recipes `../digits*.yaml` name as their `task`.
"""
