"""Models whose linear layers are low-rank: the layers, how they are saved and loaded, and how they become dense."""
