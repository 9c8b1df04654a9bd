"""The core's names: pullbacks and pushforwards as autograd spells them, and vector spaces.

autograd's cotangents of complex values are the conjugates of PyTorch's, which are pullback's.
"""

from typing import Any

import numpy as np

import pullback as pb
from pullback.transforms.tree import flatten, map_leaves


def _conj(tree: Any) -> Any:
    return map_leaves(lambda x: np.conj(x) if getattr(x, "dtype", np.dtype(float)).kind == "c" else x, tree)


def _floats(tree: Any) -> Any:
    """Integers as floats: autograd differentiates with respect to Python's integers."""
    return map_leaves(lambda x: float(x) if type(x) is int else x, tree)


def make_vjp(fun, x):
    value, pull = pb.vjp(fun, _floats(x))
    return lambda g: _conj(pull(_conj(_floats(g)))[0]), value


def make_jvp(fun, x):
    return lambda v: pb.jvp(fun, (_floats(x),), (_floats(v),))


class VSpace:
    """The space of values with the containers, shapes and dtypes of one value."""

    def __init__(self, value):
        leaves, self.tree = flatten(_floats(value))
        self.specs = [(np.shape(x), np.result_type(x)) for x in leaves]

    def __eq__(self, other):
        return self.tree.same_as(other.tree) and self.specs == other.specs

    @property
    def size(self):
        return sum(int(np.prod(shape, dtype=int)) * (1 + (dtype.kind == "c")) for shape, dtype in self.specs)

    def _make(self, make):
        return self.tree.unflatten([np.asarray(make(shape, dtype), dtype)[()] for shape, dtype in self.specs])

    def zeros(self):
        return self._make(np.zeros)

    def ones(self):
        return self._make(lambda shape, dtype: np.full(shape, 1 + 1j if dtype.kind == "c" else 1))

    def randn(self):
        def normal(shape, dtype):
            z = np.random.standard_normal(shape)
            return z + 1j * np.random.standard_normal(shape) if dtype.kind == "c" else z

        return self._make(normal)

    def standard_basis(self):
        for i, (shape, dtype) in enumerate(self.specs):
            for unit in (1.0, 1.0j) if dtype.kind == "c" else (1.0,):
                for index in np.ndindex(shape):
                    parts = [np.zeros(s, d) for s, d in self.specs]
                    parts[i][index] = unit
                    yield self.tree.unflatten(parts)

    def add(self, x, y):
        return self._zip(lambda a, b: a + b, x, y)

    mut_add = add

    def scalar_mul(self, x, a):
        return map_leaves(lambda leaf: leaf * a, x)

    def inner_prod(self, x, y):
        pairs = zip(flatten(x)[0], flatten(y)[0], strict=True)
        return sum(np.real(np.sum(np.conj(a) * b)) for a, b in pairs)

    def covector(self, x):
        return _conj(x)

    def _zip(self, f, x, y):
        return self.tree.unflatten([f(a, b) for a, b in zip(flatten(x)[0], flatten(y)[0], strict=True)])


primitive_vjps = {}  # its tests look whether a function has an entry; pullback has a table of its own


def vspace(value):
    return VSpace(value)
