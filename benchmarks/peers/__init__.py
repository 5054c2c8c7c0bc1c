"""Linnet beside other Whisper runtimes: the parts of `benchmarks/peers.py`."""
