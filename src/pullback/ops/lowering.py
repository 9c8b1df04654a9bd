"""Native lowerings, as the op table states them: what one element of a result is made of. LLVM is not known here.

An op's `lower` field is one of

- `Scalar`     an elementwise op: one element of the result from one of each operand;
- `View`       which element of its operand each element of the result is: no numbers move;
- `Element`    one element of the result at a given place, reading the operands wherever it likes: gathers, pads, joins;
- `Fold`       a reduction over axes;
- `Scan`       a running reduction along an axis;
- `Scatter`    the operand with updates put or added at indexed places;
- `Product`    sums of products, which go to BLAS unless they are small;
- `Expansion`  the op written with others: composites, and whatever is cheaper fused than called;

or `UNSUPPORTED("reason")`: then the compiled program calls the NumPy evaluation.

Rules compute with `Value`s of a builder: numbers of one dtype that exist when the code runs. They have Python's
operators, between Values of one dtype; Python numbers among the operands take on the other's dtype, in the builder's
methods too. Comparisons give booleans, for `b.where`. A rule gives `NotImplemented` for operands or parameters that it
does not cover: then too NumPy is called. Rules don't see complex numbers or half precision.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

__all__ = [
    "Builder",
    "Element",
    "Expansion",
    "Fold",
    "Lowering",
    "Product",
    "Scalar",
    "Scan",
    "Scatter",
    "Value",
    "View",
]


class Value(Protocol):
    """A number that exists when the code runs."""

    dtype: np.dtype[Any]

    def __add__(self, other: Any) -> Any: ...
    def __radd__(self, other: Any) -> Any: ...
    def __sub__(self, other: Any) -> Any: ...
    def __rsub__(self, other: Any) -> Any: ...
    def __mul__(self, other: Any) -> Any: ...
    def __rmul__(self, other: Any) -> Any: ...
    def __truediv__(self, other: Any) -> Any: ...
    def __rtruediv__(self, other: Any) -> Any: ...
    def __neg__(self) -> Any: ...
    def __lt__(self, other: Any) -> Any: ...
    def __le__(self, other: Any) -> Any: ...
    def __gt__(self, other: Any) -> Any: ...
    def __ge__(self, other: Any) -> Any: ...
    def __and__(self, other: Any) -> Any: ...
    def __or__(self, other: Any) -> Any: ...
    def __xor__(self, other: Any) -> Any: ...
    def __invert__(self) -> Any: ...
    def __lshift__(self, other: Any) -> Any: ...
    def __rshift__(self, other: Any) -> Any: ...


class Builder(Protocol):
    """Where the values of a rule come from. Integer `//` and `%` are the methods `divide` and `remainder`."""

    def where(self, condition: Any, x: Any, y: Any) -> Any:
        """x where the condition holds, else y; both are computed. One of them may be a Python number."""

    def cast(self, x: Any, dtype: Any) -> Any:
        """The number in another dtype, as `ndarray.astype` converts it."""

    def constant(self, number: complex, dtype: Any) -> Any:
        """A number of a dtype, as a Value."""

    def equal(self, x: Any, y: Any) -> Any:
        """x == y (not an operator, for Python's sake)."""

    def call(self, name: str, *xs: Any) -> Any:
        """A function of the compiler's mathematics library (`exp`, `log1p`, `sin`, `erf`, `pow`, ...), of floats."""

    # Of numbers of any dtype:
    def isnan(self, x: Any) -> Any: ...
    def signbit(self, x: Any) -> Any: ...
    def abs(self, x: Any) -> Any: ...

    # Of floats:
    def sqrt(self, x: Any) -> Any: ...
    def floor(self, x: Any) -> Any: ...
    def ceil(self, x: Any) -> Any: ...
    def trunc(self, x: Any) -> Any: ...
    def rint(self, x: Any) -> Any: ...
    def copysign(self, x: Any, y: Any) -> Any: ...
    def fma(self, x: Any, y: Any, z: Any) -> Any: ...

    def maximum(self, x: Any, y: Any) -> Any:
        """The larger; NaN if one is NaN, as `np.maximum`."""

    def minimum(self, x: Any, y: Any) -> Any: ...

    def divide(self, x: Any, y: Any) -> Any:
        """Integers: the quotient rounded towards zero, 0 for a divisor of 0; the lowest by -1 wraps around."""

    def remainder(self, x: Any, y: Any) -> Any:
        """What `divide` leaves, with the sign of x: of integers 0 for a divisor of 0, of floats C's `fmod`."""

    def index(self, i: Any, n: int) -> Any:
        """The place, an int64 Value in [0, n), that the integer i names along an axis of n > 0 elements; a negative one
        counts from the end. One outside raises `IndexError` when the code has run, and is held inside meanwhile."""


Rule = Callable[..., Any]


@dataclass(frozen=True)
class Scalar:
    """`rule(b, *xs, **params)` gives one element of the result, or a tuple of those of several results.

    The xs are Values, except that operands that are Python numbers stay Python numbers. The result is cast to the
    dtype that the shape rule says.
    """

    rule: Rule


@dataclass(frozen=True)
class View:
    """`rule(shape, **params)` says, for each axis of the operand (of that shape), which index of it result index `i`
    shows: `(axis, step, start)` for start + step·i[axis], axis None for always `start`. An axis of the result may stand
    twice (a diagonal). Of an op with several results it is a list of that for each result. `None` in place of the whole
    where the op is no such view for these parameters.
    """

    rule: Callable[..., Sequence[Any] | None]


@dataclass(frozen=True)
class Element:
    """`rule(b, at, *reads, **params)` gives the element of the result at the index `at`, a tuple of int64 Values.

    `reads[k](*index)` is an element of operand k, and `reads[k].shape` its shape. An index must lie inside: where the
    rule selects, it reads at a clamped index and takes the other value. Indices are int64 Values and Python ints.
    Python numbers among the operands stay numbers in `reads`. An operand may be empty.
    """

    rule: Rule


@dataclass(frozen=True)
class Fold:
    """A reduction over the parameter `axis` (a sorted tuple), with `keepdims`. `before(b, x)` is folded if given.

    Extrema are NaN if one element is. Of booleans `add` and `max` are or, `mul` and `min` are and.
    """

    kind: Literal["add", "mul", "max", "min", "and", "or"]
    before: Rule | None = None


@dataclass(frozen=True)
class Scan:
    """A running reduction along the parameter `axis` (one int); from the end if there is a true one `reverse`."""

    kind: Literal["add", "mul", "max", "min"]


@dataclass(frozen=True)
class Scatter:
    """`rule(b, at, *reads, **params)` gives, for the update at index `at`, the index in the result, a tuple of int64
    Values and Python ints; `add` says whether it is added or put, the last one staying. The result begins as zeros and
    the updates are operand 0, or it begins as operand 0 and they are operand 1. The rest is for the rule to read.
    """

    rule: Rule
    add: bool
    zeros: bool = False


@dataclass(frozen=True)
class Product:
    """Sums of products: `rule(*specs, **params)` gives the einsum-like labels `(left, right, out)` of two operands,
    tuples of ints, no label twice in one. Axes of one label have one length; labels that `out` lacks are summed over.
    None where there are not two operands: there `otherwise`, if given, is an `Expansion`'s rule.
    """

    rule: Callable[..., Any]
    otherwise: Rule | None = None


@dataclass(frozen=True)
class Expansion:
    """`rule(*args, **params)`, written with ops, computes the same (a tuple for several results), or gives
    `NotImplemented` for parameters that it does not cover.
    """

    rule: Rule


Lowering = Scalar | View | Element | Fold | Scan | Scatter | Product | Expansion
