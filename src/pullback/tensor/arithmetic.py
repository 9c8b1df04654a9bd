"""Elementwise functions of tensors, under PyTorch's names, and the operators."""

from __future__ import annotations

import builtins
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from pullback.ops import compare as c
from pullback.ops import elementwise as e
from pullback.ops.control import identity
from pullback.ops.table import Op
from pullback.tape.memory import keep
from pullback.tape.node import Handle, LeafMark, Node, make, set_node
from pullback.tape.state import modes
from pullback.tensor.comparison import eq, ge, gt, isnan, le, logical_and, logical_or, logical_xor, lt, ne
from pullback.tensor.conversion import numbers
from pullback.tensor.dispatch import apply, as_handle, binary, promoted, to_dtype, unary
from pullback.tensor.gathering import where
from pullback.tensor.operands import NUMBERS, OPERANDS, checked, unimplemented
from pullback.values.dtype import type_name

__all__ = [
    "abs",
    "absolute",
    "acos",
    "acosh",
    "add",
    "addcdiv",
    "addcmul",
    "angle",
    "arccos",
    "arccosh",
    "arcsin",
    "arcsinh",
    "arctan",
    "arctan2",
    "arctanh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "ceil",
    "clamp",
    "clamp_max",
    "clamp_min",
    "clip",
    "complex",
    "copysign",
    "cos",
    "cosh",
    "deg2rad",
    "div",
    "divide",
    "exp",
    "exp2",
    "expm1",
    "fix",
    "float_power",
    "floor",
    "floor_divide",
    "fmax",
    "fmin",
    "fmod",
    "frac",
    "heaviside",
    "hypot",
    "ldexp",
    "lerp",
    "log",
    "log1p",
    "log2",
    "log10",
    "logaddexp",
    "logaddexp2",
    "logit",
    "maximum",
    "minimum",
    "mul",
    "multiply",
    "nan_to_num",
    "neg",
    "negative",
    "polar",
    "positive",
    "pow",
    "rad2deg",
    "reciprocal",
    "relu",
    "remainder",
    "round",
    "rsqrt",
    "rsub",
    "sgn",
    "sigmoid",
    "sign",
    "sin",
    "sinc",
    "sinh",
    "sqrt",
    "square",
    "sub",
    "subtract",
    "tan",
    "tanh",
    "true_divide",
    "trunc",
    "xlogy",
]

# From ops to functions and operators


def _pair(
    op: Op, *, floating: bool = False, check: Callable[[Any, Any], None] | None = None
) -> tuple[Callable[[Any, Any], Any], Callable[[Any, Any], Any]]:
    """An op of two operands as a function and as an operator, which leaves foreign operands to their own methods.

    `check` may refuse operands that are not both floats.
    """
    name = op.name

    def rest(input: Any, other: Any) -> Any:
        checked(name, input), checked(name, other)
        if check is not None:
            check(input, other)
        return apply(op, input, other, floating=floating)

    def operator(input: Any, other: Any) -> Any:
        return rest(input, other) if isinstance(other, OPERANDS) else NotImplemented

    return binary(op, floating=floating, otherwise=rest), binary(op, floating=floating, otherwise=operator)


def _reflected(op: Op, *, check: Callable[[Any, Any], None] | None = None) -> Callable[[Any, Any], Any]:
    """The operator for a number or array on the left of a tensor, with a fast path for numbers."""
    evaluate = op.evaluate
    need_y, need_a, need_b = op.needs((False, True))

    def operator(self: Any, other: Any) -> Any:
        kind = type(other)
        if (kind is float or kind is int) and not modes.special and self._value.dtype.kind == "f":
            result = make(Handle.maker)
            result._value = y = evaluate(other, self._value)
            place = self._node
            if place is not None and modes.grad:
                kept, version = keep(self) if need_b else (None, 0)
                result._node = node = set_node(
                    make(Node),
                    op,
                    (None, self if type(place) is LeafMark else place),
                    (y if need_y else None, other if need_a else None, kept),
                    (0, 0, version) if need_b else None,
                )
                if need_y:
                    result._kept = True
                    node.output = (weakref.ref(result), 0)
            return result
        if not isinstance(other, OPERANDS):
            return NotImplemented
        if check is not None:
            check(other, self)
        return apply(op, other, self)

    return operator


