"""The table of SciPy functions: dotted name within SciPy -> implementation over tensors.

An entry is made by decorating a function that has SciPy's signature with `@implements("linalg.expm")`. It is then
`pb.scipy.linalg.expm`, and what `scipy.linalg.expm` means in a function that is being differentiated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from pullback.tensor.numpy_api.table import entering

__all__ = ["FUNCTIONS", "implements"]

FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {}
implements = entering(FUNCTIONS, "scipy")
