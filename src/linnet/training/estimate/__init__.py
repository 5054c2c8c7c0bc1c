"""Estimates for a speech recipe before it runs: parameters, memory (measured), operations, time."""
