"""Recipes for `linnet train`, and their own tasks that some of them name."""
