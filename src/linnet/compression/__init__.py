"""Make speech models smaller and faster: linear layers as low-rank factors, chosen by their effect on the transcript.

Extends LiteASR (Kamahori et al. 2025, https://arxiv.org/abs/2502.20583). Start with `job.compress`.
"""
