"""pb.scipy.integrate: values are SciPy's, derivatives those of its differences, direct and adjoint."""

from typing import Any

import numpy as np
import pytest

import pullback as pb
from scipy_checks import agree, differences, second_order

si = pytest.importorskip("scipy.integrate")
ours = pb.scipy.integrate
RNG = np.random.default_rng(0)
P = np.array([1.3, 0.9, 1.0, 2.0, 0.1, 3.1])  # two rates, two initial values, both ends


def rates(t: Any, y: Any, a: Any, b: Any) -> Any:
    return [a * y[0] - b * y[0] * y[1], -y[1] + y[0] * y[1]]


def exact(p: Any) -> Any:
    settings = {"args": (p[0], p[1]), "rtol": 1e-12, "atol": 1e-13}
    return si.solve_ivp(rates, (p[4], p[5]), p[2:4], "DOP853", **settings).y[:, -1]


def ending(method: str, adjoint: bool | None = None, tight: float = 1e-9) -> Any:
    settings = {"rtol": tight, "atol": tight / 100, "adjoint": adjoint}
    return lambda p: ours.solve_ivp(rates, (p[4], p[5]), p[2:4], method, args=(p[0], p[1]), **settings).y[:, -1]


@pytest.mark.parametrize("method", ["RK23", "RK45", "DOP853"])
def test_direct(method: str) -> None:
    tight = 1e-6 if method == "RK23" else 1e-9
    expected = differences(exact, P)
    np.testing.assert_allclose(pb.jacrev(ending(method, tight=tight))(P), expected, atol=50 * tight)
    np.testing.assert_allclose(pb.jacfwd(ending(method, tight=tight))(P), expected, atol=50 * tight)


@pytest.mark.parametrize("method", ["RK45", "DOP853", "LSODA"])
def test_adjoint(method: str) -> None:
    found = pb.grad(lambda p: ending(method, True, 1e-8)(p).sum())(P)
    np.testing.assert_allclose(found, differences(exact, P).sum(0), atol=3e-6)


@pytest.mark.parametrize("method", ["BDF", "Radau"])
def test_implicit_methods_take_the_adjoint(method: str) -> None:
    found = pb.grad(lambda p: ending(method, tight=1e-6)(p).sum())(P)
    np.testing.assert_allclose(found, differences(exact, P).sum(0), atol=1e-3)


def test_second_order_direct_and_adjoint() -> None:
    def along(f: Any) -> Any:
        return pb.grad(lambda p: (pb.grad(lambda p: f(p).sum())(p) * P).sum())(P)

    expected = differences(lambda p: pb.grad(lambda p: ending("DOP853")(p).sum())(p), P) @ P
    np.testing.assert_allclose(along(ending("DOP853")), expected, atol=1e-5)
    np.testing.assert_allclose(along(ending("DOP853", True, 1e-7)), expected, atol=1e-4)


@pytest.mark.parametrize("method", ["RK23", "RK45", "DOP853"])
@pytest.mark.parametrize("span", [(0.1, 3.1), (3.1, 0.1)])
def test_values_times_and_dense_output_are_scipys(method: str, span: Any) -> None:
    a = pb.tensor(1.3, dtype=pb.float64, requires_grad=True)
    times = np.linspace(*span, 7)
    for t_eval in (None, times):
        options = {"t_eval": t_eval, "dense_output": True}
        expected = si.solve_ivp(rates, span, P[2:4], method, args=(1.3, 0.9), **options)
        found = ours.solve_ivp(rates, span, P[2:4], method, args=(a, 0.9), **options)
        np.testing.assert_array_equal(found.t, expected.t)
        np.testing.assert_allclose(found.y.detach(), expected.y, rtol=1e-12)
        np.testing.assert_allclose(found.sol(times[2:5]).detach(), expected.sol(times[2:5]), rtol=1e-12)
        np.testing.assert_allclose(found.sol(1.7).detach(), expected.sol(1.7), rtol=1e-12)


def test_times_of_evaluation() -> None:
    def at(t: Any) -> Any:
        return ours.solve_ivp(rates, (0.0, 3.0), P[2:4], "DOP853", t, args=(1.3, 0.9), rtol=1e-9, atol=1e-10).y[0]

    t = np.array([0.5, 1.7, 2.9])
    np.testing.assert_allclose(pb.jacrev(at)(t), differences(lambda t: np.asarray(at(t)), t), atol=1e-5)


def test_events() -> None:
    def hit(t: Any, y: Any) -> Any:
        return y[0]

    hit.terminal, hit.direction = True, -1  # type: ignore[attr-defined]

    def fall(p: Any) -> Any:
        return ours.solve_ivp(lambda t, y: [y[1], -p[1]], (0.0, 100.0), [p[0], 0.0 * p[0]], events=hit, rtol=1e-8)

    p = np.array([10.0, 9.8])
    times, speeds = (lambda p: np.sqrt(2 * p[0] / p[1])), (lambda p: -np.sqrt(2 * p[0] * p[1]))
    for f, expected in (
        (lambda p: fall(p).t_events[0][0], times),
        (lambda p: fall(p).t[-1], times),
        (lambda p: fall(p).y[1, -1], speeds),
        (lambda p: fall(p).y_events[0][0, 1], speeds),
    ):
        np.testing.assert_allclose(pb.grad(f)(p), differences(expected, p), rtol=1e-6)