def _kept(op: Op, kernel: str) -> Callable[[Any], Any]:
    """A function of one operand that leaves integers integers, and is not there for booleans."""

    def rest(input: Any) -> Any:
        unimplemented(kernel, input, kinds="b")
        return apply(op, input)

    return unary(op, floating=False, otherwise=rest)


def _real(op: Op, kernel: str) -> Callable[[Any], Any]:
    """A function of one operand that is not there for complex numbers."""

    def rest(input: Any) -> Any:
        unimplemented(kernel, input, kinds="c")
        return apply(op, input, floating=True)

    return unary(op, otherwise=rest)


def _whole(op: Op, kernel: str) -> Callable[[Any], Any]:
    """A rounding: integers are whole already."""

    def rest(input: Any) -> Any:
        x = as_handle(input)
        unimplemented(kernel, x, kinds="bc")
        return apply(op, x) if x._value.dtype.kind == "f" else identity(x)

    return unary(op, floating=False, otherwise=rest)


# Arithmetic


def _no_bool_difference(a: Any, b: Any) -> None:
    if promoted(a, b).kind == "b":
        raise RuntimeError(
            "Subtraction, the `-` operator, with two bool tensors is not supported. "
            "Use the `^` or `logical_xor()` operator instead."
        )
    if not modes.numpy and any(isinstance(x, bool) if isinstance(x, NUMBERS) else x.dtype == np.bool_ for x in (a, b)):
        raise RuntimeError(
            "Subtraction, the `-` operator, with a bool tensor is not supported. "
            "If you are trying to invert a mask, use the `~` or `logical_not()` operator instead."
        )


def _no_integer_zero(kernel: str) -> Callable[[Any, Any], None]:
    def check(a: Any, b: Any) -> None:
        unimplemented(kernel, a, b, kinds="bc")
        if promoted(a, b).kind in "iu":
            divisor = numbers(b, "integer division") if isinstance(b, Handle) and not modes.special else b
            if not isinstance(divisor, Handle) and np.any(np.equal(divisor, 0)):
                raise RuntimeError("ZeroDivisionError")

    return check


def _no_bool_power(a: Any, b: Any) -> None:
    unimplemented("pow", a, b, kinds="b")
    if isinstance(b, int) and b < 0 and promoted(a, b).kind in "iu":
        raise RuntimeError("Integers to negative integer powers are not allowed.")


def _no_bool_negation(input: Any) -> Any:
    if promoted(input).kind == "b":
        raise RuntimeError(
            "Negation, the `-` operator, on a bool tensor is not supported. "
            "If you are trying to invert a mask, use the `~` or `logical_not()` operator instead."
        )
    return apply(e.neg, input)


_add, _add_operator = _pair(e.add)
_sub, _sub_operator = _pair(e.sub, check=_no_bool_difference)
mul, _mul_operator = _pair(e.mul)
_div, _div_operator = _pair(e.div, floating=True)
pow, _pow_operator = _pair(e.pow_, check=_no_bool_power)
floor_divide, _floor_operator = _pair(e.floor_divide, check=_no_integer_zero("div_floor_cpu"))
remainder, _remainder_operator = _pair(e.remainder, check=_no_integer_zero("remainder_cpu"))
fmod, _ = _pair(e.fmod, check=_no_integer_zero("fmod_cpu"))
multiply = mul
maximum, minimum = _pair(e.maximum)[0], _pair(e.minimum)[0]
atan2, hypot, copysign = (_pair(op, floating=True)[0] for op in (e.atan2, e.hypot, e.copysign))
logaddexp, logaddexp2, xlogy = (_pair(op, floating=True)[0] for op in (e.logaddexp, e.logaddexp2, e.xlogy))
arctan2 = atan2

neg = negative = unary(e.neg, floating=False, otherwise=_no_bool_negation)
abs = absolute = _kept(e.abs_, "abs_cpu")
floor, ceil, trunc = (_whole(op, f"{op.name}_vml_cpu") for op in (e.floor, e.ceil, e.trunc))
fix = trunc
exp, exp2, expm1 = unary(e.exp), unary(e.exp2), unary(e.expm1)
log, log2, log10, log1p = unary(e.log), unary(e.log2), unary(e.log10), unary(e.log1p)
sqrt, rsqrt, reciprocal = unary(e.sqrt), unary(e.rsqrt), unary(e.reciprocal)
sin, cos, tan, sinc = unary(e.sin), unary(e.cos), unary(e.tan), unary(e.sinc)
asin, acos, atan = unary(e.asin), unary(e.acos), unary(e.atan)
arcsin, arccos, arctan = asin, acos, atan
sinh, cosh, tanh = unary(e.sinh), unary(e.cosh), unary(e.tanh)
asinh, acosh, atanh = unary(e.asinh), unary(e.acosh), unary(e.atanh)
arcsinh, arccosh, arctanh = asinh, acosh, atanh
sigmoid = unary(e.sigmoid)
deg2rad, rad2deg = _real(e.deg2rad, "deg2rad_cpu"), _real(e.rad2deg, "rad2deg_cpu")
angle = unary(e.angle)


