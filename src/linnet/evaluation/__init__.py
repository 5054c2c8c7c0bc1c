"""Scores of recognisers: normalised, with intervals."""
