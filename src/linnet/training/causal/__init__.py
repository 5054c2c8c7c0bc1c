"""Causal training: an encoder-decoder that transcribes audio block by block, without future context."""
