"""pb.scipy.optimize: SciPy's solutions, and their derivatives by the implicit function theorem, to second order."""

from typing import Any

import numpy as np
import pytest
import scipy.integrate

import pullback as pb
from scipy_checks import differences, second_order

so = pytest.importorskip("scipy.optimize")
ours = pb.scipy.optimize
T = np.linspace(0, 1, 9)
Y = np.exp(-T) + 0.1 * np.sin(9 * T)
V = np.array([1.2, 0.7])


def system(x: Any, a: Any) -> Any:
    return [x[0] + np.cos(x[1]) * a[0] - 1, x[1] ** 3 + x[0] - a[1]]


def valley(x: Any, a: Any) -> Any:
    return (a[0] - x[0]) ** 2 + 10 * (x[1] - a[1] * x[0] ** 2) ** 2


def cubic(x: Any, a: Any) -> Any:
    return x**3 + x - a


def decay(x: Any, a: Any, b: Any) -> Any:
    return np.exp(-a * x) * b


def residuals(p: Any, y: Any) -> Any:
    return np.exp(-p[0] * T) * p[1] - y


TIGHT = {"ftol": 1e-14, "xtol": 1e-14, "gtol": 1e-14}
# the function, of a module and the argument, and the argument
CASES: dict[str, tuple[Any, Any]] = {
    "root": (lambda m, a: m.root(system, [1.0, 1.0], args=(a,), tol=1e-12).x, np.array([0.5, 2.0])),
    "root lm": (lambda m, a: m.root(system, [1.0, 1.0], (a,), "lm", tol=1e-12).x, np.array([0.5, 2.0])),
    "root krylov": (lambda m, a: m.root(system, [0.9, 1.0], (a,), "krylov", tol=1e-11).x, np.array([0.5, 2.0])),
    **{
        name: (lambda m, a, name=name: getattr(m, name)(cubic, 0, 5, args=(a,), xtol=1e-13), 2.0)
        for name in ("bisect", "brentq", "brenth", "ridder", "toms748")
    },
    "newton": (lambda m, a: m.newton(cubic, 1.0, args=(a,), tol=1e-13), 2.0),
    "newton of arrays": (lambda m, a: m.newton(lambda x: cubic(x, a), np.ones(2), tol=1e-12), np.array([2.0, 3.0])),
    "root_scalar": (lambda m, a: m.root_scalar(lambda x: cubic(x, a), x0=1.0, x1=1.2, xtol=1e-13).root, 2.0),
    "root_scalar bracket": (lambda m, a: m.root_scalar(cubic, a, bracket=(0, 4), xtol=1e-13).root, 2.0),
    "fixed_point": (lambda m, a: m.fixed_point(lambda x: np.cos(x * a), V, xtol=1e-12), np.array([0.9, 0.3])),
    **{
        f"minimize {method}": (
            lambda m, a, method=method, options=options: (
                m.minimize(valley, np.zeros(2), args=(a,), method=method, tol=1e-11, **options).x
            ),
            V,
        )
        for method, options in (("BFGS", {"options": {"gtol": 1e-8}}), ("L-BFGS-B", {}), ("SLSQP", {}))
    },
    "minimize at a bound": (
        lambda m, a: m.minimize(valley, np.zeros(2), (a,), bounds=[(0, 0.5), (None, None)], tol=1e-12).x,
        V,
    ),
    "minimum": (lambda m, a: m.minimize(valley, np.zeros(2), args=(a,), tol=1e-9).fun + a[0] ** 3, V),
    "minimize_scalar": (lambda m, a: m.minimize_scalar(lambda x: np.cosh(x - a) + x**2, tol=1e-10).x, 1.2),
    "least_squares": (lambda m, y: m.least_squares(residuals, [1.0, 1.0], args=(y,), **TIGHT).x, Y),
    "curve_fit": (lambda m, y: m.curve_fit(decay, T, y, xtol=1e-14, ftol=1e-14)[0], Y),
    "curve_fit covariance": (lambda m, y: m.curve_fit(decay, T, y, sigma=1 + T, xtol=1e-14, ftol=1e-14)[1], Y),
}


