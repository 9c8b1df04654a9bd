"""In-place operators and methods of tensors.

On tensors that are not being recorded they write memory and count the write, and do no more: `w -= lr * w.grad` under
`no_grad` is a training loop's innermost line. Otherwise an in-place operation is its out-of-place form applied to the
old value, written back and recorded by `tensor.inplace`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pullback.ops import elementwise as e
from pullback.ops.table import Op
from pullback.tape.node import Handle, new_handle
from pullback.tape.state import TRACING, modes
from pullback.tensor import arithmetic as a
from pullback.tensor import comparison as c
from pullback.tensor import random as r
from pullback.tensor.dispatch import as_handle, is_raw, materialize, to_dtype
from pullback.tensor.inplace import bump, check_writable, move, update
from pullback.tensor.operands import OPERANDS
from pullback.values.dtype import type_name
from pullback.values.shape import ShapeError, broadcast_shapes

_FLOATS = frozenset({np.float16, np.float32, np.float64})
_NEVER = np.zeros((), bool)
_RANK = {"b": 0, "u": 1, "i": 1, "f": 2, "c": 3}


def _check_memory(handle: Any) -> None:
    value = handle._value
    if isinstance(value, np.ndarray) and not value.flags.writeable:
        raise RuntimeError(
            "unsupported operation: more than one element of the written-to tensor refers to a single memory location, "
            "or its memory is read-only. Please clone() the tensor before performing the operation."
        )


def _fits(handle: Any, shape: Any) -> None:
    """Raise `RuntimeError` unless a result of `shape` can be written into `handle`."""
    own = tuple(handle._value.shape)
    if own != tuple(shape):
        raise ShapeError(f"output with shape {list(own)} doesn't match the broadcast shape {list(shape)}")


def rewrite(handle: Any, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """`handle` becomes `function(handle, ...)`, converted to its dtype. Returns `handle`.

    Raises `RuntimeError` if the result has another shape, or a dtype of a higher category.
    """
    check_writable(handle)
    _check_memory(handle)
    raw = is_raw(handle)
    value = handle._value
    recording = modes.grad and any(isinstance(x, Handle) and x._node is not None for x in (handle, *args))
    old = new_handle(value.copy() if recording and raw else value, handle._node)
    new = function(old, *(old if x is handle else x for x in args), **options)
    _fits(handle, new.shape)
    own, found = value.dtype, new._value.dtype
    if _RANK[found.kind] > _RANK[own.kind]:
        raise RuntimeError(f"result type {type_name(found)} can't be cast to the desired output type {type_name(own)}")
    new = to_dtype(new, own)
    if recording and new._node is None:  # no derivative: the old value gets a gradient of zeros
        new = e.where(_NEVER, old, new)
    move(handle, new)
    return handle


def _quiet(handle: Any, other: Any = None) -> bool:
    """Whether a write to `handle` that reads `other` is not recorded."""
    return not modes.grad or (handle._node is None and (not isinstance(other, Handle) or other._node is None))


def _is_scalar(handle: Any) -> bool:
    """Whether NumPy would have a scalar here, which `+=` replaces instead of writing to it."""
    value = handle._value
    return value.shape == () and type(value) is not np.ndarray and handle._view is None


def _updates(
    op: Op, ufunc: Callable[..., Any], function: Callable[[Any, Any], Any]
) -> tuple[Callable[[Any, Any], Any], Callable[[Any, Any], Any]]:
    """The operator of an arithmetic op, `function` in place, and the same without shortcuts."""
    evaluate = op.evaluate

    def slow(self: Any, other: Any) -> Any:
        dtype = self._value.dtype
        same = other._value.dtype == dtype if isinstance(other, Handle) else isinstance(other, int | float)
        if not same or dtype.kind != "f" or isinstance(other, np.generic):
            return rewrite(self, function, other)
        _check_memory(self)
        if isinstance(other, Handle):
            _fits(self, broadcast_shapes(tuple(self._value.shape), tuple(other._value.shape)))
        return update(self, op, other)

    def operator(self: Any, other: Any) -> Any:
        value = self._value
        if modes.numpy:
            if not isinstance(other, OPERANDS):
                return NotImplemented
            return function(self, other) if _is_scalar(self) else slow(self, other)
        if isinstance(other, Handle):
            v = other._value
            quiet = (self._node is None and other._node is None) or not modes.grad
        elif isinstance(other, OPERANDS):
            v = other
            quiet = self._node is None or not modes.grad
        else:
            return NotImplemented
        if quiet and not (TRACING and modes.tracer):
            kind, like = type(value), type(v)
            if kind is np.ndarray:
                dtype = value.dtype
                if dtype.kind == "f" and (
                    like is float or like is int or ((like is kind or like in _FLOATS) and v.dtype is dtype)
                ):
                    try:
                        ufunc(value, v, value)
                    except ValueError:  # shapes that don't fit, or memory not to be written: said better below
                        return slow(self, other)
                    if self._base is None and self._node is None:
                        self._version += 1
                    else:
                        bump(self)
                    return self
            elif kind in _FLOATS and (like is kind or like is float or like is int):
                self._value = evaluate(value, v)
                if self._base is None and self._node is None:
                    self._version += 1
                else:
                    bump(self)
                return self
        return slow(self, other)

    return operator, slow


_add, _add_slowly = _updates(e.add, np.add, a.add)
_sub, _sub_slowly = _updates(e.sub, np.subtract, a.sub)
_mul, _mul_slowly = _updates(e.mul, np.multiply, a.mul)
_div, _div_slowly = _updates(e.div, np.true_divide, a.div)
_pow, _pow_slowly = _updates(e.pow_, np.power, a.pow)


def _refused(name: str, other: Any) -> TypeError:
    return TypeError(f"{name}(): argument 'other' (position 1) must be Tensor, not {type(other).__name__}")


def _times(other: Any, alpha: Any, self: Any) -> Any:
    """alpha · other, to be added to `self`."""
    if type(alpha) is float and isinstance(other, Handle) and self._value.dtype.kind == "f":
        return a.mul(other, alpha)
    return a.scaled(other, alpha, self, other)


def add_(self: Any, other: Any, *, alpha: Any = 1) -> Any:
    """self + alpha · other, in place."""
    if type(alpha) is not int or alpha != 1:
        other = _times(other, alpha, self)
    if (result := (_add_slowly if modes.numpy else _add)(self, other)) is NotImplemented:
        raise _refused("add_", other)
    return result


def sub_(self: Any, other: Any, *, alpha: Any = 1) -> Any:
    """self - alpha · other, in place."""
    if type(alpha) is not int or alpha != 1:
        other = _times(other, alpha, self)
    if (result := (_sub_slowly if modes.numpy else _sub)(self, other)) is NotImplemented:
        raise _refused("sub_", other)
    return result


def mul_(self: Any, other: Any) -> Any:
    """self · other, in place."""
    if (result := (_mul_slowly if modes.numpy else _mul)(self, other)) is NotImplemented:
        raise _refused("mul_", other)
    return result


def div_(self: Any, other: Any, *, rounding_mode: str | None = None) -> Any:
    """self / other, in place."""
    if rounding_mode is not None:
        return rewrite(self, a.div, other, rounding_mode=rounding_mode)
    if (result := (_div_slowly if modes.numpy else _div)(self, other)) is NotImplemented:
        raise _refused("div_", other)
    return result


def pow_(self: Any, exponent: Any) -> Any:
    """self ** exponent, in place."""
    if (result := (_pow_slowly if modes.numpy else _pow)(self, exponent)) is NotImplemented:
        raise _refused("pow_", exponent)
    return result


def _inplace(function: Any) -> Callable[..., Any]:
    """`function` in place."""

    def method(self: Any, *args: Any, **options: Any) -> Any:
        return rewrite(self, function, *args, **options)

    method.__name__ = method.__qualname__ = function.__name__ + "_"
    method.__doc__ = f"`{function.__name__}` in place."
    return method


def _inplace_operator(function: Any) -> Callable[[Any, Any], Any]:
    def operator(self: Any, other: Any) -> Any:
        if not isinstance(other, OPERANDS):
            return NotImplemented
        return function(self, other) if modes.numpy and _is_scalar(self) else rewrite(self, function, other)

    return operator


def _unary(op: Op, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A function of one operand in place; floats take the op as it is, so that nothing is copied but what it saves."""

    def method(self: Any) -> Any:
        if self._value.dtype.kind != "f":
            return rewrite(self, function)
        _check_memory(self)
        return update(self, op)

    method.__doc__ = f"`{op.name}` in place."
    return method


