"""The OpenVINO engine for CPUs: `export` converts models, `cache` keeps them, `engine` runs them."""

from linnet.engines.openvino.engine import OpenVinoEngine

__all__ = ["OpenVinoEngine"]
