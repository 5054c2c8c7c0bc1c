"""Runtimes that encode windows and step the decoder."""