def _replace(self: Any, new: Any, title: str) -> Any:
    """`self` becomes `new`, a number or a tensor that broadcasts; the old value gets a gradient of zeros."""
    op = e.where.titled(title)
    return rewrite(self, lambda old, new: op(_NEVER, old, new), new)


def zero_(self: Any) -> Any:
    """Zeros, in place."""
    if (self._node is None or not modes.grad) and not (TRACING and modes.tracer):
        value = self._value
        kind = type(value)
        if kind in _FLOATS:
            self._value = kind(0)
            self._version += 1  # a scalar has no base: it shares no memory
            return self
        if kind is np.ndarray:
            _check_memory(self)
            value.fill(0)
            bump(self)
            return self
    return _replace(self, _like(self, 0), "ZeroBackward0")


def _like(handle: Any, number: Any) -> Any:
    """A Python number as a tensor of the dtype of `handle`."""
    dtype = handle._value.dtype
    if isinstance(number, complex) and dtype.kind != "c":
        raise RuntimeError(f"value cannot be converted to type {dtype} without overflow")
    return new_handle(np.asarray(number).astype(dtype))


def fill_(self: Any, value: Any) -> Any:
    """`value`, a number or a 0-dim tensor, in every place."""
    if isinstance(value, Handle):
        if value._value.shape:
            raise RuntimeError(
                "fill_ only supports 0-dimension value tensor but got tensor with "
                f"{len(value._value.shape)} dimensions."
            )
        value = to_dtype(value, self._value.dtype)
    else:
        value = _like(self, value)
    return _replace(self, value, "FillBackward0")


