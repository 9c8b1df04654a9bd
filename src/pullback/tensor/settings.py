"""PyTorch's settings that change nothing here: scripts that make them run as they are.

Everything is computed on the CPU, in the precision of its dtype, by functions that give the same numbers every time.
"""

from __future__ import annotations

from typing import Any

from pullback.tensor.device import check_device
from pullback.tensor.device import device as Device

__all__ = [
    "are_deterministic_algorithms_enabled",
    "get_default_device",
    "get_float32_matmul_precision",
    "set_default_device",
    "set_float32_matmul_precision",
    "use_deterministic_algorithms",
]


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Nothing: all algorithms are deterministic."""


def are_deterministic_algorithms_enabled() -> bool:
    """True."""
    return True


def set_default_device(device: Any) -> None:
    """Nothing for the CPU. Raises `RuntimeError` for another device."""
    check_device(device)


def get_default_device() -> Device:
    """The CPU."""
    return Device("cpu")


def set_float32_matmul_precision(precision: str) -> None:
    """Nothing: float32 products are always of the "highest" precision. Raises `RuntimeError` for an unknown name."""
    if precision not in ("highest", "high", "medium"):
        raise RuntimeError(f"{precision} is not one of 'highest', 'high', and 'medium'")


def get_float32_matmul_precision() -> str:
    """Always "highest"."""
    return "highest"