@pytest.mark.parametrize("name", CASES)
def test_derivatives(name: str) -> None:
    f, a = CASES[name]
    found, _ = pb.vjp(lambda a: f(ours, a), a)
    np.testing.assert_allclose(found, f(so, a), rtol=1e-5, atol=1e-6)
    expected = differences(lambda a: f(so, a), a, 1e-3)
    np.testing.assert_allclose(pb.jacrev(lambda a: f(ours, a))(a), expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(pb.jacfwd(lambda a: f(ours, a))(a), expected, rtol=1e-3, atol=1e-4)
    second_order(lambda a: f(ours, a), a, 2e-3, 1e-3)


@pytest.mark.parametrize("loss", ["soft_l1", "huber", "cauchy", "arctan"])
def test_losses(loss: str) -> None:
    """The gradient of the cost is zero at the solution, and stays so when the data move."""
    y = Y + 0.5 * (T > 0.8)

    def fit(m: Any, y: Any) -> Any:
        return m.least_squares(residuals, [1.0, 1.0], args=(y,), loss=loss, f_scale=0.1, **TIGHT)

    np.testing.assert_allclose(fit(ours, y).x, fit(so, y).x, rtol=1e-4)
    slope = pb.jvp(lambda y: fit(ours, y).x, (y,), (T,))[1]
    moved = (fit(ours, y + 1e-3 * T).x - fit(ours, y - 1e-3 * T).x) / 2e-3
    np.testing.assert_allclose(slope, moved, rtol=1e-2, atol=1e-3)
    found = fit(ours, pb.tensor(y, requires_grad=True))
    np.testing.assert_allclose(found.cost.detach(), fit(so, y).cost, rtol=1e-6)


def test_tensors_where_tracked_and_numbers_where_not() -> None:
    a = pb.tensor(np.array([0.5, 2.0]), requires_grad=True)
    found = ours.root(system, [1.0, 1.0], args=(a,))
    assert isinstance(found, so.OptimizeResult)
    assert found.success
    assert found.x.requires_grad
    found.x.sum().backward()
    assert np.all(np.asarray(a.grad) != 0)
    assert isinstance(ours.root(system, [1.0, 1.0], args=(np.array([0.5, 2.0]),)).x, np.ndarray)
    x, result = ours.brentq(lambda x: cubic(x, a[1]), 0, 5, full_output=True)
    assert result.converged
    assert result.root is x
    assert x.requires_grad


def test_newton_needs_no_derivative() -> None:
    found = ours.root_scalar(cubic, args=(2.0,), x0=1.0, method="newton")
    assert found.converged
    assert found.iterations < 10
    np.testing.assert_allclose(ours.root_scalar(cubic, args=(2.0,), x0=1.0, method="halley").root, 1.0)


def test_given_derivatives_are_taken() -> None:
    calls = []

    def slope(x: Any, a: Any) -> Any:
        calls.append(x)
        return 3 * x**2 + 1

    np.testing.assert_allclose(ours.newton(cubic, 1.5, slope, args=(2.0,)), 1.0)
    assert calls
    pair = lambda x, a: (valley(x, a), pb.grad(valley)(x, a))  # noqa: E731
    found = pb.jacobian(lambda a: ours.minimize(pair, np.zeros(2), args=(a,), jac=True, tol=1e-10).x)(V)
    np.testing.assert_allclose(found, [[1, 0], [2 * V[0] * V[1], V[0] ** 2]], rtol=1e-5, atol=1e-6)


def test_what_has_no_derivative_says_so() -> None:
    limit = {"type": "ineq", "fun": lambda x: x[0] - 2}
    with pytest.raises(NotImplementedError, match="constraints"):
        pb.jacobian(lambda a: ours.minimize(valley, np.ones(2), args=(a,), constraints=limit).x)(V)
    with pytest.raises(TypeError, match="plain numbers"):
        pb.vmap(lambda a: ours.brentq(cubic, 0, 5, args=(a,)))(np.ones(2))


def test_unchanged_scipy_code() -> None:
    """SciPy's own functions, in a function that is differentiated, whose helpers write into arrays."""

    def slope(t: Any, y: Any, k: Any) -> Any:
        out = np.zeros(2)
        out[0] = y[1]
        out[1] = -k * y[0]
        return out

    def f(k: Any) -> Any:
        root = so.brentq(lambda x: x**3 + x - k, 0, 5, xtol=1e-13)
        path = scipy.integrate.solve_ivp(slope, (0, 1.0), [1.0, 0.0], args=(k,), rtol=1e-9, atol=1e-10)
        return root + path.y[0, -1]

    np.testing.assert_allclose(pb.grad(f)(2.0), differences(f, 2.0), rtol=1e-6)
