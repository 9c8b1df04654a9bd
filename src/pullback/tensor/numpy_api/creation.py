"""NumPy's functions that make arrays: in `pb.numpy`, with `like=tensor`, and with the shape and dtype of a Tensor.

They give Tensors with NumPy's dtypes (float64 for floats). These are written in place like any Tensor, so a program
that fills arrays element by element is differentiated as it stands.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pullback.ops import elementwise as e
from pullback.ops.control import identity
from pullback.tape.node import Handle, new_handle
from pullback.tensor.dispatch import to_dtype
from pullback.tensor.numpy_api import shapes
from pullback.tensor.numpy_api.operands import broadcast, dtype_of, lift, promoted, rank, raw, shape_of, with_dtype
from pullback.tensor.numpy_api.table import implements


def _maker(name: str) -> Any:
    function = getattr(np, name)

    def make(*args: Any, **kwargs: Any) -> Any:
        return lift(function(*(raw(x, f"{name}'s argument") if isinstance(x, Handle) else x for x in args), **kwargs))

    make.__doc__ = function.__doc__
    return make


_MAKERS = "zeros ones empty arange eye identity tri fromfunction hanning hamming bartlett blackman".split()
for _name in _MAKERS:
    implements(_name)(_maker(_name))


@implements("full")
def full(shape: Any, fill_value: Any, dtype: Any = None, order: str = "C") -> Any:
    """Filled with a number, or with a Tensor broadcast to the shape, whose gradient is kept."""
    fill = with_dtype(fill_value, dtype)
    return identity(broadcast(fill, tuple(int(n) for n in np.atleast_1d(shape))))


_numpy_linspace: Any = np.linspace  # its overloads know no optional dtype


@implements("linspace")
def linspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: int = 0,
) -> Any:
    if not isinstance(start, Handle) and not isinstance(stop, Handle):
        made: Any = _numpy_linspace(start, stop, num, endpoint, retstep, dtype, axis)
        return tuple(map(lift, made)) if retstep else lift(made)
    low, high, _ = promoted(start, stop, 1.0)
    low, high = (broadcast(v, np.broadcast_shapes(shape_of(low), shape_of(high))) for v in (low, high))
    gaps = num - 1 if endpoint else num
    step = e.div(e.sub(high, low), float(gaps)) if gaps else e.mul(low, math.nan)
    places = np.arange(num, dtype=dtype_of(low)).reshape((num,) + (1,) * rank(low))
    y = e.add(low, e.mul(step, places)) if gaps > 0 else e.add(low, np.zeros_like(places))
    if endpoint and num > 1:  # the last one is not to be off by rounding
        y = shapes.concatenate((y[:-1], shapes.expand_dims(high, 0)))
    y = shapes.moveaxis(with_dtype(y, dtype), 0, axis)
    return (y, step) if retstep else y


@implements("logspace")
def logspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, base: Any = 10.0, dtype: Any = None, axis: int = 0
) -> Any:
    powers = linspace(start, stop, num, endpoint, axis=axis)
    return with_dtype(e.pow_(*promoted(base, powers)), dtype)


@implements("geomspace")
def geomspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True, dtype: Any = None, axis: int = 0) -> Any:
    """Of positive ends, if they are Tensors."""
    if not isinstance(start, Handle) and not isinstance(stop, Handle):
        return lift(np.geomspace(start, stop, num, endpoint, dtype, axis))
    first, last = (e.log(with_dtype(v, np.float64)) for v in (start, stop))
    return with_dtype(e.exp(linspace(first, last, num, endpoint, axis=axis)), dtype)


@implements("vander")
def vander(x: Any, N: int | None = None, increasing: bool = False) -> Any:
    column = with_dtype(x, np.promote_types(dtype_of(lift(x)), int))
    if rank(column) != 1:
        raise ValueError("x must be a one-dimensional array or sequence.")
    count = shape_of(column)[0] if N is None else N
    powers = [e.pow_(column, i) for i in (range(count) if increasing else reversed(range(count)))]
    return shapes.stack(powers, axis=1)


@implements("array")
def array(object: Any, dtype: Any = None, *, copy: bool | None = True, ndmin: int = 0, **unsupported: Any) -> Any:
    """A Tensor of nested sequences of numbers and Tensors; a copy, unless `copy` is False or None."""
    if unsupported:
        raise TypeError(f"pb.numpy.array: unknown option {next(iter(unsupported))!r}")
    x = lift(object)
    if x is object or not isinstance(object, list | tuple | int | float | complex):
        x = identity(x) if copy else x
    x = x if dtype is None else to_dtype(x, np.dtype(dtype))
    return x if rank(x) >= ndmin else x.reshape((1,) * (ndmin - rank(x)) + shape_of(x))


@implements("asarray", "asanyarray", "ascontiguousarray", "asarray_chkfinite")
def asarray(a: Any, dtype: Any = None, order: Any = None, *, copy: bool | None = None, **unsupported: Any) -> Any:
    return array(a, dtype, copy=copy)


@implements("copy")
def copy(a: Any, order: str = "K", subok: bool = False) -> Any:
    return identity(lift(a))


@implements("astype")
def astype(x: Any, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Any:
    x = lift(x)
    if dtype_of(x) == np.dtype(dtype):
        return identity(x) if copy else x
    return to_dtype(x, np.dtype(dtype))


def _like(name: str) -> Any:
    function = getattr(np, name)

    def make(
        a: Any, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None, *, device: Any = None
    ) -> Any:
        x = lift(a)
        pattern = np.broadcast_to(np.empty((), dtype_of(x)), shape_of(x) if shape is None else shape)
        return new_handle(function(pattern, dtype=dtype, order="C", device=device))

    make.__doc__ = function.__doc__
    return make


for _name in ("zeros_like", "ones_like", "empty_like"):
    implements(_name)(_like(_name))


@implements("full_like")
def full_like(
    a: Any, fill_value: Any, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None
) -> Any:
    """Filled with a number, or with a Tensor broadcast to the shape, whose gradient is kept."""
    x = lift(a)
    size = shape_of(x) if shape is None else tuple(np.atleast_1d(shape).tolist())
    fill = to_dtype(lift(fill_value), dtype_of(x) if dtype is None else np.dtype(dtype))
    return identity(broadcast(fill, size))


# What arrays are


@implements("shape")
def shape(a: Any) -> Any:
    return shape_of(lift(a))


@implements("ndim")
def ndim(a: Any) -> int:
    return rank(lift(a))


@implements("size")
def size(a: Any, axis: Any = None) -> int:
    x = shape_of(lift(a))
    axes = range(len(x)) if axis is None else (axis if isinstance(axis, tuple) else (axis,))
    return int(np.prod([x[i] for i in axes], dtype=np.int64))


@implements("result_type")
def result_type(*arrays_and_dtypes: Any) -> np.dtype[Any]:
    return np.result_type(*(dtype_of(x) if isinstance(x, Handle) else x for x in arrays_and_dtypes))


@implements("can_cast")
def can_cast(from_: Any, to: Any, casting: str = "safe") -> bool:
    return np.can_cast(dtype_of(from_) if isinstance(from_, Handle) else from_, to, casting)  # type: ignore[arg-type]


@implements("meshgrid")
def meshgrid(*xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy") -> tuple[Any, ...]:
    xs = [lift(x).reshape(-1) for x in xi]
    if indexing not in ("xy", "ij"):
        raise ValueError("Valid values for `indexing` are 'xy' and 'ij'.")
    order = list(range(len(xs)))
    if indexing == "xy" and len(xs) > 1:
        order[:2] = [1, 0]
    apart = [x.reshape([-1 if order[i] == j else 1 for j in range(len(xs))]) for i, x in enumerate(xs)]
    if sparse:
        return tuple(identity(x) for x in apart)
    full = np.broadcast_shapes(*map(shape_of, apart))
    return tuple(lift(np.zeros(full, dtype_of(x))) + x for x in apart)
