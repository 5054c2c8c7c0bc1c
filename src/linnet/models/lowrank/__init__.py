"""Models with low-rank linear layers: layers, folders, and conversion back to dense models."""
