"""Causal training: an encoder-decoder that writes what has been said so far, block by block of audio."""
