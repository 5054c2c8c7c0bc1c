"""Choosing the recordings worth training on: what is broken goes, what carries information stays, within hours.

Carries on HEEP (High Entropy Exponential Pruning): its equations, with estimators that are well defined.
"""
