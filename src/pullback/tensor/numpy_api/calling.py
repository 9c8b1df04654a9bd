"""NumPy's functions that call a function of yours: along an axis, by case, on every element. And indices."""

from __future__ import annotations

import builtins
import functools
import itertools
import math
import re
from collections.abc import Callable, Iterator
from typing import Any, Self

import numpy as np

from pullback.ops import compare as c
from pullback.ops import elementwise as e
from pullback.tape.node import Handle
from pullback.tensor.dispatch import is_raw, to_dtype
from pullback.tensor.indexing import getitem, setitem
from pullback.tensor.numpy_api import shapes
from pullback.tensor.numpy_api.operands import (
    dtype_of,
    lift,
    one_axis,
    rank,
    raw,
    shape_of,
    with_dtype,
)
from pullback.tensor.numpy_api.table import implements
from pullback.values.shape import broadcast_shapes

# Functions of functions


@implements("apply_along_axis")
def apply_along_axis(func1d: Callable[..., Any], axis: int, arr: Any, *args: Any, **kwargs: Any) -> Any:
    """Line by line, in a Python loop."""
    x = lift(arr)
    axis = one_axis(axis, rank(x))
    lines = shapes.moveaxis(x, axis, -1)
    outer = shape_of(lines)[:-1]
    if not math.prod(outer):
        raise ValueError("Cannot apply_along_axis when any iteration dimensions are 0")
    results = [lift(func1d(getitem(lines, place), *args, **kwargs)) for place in np.ndindex(outer)]
    own = shape_of(results[0])
    whole = shapes.reshape(shapes.stack(results), (*outer, *own))
    return shapes.moveaxis(whole, tuple(range(len(outer), len(outer) + len(own))), tuple(range(axis, axis + len(own))))


@implements("apply_over_axes")
def apply_over_axes(func: Callable[..., Any], a: Any, axes: Any) -> Any:
    x = lift(a)
    for axis in np.atleast_1d(axes).tolist():
        y = lift(func(x, one_axis(axis, rank(x))))
        y = y if rank(y) == rank(x) else shapes.expand_dims(y, one_axis(axis, rank(x)))
        if rank(y) != rank(x):
            raise ValueError("function is not returning an array of the correct shape")
        x = y
    return x


@implements("piecewise")
def piecewise(x: Any, condlist: Any, funclist: Any, *args: Any, **kw: Any) -> Any:
    """Each function is called on the elements for which its condition holds, the last one on the rest.

    Where the conditions are not known as numbers, on all elements, and the gradient goes to those that were chosen.
    """
    a = lift(x)
    if not isinstance(condlist, list | tuple):
        condlist = list(shapes.unstack(condlist)) if rank(lift(condlist)) > rank(a) else [condlist]
    elif rank(a) and builtins.all(rank(lift(condition)) == 0 for condition in condlist):
        condlist = [condlist]
    conditions = [to_dtype(lift(condition), np.dtype(bool)) for condition in condlist]
    functions = list(funclist)
    if len(functions) not in (len(conditions), len(conditions) + 1):
        raise ValueError(
            f"with {len(conditions)} condition(s), either {len(conditions)} or {len(conditions) + 1} functions are "
            "expected"
        )
    if len(functions) > len(conditions):
        rest = c.logical_not(functools.reduce(c.logical_or, conditions))
        conditions.insert(0, rest)
        functions.insert(0, functions.pop())
    y = lift(np.zeros(shape_of(a), dtype_of(a)))
    known = builtins.all(is_raw(condition) for condition in conditions)
    for condition, function in zip(conditions, functions, strict=True):
        if not callable(function):
            y = e.where(condition, with_dtype(function, dtype_of(a)), y)
        elif known and rank(a):
            mask = shapes.broadcast_to(condition, shape_of(a))
            if np.any(mask._value):
                setitem(y, mask, with_dtype(function(getitem(a, mask), *args, **kw), dtype_of(a)))
        elif not known or np.any(condition._value):
            with np.errstate(all=None if known else "ignore"):
                y = e.where(condition, with_dtype(function(a, *args, **kw), dtype_of(a)), y)
    return y


