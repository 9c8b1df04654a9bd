"""Checkpoints, PyTorch's `.pth` and safetensors: read without running what is in them, written whole or not at all."""

from pullback.io.files import load, load_metadata, save
from pullback.io.leaves import CheckpointError

__all__ = ["CheckpointError", "load", "load_metadata", "save"]
