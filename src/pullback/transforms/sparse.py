"""Sparse Jacobians and Hessians: which entries can be other than zero, columns that share a product, and what it holds.

The pattern follows from the graph of the function. Columns (or rows) that have no row in common are given one colour,
one Jacobian-vector product serves all of a colour, and the entries are read off. The method is that of Curtis, Powell
and Reid (1974); for the symmetric Hessian, star colouring (Coleman and Moré, 1984) needs fewer.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from pullback.tensor.conversion import PlainNumbersError, numbers
from pullback.transforms.coloring import column_colors, star_colors
from pullback.transforms.forward import jvp
from pullback.transforms.lifting import as_operand, to_handle
from pullback.transforms.pattern import dependence
from pullback.transforms.program import as_program
from pullback.transforms.reverse import grad, vjp
from pullback.transforms.trace import trace
from pullback.transforms.vmap import vmap
from pullback.values.optional import scipy_module

__all__ = ["SparsePlan", "sparse_hessian", "sparse_jacobian"]

_BATCH = 2**24  # entries of the largest batch of seeds that is pushed at once


class SparsePlan(NamedTuple):
    """How the entries of a sparse matrix are found.

    `pattern` is a boolean `csr_array`; `colors[j]` is the product that column j (row j, if `by_rows`) shares, and entry
    k of the pattern, in the order of its rows, is read from product `source[k]` at `place[k]`.
    """

    pattern: Any
    colors: Any
    by_rows: bool
    source: Any
    place: Any

    @property
    def products(self) -> int:
        """How many products with vectors are computed: the number of colours."""
        return int(self.colors.max(initial=-1)) + 1

    @property
    def seeds(self) -> Any:
        """The vectors to multiply with, one for each colour: 0 and 1."""
        seeds = np.zeros((self.products, self.colors.size))
        seeds[self.colors, np.arange(self.colors.size)] = 1.0
        return seeds

    def matrix(self, products: Any) -> Any:
        """The matrix, a `scipy.sparse.csr_array`, from the products, one in a row."""
        shared = self.pattern.indices, self.pattern.indptr
        found = scipy_module("sparse").csr_array((products[self.source, self.place], *shared), self.pattern.shape)
        return found.copy()  # the arrays of the pattern are the plan's


class _Sparse(ABC):
    """A function that gives a sparse matrix of derivatives, and how it goes about it."""

    def __init__(self, f: Callable[..., Any], pattern: Any = None) -> None:
        functools.update_wrapper(self, f)
        self.function = f
        self.pattern = None if pattern is None else _boolean(pattern)
        self._given: SparsePlan | None = None

    def __call__(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        plan = self.plan(x, *args, **kwargs)
        value = numbers(as_operand(x, "a sparse matrix of derivatives"), "a sparse matrix")
        products = self._products(plan, lambda x: as_program(self.function)(x, *args, **kwargs), value)
        return plan.matrix(products)

    def plan(self, x: Any, *args: Any, **kwargs: Any) -> SparsePlan:
        """The pattern and its colours at these arguments; the products that are computed are as many as the colours.

        The pattern is found anew for each call, since it may depend on what `f` closes over, unless it was given.
        """
        if self._given is not None:
            return self._given
        if self.pattern is not None:
            self._given = self._colored(self.pattern)
            return self._given
        return self._colored(self._found(lambda x: as_program(self.function)(x, *args, **kwargs), x))

    @abstractmethod
    def _found(self, f: Callable[[Any], Any], x: Any) -> Any:
        """The pattern of the matrix."""

    @abstractmethod
    def _colored(self, pattern: Any) -> SparsePlan: ...

    @abstractmethod
    def _products(self, plan: SparsePlan, f: Callable[[Any], Any], x: Any) -> Any:
        """The products with the seeds of the plan, one in a row."""


def _boolean(pattern: Any) -> Any:
    """A pattern as a boolean `csr_array` without stored zeros."""
    found = scipy_module("sparse").csr_array(pattern).astype(bool)
    found.eliminate_zeros()
    return found


def _traced(f: Callable[[Any], Any], x: Any, size: Callable[[], int]) -> Any:
    """The pattern that the graph of f has; a full one, with `size()` rows, if it can't be traced."""
    try:
        return _boolean(dependence(trace(f, x).graph))
    except PlainNumbersError:  # it branches on values: any entry may be there
        return _boolean(np.ones((size(), int(np.prod(np.shape(x)))), bool))


