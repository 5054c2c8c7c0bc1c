"""The torch engine, on any device of PyTorch."""

from linnet.engines.torch.engine import TorchEngine

__all__ = ["TorchEngine"]
