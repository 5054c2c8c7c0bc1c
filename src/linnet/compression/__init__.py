"""Making speech models smaller and faster: linear layers as low-rank factors, ranked by what they cost the transcript.

Carries on LiteASR (Kamahori et al. 2025, https://arxiv.org/abs/2502.20583). `job.compress` is the way in.
"""