def _batched(function: Callable[[Any], Any], seeds: Any, shape: tuple[int, ...]) -> Any:
    """`function` of each of the seeds, in this shape; the results flat, one in a row."""
    step = max(1, _BATCH // max(seeds.shape[1], 1))
    parts = []
    for start in range(0, len(seeds), step):
        part = seeds[start : start + step]
        parts.append(np.asarray(vmap(function)(part.reshape(len(part), *shape))).reshape(len(part), -1))
    return np.concatenate(parts) if parts else np.zeros((0, 0), seeds.dtype)


class sparse_jacobian(_Sparse):
    """The Jacobian of `f` in its first argument, as a function that gives a `scipy.sparse.csr_array`.

    `f` maps an array to an array; the matrix has a row for each entry of the result and a column for each entry of the
    argument. Which entries can be other than zero follows from the graph of `f`, for all values; a `pattern`, a sparse
    or dense matrix, saves that, and an entry outside of it is taken to be zero. Columns without a row in common, or
    rows without a column, share one product: as many are computed as `plan(x).products` says.

    >>> import numpy as np
    >>> import pullback as pb
    >>> jacobian = pb.sparse_jacobian(lambda x: (x[1:] - x[:-1]) ** 2)
    >>> jacobian(np.array([0.0, 1.0, 3.0])).toarray()
    array([[-2.,  2.,  0.],
           [ 0., -4.,  4.]])
    >>> jacobian.plan(np.zeros(10000)).products
    2
    """

    def _found(self, f: Callable[[Any], Any], x: Any) -> Any:
        return _traced(f, x, lambda: int(np.prod(to_handle(f(x)).shape)))

    def _colored(self, pattern: Any) -> SparsePlan:
        rows, columns = np.repeat(np.arange(pattern.shape[0]), np.diff(pattern.indptr)), pattern.indices
        by_column = pattern.tocsc()
        fewest = [int(np.diff(m.indptr).max(initial=0)) for m in (pattern, by_column)]  # colours of columns, of rows
        best: Any = None
        for by_rows in (fewest[1] < fewest[0], fewest[1] >= fewest[0]):
            if best is None or fewest[by_rows] < best[0].max(initial=-1) + 1:
                colors = column_colors(pattern.T if by_rows else by_column)
                if best is None or colors.max(initial=-1) < best[0].max(initial=-1):
                    best = colors, by_rows
        colors, by_rows = best
        keys, place = (rows, columns) if by_rows else (columns, rows)
        return SparsePlan(pattern, colors, by_rows, colors[keys], place)

    def _products(self, plan: SparsePlan, f: Callable[[Any], Any], x: Any) -> Any:
        seeds = plan.seeds.astype(x.dtype)
        if not plan.by_rows:
            return _batched(lambda seed: jvp(f, (x,), (seed,))[1], seeds, x.shape)
        value, pull = vjp(f, x)
        return _batched(lambda seed: pull(seed)[0], seeds, np.shape(value))


class sparse_hessian(_Sparse):
    """The Hessian of a scalar function in its first argument, as a function that gives a `scipy.sparse.csr_array`.

    As `sparse_jacobian` of the gradient, with colours that make use of the symmetry. The argument is an array; the
    matrix has a row and a column for each of its entries.

    >>> import numpy as np
    >>> import pullback as pb
    >>> hessian = pb.sparse_hessian(lambda x: np.sum(x[1:] * x[:-1] ** 2))
    >>> hessian(np.array([1.0, 2.0, 3.0])).toarray()
    array([[4., 2., 0.],
           [2., 6., 4.],
           [0., 4., 0.]])
    """

    def _found(self, f: Callable[[Any], Any], x: Any) -> Any:
        return _traced(grad(f), x, lambda: int(np.prod(np.shape(x))))

    def _colored(self, pattern: Any) -> SparsePlan:
        pattern = _boolean(pattern + pattern.T)
        rows, columns = np.repeat(np.arange(pattern.shape[0]), np.diff(pattern.indptr)), pattern.indices
        colors = star_colors(pattern)
        off = rows != columns
        key = rows * (colors.max(initial=0) + 1) + colors[columns]
        _, inverse, counts = np.unique(key[off], return_inverse=True, return_counts=True)
        direct = np.ones(rows.size, bool)  # the column is the only one of its colour in its row
        direct[off] = counts[inverse] == 1
        source = np.where(direct, colors[columns], colors[rows])
        return SparsePlan(pattern, colors, False, source, np.where(direct, rows, columns))

    def _products(self, plan: SparsePlan, f: Callable[[Any], Any], x: Any) -> Any:
        gradient = grad(f)
        return _batched(lambda seed: jvp(gradient, (x,), (seed,))[1], plan.seeds.astype(x.dtype), x.shape)
