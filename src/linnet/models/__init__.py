"""Resolve a name to a model, its tokenizer and its capabilities."""
