"""Recipes for `linnet train`, and tasks of their own that some of them name."""