def scaled(other: Any, alpha: Any, *operands: Any) -> Any:
    """alpha · other, in the dtype that the operands meet in."""
    kind = promoted(*operands).kind
    if isinstance(alpha, float) and kind in "biu":
        raise RuntimeError("For integral input tensors, argument alpha must not be a floating point number.")
    if isinstance(alpha, bool) and kind != "b":
        raise RuntimeError("Boolean alpha only supported for Boolean results.")
    return mul(other, bool(alpha) if kind == "b" else alpha)


def add(input: Any, other: Any, *, alpha: Any = 1) -> Any:
    """input + alpha · other, broadcast together."""
    return _add(input, other if type(alpha) is int and alpha == 1 else scaled(other, alpha, input, other))


def sub(input: Any, other: Any, *, alpha: Any = 1) -> Any:
    """input - alpha · other, broadcast together. Raises `RuntimeError` for booleans."""
    return _sub(input, other if type(alpha) is int and alpha == 1 else scaled(other, alpha, input, other))


subtract = sub


def rsub(input: Any, other: Any, *, alpha: Any = 1) -> Any:
    """other - alpha · input."""
    return sub(as_handle(other) if isinstance(other, NUMBERS) else other, input, alpha=alpha)


def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Any:
    """input / other, of floats; `rounding_mode` "floor" or "trunc" rounds the quotient and keeps integers integers."""
    if rounding_mode is None:
        return _div(input, other)
    if rounding_mode == "floor":
        return floor_divide(input, other)
    if rounding_mode != "trunc":
        raise RuntimeError(
            f"div expected rounding_mode to be one of None, 'trunc', or 'floor' but found '{rounding_mode}'"
        )
    if promoted(input, other).kind == "f":
        return trunc(_div(input, other))
    quotient = floor_divide(input, other)
    unlike = logical_xor(lt(input, 0), as_handle(other) < 0)
    return _add(quotient, logical_and(unlike, ne(remainder(input, other), 0)))


divide = div
true_divide = _div


def positive(input: Any) -> Any:
    """The tensor itself. Raises `RuntimeError` for booleans."""
    if as_handle(input).dtype == np.bool_:
        raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
    return input


def square(input: Any) -> Any:
    """The square of each element."""
    return pow(input, 2)


def float_power(input: Any, exponent: Any) -> Any:
    """input ** exponent in float64 (complex128 for complex operands)."""
    wide = np.dtype(np.complex128 if promoted(input, exponent).kind == "c" else np.float64)
    return pow(to_dtype(as_handle(input), wide), to_dtype(as_handle(exponent), wide))


def round(input: Any, *, decimals: int = 0) -> Any:
    """Each element rounded, halves to even, to `decimals` places; the gradient is 0."""
    if decimals == 0:
        return _round(input)
    unimplemented("round_cpu", input, kinds="biu")
    scale = 10.0 ** builtins.abs(decimals)
    return div(_round(mul(input, scale)), scale) if decimals > 0 else mul(_round(div(input, scale)), scale)


_round = _whole(e.round_, "round_cpu")


def frac(input: Any) -> Any:
    """The part behind the point, with the sign of the element."""
    unimplemented("frac_cpu", input, kinds="biu")
    return sub(input, trunc(input))


def sign(input: Any) -> Any:
    """-1, 0 or 1 with the dtype kept; 0 for NaN. Raises `NotImplementedError` for complex numbers, which have `sgn`."""
    x = as_handle(input)
    if x._value.dtype.kind == "c":
        raise NotImplementedError(
            "Unlike NumPy, torch.sign is not intended to support complex numbers. Please use torch.sgn instead."
        )
    if x._value.dtype.kind == "b":
        return identity(x)
    return _signs(c.isnan(x), 0.0, c.sign(x)) if x._value.dtype.kind == "f" else c.sign(x)


_signs = e.where.titled("SignBackward0")


