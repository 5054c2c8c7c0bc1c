"""Any sound as mono float32 at 16 kHz, and its features."""
