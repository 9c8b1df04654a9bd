"""Bessel and Airy functions: values from SciPy, derivatives in the argument by the recurrences of DLMF 10.6, 10.29."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from pullback.ops.compare import sign
from pullback.ops.fused import plain
from pullback.ops.gammas import in_dtype_of, no_slope, special
from pullback.ops.quadrature import macdonald_slopes
from pullback.ops.samples import Sample, complex_nonzero, exactly, exponents, nonzero, normal
from pullback.ops.table import Op, elementwise

__all__ = [
    "airy_ai",
    "airy_bi",
    "i0",
    "i0e",
    "i1",
    "i1e",
    "i2",
    "iv",
    "ive",
    "j0",
    "j1",
    "j2",
    "jv",
    "k0",
    "k0e",
    "k1",
    "k1e",
    "kv",
    "kve",
    "y0",
    "y1",
    "yv",
]

_ORDERED = [Sample(1.5, exponents(2, 3)), Sample(0.0, exponents(3)), Sample(2.0, exponents(3))]
_COMPLEX = Sample(1.5, complex_nonzero(3))


def _shortcut(g: Any, x: Any) -> bool:
    """Whether a slope may be had from the value, by a recurrence that divides by x. Such a form is not differentiated
    again: near 0 its derivative cancels."""
    return plain(g, x) and bool(x.all())


def _of_order(name: str, slope: Callable[..., Any], quick: Callable[..., Any], doc: str, *samples: Sample) -> Op:
    """A function of an order, in which it has no derivative here, and of an argument; `quick` is another `slope`, which
    evaluates fewer functions, for x other than 0."""

    def partial(g: Any, y: Any, v: Any, x: Any) -> Any:
        return g * (quick if _shortcut(g, x) else slope)(y, v, x)

    return elementwise(
        name,
        special(name),
        no_slope(f"{name}(v, x)", "its order v"),
        partial,
        samples=[*_ORDERED, *samples],
        doc=f"{doc} of real order v; no derivative in v.",
    )


jv: Op = _of_order(
    "jv",
    lambda _y, v, x: 0.5 * (jv(v - 1.0, x) - jv(v + 1.0, x)),
    lambda y, v, x: jv(v - 1.0, x) - (v / x) * y,
    "The Bessel function of the first kind J_v(x)",
    _COMPLEX,
)
yv: Op = _of_order(
    "yv",
    lambda _y, v, x: 0.5 * (yv(v - 1.0, x) - yv(v + 1.0, x)),
    lambda y, v, x: yv(v - 1.0, x) - (v / x) * y,
    "The Bessel function of the second kind Y_v(x)",
    _COMPLEX,
)
iv: Op = _of_order(
    "iv",
    lambda _y, v, x: 0.5 * (iv(v - 1.0, x) + iv(v + 1.0, x)),
    lambda y, v, x: iv(v + 1.0, x) + (v / x) * y,
    "The modified Bessel function of the first kind I_v(x)",
    _COMPLEX,
)
ive: Op = _of_order(
    "ive",
    lambda y, v, x: 0.5 * (ive(v - 1.0, x) + ive(v + 1.0, x)) - sign(x) * y,
    lambda y, v, x: ive(v + 1.0, x) + (v / x) * y - np.sign(x) * y,
    "exp(-|x|) I_v(x)",
)


_K, _KE = special("kv"), special("kve")


def _kv(v: Any, x: Any, order: int = 0) -> Any:
    return in_dtype_of((v, x), macdonald_slopes(v, x, order, scaled=False)) if order else _K(v, x)


def _kve(v: Any, x: Any, order: int = 0) -> Any:
    return in_dtype_of((v, x), macdonald_slopes(v, x, order, scaled=True)) if order else _KE(v, x)


_KINDS = [
    Sample(exactly(0.3, -1.2, 2.0), exponents(3)),
    Sample(exponents(2, 3), exponents(2, 3)),
    Sample(exponents(3), exponents(3), order=1),
    Sample(1.5, exponents(3)),
]


def _macdonald_at_once(evaluate: Callable[..., Any], scaled: bool) -> Callable[..., Any]:
    """Both cotangents of K_v(x), the one in x from -K_{v-1}(x) - v/x K_v(x) for v >= 0."""

    def kernel(g: Any, y: Any, v: Any, x: Any, order: int = 0) -> Any:
        if order or x.dtype.kind != "f":
            return None
        size = np.abs(v)
        slope = evaluate(size - 1, x) + size / x * y
        return g * evaluate(v, x, 1), g * (y - slope if scaled else -slope)

    return kernel


kv: Op = elementwise(
    "kv",
    _kv,
    lambda g, _y, v, x, order=0: g * kv(v, x, order=order + 1),
    lambda g, y, v, x, order=0: g * (-0.5 * (kv(v - 1.0, x, order=order) + kv(v + 1.0, x, order=order))),
    kernel=_macdonald_at_once(_kv, scaled=False),
    samples=[*_KINDS, _COMPLEX],
    doc="""The modified Bessel function of the second kind K_v(x) of real order v, or its derivative in v of the given
    order, which is found by quadrature for real x.""",
)
kve: Op = elementwise(
    "kve",
    _kve,
    lambda g, _y, v, x, order=0: g * kve(v, x, order=order + 1),
    lambda g, y, v, x, order=0: g * (y - 0.5 * (kve(v - 1.0, x, order=order) + kve(v + 1.0, x, order=order))),
    kernel=_macdonald_at_once(_kve, scaled=True),
    samples=_KINDS,
    doc="exp(x) K_v(x), or its derivative in v of the given order, see kv.",
)


def _second(first: Callable[..., Any], zeroth: Callable[..., Any], sign: int) -> Callable[..., Any]:
    """J_2 (sign -1) or I_2 (1), by upward recurrence, near 0 by the power series: faster than for any order."""

    def evaluate(x: Any) -> Any:
        small = np.abs(x) < 1
        far = np.where(small, 1, x)
        y = sign * (zeroth(far) - 2 * first(far) / far)
        if small.any():
            square = np.where(small, x, 0) ** 2 * 0.25
            alternating, series = sign * square, np.zeros_like(square)
            for k in range(8, -1, -1):
                series *= alternating
                series += 1 / (math.factorial(k) * math.factorial(k + 2))
            y = np.where(small, series * square, y)
        return in_dtype_of((x,), y)[()]

    return evaluate


def _whole(
    name: str, slope: Callable[..., Any], doc: str, made: Any = normal, evaluate: Any = None, quick: Any = None
) -> Op:
    """A function of whole order: the faster evaluation of those above."""

    def partial(g: Any, y: Any, x: Any) -> Any:
        return g * (quick if quick is not None and _shortcut(g, x) else slope)(y, x)

    return elementwise(
        name,
        evaluate or special(name),
        partial,
        samples=[Sample(made(2, 3)), Sample(exactly(0.6, 2.5, 7.0))],
        doc=doc,
    )


_EVALUATE = {name: special(name) for name in ("j0", "j1", "i0", "i1")}
j0 = _whole("j0", lambda _y, x: -j1(x), "The Bessel function J_0(x).")
j1: Op = _whole(
    "j1", lambda _y, x: 0.5 * (j0(x) - j2(x)), "The Bessel function J_1(x).", quick=lambda y, x: j0(x) - y / x
)
j2: Op = _whole(
    "j2",
    lambda _y, x: 0.5 * (j1(x) - jv(3.0, x)),
    "The Bessel function J_2(x).",
    evaluate=_second(_EVALUATE["j1"], _EVALUATE["j0"], -1),
    quick=lambda y, x: j1(x) - 2 * y / x,
)
y0 = _whole("y0", lambda _y, x: -y1(x), "The Bessel function Y_0(x), for x > 0.", exponents)
y1: Op = _whole("y1", lambda y, x: y0(x) - y / x, "The Bessel function Y_1(x), for x > 0.", exponents)
i0 = _whole("i0", lambda _y, x: i1(x), "The modified Bessel function I_0(x).")
i1: Op = _whole(
    "i1", lambda _y, x: 0.5 * (i0(x) + i2(x)), "The modified Bessel function I_1(x).", quick=lambda y, x: i0(x) - y / x
)
i2: Op = _whole(
    "i2",
    lambda _y, x: 0.5 * (i1(x) + iv(3.0, x)),
    "The modified Bessel function I_2(x).",
    evaluate=_second(_EVALUATE["i1"], _EVALUATE["i0"], 1),
    quick=lambda y, x: i1(x) - 2 * y / x,
)
i0e = _whole(
    "i0e", lambda y, x: i1e(x) - sign(x) * y, "exp(-|x|) I_0(x); slope 0 at 0, between its one-sided ones.", nonzero
)
i1e: Op = _whole(
    "i1e",
    lambda y, x: 0.5 * (i0e(x) + ive(2.0, x)) - sign(x) * y,
    "exp(-|x|) I_1(x).",
    nonzero,
    quick=lambda y, x: i0e(x) - y / x - np.sign(x) * y,
)
k0 = _whole("k0", lambda _y, x: -k1(x), "The modified Bessel function K_0(x), for x > 0.", exponents)
k1: Op = _whole("k1", lambda y, x: -k0(x) - y / x, "The modified Bessel function K_1(x), for x > 0.", exponents)
k0e = _whole("k0e", lambda y, x: y - k1e(x), "exp(x) K_0(x), for x > 0.", exponents)
k1e: Op = _whole("k1e", lambda y, x: y - k0e(x) - y / x, "exp(x) K_1(x), for x > 0.", exponents)


def _airy(name: str, first: int, doc: str) -> Op:
    value, derivative = special("airy", part=first), special("airy", part=first + 1)

    op: Op = elementwise(
        name,
        lambda x, order=0: derivative(x) if order else value(x),
        lambda g, _y, x, order=0: g * (x * op(x) if order else op(x, order=1)),
        samples=[Sample(normal(2, 3)), Sample(normal(3), order=1), Sample(complex_nonzero(3))],
        doc=doc,
    )
    return op


airy_ai = _airy("airy_ai", 0, "The Airy function Ai(x), or its derivative if `order` is 1; y'' = x y.")
airy_bi = _airy("airy_bi", 2, "The Airy function Bi(x), or its derivative if `order` is 1; y'' = x y.")
