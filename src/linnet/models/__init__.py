"""From a name to a model, its tokenizer and what it can do."""
