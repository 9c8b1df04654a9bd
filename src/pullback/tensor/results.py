"""Named tuples that functions with several results return, with PyTorch's look."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

__all__ = ["result_type"]


def result_type(function: str, *fields: str) -> Any:
    """A named tuple type for the results of `function`, shown as `torch.return_types.max(values=..., indices=...)`."""
    kind = namedtuple(function, fields)  # type: ignore[misc]

    def __repr__(self: Any) -> str:
        lines = (f"{field}={value!r}" for field, value in zip(fields, self, strict=True))
        return f"torch.return_types.{function}(\n" + ",\n".join(lines) + ")"

    return type(function, (kind,), {"__repr__": __repr__, "__slots__": (), "__module__": __name__})
