"""Models whose linear layers are low-rank: layers, folders, and the way back to dense ones."""
