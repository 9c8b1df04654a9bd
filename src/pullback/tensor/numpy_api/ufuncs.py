"""NumPy's universal functions, and what they all share: promotion, `dtype=`, `where=`, `out=`, and their methods.

Each is entered in one line by what it computes on operands that NumPy's own type resolution has cast already.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from pullback.ops import compare as c
from pullback.ops import elementwise as e
from pullback.ops import floats, scan
from pullback.ops import reduce as r
from pullback.ops.cast import conj
from pullback.ops.control import identity, stop_gradient
from pullback.ops.index import gather, scatter_add
from pullback.ops.shape import broadcast_to, concatenate, reshape, stack, transpose, unbind
from pullback.ops.table import Op
from pullback.tape.node import Handle, new_handle
from pullback.tensor.dispatch import binary, to_dtype, unary
from pullback.tensor.indexing import getitem, setitem
from pullback.tensor.inplace import check_writable, move
from pullback.tensor.numpy_api.operands import (
    all_axes,
    deliver,
    dtype_of,
    inexact,
    is_number,
    keep_old,
    lift,
    one_axis,
    rank,
    raw,
    select,
    shape_of,
)
from pullback.tensor.numpy_api.table import FUNCTIONS, implements

__all__ = ["Ufunc"]

_WEAK = (int, float, complex)
_WHOLE_REDUCTIONS = {
    "add": "sum",
    "multiply": "prod",
    "maximum": "max",
    "minimum": "min",
    "logical_and": "all",
    "logical_or": "any",
}
_WHOLE_ACCUMULATIONS = {"add": "cumsum", "multiply": "cumprod"}


def _length(x: Any, axes: Any, keepdims: bool) -> Any:
    """The Euclidean length, its square never overflowing; the scale is a constant that cancels."""
    top = stop_gradient(r.amax(e.abs_(x), axis=axes, keepdims=True))
    scale = e.where(c.logical_and(c.greater(top, 0), c.isfinite(top)), top, 1.0)
    y = e.mul(r.norm(e.div(x, scale), axis=axes, keepdims=True), scale)
    return y if keepdims else reshape(y, shape=tuple(n for i, n in enumerate(shape_of(x)) if i not in axes))


def _first_and_rest(x: Any, axis: int) -> tuple[Any, Any]:
    lead = (slice(None),) * axis
    return getitem(x, (*lead, slice(None, 1))), getitem(x, (*lead, slice(1, None)))


def _against_rest(op: Op, total: Op) -> Callable[[Any, Any, bool], Any]:
    """The first element against all others taken together: of a difference or a quotient."""

    def reduction(x: Any, axes: Any, keepdims: bool) -> Any:
        (axis,) = axes
        first, rest = _first_and_rest(x, axis)
        y = op(first, total(rest, axis=axes, keepdims=True))
        return y if keepdims else reshape(y, shape=shape_of(x)[:axis] + shape_of(x)[axis + 1 :])

    return reduction


def _running_against_rest(op: Op, running: Op) -> Callable[..., Any]:
    def accumulation(x: Any, axis: int) -> Any:
        first, rest = _first_and_rest(x, axis)
        return concatenate(first, op(first, running(rest, axis=axis)), axis=axis)

    return accumulation


def _logsumexp2(x: Any, axes: Any, keepdims: bool) -> Any:
    ln2 = math.log(2)
    return e.div(r.logsumexp(e.mul(x, ln2), axis=axes, keepdims=keepdims), ln2)


# Reductions and scans of floats in one step, which would otherwise combine one slice after the other.
_SHORT: dict[str, Callable[[Any, Any, bool], Any]] = {
    "hypot": _length,
    "logaddexp": lambda x, axes, keepdims: r.logsumexp(x, axis=axes, keepdims=keepdims),
    "logaddexp2": _logsumexp2,
    "fmax": lambda x, axes, keepdims: FUNCTIONS["nanmax"](x, axes, keepdims=keepdims),
    "fmin": lambda x, axes, keepdims: FUNCTIONS["nanmin"](x, axes, keepdims=keepdims),
    "subtract": _against_rest(e.sub, r.sum_),
    "divide": _against_rest(e.div, r.prod),
}
_SCANS: dict[str, Callable[..., Any]] = {
    "maximum": lambda x, axis: scan.cummax(x, axis=axis)[0],
    "minimum": lambda x, axis: scan.cummin(x, axis=axis)[0],
    "logaddexp": scan.logcumsumexp,
    "subtract": _running_against_rest(e.sub, scan.cumsum),
    "divide": _running_against_rest(e.div, scan.cumprod),
}


@functools.lru_cache(maxsize=4096)
def _loop(ufunc: np.ufunc, kinds: tuple[Any, ...], dtype: np.dtype[Any] | None) -> tuple[np.dtype[Any], ...]:
    """The dtypes NumPy would cast the operands to; Python numbers are given by their types."""
    kinds = (*kinds, *(None,) * ufunc.nout)
    if dtype is None:
        return ufunc.resolve_dtypes(kinds)
    return ufunc.resolve_dtypes(kinds, signature=(None,) * ufunc.nin + (dtype,) * ufunc.nout)


def _operand(x: Any) -> Any:
    """A Tensor, or a Python number other than a bool, which is weak."""
    return x if isinstance(x, Handle) or (is_number(x) and not isinstance(x, bool)) else lift(x)


class Ufunc:
    """A universal function over tensors, called as NumPy's and with its methods.

    `compute` takes operands cast to the loop's dtypes (Python numbers stay as they are). A predicate computes on any
    dtypes. `safe` is a point of its domain where nothing is infinite: what `where=` leaves out is computed there.
    """

    def __init__(
        self, ufunc: np.ufunc, compute: Callable[..., Any], predicate: bool = False, safe: float = 0.5
    ) -> None:
        self.ufunc = ufunc
        self.compute = compute
        self.predicate = predicate
        self.safe = safe
        self.special = predicate or ufunc is np.float_power  # its operands are not cast, or always
        self.__name__: str = ufunc.__name__
        self.__doc__ = ufunc.__doc__

    def __repr__(self) -> str:
        return f"<pullback ufunc {self.__name__!r}>"

    def __call__(
        self,
        *inputs: Any,
        out: Any = None,
        where: Any = True,
        dtype: Any = None,
        casting: str = "same_kind",
        order: str = "K",
        subok: bool = True,
    ) -> Any:
        if out is None and where is True and dtype is None and self._fits(inputs):
            return self.compute(*inputs)
        if len(inputs) == self.ufunc.nin + 1 and out is None:
            *inputs, out = inputs  # type: ignore[assignment]
        if len(inputs) != self.ufunc.nin:
            raise TypeError(f"{self.__name__}() takes {self.ufunc.nin} operands, {len(inputs)} were given")
        operands = [_operand(x) for x in inputs]
        if out is not None:
            (out,) = out if isinstance(out, tuple) else (out,)
            operands = [keep_old(x, out) for x in operands]
        if self.predicate:
            ready = [lift(x) if i == 0 else x for i, x in enumerate(operands)]
        else:
            ready = self._cast(operands, None if dtype is None else np.dtype(dtype))
        if where is True:
            return deliver(self.compute(*ready), out, casting)
        return deliver(self._where(ready, where, out), out, casting)

    def _fits(self, inputs: tuple[Any, ...]) -> bool:
        """Whether the operands are Tensors of one float dtype, or one and a number, so that nothing is to be cast."""
        if len(inputs) != self.ufunc.nin or self.special:
            return False
        first = inputs[0]
        if not isinstance(first, Handle) or first._value.dtype.kind != "f":
            return False
        if len(inputs) == 1:
            return True
        second = inputs[1]
        if isinstance(second, Handle):
            return second._value.dtype is first._value.dtype
        return type(second) is float or type(second) is int

    def _cast(self, operands: list[Any], dtype: np.dtype[Any] | None) -> list[Any]:
        kinds = tuple([dtype_of(x) if isinstance(x, Handle) else _kind(x) for x in operands])
        loop = _loop(self.ufunc, kinds, dtype)
        ready = [to_dtype(x, kind) if isinstance(x, Handle) else x for x, kind in zip(operands, loop)]
        if not any(isinstance(x, Handle) for x in ready):
            ready[0] = new_handle(np.asarray(ready[0], loop[0])[()])
        return ready

    def _where(self, operands: list[Any], mask: Any, out: Any) -> Any:
        """Computed where the mask holds; elsewhere `out`, or 0 (which NumPy leaves unset) without one."""
        mask = to_dtype(lift(mask), np.dtype(bool))
        guarded = []
        for x in operands:
            if isinstance(x, Handle):
                safe = self.safe if dtype_of(x).kind in "fc" else type(dtype_of(x).type(1).item())(1)
                x = select(mask, x, safe)
            guarded.append(x)
        result = self.compute(*guarded)
        if out is None:
            return select(mask, result, False if dtype_of(result).kind == "b" else 0)
        old = lift(out)
        if isinstance(out, Handle):
            old = keep_old(out, out)
        return select(mask, result, old)

    # Methods of universal functions of two operands

    def _needs_two(self, method: str) -> None:
        if self.ufunc.nin != 2 or self.ufunc.nout != 1:
            raise ValueError(f"{method} only supported for binary functions, and {self.__name__} is not one")

    def reduce(
        self,
        a: Any,
        axis: Any = 0,
        dtype: Any = None,
        out: Any = None,
        keepdims: bool = False,
        initial: Any = None,
        where: Any = True,
    ) -> Any:
        """Combine the slices along `axis` (None: all axes) one after the other."""
        self._needs_two("reduce")
        name = _WHOLE_REDUCTIONS.get(self.__name__)
        if name in ("all", "any"):
            return FUNCTIONS[name](a, axis=axis, out=out, keepdims=keepdims, where=where)
        if name is not None:
            whole = FUNCTIONS[name]
            kwargs = {} if dtype is None else {"dtype": dtype}
            return whole(a, axis=axis, out=out, keepdims=keepdims, initial=initial, where=where, **kwargs)
        x = lift(a)
        shape, axes = shape_of(x), all_axes(axis, rank(x))
        reorderable = self.ufunc.identity is not None or self.__name__ in ("fmax", "fmin")
        if len(axes) != 1 and not reorderable:
            raise ValueError(
                f"reduction operation '{self.__name__}' is not reorderable, so at most one axis may be specified"
            )
        if not self.special and (dtype is not None or dtype_of(x).kind in "biu"):
            x = self._cast([x, x], None if dtype is None else np.dtype(dtype))[0]
        if where is not True:
            where = broadcast_to(to_dtype(lift(where), np.dtype(bool)), shape=shape)
            if self.ufunc.identity is not None:
                x, where = select(where, x, self.ufunc.identity), True
            elif initial is None:
                raise ValueError(
                    f"reduction operation '{self.__name__}' does not have an identity, so to use a where mask one has "
                    "to specify 'initial'"
                )
        short = _SHORT.get(self.__name__) if dtype_of(x).kind == "f" and where is True and 0 not in shape else None
        if short is not None and (initial is None or reorderable):
            y = short(x, axes, False)
            y = y if initial is None else self(y, initial, dtype=dtype)
        else:
            y = self._fold(_flattened(x, axes), dtype, initial, where if where is True else _flattened(where, axes))
        if keepdims:
            y = reshape(y, shape=tuple(1 if i in axes else n for i, n in enumerate(shape)))
        return deliver(y, out)

    def _fold(self, x: Any, dtype: Any, initial: Any, where: Any) -> Any:
        """One slice along the last axis after the other, from `initial`, or of nothing from the identity."""
        parts = list(unbind(x, axis=rank(x) - 1)) if shape_of(x)[-1] else []
        masks = [True] * len(parts) if where is True else list(unbind(where, axis=rank(x) - 1))
        start = self.ufunc.identity if initial is None and not parts else initial
        total = None if start is None else broadcast_to(to_dtype(lift(start), dtype_of(x)), shape=shape_of(x)[:-1])
        for part, mask in zip(parts, masks, strict=True):
            if total is None:
                total = part
                continue
            joined = self(total, part, dtype=dtype)
            total = joined if mask is True else e.where(mask, joined, total)
        if total is None:
            raise ValueError(f"zero-size array to reduction operation {self.__name__} which has no identity")
        return total

    def accumulate(self, array: Any, axis: int = 0, dtype: Any = None, out: Any = None) -> Any:
        """The reductions of every leading part along `axis`."""
        self._needs_two("accumulate")
        name = _WHOLE_ACCUMULATIONS.get(self.__name__)
        if name is not None:
            return FUNCTIONS[name](array, axis=axis, dtype=dtype, out=out)
        x = lift(array)
        axis = one_axis(axis, rank(x))
        if self.__name__ in _SCANS and (dtype_of(x).kind == "f" or self.__name__ in ("maximum", "minimum")):
            (x,) = self._cast([x, x], None if dtype is None else np.dtype(dtype))[:1]
            return deliver(_SCANS[self.__name__](x, axis=axis), out)
        steps = list(itertools.accumulate(unbind(x, axis=axis), functools.partial(self, dtype=dtype)))
        return deliver(stack(*steps, axis=axis), out)

    def outer(self, A: Any, B: Any, **kwargs: Any) -> Any:
        """The function of every pair of elements."""
        self._needs_two("outer")
        a, b = lift(A), lift(B)
        return self(reshape(a, shape=(*shape_of(a), *(1,) * rank(b))), b, **kwargs)

    def at(self, a: Any, indices: Any, *b: Any) -> None:
        """`a[indices] = ufunc(a[indices], b)` for a Tensor a, once for every time an index occurs.

        Raises `TypeError` if `a` is an array.
        """
        if not isinstance(a, Handle):
            raise TypeError(
                f"numpy.{self.__name__}.at: can't write a Tensor into a NumPy array: its gradient would be lost"
            )
        check_writable(a)
        shape = shape_of(a)
        spots = getitem(new_handle(np.arange(math.prod(shape)).reshape(shape)), indices)._value
        if b:
            value = broadcast_to(lift(b[0]), shape=tuple(np.shape(spots)))
            b = (reshape(value, shape=(np.size(spots),)),)
        spots = np.ravel(spots)
        if self.__name__ in ("add", "subtract"):
            total = reshape(scatter_add(to_dtype(b[0], dtype_of(a)), spots, shape=(math.prod(shape),)), shape=shape)
            move(a, self(keep_old(a, a), total))
            return
        for turn in _turns(spots):
            places = np.unravel_index(spots[turn], shape)
            setitem(a, places, self(getitem(a, places), *(gather(x, turn) for x in b)))

    def reduceat(self, array: Any, indices: Any, axis: int = 0, dtype: Any = None, out: Any = None) -> Any:
        """The reductions of the parts from each index to the next one (of one element, if that is not larger)."""
        self._needs_two("reduceat")
        x = lift(array)
        axis = one_axis(axis, rank(x))
        starts = np.asarray(raw(indices, "an index"), np.int64)
        size = shape_of(x)[axis]
        if starts.size and (starts.min() < 0 or starts.max() >= size):
            wrong = starts[(starts < 0) | (starts >= size)][0]
            raise IndexError(f"index {wrong} out-of-bounds in {self.__name__}.reduceat [0, {size})")
        stops = np.append(starts[1:], size)
        counts = np.maximum(stops - starts, 1)
        lead = (slice(None),) * axis
        if self.__name__ == "add":  # all parts at once
            owner = np.repeat(np.arange(starts.size), counts)
            places = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + starts[owner]
            wide = FUNCTIONS["sum"](x, (), dtype)  # in the dtype of a sum
            front = FUNCTIONS["moveaxis"](getitem(wide, (*lead, places)), axis, 0)
            total = scatter_add(front, owner, shape=(starts.size, *shape_of(front)[1:]))
            return deliver(FUNCTIONS["moveaxis"](total, 0, axis), out)
        parts = [
            self.reduce(getitem(x, (*lead, slice(start, start + count))), axis, dtype)
            for start, count in zip(starts.tolist(), counts.tolist(), strict=True)
        ]
        return deliver(stack(*parts, axis=axis), out)


def _flattened(x: Any, axes: tuple[int, ...]) -> Any:
    """The axes made one, the last."""
    shape = shape_of(x)
    kept = tuple(i for i in range(len(shape)) if i not in axes)
    size = math.prod(shape[i] for i in axes)
    return reshape(transpose(x, axes=(*kept, *axes)), shape=(*(shape[i] for i in kept), size))


def _turns(spots: Any) -> list[Any]:
    """Places in `spots` in groups that name no element twice, those of each element in order."""
    order = np.argsort(spots, kind="stable")
    ordered = spots[order]
    first = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])) if spots.size else np.empty(0, int)
    count = np.diff(np.append(first, spots.size))
    number = np.arange(spots.size) - np.repeat(first, count)
    return [np.sort(order[number == n]) for n in range(int(count.max(initial=0)))]


def _kind(number: Any) -> type:
    return next(kind for kind in _WEAK if isinstance(number, kind))


def _enter(compute: Callable[..., Any], *names: str, predicate: bool = False, safe: float = 0.5) -> None:
    for name in names:
        FUNCTIONS[name] = Ufunc(getattr(np, name), compute, predicate, safe)


# Each universal function by its op.

_UNARY: dict[str, Op] = {
    "negative": e.neg,
    "positive": identity,
    "absolute": e.abs_,
    "fabs": e.abs_,
    "sign": e.sgn,
    "floor": e.floor,
    "ceil": e.ceil,
    "trunc": e.trunc,
    "rint": e.round_,
    "square": e.square,
    "sqrt": e.sqrt,
    "cbrt": e.cbrt,
    "exp": e.exp,
    "exp2": e.exp2,
    "expm1": e.expm1,
    "log": e.log,
    "log2": e.log2,
    "log10": e.log10,
    "log1p": e.log1p,
    "sin": e.sin,
    "cos": e.cos,
    "tan": e.tan,
    "arcsin": e.asin,
    "arccos": e.acos,
    "arctan": e.atan,
    "sinh": e.sinh,
    "cosh": e.cosh,
    "tanh": e.tanh,
    "arcsinh": e.asinh,
    "arctanh": e.atanh,
    "conjugate": conj,
    "deg2rad": e.deg2rad,
    "radians": e.deg2rad,
    "rad2deg": e.rad2deg,
    "degrees": e.rad2deg,
    "invert": c.bitwise_not,
    "bitwise_count": floats.bitwise_count,
    "spacing": floats.spacing,
}
_BINARY: dict[str, Op] = {
    "add": e.add,
    "subtract": e.sub,
    "multiply": e.mul,
    "divide": e.div,
    "power": e.pow_,
    "float_power": e.pow_,
    "fmod": e.fmod,
    "remainder": e.remainder,
    "maximum": e.maximum,
    "minimum": e.minimum,
    "arctan2": e.atan2,
    "hypot": e.hypot,
    "logaddexp": e.logaddexp,
    "floor_divide": e.floor_divide,
    "copysign": e.copysign,
    "heaviside": e.heaviside,
    "bitwise_and": c.bitwise_and,
    "bitwise_or": c.bitwise_or,
    "bitwise_xor": c.bitwise_xor,
    "left_shift": c.left_shift,
    "right_shift": c.right_shift,
    "nextafter": e.nextafter,
    "gcd": c.gcd,
    "lcm": c.lcm,
}
_PREDICATES: dict[str, Op] = {
    "equal": c.equal,
    "not_equal": c.not_equal,
    "less": c.less,
    "less_equal": c.less_equal,
    "greater": c.greater,
    "greater_equal": c.greater_equal,
    "logical_and": c.logical_and,
    "logical_or": c.logical_or,
    "logical_xor": c.logical_xor,
    "logical_not": c.logical_not,
    "isnan": c.isnan,
    "isinf": c.isinf,
    "isfinite": c.isfinite,
    "signbit": c.signbit,
}
for _name, _op in _UNARY.items():
    _enter(unary(_op, floating=False), _name)
for _name, _op in _BINARY.items():
    _enter(binary(_op), _name)
for _name, _op in _PREDICATES.items():
    _enter(_op, _name, predicate=True)
_enter(unary(e.acosh, floating=False), "arccosh", safe=2.0)


def _reciprocal(x: Any) -> Any:
    if dtype_of(x).kind in "fc":
        return e.reciprocal(x)
    return to_dtype(e.trunc(e.reciprocal(to_dtype(x, np.dtype(float)))), dtype_of(x))


def _prefer(op: Op) -> Callable[[Any, Any], Any]:
    """The larger or smaller of two, or the other one where one is NaN."""

    def function(a: Any, b: Any) -> Any:
        return e.where(c.isnan(a), b, e.where(c.isnan(b), a, op(a, b)))

    return function


def _logaddexp2(a: Any, b: Any) -> Any:
    ln2 = math.log(2)
    return e.mul(e.logaddexp(e.mul(a, ln2), e.mul(b, ln2)), 1 / ln2)


_enter(_reciprocal, "reciprocal")
_enter(_prefer(e.maximum), "fmax")
_enter(_prefer(e.minimum), "fmin")
_enter(_logaddexp2, "logaddexp2")
_enter(lambda x, n: e.ldexp(x, to_dtype(lift(n), dtype_of(x))), "ldexp")


# Two results


@implements("divmod")
def divmod(x1: Any, x2: Any, /, **kwargs: Any) -> tuple[Any, Any]:
    return FUNCTIONS["floor_divide"](x1, x2, **kwargs), FUNCTIONS["remainder"](x1, x2, **kwargs)


@implements("modf")
def modf(x: Any, /, **kwargs: Any) -> tuple[Any, Any]:
    whole = inexact(FUNCTIONS["trunc"](x, **kwargs))
    return e.sub(to_dtype(lift(x), dtype_of(whole)), whole), whole


@implements("frexp")
def frexp(x: Any, /, out: Any = None) -> tuple[Any, Any]:
    if out is not None:
        raise TypeError("frexp takes no out= for a Tensor")
    a = inexact(x)
    return e.frexp(a), e.frexp_exponent(a)
