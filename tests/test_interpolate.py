"""pb.scipy.interpolate: values are SciPy's, derivatives in the data and the places those of its differences."""

from typing import Any

import numpy as np
import pytest

import pullback as pb
from scipy_checks import agree

si = pytest.importorskip("scipy.interpolate")
ours = pb.scipy.interpolate
RNG = np.random.default_rng(0)
X = np.sort(RNG.random(9)) * 3
Y = RNG.normal(size=9)
PLACES = RNG.random(6) * (X[-1] - X[0]) + X[0]
BEYOND = np.array([X[0] - 0.3, X[-1] + 0.2, X[0], X[-1], X[4]])
BLOCK = RNG.normal(size=(2, 9, 3))

KINDS = ("linear", "nearest", "nearest-up", "previous", "next", "zero", "slinear", "quadratic", "cubic")
# (module, x, y, axis) -> interpolant
INTERPOLANTS: dict[str, Any] = {
    "cubic": lambda m, x, y, axis: m.CubicSpline(x, y, axis),
    "natural": lambda m, x, y, axis: m.CubicSpline(x, y, axis, "natural"),
    "clamped": lambda m, x, y, axis: m.CubicSpline(x, y, axis, "clamped"),
    "pchip": lambda m, x, y, axis: m.PchipInterpolator(x, y, axis),
    "akima": lambda m, x, y, axis: m.Akima1DInterpolator(x, y, axis),
    "makima": lambda m, x, y, axis: m.Akima1DInterpolator(x, y, axis, method="makima"),
    "hermite": lambda m, x, y, axis: m.CubicHermiteSpline(x, y, y * 2.0, axis),
    **{f"spline {k}": lambda m, x, y, axis, k=k: m.make_interp_spline(x, y, k, axis=axis) for k in (1, 2, 3, 5)},
    "natural spline": lambda m, x, y, axis: m.make_interp_spline(x, y, 3, bc_type="natural", axis=axis),
    **{f"interp1d {kind}": lambda m, x, y, axis, kind=kind: m.interp1d(x, y, kind, axis) for kind in KINDS},
}


@pytest.mark.parametrize("name", INTERPOLANTS)
def test_in_the_data_and_the_places(name: str) -> None:
    make = INTERPOLANTS[name]
    agree(lambda y: make(ours, X, y, 0)(PLACES), lambda y: make(si, X, y, 0)(PLACES), Y, 1e-5, 1e-6)
    agree(lambda q: make(ours, X, Y, 0)(q), lambda q: make(si, X, Y, 0)(q), PLACES, 1e-4, 1e-7)


@pytest.mark.parametrize("name", INTERPOLANTS)
def test_axes_and_shapes(name: str) -> None:
    make = INTERPOLANTS[name]
    for places in (PLACES.reshape(2, 3), 1.0, PLACES):
        np.testing.assert_allclose(
            make(ours, X, BLOCK, 1)(places), make(si, X, BLOCK, 1)(places), rtol=1e-8, atol=1e-10
        )


CONDITIONS = ["not-a-knot", "natural", "clamped", ((1, 0.5), (2, -0.3)), ("natural", (1, 2.0))]


@pytest.mark.parametrize("bc_type", CONDITIONS, ids=str)
def test_derivatives_and_integrals_of_splines(bc_type: Any) -> None:
    a, b = ours.CubicSpline(X, Y, bc_type=bc_type), si.CubicSpline(X, Y, bc_type=bc_type)
    for order in range(4):
        places = np.append(PLACES, BEYOND)
        np.testing.assert_allclose(a(places, order), b(places, order), rtol=1e-8, atol=1e-6)
    np.testing.assert_allclose(a.integrate(0.5, 2.0), b.integrate(0.5, 2.0))
    np.testing.assert_allclose(a.derivative()(PLACES), b.derivative()(PLACES), rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(a.antiderivative()(PLACES), b.antiderivative()(PLACES), rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(a.c, b.c, atol=1e-6)


def test_boundary_values_are_differentiated() -> None:
    agree(
        lambda v: ours.CubicSpline(X, Y, bc_type=((1, v[0]), (2, v[1])))(PLACES),
        lambda v: si.CubicSpline(X, Y, bc_type=((1, v[0]), (2, v[1])))(PLACES),
        np.array([0.5, -0.3]),
    )


def test_periodic() -> None:
    y = np.append(Y[:-1], Y[0])
    places = np.append(PLACES, [9.0, -5.0])
    a, b = ours.CubicSpline(X, y, bc_type="periodic"), si.CubicSpline(X, y, bc_type="periodic")
    np.testing.assert_allclose(a(places), b(places), rtol=1e-7, atol=1e-8)
    with pytest.raises(ValueError, match="identical"):
        ours.CubicSpline(X, Y, bc_type="periodic")


@pytest.mark.parametrize("kind", KINDS)
def test_beyond_the_ends(kind: str) -> None:
    places = np.concatenate([PLACES, BEYOND, X])
    for options in ({"bounds_error": False, "fill_value": (1.0, 2.0)}, {"fill_value": "extrapolate"}):
        a, b = ours.interp1d(X[::-1], Y, kind, **options), si.interp1d(X[::-1], Y, kind, **options)
        np.testing.assert_allclose(a(places), b(places), rtol=1e-8, atol=1e-9)
    with pytest.raises(ValueError, match="below"):
        ours.interp1d(X, Y, kind)(X[0] - 1.0)


def test_bspline() -> None:
    knots = np.array([0, 0, 0, 0, 1, 2, 3, 3, 3, 3.0])
    agree(lambda c: ours.BSpline(knots, c, 3)(PLACES, 1), lambda c: si.BSpline(knots, c, 3)(PLACES, 1), Y[:6])


GRID = (np.array([0.0, 1, 3]), np.array([0.0, 0.5, 2, 2.5]))


@pytest.mark.parametrize("method", ["linear", "nearest"])
def test_regular_grid(method: str) -> None:
    values, places = RNG.normal(size=(3, 4, 2)), RNG.random((5, 2)) * [3, 2.5]

    def make(m: Any, values: Any, *rest: Any) -> Any:
        return m.RegularGridInterpolator(GRID, values, method, *rest)

    agree(lambda v: make(ours, v)(places), lambda v: make(si, v)(places), values)
    agree(lambda q: make(ours, values)(q), lambda q: make(si, values)(q), places)
    beyond = [[9.0, 0.7], [1, 1]]
    for rest in ((False,), (False, None)):
        expected = make(si, values[..., 0], *rest)(beyond)
        np.testing.assert_allclose(make(ours, values[..., 0], *rest)(beyond), expected)
    with pytest.raises(ValueError, match="out of bounds"):
        make(ours, values)(beyond)


def test_what_is_wrong_is_refused() -> None:
    with pytest.raises(ValueError, match="strictly increasing"):
        ours.CubicSpline([1.0, 0.0, 2.0], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="length"):
        ours.PchipInterpolator([0.0, 1.0, 2.0], [1.0, 2.0])
    with pytest.raises(NotImplementedError, match="breakpoints"):
        pb.grad(lambda x: ours.CubicSpline(x, Y)(1.0))(X)


def test_vmap_over_data() -> None:
    found = pb.vmap(lambda y: ours.CubicSpline(X, y)(PLACES))(np.stack([Y, 2 * Y]))
    np.testing.assert_allclose(found, np.stack([si.CubicSpline(X, y)(PLACES) for y in (Y, 2 * Y)]))
