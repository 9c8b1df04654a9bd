"""`scipy.integrate`: quadrature of samples and of functions. The differential equations are in `ode`."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from pullback.scipy.entries.numeric import is_tracked, on_numbers, plain, vector
from pullback.scipy.table import implements
from pullback.tape.node import Handle
from pullback.transforms.custom import stop_gradient
from pullback.values.optional import scipy_module

__all__: list[str] = []


def _floating(y: Any) -> Any:
    y = vector(y)
    return y if isinstance(y, Handle) or y.dtype.kind in "fc" else y.astype(float)


def _samples(y: Any, x: Any, dx: Any, axis: int) -> tuple[Any, Any]:
    """The samples with their axis last, and the distances between them: a number, or an array that broadcasts."""
    y = np.moveaxis(_floating(y), axis, -1)
    if x is None:
        return y, dx
    x = _floating(x)
    if len(x.shape) > 1:
        x = np.moveaxis(x, axis, -1)
    elif x.shape[0] != y.shape[-1]:
        raise ValueError("If given, length of `x` along `axis` must be the same as `y`.")
    return y, x[..., 1:] - x[..., :-1]


@implements("integrate.trapezoid")
def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    y, steps = _samples(y, x, dx, axis)
    return ((y[..., 1:] + y[..., :-1]) * steps).sum(-1) / 2.0


@implements("integrate.cumulative_trapezoid")
def cumulative_trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1, initial: Any = None) -> Any:
    y, steps = _samples(y, x, dx, axis)
    if y.shape[-1] == 0:
        raise ValueError("At least one point is required along `axis`.")
    total = np.cumsum((y[..., 1:] + y[..., :-1]) * steps / 2.0, axis=-1)
    if initial is not None:
        if initial != 0:
            raise ValueError("`initial` must be `None` or `0`.")
        total = np.concatenate([total[..., :1] * 0.0 if total.shape[-1] else y * 0.0, total], axis=-1)
    return np.moveaxis(total, -1, axis)


@implements("integrate.simpson")
def simpson(y: Any, x: Any = None, *, dx: Any = 1.0, axis: int = -1) -> Any:
    """SciPy's: parabolas through three points each; for an even number of points the last interval by the parabola
    through the last three (Cartwright, 2017).
    """
    y, steps = _samples(y, x, dx, axis)
    count = y.shape[-1]
    if count == 1:
        return (y * 0.0).sum(-1)
    if x is None:
        steps = np.full(count - 1, 1.0) * dx
    if count == 2:
        return ((y[..., 1:] + y[..., :-1]) * steps).sum(-1) / 2.0
    odd = count - 1 + count % 2  # how many points the parabolas cover
    h0, h1 = steps[..., 0 : odd - 1 : 2], steps[..., 1 : odd - 1 : 2]
    both = h0 + h1
    parts = y[..., 0 : odd - 2 : 2] * (2.0 - h1 / h0) + y[..., 2:odd:2] * (2.0 - h0 / h1)
    total = ((parts + y[..., 1 : odd - 1 : 2] * (both * both / (h0 * h1))) * (both / 6.0)).sum(-1)
    if count % 2:
        return total
    a, b = steps[..., -2], steps[..., -1]
    last = y[..., -1] * (2.0 * b * b + 3.0 * a * b) / (6.0 * (a + b)) + y[..., -2] * (b * b + 3.0 * a * b) / (6.0 * a)
    return total + last - y[..., -3] * b**3 / (6.0 * a * (a + b))


@implements("integrate.romb")
def romb(y: Any, dx: Any = 1.0, axis: int = -1, show: bool = False) -> Any:
    """SciPy's, by Richardson extrapolation of trapezoids; nothing is shown."""
    y, _ = _samples(y, None, dx, axis)
    intervals = y.shape[-1] - 1
    levels = max(intervals, 1).bit_length() - 1
    if intervals < 1 or intervals != 1 << levels:
        raise ValueError("Number of samples must be one plus a non-negative power of 2.")
    row = [trapezoid(y[..., :: 1 << (levels - k)], dx=dx * 2.0 ** (levels - k)) for k in range(levels + 1)]
    for order in range(1, levels + 1):
        row = [(fine * 4.0**order - coarse) / (4.0**order - 1.0) for coarse, fine in pairwise(row)]
    return row[0]


@implements("integrate.fixed_quad")
def fixed_quad(func: Callable[..., Any], a: Any, b: Any, args: tuple[Any, ...] = (), n: int = 5) -> tuple[Any, None]:
    nodes, weights = np.polynomial.legendre.leggauss(n)
    half = (b - a) / 2.0
    x = half * (nodes + 1.0) + a
    return half * (vector(func(x, *args)) * weights).sum(-1), None


