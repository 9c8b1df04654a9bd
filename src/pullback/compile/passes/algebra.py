"""Algebra that keeps IEEE meaning: an instruction becomes a cheaper one, or none, that gives the same number always.

"The same" covers infinities, NaN and the sign of zero; which NaN it is carries no meaning. What is not done, because it
is not so: x + 0 (which turns -0.0 into 0.0), 0 - x, x·0, x/x, x - x, -(a - b) as b - a, √ for the power ½ (which NumPy
itself takes for arrays, though not for scalars), the joining of two factors, and for complex numbers most of it, as
(∞ + 0i)·1 has a NaN.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from pullback.compile.passes.cse import COMMUTATIVE, key_of
from pullback.compile.passes.rewrite import Rewrite, Rule, is_literal, is_number, rewrite
from pullback.values.graph import Graph, Instruction, Symbol
from pullback.values.shape import spec_of

__all__ = ["algebra", "uniform"]

# Ops whose operands may be Python numbers and then compute as with a constant of the other operand's dtype; from which
# operand on.
_LITERAL: Final = dict.fromkeys("add sub mul div pow maximum minimum eq ne lt le gt ge".split(), 0) | {"where": 1}
# Ops that read a broadcast as well as an array.
_SPREAD: Final = frozenset(
    "broadcast_to reshape transpose sum cast scatter_add slice_update embed concatenate slice pad gate neg where "
    "gather logical_and logical_or".split()
)


def algebra(graph: Graph) -> Graph:
    """The graph with identities of arithmetic, of choosing and of dtypes applied; see the rules.

    Every number stays as it is, bit for bit but for which NaN; a power with the exponent -1 becomes a reciprocal, which
    is rounded correctly where the power may be one ulp off.
    """
    return rewrite(graph, _RULES)


def uniform(value: Any) -> Any:
    """The one element, a NumPy scalar, of a constant array whose elements agree bit for bit; else None."""
    if isinstance(value, np.generic):
        return value
    if type(value) is not np.ndarray or not value.size:
        return None
    if not any(value.strides):
        return value[(0,) * value.ndim]
    flat = value.reshape(-1)
    words = _words(flat)
    same = value.size == 1 or (bool((words[-1] == words[0]).all()) and bool((words == words[0]).all()))
    return flat[0] if same else None


def _words(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The bits of the elements, along one more axis."""
    array = np.ascontiguousarray(array)
    size = min(array.dtype.itemsize, 8)
    return array.view(f"u{size}").reshape(*array.shape, array.dtype.itemsize // size)


def _unrepeated(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any] | None:
    """The part of an array that is repeated along some axes, which then have length 1; None if there is none."""
    words, shape = _words(array), array.shape
    for axis in range(array.ndim):
        first = words.take([0], axis) if shape[axis] > 1 else words
        if first is not words and (words.take([-1], axis) == first).all() and (words == first).all():
            words = first
    if words.shape[:-1] == shape:
        return None
    return array[tuple(slice(n) for n in words.shape[:-1])].copy()


def _spec(step: Instruction) -> Any:
    return step.outputs[0].spec


def _is(value: Any, step: Instruction) -> bool:
    """Whether an operand can stand for the result: a value with its dtype and shape."""
    return not is_number(value) and bool(spec_of(value) == _spec(step))


def _known(value: Any) -> Any:
    """The number that an operand is, as a Python number; None if it is not known, or no literal."""
    return value if is_number(value) else value.item() if is_literal(value) else None


def _plain(step: Instruction) -> bool:
    """Whether the result is real: for complex numbers few identities hold."""
    return _spec(step).dtype.kind in "fiub"


def _full(new: Rewrite, number: Any, step: Instruction) -> Any:
    """A number repeated to the shape of the result."""
    scalar = np.array(number, _spec(step).dtype)[()]
    return new.apply("broadcast_to", scalar, shape=_spec(step).shape) if _spec(step).shape else scalar


# Constants as numbers


def _literals(new: Rewrite, step: Instruction) -> Any:
    """The operands, with constants whose elements are all the same as Python numbers where the op takes them, their
    dtype being that of the other operands; elsewhere as broadcasts, as are constants that repeat themselves along an
    axis. In sums and products such a number stands on the right. None if nothing is different."""
    args, name = step.args, step.op.name
    first = _LITERAL.get(name)
    found: list[Any] | None = None
    for i, arg in enumerate(args):
        if type(arg) is Symbol or is_number(arg):
            continue
        scalar = uniform(arg)
        if scalar is None:
            part = _unrepeated(arg) if arg.ndim > 1 and arg.size else None
            if part is not None:
                found = found or list(args)
                found[i] = new.apply("broadcast_to", part, shape=arg.shape)
            continue
        rest = [a for j, a in enumerate(found or args) if j != i and not is_number(a)]
        if first is not None and i >= first and scalar.dtype.kind in "fiu":
            typed = rest[0 if first == 0 or type(args[0]) is bool else 1 :]
            shaped = any(spec_of(a).shape == _spec(step).shape for a in rest)
            half = name == "pow" and (i == 0 or scalar == 0.5)
            if typed and shaped and not half and all(spec_of(a).dtype == scalar.dtype for a in typed):
                found = found or list(args)
                found[i] = scalar.item()
                continue
        if name in _SPREAD and type(arg) is np.ndarray and arg.ndim:
            found = found or list(args)
            found[i] = new.apply("broadcast_to", scalar, shape=arg.shape)
    if name in COMMUTATIVE and is_number((found or args)[0]) and not is_number((found or args)[1]):
        found = list(reversed(found or args))
    return None if found is None else tuple(found)


# Arithmetic


def _add(new: Rewrite, step: Instruction) -> Any:
    a, b = step.args
    if not _plain(step):
        return None
    if _is(a, step) and _is_zero(b, step, negative=True):
        return a
    if (inner := new.maker(b, "neg")) is not None and _spec(step).dtype.kind == "f" and not is_number(a):
        return new.apply("sub", a, inner.args[0])  # a + (-b)
    if (inner := new.maker(a, "neg")) is not None and _spec(step).dtype.kind == "f" and not is_number(b):
        return new.apply("sub", b, inner.args[0])
    return None


def _sub(new: Rewrite, step: Instruction) -> Any:
    a, b = step.args
    if not _plain(step):
        return None
    if _is(a, step) and _is_zero(b, step, negative=False):
        return a
    if _is(b, step) and _is_zero(a, step, negative=True) and _spec(step).dtype.kind in "fi":
        return new.apply("neg", b)  # -0.0 - b
    if (inner := new.maker(b, "neg")) is not None and _spec(step).dtype.kind == "f" and not is_number(a):
        return new.apply("add", a, inner.args[0])  # a - (-b)
    return None


def _is_zero(value: Any, step: Instruction, negative: bool) -> bool:
    """Whether an operand is the zero that leaves the other one as it is: of floats the one with this sign."""
    number = _known(value)
    if number is None or number != 0 or isinstance(number, complex):
        return False
    return _spec(step).dtype.kind != "f" or (math.copysign(1.0, number) < 0) == negative


def _mul(new: Rewrite, step: Instruction) -> Any:
    a, b = step.args
    if not _plain(step):
        return None
    for x, number in ((a, _known(b)), (b, _known(a))):
        if number is not None and _is(x, step):
            if number == 1:
                return x
            if number == -1 and _spec(step).dtype.kind in "fi":
                return new.apply("neg", x)
    if a is b and _is(a, step) and _spec(step).dtype.kind in "fiu":
        return new.apply("square", a)
    left, right = new.maker(a, "neg"), new.maker(b, "neg")
    if (left is None and right is None) or _spec(step).dtype.kind != "f":
        return None
    if left is not None and type(b) is float:
        return new.apply("mul", left.args[0], -b)
    product = new.apply("mul", left.args[0] if left else a, right.args[0] if right else b)
    return product if left and right else new.apply("neg", product)  # outwards, to where a sum takes it up


def _div(new: Rewrite, step: Instruction) -> Any:
    a, b = step.args
    if _spec(step).dtype.kind != "f":
        return None
    number = _known(b)
    if number is not None and _is(a, step):
        if number == 1:
            return a
        if number == -1:
            return new.apply("neg", a)
        if _has_exact_inverse(number, _spec(step).dtype):
            return new.apply("mul", a, 1.0 / number)
    if _known(a) == 1 and _is(b, step):
        return new.apply("reciprocal", b)
    left, right = new.maker(a, "neg"), new.maker(b, "neg")
    if left is not None and right is not None:
        return new.apply("div", left.args[0], right.args[0])
    if left is not None and not is_number(b):
        return new.apply("neg", new.apply("div", left.args[0], b))
    return None


def _has_exact_inverse(number: Any, dtype: np.dtype[Any]) -> bool:
    """Whether it is a power of two, its inverse a normal number: then x/number and x·(1/number) round one number."""
    if isinstance(number, complex) or number == 0 or not math.isfinite(number):
        return False
    info = np.finfo(dtype)
    return abs(math.frexp(number)[0]) == 0.5 and float(info.tiny) <= abs(1.0 / number) <= float(info.max)


def _pow(new: Rewrite, step: Instruction) -> Any:
    x, number = step.args[0], _known(step.args[1])
    kind = _spec(step).dtype.kind
    if number is None or not _is(x, step) or kind not in "fiu":
        return None
    if number == 1:
        return x
    if number == 2:
        return new.apply("square", x)
    if number == 0:
        return _full(new, 1, step)  # of NaN too
    if number == 0.5 and kind == "f" and _spec(step).shape and is_number(step.args[1]):
        return new.apply("sqrt", x)
    return new.apply("reciprocal", x) if number == -1 and kind == "f" else None


def _neg(new: Rewrite, step: Instruction) -> Any:
    inner = new.maker(step.args[0])
    if inner is None or inner.op.name not in ("neg", "mul"):
        return None
    x = inner.args[0]
    if inner.op.name == "neg":
        return x if _is(x, step) else None
    factor = inner.args[1]
    return new.apply("mul", x, -factor) if type(factor) is float and _spec(step).dtype.kind == "f" else None


# Choosing


def _where(new: Rewrite, step: Instruction) -> Any:
    condition, a, b = step.args
    known = _known(condition)
    if known is None and (spread := new.maker(condition, "broadcast_to")) is not None:
        known = _known(spread.args[0])
    if known is not None:
        taken = a if known else b
        if _is(taken, step):
            return taken
        return _full(new, taken, step) if is_literal(taken) else None
    if (a is b or (is_literal(a) and is_literal(b) and key_of(a) == key_of(b))) and _is(a, step):
        return a
    if (inner := new.maker(condition, "logical_not")) is not None and spec_of(inner.args[0]).dtype.kind == "b":
        return new.apply("where", inner.args[0], b, a)
    return None


def _gate(new: Rewrite, step: Instruction) -> Any:
    """It is a choice, by another name that only derivatives need."""
    d, g = step.args
    if spec_of(d).shape != spec_of(g).shape or is_number(d) or is_number(g):
        return None
    return new.apply("where", new.apply("eq", g, 0), 0.0, d)


def _both(new: Rewrite, step: Instruction) -> Any:
    """and, or with a constant, of booleans."""
    neutral = step.op.name == "logical_and"
    for x, other in (step.args, step.args[::-1]):
        if _is(x, step):
            number = _known(other)
            if number is not None:
                return x if bool(number) is neutral else _full(new, not neutral, step)
            if x is other:
                return x
    return None


# Copies and dtypes


def _operand(_new: Rewrite, step: Instruction) -> Any:
    return step.args[0] if _is(step.args[0], step) else None


def _cast(new: Rewrite, step: Instruction) -> Any:
    """To the same dtype; after a cast that lost nothing."""
    x, dtype = step.args[0], step.params["dtype"]
    if _is(x, step):
        return x
    inner = new.maker(x, "cast")
    if inner is not None and _lossless(spec_of(inner.args[0]).dtype, spec_of(x).dtype):
        return new.apply("cast", inner.args[0], dtype=dtype)
    return None


def _lossless(source: np.dtype[Any], target: np.dtype[Any]) -> bool:
    """Whether every number of one dtype is one of the other."""
    if source.kind in "iu" and target.kind in "fc":
        return 8 * source.itemsize <= np.finfo(target).nmant + 1
    return bool(np.can_cast(source, target, "safe"))


def _after_literals(rule: Rule | None) -> Rule:
    """A rule that first sees constants as numbers."""

    def both(new: Rewrite, step: Instruction) -> Any:
        args = _literals(new, step)
        if args is not None:
            step = Instruction(step.op, args, step.params, step.outputs)
        result = rule(new, step) if rule is not None else None
        return new.append(step) if result is None and args is not None else result

    return both


_ARITHMETIC: Final[dict[str, Rule]] = {
    "add": _add,
    "sub": _sub,
    "mul": _mul,
    "div": _div,
    "pow": _pow,
    "where": _where,
    "gate": _gate,
    "cast": _cast,
    "neg": _neg,
    "logical_and": _both,
    "logical_or": _both,
}
_RULES: Final[dict[str, Rule]] = {
    **{name: _after_literals(_ARITHMETIC.get(name)) for name in sorted({*_LITERAL, *_SPREAD})},
    **dict.fromkeys(("identity", "stop_gradient", "real"), _operand),
    "conj": lambda new, step: _operand(new, step) if _plain(step) else None,
}
