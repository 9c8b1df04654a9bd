"""The vocabulary of update formulas: one formula serves arrays, numbers and traced Tensors.

A formula names its arithmetic by NumPy's ufuncs, `m.multiply(a, b, out)`, on a first argument `m`. For parameters held
in arrays `m` is NumPy itself, and each result goes where `out` says: the parameter, its state or a scratch array, so
that a step allocates nothing of a parameter's size. For all other values (NumPy scalars, batches, symbols of a trace)
`m` is `PURE`: the same names as ops of the table, which leave `out` alone and return new values. A formula therefore
goes on with what each call returns, and never reads an argument after it was given as `out`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from pullback.ops import elementwise as e
from pullback.ops.compare import greater, less, sign
from pullback.ops.table import Op
from pullback.tape.node import Handle
from pullback.tape.state import modes
from pullback.tensor.dispatch import is_raw, to_dtype

__all__ = ["ARRAYS", "PURE", "Group", "State", "descended", "lerp", "number", "plus_square"]

State = Sequence[Any]
Group = dict[str, Any]


def _two(op: Op) -> Callable[..., Any]:
    def function(a: Any, b: Any, out: Any = None) -> Any:
        return op(a, b)

    return function


def _one(op: Op) -> Callable[..., Any]:
    def function(a: Any, out: Any = None) -> Any:
        return op(a)

    return function


ARRAYS: Any = np
PURE: Any = SimpleNamespace(
    add=_two(e.add),
    subtract=_two(e.sub),
    multiply=_two(e.mul),
    divide=_two(e.div),
    maximum=_two(e.maximum),
    minimum=_two(e.minimum),
    greater=_two(greater),
    less=_two(less),
    where=e.where,
    sign=_one(sign),
    negative=_one(e.neg),
    absolute=_one(e.abs_),
    sqrt=_one(e.sqrt),
)


def number(x: Any, like: Any) -> Any:
    """A coefficient: a Python number, or a Tensor of the dtype of `like` if it is traced or tracked."""
    if isinstance(x, Handle):
        if is_raw(x) and (x._node is None or not modes.grad):
            return x._value.item()
        return to_dtype(x, np.dtype(like.dtype))
    return x if isinstance(x, int | float) else float(x)


def descended(m: Any, p: Any, g: Any, group: Group, decay: Any, t: Any, u: Any) -> Any:
    """The gradient to descend: negated to `maximize`, with that of the penalty decay/2·|p|²; in `t` if it is new."""
    if group["maximize"]:
        g = m.negative(g, t)
    if isinstance(decay, Handle) or decay != 0:
        g = m.add(g, m.multiply(p, number(decay, p), u), t)
    return g


def lerp(m: Any, mean: Any, g: Any, weight: Any, t: Any) -> Any:
    """mean + weight · (g - mean), in place of `mean`."""
    return m.add(mean, m.multiply(m.subtract(g, mean, t), weight, t), mean)


def plus_square(m: Any, mean: Any, g: Any, beta: Any, t: Any) -> Any:
    """beta · mean + (1 - beta) · g², in place of `mean`."""
    return m.add(m.multiply(mean, beta, mean), m.multiply(m.multiply(g, g, t), 1 - beta, t), mean)
