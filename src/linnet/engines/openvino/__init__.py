"""The OpenVINO engine, on CPUs: `engine` runs what `export` converts and `cache` keeps."""

from linnet.engines.openvino.engine import OpenVinoEngine

__all__ = ["OpenVinoEngine"]
