"""Accuracy and speed of recognizers: word error rate with a confidence interval, and RTFx."""
