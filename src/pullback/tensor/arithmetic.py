"""Elementwise functions of tensors, under PyTorch's names."""

from __future__ import annotations

from typing import Any

from pullback.ops import compare as c
from pullback.ops import elementwise as e
from pullback.tensor.dispatch import apply, as_handle, binary, predicate, unary

add_, sub_ = binary(e.add), binary(e.sub)
mul = multiply = binary(e.mul)
div = divide = true_divide = binary(e.div, floating=True)
pow = binary(e.pow_)
maximum, minimum = binary(e.maximum), binary(e.minimum)
fmod, remainder = binary(e.fmod), binary(e.remainder)
atan2 = arctan2 = binary(e.atan2, floating=True)
hypot = binary(e.hypot, floating=True)
logaddexp = binary(e.logaddexp, floating=True)

neg = negative = unary(e.neg, floating=False)
square = unary(e.square, floating=False)
abs = absolute = unary(e.abs_, floating=False)
sign = unary(c.sign, floating=False)
floor, ceil, trunc = (unary(op, floating=False) for op in (e.floor, e.ceil, e.trunc))
exp, exp2, expm1 = unary(e.exp), unary(e.exp2), unary(e.expm1)
log, log2, log10, log1p = unary(e.log), unary(e.log2), unary(e.log10), unary(e.log1p)
sqrt, rsqrt, reciprocal = unary(e.sqrt), unary(e.rsqrt), unary(e.reciprocal)
sin, cos, tan = unary(e.sin), unary(e.cos), unary(e.tan)
asin, acos, atan = unary(e.asin), unary(e.acos), unary(e.atan)
arcsin, arccos, arctan = asin, acos, atan
sinh, cosh, tanh = unary(e.sinh), unary(e.cosh), unary(e.tanh)
asinh, acosh, atanh = unary(e.asinh), unary(e.acosh), unary(e.atanh)

eq, ne = predicate(c.equal), predicate(c.not_equal)
lt, le, gt, ge = predicate(c.less), predicate(c.less_equal), predicate(c.greater), predicate(c.greater_equal)
isnan, isinf, isfinite = predicate(c.isnan), predicate(c.isinf), predicate(c.isfinite)
logical_not, logical_and = predicate(c.logical_not), predicate(c.logical_and)
logical_or, logical_xor = predicate(c.logical_or), predicate(c.logical_xor)


def add(input: Any, other: Any, *, alpha: complex = 1) -> Any:
    """input + alpha · other, broadcast together."""
    return add_(input, other if alpha == 1 else mul(other, alpha))


def sub(input: Any, other: Any, *, alpha: complex = 1) -> Any:
    """input - alpha · other, broadcast together."""
    return sub_(input, other if alpha == 1 else mul(other, alpha))


def clamp(input: Any, min: Any = None, max: Any = None) -> Any:
    """Elements held between `min` and `max`: numbers, or tensors broadcast to the input; either may be None."""
    if min is None and max is None:
        raise RuntimeError("clamp: at least one of 'min' or 'max' must not be None")
    if all(bound is None or isinstance(bound, int | float) for bound in (min, max)):
        return apply(e.clamp, as_handle(input), min=min, max=max)
    result = input if min is None else maximum(input, min)
    return result if max is None else minimum(result, max)


class ArithmeticMethods:
    """Elementwise methods and operators of `Tensor`."""

    __add__ = add_
    __sub__ = sub_
    __mul__ = mul
    __truediv__ = div
    __pow__ = pow
    __neg__ = neg
    __abs__ = abs

    def __radd__(self, other: Any) -> Any:
        return add_(self, other)

    def __rmul__(self, other: Any) -> Any:
        return mul(self, other)

    def __rsub__(self, other: Any) -> Any:
        return apply(e.sub, other, self)

    def __rtruediv__(self, other: Any) -> Any:
        return apply(e.div, other, self, floating=True)

    def __rpow__(self, other: Any) -> Any:
        return apply(e.pow_, other, self)
