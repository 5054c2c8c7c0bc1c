"""A small CTC model from scratch on a list of words: a recipe's own task, cheap enough to be trained hundreds of times.

`linnet curate prove` compares selections of data with it (recipes/prove-digits.yaml).
"""