def copy_(self: Any, src: Any, non_blocking: bool = False) -> Any:
    """The elements of `src`, broadcast to this shape and converted to this dtype."""
    source = as_handle(src)
    shape, own = tuple(self._value.shape), tuple(source._value.shape)
    _fits(self, broadcast_shapes(shape, own))
    raw = is_raw(self) and is_raw(source)
    if raw and _quiet(self, source) and type(self._value) is np.ndarray and self._value.flags.writeable:
        dtype = self._value.dtype
        value = source._value.real if dtype.kind != "c" else source._value
        np.copyto(self._value, value, casting="unsafe")
        bump(self)
        return self
    return _replace(self, to_dtype(source, self._value.dtype), "CopyBackwards")


def set_(self: Any, source: Any) -> Any:
    """Share the memory of `source` from now on."""
    check_writable(self)
    self._value = materialize(as_handle(source)) if is_raw(source) else source._value
    bump(self)
    return self


def detach_(self: Any) -> Any:
    """Take this tensor off the tape. Raises `RuntimeError` for a view."""
    if self._view is not None and self._node is not None:
        raise RuntimeError("Can't detach views in-place. Use detach() instead.")
    self._node = None
    return self


# Random numbers


def _random(self: Any, sample: Callable[[np.random.Generator], Any], generator: Any, title: str) -> Any:
    dtype = self._value.dtype
    return _replace(self, new_handle(r.drawn(lambda rng: np.asarray(sample(rng), dtype), generator)), title)


def _place(self: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    return tuple(self._value.shape), self._value.dtype


# `from` is a Python keyword, so PyTorch's name for the lower bound is taken by position.


def uniform_(self: Any, low: float = 0.0, high: float = 1.0, *, generator: Any = None) -> Any:
    """Numbers evenly distributed in [low, high), in place."""
    if low > high:
        raise RuntimeError(f"uniform_ expects to return a [from, to) range, but found from={low:g} > to={high:g}")
    place = _place(self)
    return _random(self, lambda rng: low + (high - low) * r.uniform_array(rng, *place), generator, "UniformBackward0")


def normal_(self: Any, mean: float = 0.0, std: float = 1.0, *, generator: Any = None) -> Any:
    """Normally distributed numbers, in place."""
    if std < 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std:g}")
    place = _place(self)
    return _random(self, lambda rng: mean + std * r.normal_array(rng, *place), generator, "NormalBackward0")


def exponential_(self: Any, lambd: float = 1.0, *, generator: Any = None) -> Any:
    """Exponentially distributed numbers of rate `lambd`, in place."""
    if lambd <= 0:
        raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={lambd:g}")
    shape, _ = _place(self)
    return _random(self, lambda rng: rng.standard_exponential(shape) / lambd, generator, "ExponentialBackward0")


def cauchy_(self: Any, median: float = 0.0, sigma: float = 1.0, *, generator: Any = None) -> Any:
    """Cauchy-distributed numbers of the given median and half-width, in place."""
    if sigma <= 0:
        raise RuntimeError(f"cauchy_ expects sigma > 0.0, but found sigma={sigma:g}")
    shape, _ = _place(self)
    return _random(self, lambda rng: median + sigma * rng.standard_cauchy(shape), generator, "CauchyBackward0")


def log_normal_(self: Any, mean: float = 1.0, std: float = 2.0, *, generator: Any = None) -> Any:
    """Exponentials of normally distributed numbers of this `mean` and `std`, in place."""
    if std <= 0:
        raise RuntimeError(f"log_normal_ expects std > 0.0, but found std={std:g}")
    shape, _ = _place(self)
    return _random(self, lambda rng: rng.lognormal(mean, std, shape), generator, "LogNormalBackward0")


def geometric_(self: Any, p: float, *, generator: Any = None) -> Any:
    """How many trials it takes until one succeeds, each with probability `p`, in place."""
    if not 0 < p < 1:
        raise RuntimeError(f"geometric_ expects p to be in (0, 1), but got p={p:g}")
    shape, _ = _place(self)
    return _random(self, lambda rng: rng.geometric(p, shape), generator, "GeometricBackward0")


