"""custom_root and custom_linear_solve: in every mode, to third order, with vmap; against closed forms and JAX."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pullback as pb
from pullback.transforms.implicit import dense_solve

A = np.array([2.0, 3.0])


def newton(f: Any, x: Any) -> Any:
    for _ in range(30):
        x = x - f(x) / pb.grad(f)(x)
    return x


def root(a: Any) -> Any:
    return pb.custom_root(lambda x: x**3 - a, 1.0, newton, lambda g, y: y / g(1.0))


def quotient(a: Any) -> Any:
    """a^(1/3), as the solution of a linear equation."""
    return pb.custom_linear_solve(
        lambda x: x * a, a ** (4 / 3), lambda matvec, b: b / matvec(1.0), lambda vecmat, b: b / vecmat(1.0)
    )


MODES: dict[str, Callable[[Any], Any]] = {
    "value": lambda r: r(8.0),
    "grad": lambda r: pb.grad(r)(8.0),
    "second": lambda r: pb.grad(pb.grad(r))(8.0),
    "third": lambda r: pb.grad(pb.grad(pb.grad(r)))(8.0),
    "jvp": lambda r: pb.jvp(r, (8.0,), (1.0,))[1],
    "jvp of grad": lambda r: pb.jvp(pb.grad(r), (8.0,), (1.0,))[1],
    "grad of jvp": lambda r: pb.grad(lambda a: pb.jvp(r, (a,), (1.0,))[1])(8.0),
    "jvp of jvp": lambda r: pb.jvp(lambda a: pb.jvp(r, (a,), (1.0,))[1], (8.0,), (1.0,))[1],
    "vmap": lambda r: pb.vmap(r)(A),
    "vmap of grad": lambda r: pb.vmap(pb.grad(r))(A),
    "grad of vmap": lambda r: pb.grad(lambda a: pb.vmap(r)(a).sum())(A),
    "jacrev of vmap": lambda r: pb.jacrev(lambda a: pb.vmap(r)(a))(A),
    "jacfwd of vmap": lambda r: pb.jacfwd(lambda a: pb.vmap(r)(a))(A),
    "hessian of vmap": lambda r: pb.hessian(lambda a: pb.vmap(r)(a).sum())(A),
    "jacrev of jacrev of vmap": lambda r: pb.jacrev(pb.jacrev(lambda a: pb.vmap(r)(a)))(A),
    "two vmaps": lambda r: pb.jacrev(lambda a: pb.vmap(lambda x: pb.vmap(lambda b: r(b * x) * x)(a))(a))(A),
    "hessian of vmap of grad": lambda r: pb.hessian(lambda a: pb.vmap(pb.grad(r))(a).sum())(A),
}


@pytest.mark.parametrize("function", [root, quotient])
@pytest.mark.parametrize("mode", MODES)
def test_every_mode(mode: str, function: Any) -> None:
    np.testing.assert_allclose(MODES[mode](function), MODES[mode](lambda a: a ** (1 / 3)), rtol=1e-9, atol=1e-12)


def test_containers_against_jax() -> None:
    """x² + y = a, x·y = b: a dict of arrays, solved densely."""
    jax = pytest.importorskip("jax")
    jnp = jax.numpy

    def system(xp: Any, p: Any) -> Any:
        return lambda s: {"x": s["x"] ** 2 + s["y"] - p[0], "y": s["x"] * s["y"] - p[1]}

    start = {"x": np.array([2.0, 2.5]), "y": np.array([0.5, 1.0])}

    def solve(f: Any, s: Any) -> Any:
        for _ in range(40):  # a fixed-point iteration that converges here
            r = f(s)
            s = {"x": s["x"] - 0.2 * r["x"], "y": s["y"] - 0.4 * r["y"]}
        return s

    def tangent(solve_dense: Any) -> Any:
        return solve_dense

    def ours(p: Any) -> Any:
        leaves = ["x", "y"]

        def dense(g: Any, y: Any) -> Any:
            found = dense_solve(
                lambda v: [g(dict(zip(leaves, v, strict=True)))[k] for k in leaves],
                [pb.as_tensor(y[k]) for k in leaves],
            )
            return dict(zip(leaves, found, strict=True))

        s = pb.custom_root(system(np, p), start, solve, dense)
        return np.sum(np.sin(s["x"]) * s["y"])

    def theirs(p: Any) -> Any:
        def dense(g: Any, y: Any) -> Any:
            flat, rebuild = jax.flatten_util.ravel_pytree(y)
            matrix = jax.jacobian(lambda v: jax.flatten_util.ravel_pytree(g(rebuild(v)))[0])(flat)
            return rebuild(jnp.linalg.solve(matrix, flat))

        s = jax.lax.custom_root(system(jnp, p), jax.tree.map(jnp.asarray, start), solve, dense)
        return jnp.sum(jnp.sin(s["x"]) * s["y"])

    import jax.flatten_util

    p = np.array([[4.0, 5.0], [1.0, 2.0]])
    with jax.enable_x64(True):
        expected = [theirs(p), jax.grad(theirs)(p), jax.hessian(theirs)(p)]
        for g, e in zip([ours(p), pb.grad(ours)(p), pb.hessian(ours)(p)], expected, strict=True):
            np.testing.assert_allclose(g, e, rtol=1e-7, atol=1e-8)


def test_linear_solve_of_a_matrix() -> None:
    rng = np.random.default_rng(0)
    m, b = rng.normal(size=(4, 4)) + 4 * np.eye(4), rng.normal(size=4)

    def ours(m: Any, b: Any) -> Any:
        dense = lambda matvec, r: np.linalg.solve(pb.jacobian(matvec)(r), r)  # noqa: E731
        return np.sum(np.sin(pb.custom_linear_solve(lambda x: m @ x, b, dense, dense)))

    def direct(m: Any, b: Any) -> Any:
        return np.sum(np.sin(np.linalg.solve(m, b)))

    for derivative in (pb.grad, pb.hessian, lambda f, argnums: pb.jacfwd(f, argnums)):
        for argnum in (0, 1):
            np.testing.assert_allclose(derivative(ours, argnum)(m, b), derivative(direct, argnum)(m, b), rtol=1e-9)


def test_solver_sees_numbers_that_it_can_loop_on() -> None:
    def bisect(f: Any, x: Any) -> Any:
        low, high = 0.0, 10.0
        while high - low > 1e-14:
            middle = 0.5 * (low + high)
            low, high = (low, middle) if f(middle) > 0 else (middle, high)
        return np.float64(low)

    def g(a: Any) -> Any:
        return pb.custom_root(lambda x: x**3 - a, 1.0, bisect, lambda g, y: y / g(1.0))

    np.testing.assert_allclose([pb.grad(g)(8.0), pb.jvp(g, (8.0,), (1.0,))[1]], 1 / 12)


def test_float32_stays() -> None:
    assert pb.grad(root)(np.float32(8.0)).dtype == np.float32
    x = pb.tensor(8.0, requires_grad=True)
    y = root(x)
    y.backward()
    assert y.dtype == x.grad.dtype
    np.testing.assert_allclose(x.grad, 1 / 12, rtol=1e-5)


def test_aux() -> None:
    def g(a: Any) -> Any:
        x, steps = pb.custom_root(
            lambda x: x * x - a, 1.0, lambda f, x: (newton(f, x), 30), lambda g, y: y / g(1.0), has_aux=True
        )
        assert steps == 30
        return x

    np.testing.assert_allclose(pb.grad(g)(4.0), 0.25)


def test_errors() -> None:
    def forward_only(a: Any) -> Any:
        return pb.custom_linear_solve(lambda x: a * x, 1.0, lambda matvec, b: b / matvec(1.0))

    np.testing.assert_allclose(pb.jvp(forward_only, (2.0,), (1.0,))[1], -0.25)
    with pytest.raises(TypeError, match="transpose_solve"):
        pb.grad(forward_only)(2.0)
    with pytest.raises(TypeError, match="container"):
        pb.custom_root(lambda x: x, (1.0, 2.0), lambda f, x: 1.0, lambda g, y: y)
