"""The torch engine, on any device that PyTorch has."""

from linnet.engines.torch.engine import TorchEngine

__all__ = ["TorchEngine"]
