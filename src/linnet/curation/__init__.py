"""Curation: which recordings are worth training on, and the proof of it."""