def sgn(input: Any) -> Any:
    """x / |x|, and 0 at 0: the sign, also of complex numbers."""
    return e.sgn(input) if as_handle(input)._value.dtype.kind == "c" else sign(input)


def _check_relu(input: Any) -> Any:
    if promoted(input).kind == "b":
        raise RuntimeError("Boolean inputs not supported for relu")
    unimplemented("relu_cpu", input, kinds="c")
    return apply(e.relu, input)


relu = unary(e.relu, floating=False, otherwise=_check_relu)


def logit(input: Any, eps: float | None = None) -> Any:
    """log(x / (1 - x)), with x first held within [eps, 1 - eps] if `eps` is given."""
    unimplemented("logit_cpu", input, kinds="c")
    x = to_dtype(as_handle(input), promoted(input, floating=True))
    if eps is not None:
        x = clamp(x, eps, 1 - eps)
    return e.logit(x)


def clamp(input: Any, min: Any = None, max: Any = None) -> Any:
    """Elements held between `min` and `max`: numbers, or tensors that broadcast; either may be None.

    At a bound the gradient goes to the element. Where min > max the result is max.
    """
    if min is None and max is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    bounds = [bound for bound in (min, max) if bound is not None]
    x = to_dtype(as_handle(input), promoted(input, *bounds))
    if all(isinstance(bound, NUMBERS) for bound in bounds):
        return _clamp(x, min=_bound(min, x), max=_bound(max, x))
    if min is not None:
        x = where(logical_or(lt(x, min), isnan(min)), min, x)
    return x if max is None else where(logical_or(gt(x, max), isnan(max)), max, x)


_clamp = e.clamp.titled("ClampBackward1")


def _bound(number: Any, x: Any) -> Any:
    """A bound as a Python number that the dtype of `x` can hold."""
    if number is None:
        return None
    number = number.item() if isinstance(number, np.generic) else number
    if x._value.dtype.kind not in "iu":
        return float(number)
    info = np.iinfo(x._value.dtype)
    return builtins.min(builtins.max(int(number), info.min), info.max)


clip = clamp


def clamp_min(input: Any, min: Any) -> Any:
    """Elements, but not below `min`."""
    return clamp(input, min=min)


def clamp_max(input: Any, max: Any) -> Any:
    """Elements, but not above `max`."""
    return clamp(input, max=max)


def fmax(input: Any, other: Any) -> Any:
    """The larger of each pair, the first of equal ones; a number rather than NaN."""
    return where(logical_or(ge(input, other), isnan(other)), input, other)


def fmin(input: Any, other: Any) -> Any:
    """The smaller of each pair, the first of equal ones; a number rather than NaN."""
    return where(logical_or(le(input, other), isnan(other)), input, other)


def lerp(input: Any, end: Any, weight: Any) -> Any:
    """input + weight · (end - input); `weight` is a number or a tensor."""
    start, stop = as_handle(input), as_handle(end)
    if start._value.dtype != stop._value.dtype:
        raise RuntimeError(f"expected dtype {start._value.dtype} for `end` but got dtype {stop._value.dtype}")
    unimplemented("lerp_kernel_scalar", start, kinds="biu")
    return apply(e.lerp, start, stop, weight)


def _together(*operands: Any) -> list[Any]:
    """Operands converted to the dtype they meet in."""
    dtype = promoted(*operands)
    return [to_dtype(as_handle(x), dtype) for x in operands]


