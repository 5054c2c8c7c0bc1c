"""How good and how fast a model is: word error rate with its interval, and RTFx."""
