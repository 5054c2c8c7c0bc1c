"""Recordings to transcripts: windows, batches, results and their files."""
