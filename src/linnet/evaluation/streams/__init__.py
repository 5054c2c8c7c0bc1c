"""Scoring live recognition: recordings are played to a stream by a simulated clock, and what it shows is kept."""
