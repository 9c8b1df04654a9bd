"""Random numbers as smooth functions of their parameters: the quantile at a given level, with its implicit derivative.

The level u is drawn once, evenly from (0, 1); the number is F⁻¹(u; a). Differentiating F(y; a) = u gives the slope
dy/da = -(∂F/∂a)/(∂F/∂y), which reads y and not u [Figurnov, Mohamed and Mnih, "Implicit reparameterization gradients",
2018]. So a draw has derivatives of every order, and the same under every transform.

For the gamma distribution ∂F/∂y = yᵃ⁻¹ e⁻ʸ/Γ(a), and with t = yeʷ in the integral Γ(a) = ∫ tᵃ⁻¹ e⁻ᵗ dt

    dy/da = y ∫ (w + log y - ψ(a)) exp(aw - y(eʷ - 1)) dw    over w > 0, or minus the same over w < 0.

The half line where nothing cancels is taken: w > 0 for y >= a.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from pullback.ops.elementwise import log
from pullback.ops.gammas import polygamma
from pullback.ops.kernels import typed
from pullback.ops.samples import Sample
from pullback.ops.table import Op, elementwise
from pullback.values.optional import from_scipy
from pullback.values.shape import Spec, broadcast_shapes

_gammaincinv = from_scipy("special", "gammaincinv")
_polygamma = from_scipy("special", "polygamma")

_NODES, _WEIGHTS = (0.5 * np.polynomial.legendre.leggauss(36)[i] + 0.5 * (1 - i) for i in (0, 1))
_NEAR: Final = 1.5  # below it the integrals have a power series
_TERMS: Final = 24
_DECAY: Final = 38.0  # the integrand is cut off where it has fallen to e⁻³⁸


def _near(a: Any, y: Any, order: int) -> Any:
    """The derivative of dy/da of the given order in a, for y < 1.5.

    Expanding exp(-yeʷ), the integral over w < 0 is eʸ(1/a + r), r = Σ (-y)ⁿ/(n! (a + n)) over n >= 1; what ψ(a) and it
    have in common, the pole at a = 0, is taken out, so that the slope is -yeʸ(r' + r/a + (log y - ψ(a + 1))(1/a + r)).
    """
    r = [np.zeros_like(y) for _ in range(order + 2)]  # and its derivatives
    coefficient = np.ones_like(y)
    for n in range(1, _TERMS):
        coefficient = coefficient * (-y / n)
        term = coefficient / (a + n)
        for k in range(order + 2):
            r[k] += term
            term = term * (-(k + 1) / (a + n))
    pole = [(-1) ** k * math.factorial(k) * a ** -(k + 1.0) for k in range(order + 1)]
    total = r[order + 1]
    for j in range(order + 1):
        f = -_polygamma(j, a + 1) if j else np.log(y) - _polygamma(0, a + 1)
        total = total + math.comb(order, j) * (f * (pole[order - j] + r[order - j]) + pole[j] * r[order - j])
    return -y * np.exp(y) * total


def _far(a: Any, y: Any, order: int) -> Any:
    """The derivative of dy/da of the given order in a, for y >= 1.5, by Gauss-Legendre quadrature."""
    side = np.where(y >= a, 1.0, -1.0)
    drift = np.abs(y - a)
    end = 2 * _DECAY / (drift + np.sqrt(drift * drift + 2 * _DECAY * y))
    for _ in range(4):  # Newton's method for the end of the range; the function is convex
        rise = np.expm1(side * end)
        end = end - (drift * end + y * (rise - side * end) - _DECAY) / (drift + side * y * rise)
    psi = [_polygamma(j, a) for j in range(order + 1)]
    shift = np.log(y) - psi[0]
    total = np.zeros_like(y)
    for node, weight in zip(_NODES, _WEIGHTS, strict=True):
        w = side * end * node
        power = w + shift
        if order:
            power = power * w**order
            for j in range(1, order + 1):
                power = power - math.comb(order, j) * psi[j] * w ** (order - j)
        total += weight * power * np.exp(a * w - y * np.expm1(w))
    return side * y * end * total


def _slope(a: Any, y: Any, order: int = 0) -> Any:
    dtype = np.result_type(a, y)
    shape = np.broadcast_shapes(np.shape(a), np.shape(y))
    shape_parameter, at = (np.broadcast_to(np.asarray(x, np.float64), shape).reshape(-1) for x in (a, y))
    slope = np.where(np.isnan(at), np.nan, np.zeros(at.shape))  # where a number was too small to represent: 0
    near, far = (at > 0) & (at < _NEAR), at >= _NEAR
    for chosen, rule in ((near, _near), (far, _far)):
        if chosen.any():
            slope[chosen] = rule(shape_parameter[chosen], at[chosen], order)
    return slope.reshape(shape).astype(dtype)[()]


def _slope_in_y(g: Any, s: Any, a: Any, y: Any, order: int = 0) -> Any:
    """From ∂s/∂y = ψ(a) - log y - s((a - 1)/y - 1), differentiated in a as often as the order says."""
    a, y = typed(a, y), typed(y, a)
    partial = polygamma(a, n=order) - s * ((a - 1.0) / y - 1.0)
    if order == 0:
        return g * (partial - log(y))
    return g * (partial - order * gamma_slope(a, y, order=order - 1) / y)


gamma_slope: Op = elementwise(
    "gamma_slope",
    _slope,
    lambda g, _s, a, y, order=0: g * gamma_slope(a, y, order=order + 1),
    _slope_in_y,
    samples=[
        Sample(lambda rng: rng.random((2, 3)) + 1.5, lambda rng: rng.random((2, 3)) + 0.2),
        Sample(lambda rng: rng.random(3) + 4.0, lambda rng: rng.random((2, 1)) * 6 + 2.0),
        Sample(lambda rng: rng.random(3) + 1.5, lambda rng: rng.random(3) * 3 + 0.2, order=1),
    ],
    doc="How fast a gamma-distributed number y of shape a moves with a at a fixed level, or the derivative of that in "
    "a of the given order; 0 at y = 0. Within 1e-11 of it for a in [1e-3, 1e4].",
)


def _sample_shape(a: Any, u: Any) -> Spec:
    specs = [x for x in (a, u) if isinstance(x, Spec)]
    return Spec(broadcast_shapes(*(x.shape for x in specs)), specs[0].dtype)


def _gamma_sample(a: Any, u: Any) -> Any:
    dtype = typed(a, u).dtype
    return np.asarray(_gammaincinv(np.asarray(a, np.float64), np.asarray(u, np.float64))).astype(dtype)[()]


gamma_sample = elementwise(
    "gamma_sample",
    _gamma_sample,
    lambda g, y, a, _u: g * gamma_slope(typed(a, y), y),
    None,
    samples=[
        Sample(lambda rng: rng.random((2, 3)) + 0.7, np.array([[0.05, 0.3, 0.5], [0.8, 0.95, 0.99]])),
        Sample(lambda rng: rng.random(3) * 8 + 3, np.array([[0.2], [0.7]])),
    ],
    shape=_sample_shape,
    title="StandardGammaBackward0",
    doc="The number below which a gamma distribution of shape a > 0 has the mass u: gamma-distributed for u drawn "
    "evenly from (0, 1). Of the dtype of a; u is float64 whatever that is, and has no derivative.",
)
