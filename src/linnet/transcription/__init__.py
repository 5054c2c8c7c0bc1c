"""Transcribe recordings: windows, batches, results and their files."""
