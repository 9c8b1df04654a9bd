"""How a tensor prints: PyTorch's look, to the letter."""

from __future__ import annotations

from typing import Any


def format_tensor(tensor: Any) -> str:
    """The `repr` of a tensor."""
    return f"tensor({tensor._value})"
