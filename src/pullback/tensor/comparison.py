"""Comparisons, tests, logic and bits of tensors, under PyTorch's names: results that are not differentiated."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from pullback.ops import compare as c
from pullback.ops.table import Op
from pullback.tape.node import Handle, make
from pullback.tape.state import modes
from pullback.tensor.conversion import imag, numbers
from pullback.tensor.dispatch import apply, as_handle
from pullback.tensor.operands import OPERANDS, checked, unimplemented
from pullback.values.dtype import type_name

__all__ = [
    "allclose",
    "bitwise_and",
    "bitwise_left_shift",
    "bitwise_not",
    "bitwise_or",
    "bitwise_right_shift",
    "bitwise_xor",
    "eq",
    "equal",
    "ge",
    "greater",
    "greater_equal",
    "gt",
    "isclose",
    "isfinite",
    "isinf",
    "isnan",
    "isneginf",
    "isposinf",
    "isreal",
    "le",
    "less",
    "less_equal",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "lt",
    "ne",
    "not_equal",
    "signbit",
]


def _compare(op: Op, ordered: bool) -> tuple[Callable[[Any, Any], Any], Callable[[Any, Any], Any]]:
    """A comparison as a function and as an operator: a boolean tensor, never tracked."""
    evaluate = op.evaluate

    def rest(input: Any, other: Any) -> Any:
        checked(op.name, input), checked(op.name, other)
        if ordered:
            unimplemented(f"{op.name}_cpu", input, other, kinds="c")
        return apply(op, input, other)

    def function(input: Any, other: Any) -> Any:
        if not modes.special and isinstance(input, Handle):
            va, kind = input._value, type(other)
            vb = other
            if kind is float or kind is int:
                simple = va.dtype.kind == "f"
            elif isinstance(other, Handle):
                vb = other._value
                simple = va.dtype is vb.dtype and va.shape == vb.shape and va.dtype.kind != "c"
            else:
                simple = False
            if simple:
                result = make(Handle.maker)
                result._value = evaluate(va, vb)
                return result
        return rest(input, other)

    function.__name__ = function.__qualname__ = op.name
    function.__doc__ = op.doc

    def operator(input: Any, other: Any) -> Any:
        return function(input, other) if isinstance(other, OPERANDS) else NotImplemented

    return function, operator


def _logical(op: Op) -> Callable[..., Any]:
    """A test of one operand or two, of any dtype: a boolean tensor, never tracked."""

    def function(*operands: Any) -> Any:
        return op(*(as_handle(x) for x in operands))

    function.__name__ = function.__qualname__ = op.name
    function.__doc__ = op.doc
    return function


eq, _eq_operator = _compare(c.equal, False)
ne, _ne_operator = _compare(c.not_equal, False)
lt, _lt_operator = _compare(c.less, True)
le, _le_operator = _compare(c.less_equal, True)
gt, _gt_operator = _compare(c.greater, True)
ge, _ge_operator = _compare(c.greater_equal, True)
not_equal, less, less_equal, greater, greater_equal = ne, lt, le, gt, ge
isnan, isinf, isfinite = (_logical(op) for op in (c.isnan, c.isinf, c.isfinite))
logical_not, logical_and, logical_or, logical_xor = (
    _logical(op) for op in (c.logical_not, c.logical_and, c.logical_or, c.logical_xor)
)


def signbit(input: Any) -> Any:
    """Whether each element is negative, -0.0 included."""
    unimplemented("signbit", input, kinds="c")
    x = as_handle(input)
    return lt(x, 0) if x._value.dtype.kind == "b" else c.signbit(x)


def isposinf(input: Any) -> Any:
    """Whether each element is +∞."""
    unimplemented("isposinf", input, kinds="c")
    return eq(input, math.inf)


def isneginf(input: Any) -> Any:
    """Whether each element is -∞."""
    unimplemented("isneginf", input, kinds="c")
    return eq(input, -math.inf)


def isreal(input: Any) -> Any:
    """Whether each element has no imaginary part."""
    x = as_handle(input)
    return eq(imag(x), 0) if x._value.dtype.kind == "c" else eq(isnan(x), isnan(x))


def _same_dtype(*operands: Any) -> None:
    first, *others = (as_handle(x)._value.dtype for x in operands)
    for dtype in others:
        if dtype != first:
            raise RuntimeError(f"{type_name(first)} did not match {type_name(dtype)}")


def isclose(input: Any, other: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Any:
    """Whether |input - other| <= atol + rtol · |other|, element by element, of tensors of one dtype."""
    _same_dtype(input, other)
    return c.isclose(as_handle(input), as_handle(other), rtol=rtol, atol=atol, equal_nan=equal_nan)


def allclose(input: Any, other: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    """Whether `isclose` holds everywhere.

    >>> import pullback as pb
    >>> pb.allclose(pb.tensor([1.0]), pb.tensor([1.0 + 1e-7]))
    True
    """
    return bool(np.all(numbers(isclose(input, other, rtol, atol, equal_nan), "allclose()")))


def equal(input: Any, other: Any) -> bool:
    """Whether two tensors have the same shape and elements."""
    if not isinstance(input, Handle) or not isinstance(other, Handle):
        foreign = other if isinstance(input, Handle) else input
        raise TypeError(f"equal(): argument 'other' (position 2) must be Tensor, not {type(foreign).__name__}")
    return bool(input.shape == other.shape and np.all(numbers(eq(input, other), "equal()")))


# Bits


def _bits(op: Op, kernel: str) -> tuple[Callable[[Any, Any], Any], Callable[[Any, Any], Any]]:
    shift = op in (c.left_shift, c.right_shift)

    def function(input: Any, other: Any) -> Any:
        checked(op.name, input), checked(op.name, other)
        unimplemented(kernel, input, other, kinds="fc" if not shift else "fcb")
        return apply(op, input, other)

    function.__name__ = function.__qualname__ = op.name
    function.__doc__ = op.doc

    def operator(input: Any, other: Any) -> Any:
        return function(input, other) if isinstance(other, OPERANDS) else NotImplemented

    return function, operator


bitwise_and, _and_operator = _bits(c.bitwise_and, "bitwise_and_cpu")
bitwise_or, _or_operator = _bits(c.bitwise_or, "bitwise_or_cpu")
bitwise_xor, _xor_operator = _bits(c.bitwise_xor, "bitwise_xor_cpu")
bitwise_left_shift, _lshift_operator = _bits(c.left_shift, "lshift_cpu")
bitwise_right_shift, _rshift_operator = _bits(c.right_shift, "rshift_cpu")


def bitwise_not(input: Any) -> Any:
    """The bits of integers turned over; booleans negated."""
    unimplemented("bitwise_not_cpu", input, kinds="fc")
    return c.bitwise_not(as_handle(input))


def _lshift_reflected(self: Any, other: Any) -> Any:
    return bitwise_left_shift(other, self) if isinstance(other, OPERANDS) else NotImplemented


def _rshift_reflected(self: Any, other: Any) -> Any:
    return bitwise_right_shift(other, self) if isinstance(other, OPERANDS) else NotImplemented


def _invert_operator(self: Any) -> Any:
    if self._value.dtype.kind in "fc":
        raise TypeError("~ (operator.invert) is only implemented on integer and Boolean-type tensors")
    return bitwise_not(self)


class ComparisonMethods:
    """Comparisons and bit operations as methods and operators of `Tensor`."""

    allclose, bitwise_and, bitwise_left_shift, bitwise_not = allclose, bitwise_and, bitwise_left_shift, bitwise_not
    bitwise_or, bitwise_right_shift, bitwise_xor, eq, equal = bitwise_or, bitwise_right_shift, bitwise_xor, eq, equal
    ge, greater, greater_equal, gt, isclose, isfinite = ge, greater, greater_equal, gt, isclose, isfinite
    isinf, isnan, isneginf, isposinf, isreal, le, less = isinf, isnan, isneginf, isposinf, isreal, le, less
    less_equal, logical_and, logical_not, logical_or = less_equal, logical_and, logical_not, logical_or
    logical_xor, lt, ne, not_equal, signbit = logical_xor, lt, ne, not_equal, signbit

    __and__ = __rand__ = _and_operator
    __or__ = __ror__ = _or_operator
    __xor__ = __rxor__ = _xor_operator
    __lshift__, __rshift__ = _lshift_operator, _rshift_operator
    __rlshift__, __rrshift__ = _lshift_reflected, _rshift_reflected
    __eq__, __ne__ = _eq_operator, _ne_operator
    __lt__, __le__, __gt__, __ge__ = _lt_operator, _le_operator, _gt_operator, _ge_operator
    __invert__ = _invert_operator
