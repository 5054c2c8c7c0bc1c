"""Inference runtimes: encode windows and step the decoder."""