@pytest.mark.parametrize("adjoint", [False, True])
def test_odeint(adjoint: bool) -> None:
    times = np.linspace(0.1, 3.1, 5)

    def solve(p: Any) -> Any:
        return ours.odeint(lambda y, t, a, b: rates(t, y, a, b), p[2:4], times, (p[0], p[1]), adjoint=adjoint)

    def theirs(p: Any) -> Any:
        settings = {"rtol": 1e-12, "atol": 1e-12}
        return si.odeint(lambda y, t, a, b: rates(t, y, a, b), p[2:4], times, (p[0], p[1]), **settings)

    np.testing.assert_allclose(pb.jacobian(solve)(P[:4]), differences(theirs, P[:4]), atol=2e-6)
    np.testing.assert_array_equal(
        ours.odeint(rates, P[2:4], times, (1.3, 0.9), tfirst=True),
        si.odeint(rates, P[2:4], times, (1.3, 0.9), tfirst=True),
    )


def test_nothing_is_dropped() -> None:
    with pytest.raises(TypeError, match="args"):
        pb.grad(lambda a: ours.solve_ivp(lambda t, y: -a * y, (0.0, 1.0), [1.0], adjoint=True).y[0, -1])(1.0)
    with pytest.raises(TypeError, match="plain numbers"):
        pb.vmap(lambda a: ours.solve_ivp(lambda t, y: -a * y, (0.0, 1.0), [1.0]).y[0, -1])(np.ones(2))


SAMPLED = ["trapezoid", "simpson", "cumulative_trapezoid"]


@pytest.mark.parametrize("name", SAMPLED)
@pytest.mark.parametrize("count", [2, 3, 4, 5, 8, 9])
def test_samples(name: str, count: int) -> None:
    f, theirs = getattr(ours, name), getattr(si, name)
    y, x = RNG.normal(size=(3, count)), np.arange(count) + 0.4 * RNG.random(count)
    for options in ({}, {"x": x}, {"dx": 0.3}):
        np.testing.assert_allclose(f(y, **options), theirs(y, **options), rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(f(y.T, axis=0, **options), theirs(y.T, axis=0, **options), rtol=1e-12, atol=1e-14)
        agree(lambda y, options=options: f(y, **options), lambda y, options=options: theirs(y, **options), y)
    agree(lambda x: f(y[0], x=x), lambda x: theirs(y[0], x=x), x, 1e-5)


def test_romberg_and_initial_value() -> None:
    y = np.arange(9.0) ** 3
    agree(lambda y: ours.romb(y, dx=0.5), lambda y: si.romb(y, dx=0.5), y)
    agree(lambda y: ours.cumulative_trapezoid(y, initial=0), lambda y: si.cumulative_trapezoid(y, initial=0), y)
    with pytest.raises(ValueError, match="power of 2"):
        ours.romb(np.ones(4))


Q = np.array([1.2, 0.3, 2.0])
INTEGRALS: dict[str, Any] = {
    "both limits": (lambda x, a: a * np.exp(-a * x * x), lambda p: (p[1], p[2])),
    "half a line": (lambda x, a: np.exp(-a * x * x), lambda p: (0.0, np.inf)),
    "the line": (lambda x, a: np.exp(-a * x * x) * (x + 2), lambda p: (-np.inf, np.inf)),
    "from below": (lambda x, a: np.exp(-a * x * x) * (x + 2), lambda p: (-np.inf, p[1])),
    "downward": (lambda x, a: np.exp(-a * x * x) * (x + 2), lambda p: (np.inf, p[1])),
    "reversed": (lambda x, a: np.sin(a * x), lambda p: (p[2], p[1])),
    "a kink": (lambda x, a: abs(x - 0.7) * a, lambda p: (p[1], p[2])),
}


@pytest.mark.parametrize("name", INTEGRALS)
def test_quad(name: str) -> None:
    f, limits = INTEGRALS[name]

    def integral(p: Any) -> Any:
        return ours.quad(f, *limits(p), args=(p[0],))[0]

    agree(integral, lambda p: si.quad(f, *limits(p), args=(p[0],), epsabs=1e-12, epsrel=1e-12)[0], Q, 1e-7, value=1e-8)
    second_order(integral, Q)


def test_quad_of_what_is_closed_over_and_of_numbers() -> None:
    np.testing.assert_allclose(pb.grad(lambda a: ours.quad(lambda x: x**a, 0.0, 1.0)[0])(2.0), -1 / 9)
    assert ours.quad(np.exp, 0.0, 1.0) == si.quad(np.exp, 0.0, 1.0)
    with pytest.raises(NotImplementedError, match="weight"):
        pb.grad(lambda a: ours.quad(lambda x: a * x, 0.0, 1.0, weight="cos", wvar=1.0)[0])(1.0)


def test_fixed_quad() -> None:
    agree(
        lambda p: ours.fixed_quad(lambda x: np.exp(p[0] * x), p[1], p[2])[0],
        lambda p: si.fixed_quad(lambda x: np.exp(p[0] * x), p[1], p[2])[0],
        Q,
    )
