"""NumPy's functions over tensors: one table, filled by family, read by the NumPy protocols and by `pb.numpy`."""

from pullback.tensor.numpy_api import (
    calling,
    counting,
    creation,
    fourier,
    linalg,
    padding,
    polynomials,
    products,
    reductions,
    selecting,
    sets,
    shapes,
    signals,
    statistics,
    ufuncs,
    writing,
)
from pullback.tensor.numpy_api.table import FUNCTIONS

__all__ = [
    "FUNCTIONS",
    "calling",
    "counting",
    "creation",
    "fourier",
    "linalg",
    "padding",
    "polynomials",
    "products",
    "reductions",
    "selecting",
    "sets",
    "shapes",
    "signals",
    "statistics",
    "ufuncs",
    "writing",
]
