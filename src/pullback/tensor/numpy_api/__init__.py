"""NumPy's functions over tensors: one table, filled by family, read by the NumPy protocols and by `pb.numpy`."""

from pullback.tensor.numpy_api import creation, linalg, products, reductions, selecting, shapes, ufuncs
from pullback.tensor.numpy_api.table import FUNCTIONS

__all__ = ["FUNCTIONS", "creation", "linalg", "products", "reductions", "selecting", "shapes", "ufuncs"]