def addcmul(input: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Any:
    """input + value · tensor1 · tensor2."""
    x, a, b = _together(input, tensor1, tensor2)
    return add(x, mul(mul(a, value) if value != 1 else a, b))


def addcdiv(input: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Any:
    """input + value · tensor1 / tensor2. Raises `RuntimeError` for integers."""
    if promoted(tensor1, tensor2).kind in "biu":
        raise RuntimeError("Integer division with addcdiv is no longer supported: convert the operands to floats")
    x, a, b = _together(input, tensor1, tensor2)
    return add(x, div(mul(a, value) if value != 1 else a, b))


def ldexp(input: Any, other: Any) -> Any:
    """input · 2 ** other."""
    return apply(e.ldexp, input, other, floating=True)


def heaviside(input: Any, values: Any) -> Any:
    """0 where the element is negative, 1 where it is positive, `values` where it is 0; of one dtype."""
    if as_handle(input)._value.dtype != as_handle(values)._value.dtype:
        raise RuntimeError("heaviside is not yet implemented for tensors with different dtypes.")
    return where(eq(input, 0), values, to_dtype(gt(input, 0), as_handle(input)._value.dtype))


def nan_to_num(input: Any, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Any:
    """Numbers in place of NaN and infinities; None: the largest and the smallest of the dtype."""
    x = as_handle(input)
    if x._value.dtype.kind in "biu":
        return identity(x)
    limits = (None if limit is None else float(limit) for limit in (posinf, neginf))
    return e.nan_to_num(x, nan=float(nan or 0.0), **dict(zip(("posinf", "neginf"), limits, strict=True)))


def complex(real: Any, imag: Any) -> Any:
    """Complex numbers from their real and imaginary parts, float32 or float64 alike.

    Raises `RuntimeError` for other or unlike dtypes.
    """
    a, b = as_handle(real)._value.dtype, as_handle(imag)._value.dtype
    if a.kind != "f" or b.kind != "f":
        raise RuntimeError(
            f"Expected both inputs to be Half, Float or Double tensors but got {type_name(a)} and {type_name(b)}"
        )
    if a != b:
        raise RuntimeError(
            f"Expected object of scalar type {type_name(a)} but got scalar type {type_name(b)} for second argument"
        )
    return add(real, mul(imag, 1j))


def polar(abs: Any, angle: Any) -> Any:
    """Complex numbers from their absolute values and angles."""
    return complex(mul(abs, cos(angle)), mul(abs, sin(angle)))


def _quotient_operator(self: Any, other: Any) -> Any:
    """other / self: as PyTorch, the reciprocal times `other`; as NumPy where a transform runs for NumPy arguments."""
    if not isinstance(other, OPERANDS):
        return NotImplemented
    if modes.numpy or isinstance(other, np.ndarray):
        return apply(e.div, other, self, floating=True)
    return mul(reciprocal(self), other)


class ArithmeticMethods:
    """Elementwise methods and operators of `Tensor`."""

    abs, absolute, acos, acosh, add, addcdiv, addcmul = abs, absolute, acos, acosh, add, addcdiv, addcmul
    angle, arccos, arccosh, arcsin, arcsinh, arctan = angle, arccos, arccosh, arcsin, arcsinh, arctan
    arctan2, arctanh, asin, asinh, atan, atan2, atanh, ceil = arctan2, arctanh, asin, asinh, atan, atan2, atanh, ceil
    clamp, clamp_max, clamp_min, clip, copysign, cos, cosh = clamp, clamp_max, clamp_min, clip, copysign, cos, cosh
    deg2rad, div, divide, exp, exp2, expm1, fix = deg2rad, div, divide, exp, exp2, expm1, fix
    float_power, floor, floor_divide, fmax, fmin, fmod = float_power, floor, floor_divide, fmax, fmin, fmod
    frac, heaviside, hypot, ldexp, lerp, log, log1p, log2 = frac, heaviside, hypot, ldexp, lerp, log, log1p, log2
    log10, logaddexp, logaddexp2, logit, maximum, minimum = log10, logaddexp, logaddexp2, logit, maximum, minimum
    mul, multiply, nan_to_num, neg, negative, positive, pow = mul, multiply, nan_to_num, neg, negative, positive, pow
    rad2deg, reciprocal, relu, remainder, round, rsqrt, sgn = rad2deg, reciprocal, relu, remainder, round, rsqrt, sgn
    sigmoid, sign, sin, sinc, sinh, sqrt, square, sub = sigmoid, sign, sin, sinc, sinh, sqrt, square, sub
    subtract, tan, tanh, true_divide, trunc, xlogy = subtract, tan, tanh, true_divide, trunc, xlogy

    __add__ = __radd__ = _add_operator
    __sub__, __rsub__ = _sub_operator, _reflected(e.sub.titled("RsubBackward1"), check=_no_bool_difference)
    __mul__ = __rmul__ = _mul_operator
    __truediv__, __rtruediv__ = _div_operator, _quotient_operator
    __rdiv__ = _quotient_operator  # PyTorch's other name for it
    __pow__, __rpow__ = _pow_operator, _reflected(e.pow_.titled("PowBackward2"), check=_no_bool_power)
    __floordiv__ = _floor_operator
    __rfloordiv__ = _reflected(e.floor_divide, check=_no_integer_zero("div_floor_cpu"))
    __mod__ = _remainder_operator
    __rmod__ = _reflected(e.remainder, check=_no_integer_zero("remainder_cpu"))
    __neg__, __pos__, __abs__ = neg, positive, abs