class _Vectorized:
    """A function of numbers, or with a `signature` of lines and planes, called on every element by a Python loop.

    As `numpy.vectorize`, whose arguments it takes. The elements are Tensors, so derivatives pass through.
    """

    def __init__(
        self,
        pyfunc: Callable[..., Any],
        otypes: Any = None,
        doc: str | None = None,
        excluded: Any = None,
        cache: bool = False,
        signature: str | None = None,
    ) -> None:
        self.pyfunc = pyfunc
        self.otypes = [np.dtype(kind) for kind in otypes] if otypes is not None else None
        self.excluded = set() if excluded is None else set(excluded)
        self.signature = signature
        self.__name__ = getattr(pyfunc, "__name__", "vectorized")
        self.__doc__ = pyfunc.__doc__ if doc is None else doc
        self._cores: list[int] | None = None
        if signature is not None:
            left, arrow, _ = signature.replace(" ", "").partition("->")
            if not arrow or not re.fullmatch(r"(\([\w,]*\))(,\([\w,]*\))*", left):
                raise ValueError(f"not a valid gufunc signature: {signature}")
            self._cores = [len([n for n in core.split(",") if n]) for core in re.findall(r"\(([\w,]*)\)", left)]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        spread = [i for i in range(len(args)) if i not in self.excluded]
        names = [name for name in kwargs if name not in self.excluded]
        xs = [lift(args[i]) for i in spread] + [lift(kwargs[name]) for name in names]
        cores = [0] * len(xs) if self._cores is None else self._cores
        if len(cores) != len(xs):
            raise TypeError(f"wrong number of positional arguments: expected {len(cores)}, got {len(xs)}")
        outer = broadcast_shapes(*(shape_of(x)[: rank(x) - n] for x, n in zip(xs, cores, strict=True)))
        wide = [shapes.broadcast_to(x, (*outer, *shape_of(x)[rank(x) - n :])) for x, n in zip(xs, cores, strict=True)]
        found = []
        for place in np.ndindex(outer):
            each = [getitem(x, place) for x in wide]
            full, named = list(args), dict(kwargs)
            for i, value in zip(spread, each, strict=False):
                full[i] = value
            named.update(zip(names, each[len(spread) :], strict=True))
            result = self.pyfunc(*full, **named)
            found.append(result if isinstance(result, tuple) else (result,))
        if not found:
            raise ValueError("cannot call `vectorize` on size 0 inputs")
        columns = [self._column(i, column, outer) for i, column in enumerate(zip(*found, strict=True))]
        return tuple(columns) if len(columns) > 1 else columns[0]

    def _column(self, i: int, values: tuple[Any, ...], outer: tuple[int, ...]) -> Any:
        """One result on every element, in the dtype asked for or that of the first."""
        first = lift(values[0])
        dtype = self.otypes[i] if self.otypes is not None else dtype_of(first)
        parts = [with_dtype(value, dtype) for value in values]
        return shapes.reshape(shapes.stack(parts), (*outer, *shape_of(first)))


@implements("vectorize")
def vectorize(pyfunc: Callable[..., Any], *args: Any, **kwargs: Any) -> _Vectorized:
    return _Vectorized(pyfunc, *args, **kwargs)


@implements("ndenumerate")
def ndenumerate(arr: Any) -> Iterator[tuple[tuple[int, ...], Any]]:
    """The index and the element, for every element."""
    x = lift(arr)
    return ((place, getitem(x, place)) for place in np.ndindex(shape_of(x)))


class _Elements:
    """`numpy.nditer` of one array: its elements in order, as views that `v[...] = value` writes through."""

    def __init__(self, array: Any) -> None:
        self._array = array
        self.multi_index: tuple[int, ...] = ()

    def __iter__(self) -> Iterator[Any]:
        for place in np.ndindex(shape_of(self._array)):
            self.multi_index = place
            yield getitem(self._array, (*place, Ellipsis))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass


@implements("nditer")
def nditer(op: Any, flags: Any = (), op_flags: Any = (), **options: Any) -> _Elements:
    """For one array. Raises `TypeError` for several, and for what chooses an order or chunks."""
    if isinstance(op, list | tuple) or options or not {"multi_index", "refs_ok", "zerosize_ok"}.issuperset(flags):
        raise TypeError(
            "np.nditer of values that are being differentiated takes one array and the flag 'multi_index'; for several "
            "write zip(np.ravel(a), np.ravel(b))"
        )
    return _Elements(lift(op))


@implements("fromiter")
def fromiter(iter: Any, dtype: Any, count: int = -1, *, like: Any = None) -> Any:
    """A line of the numbers and Tensors that `iter` gives."""
    items = list(iter if count < 0 else itertools.islice(iter, count))
    if len(items) < count:
        raise ValueError(f"iterator too short: Expected {count} but iterator had only {len(items)} items.")
    if not items:
        return lift(np.empty(0, dtype))
    return shapes.stack([with_dtype(item, dtype) for item in items])


# Indices


@implements("ix_")
def ix_(*args: Any) -> tuple[Any, ...]:
    return tuple(map(lift, np.ix_(*(raw(x, "ix_'s operand") for x in args))))


def _known(x: Any) -> Any:
    """An argument with the numbers of the Tensors in it."""
    if isinstance(x, list | tuple):
        return type(x)(_known(part) for part in x)
    return raw(x, "an index") if isinstance(x, Handle) else x


def _on_numbers(name: str) -> Any:
    function = getattr(np, name)

    def indices(*args: Any, **kwargs: Any) -> Any:
        found = function(*map(_known, args), **{key: _known(x) for key, x in kwargs.items()})
        return tuple(map(lift, found)) if isinstance(found, tuple) else lift(found)

    indices.__doc__ = function.__doc__
    return implements(name)(indices)


for _name in ("ravel_multi_index", "unravel_index", "lexsort"):
    _on_numbers(_name)


def _of_shape(name: str) -> Any:
    function = getattr(np, name)

    def indices(arr: Any, *args: Any, **kwargs: Any) -> Any:
        return tuple(map(lift, function(np.broadcast_to(np.empty(()), shape_of(lift(arr))), *args, **kwargs)))

    indices.__doc__ = function.__doc__
    return implements(name)(indices)


for _name in ("diag_indices_from", "tril_indices_from", "triu_indices_from"):
    _of_shape(_name)


def _of_numbers(name: str) -> Any:
    function = getattr(np, name)

    def described(*args: Any, **kwargs: Any) -> Any:
        return function(*map(_known, args), **{key: _known(x) for key, x in kwargs.items()})

    described.__doc__ = function.__doc__
    return implements(name)(described)


for _name in """
    array2string array_repr array_str common_type einsum_path may_share_memory min_scalar_type shares_memory
""".split():
    _of_numbers(_name)


@implements("asfortranarray", "require")
def require(a: Any, dtype: Any = None, requirements: Any = None, *, like: Any = None) -> Any:
    """How the elements lie in memory is a Tensor's own affair: only the dtype is converted."""
    return with_dtype(a, dtype)