def random_(self: Any, *bounds: int, generator: Any = None) -> Any:
    """Integers in [0, high) or [low, high), or all that the dtype holds exactly, in place."""
    shape, dtype = _place(self)
    if bounds:
        low, high = (0, bounds[0]) if len(bounds) == 1 else bounds
    elif dtype.kind in "fc":
        low, high = 0, (1 << (np.finfo(dtype).nmant + 1)) + 1
    else:
        low, high = (0, 2) if dtype.kind == "b" else (0, int(np.iinfo(dtype).max) + 1)
    return _random(self, lambda rng: r.integer_array(rng, low, high, shape, dtype), generator, "RandomBackward0")


def bernoulli_(self: Any, p: Any = 0.5, *, generator: Any = None) -> Any:
    """Ones with probability `p` (a number or a tensor that broadcasts), zeros otherwise, in place."""
    place = _place(self)
    return _random(self, lambda rng: r.bernoulli_array(rng, p, *place), generator, "BernoulliBackward0")


def _abs(input: Any) -> Any:
    if input._value.dtype.kind == "c":
        raise RuntimeError("In-place abs is not supported for complex tensors.")
    return a.abs(input)


class InplaceMethods:
    """In-place operators and methods of `Tensor`."""

    add_, sub_, subtract_, mul_, multiply_ = add_, sub_, sub_, mul_, mul_
    div_, divide_, true_divide_, pow_ = div_, div_, div_, pow_
    zero_, fill_, copy_, set_, detach_ = zero_, fill_, copy_, set_, detach_
    uniform_, normal_, exponential_ = uniform_, normal_, exponential_
    random_, bernoulli_ = random_, bernoulli_
    cauchy_, log_normal_, geometric_ = cauchy_, log_normal_, geometric_

    exp_, exp2_, expm1_ = _unary(e.exp, a.exp), _unary(e.exp2, a.exp2), _unary(e.expm1, a.expm1)
    log_, log2_, log10_, log1p_ = (
        _unary(e.log, a.log),
        _unary(e.log2, a.log2),
        _unary(e.log10, a.log10),
        _unary(e.log1p, a.log1p),
    )
    sqrt_, rsqrt_, reciprocal_ = _unary(e.sqrt, a.sqrt), _unary(e.rsqrt, a.rsqrt), _unary(e.reciprocal, a.reciprocal)
    sin_, cos_, tan_ = _unary(e.sin, a.sin), _unary(e.cos, a.cos), _unary(e.tan, a.tan)
    asin_, acos_, atan_ = _unary(e.asin, a.asin), _unary(e.acos, a.acos), _unary(e.atan, a.atan)
    sinh_, cosh_, tanh_ = _unary(e.sinh, a.sinh), _unary(e.cosh, a.cosh), _unary(e.tanh, a.tanh)
    sigmoid_, relu_ = _unary(e.sigmoid, a.sigmoid), _unary(e.relu, a.relu)
    neg_ = negative_ = _unary(e.neg, a.neg)
    abs_ = absolute_ = _unary(e.abs_, _abs)
    floor_, ceil_, trunc_ = _unary(e.floor, a.floor), _unary(e.ceil, a.ceil), _unary(e.trunc, a.trunc)

    round_, frac_, sign_, sgn_, square_ = map(_inplace, (a.round, a.frac, a.sign, a.sgn, a.square))
    clamp_, clip_, clamp_min_, clamp_max_ = map(_inplace, (a.clamp, a.clip, a.clamp_min, a.clamp_max))
    lerp_, addcmul_, addcdiv_, nan_to_num_ = map(_inplace, (a.lerp, a.addcmul, a.addcdiv, a.nan_to_num))
    floor_divide_, remainder_, fmod_ = map(_inplace, (a.floor_divide, a.remainder, a.fmod))
    eq_, ne_, lt_, le_, gt_, ge_ = map(_inplace, (c.eq, c.ne, c.lt, c.le, c.gt, c.ge))
    logical_not_, logical_and_ = map(_inplace, (c.logical_not, c.logical_and))
    logical_or_, logical_xor_ = map(_inplace, (c.logical_or, c.logical_xor))
    bitwise_and_, bitwise_or_ = map(_inplace, (c.bitwise_and, c.bitwise_or))
    bitwise_xor_, bitwise_not_ = map(_inplace, (c.bitwise_xor, c.bitwise_not))

    __iadd__, __isub__, __imul__, __itruediv__, __ipow__ = _add, _sub, _mul, _div, _pow
    __ifloordiv__, __imod__ = _inplace_operator(a.floor_divide), _inplace_operator(a.remainder)
    __iand__, __ior__, __ixor__ = map(_inplace_operator, (c.bitwise_and, c.bitwise_or, c.bitwise_xor))
    __ilshift__, __irshift__ = map(_inplace_operator, (c.bitwise_left_shift, c.bitwise_right_shift))