# Kronrod's rule of 21 points on [-1, 1], as QUADPACK (Piessens et al., 1983) uses it: nodes from 0 up, and weights.
_KRONROD = np.array(
    [
        [0.0, 0.149445554002916905664936468389821],
        [0.148874338981631210884826001129720, 0.147739104901338491374841515972068],
        [0.294392862701460198131126603103866, 0.142775938577060080797094273138717],
        [0.433395394129247190799265943165784, 0.134709217311473325928054001771707],
        [0.562757134668604683339000099272694, 0.123491976262065851077958109585166],
        [0.679409568299024406234327365114874, 0.109387158802297641899210590325805],
        [0.780817726586416897063717578345042, 0.093125454583697605535065465083366],
        [0.865063366688984510732096688423493, 0.075039674810919952767043140916190],
        [0.930157491355708226001207180059508, 0.054755896574351996031381300244580],
        [0.973906528517171720077964012084452, 0.032558162307964727478818972459390],
        [0.995657163025808080735527280689003, 0.011694638867371874278064396062192],
    ]
)


@implements("integrate.quad")
def quad(
    func: Callable[..., Any],
    a: Any,
    b: Any,
    args: Any = (),
    full_output: Any = 0,
    epsabs: float = 1.49e-8,
    epsrel: float = 1.49e-8,
    limit: int = 50,
    points: Any = None,
    **options: Any,
) -> Any:
    """SciPy's; the value is a Tensor if it depends on what is differentiated: `args`, whatever else `func` uses, and
    finite limits, in every mode and order.

    The derivative is the integral of the derivative, by Kronrod's rule on the intervals that SciPy chose: good to the
    tolerance if both are smooth there, less near a singular end, where SciPy extrapolates the value. Raises
    `NotImplementedError` for derivatives with a `weight`.

    >>> import numpy as np
    >>> import pullback as pb
    >>> area = lambda a, b: pb.scipy.integrate.quad(lambda x: np.exp(-a * x * x), 0.0, b)[0]
    >>> [round(float(d), 6) for d in pb.grad(area, argnums=(0, 1))(1.0, 2.0)]
    [-0.422725, 0.018316]
    """
    rest = args if isinstance(args, tuple) else (args,)
    low, high = plain((a, b), "quad")
    settings = {"epsabs": epsabs, "epsrel": epsrel, "limit": limit, "points": points, **options}
    integrate = scipy_module("integrate").quad
    f = on_numbers(lambda x: func(x, *rest), "quad")
    if not is_tracked((func(_within(low, high), *rest), a, b)):
        return integrate(f, low, high, full_output=full_output, **settings)
    if options.get("weight") is not None:
        raise NotImplementedError("quad: the derivative of an integral with a weight; put the weight into the function")
    value, error, info, *more = integrate(f, low, high, full_output=1, **settings)
    pieces = zip(info["alist"][: info["last"]], info["blist"][: info["last"]], strict=True)
    at = _unfolded(lambda x: func(x, *rest), min(low, high), max(low, high))
    sign = 1.0 if low <= high else -1.0  # SciPy integrates upward
    total: Any = 0.0
    for start, end in pieces:
        for node, weight in _KRONROD.tolist():
            for x in {node, -node}:
                total = total + at((start + end) / 2.0 + x * (end - start) / 2.0) * (weight * (end - start) / 2.0)
    total = value + (total - stop_gradient(total)) * sign
    for limit_, place, side in ((a, low, -1.0), (b, high, 1.0)):
        if is_tracked(limit_):
            total = total + side * _beyond(lambda x: func(x, *rest), place, limit_)
    return (total, error, info, *more) if full_output else (total, error)


def _within(low: float, high: float) -> float:
    """A point between two limits, which may be infinite."""
    if np.isinf(low) and np.isinf(high):
        return 0.0
    if np.isinf(low) or np.isinf(high):
        return float(high - np.sign(high - low) if np.isinf(low) else low + np.sign(high - low))
    return 0.5 * (low + high)


def _unfolded(f: Callable[[Any], Any], low: float, high: float) -> Callable[[float], Any]:
    """The function that QUADPACK integrates: for infinite limits, over (0, 1]."""
    if np.isfinite(low) and np.isfinite(high):
        return f
    if np.isinf(low) and np.isinf(high):
        return lambda t: (f((1.0 - t) / t) + f((t - 1.0) / t)) * (1.0 / t**2)
    finite, direction = (low, 1.0) if np.isinf(high) else (high, -1.0)
    return lambda t: f(finite + direction * (1.0 - t) / t) * (1.0 / t**2)


def _beyond(f: Callable[[Any], Any], place: float, limit: Any) -> Any:
    """The integral from `place` to `limit`, which has its value: 0, with its derivatives, up to the sixth."""
    nodes, weights = np.polynomial.legendre.leggauss(3)
    distance = limit - place
    values = [
        f(place + distance * ((1.0 + node) / 2.0)) * (w / 2.0)
        for node, w in zip(nodes.tolist(), weights.tolist(), strict=True)
    ]
    return distance * (values[0] + values[1] + values[2])
