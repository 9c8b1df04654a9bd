"""custom_vjp, custom_jvp and stop_gradient: against JAX in every mode, nested, batched, over containers."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import pullback as pb
from pullback.tape.state import modes

jax = pytest.importorskip("jax")
jnp = jax.numpy
XS = np.array([0.1, 0.2, 0.3])


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)
    assert (modes.depth, modes.grad, modes.numpy, modes.special) == (0, True, False, False)


def by_vjp(m: Any, xp: Any) -> Any:
    """sin(x)·y with a derivative in x that is twice the true one: one sees whose rule was used."""

    @m.custom_vjp
    def f(x: Any, y: Any) -> Any:
        return xp.sin(x) * y

    f.defvjp(
        lambda x, y: (f(x, y), (xp.cos(x), xp.sin(x), y)),
        lambda saved, g: (2 * g * saved[0] * saved[2], g * saved[1]),
    )
    return f


def by_jvp(m: Any, xp: Any) -> Any:
    """The same."""

    @m.custom_jvp
    def f(x: Any, y: Any) -> Any:
        return xp.sin(x) * y

    @f.defjvp
    def rule(primals: Any, tangents: Any) -> Any:
        (x, y), (a, b) = primals, tangents
        return f(x, y), 2 * xp.cos(x) * y * a + xp.sin(x) * b

    return f


REVERSE: dict[str, Callable[[Any, Any, Any], Any]] = {
    "value": lambda m, f, xs: f(0.7, 1.3),
    "grad": lambda m, f, xs: m.grad(f, argnums=(0, 1))(0.7, 1.3),
    "grad-grad": lambda m, f, xs: m.grad(m.grad(f))(0.7, 1.3),
    "mixed": lambda m, f, xs: m.grad(m.grad(f, argnums=1))(0.7, 1.3),
    "third": lambda m, f, xs: m.grad(m.grad(m.grad(f)))(0.7, 1.3),
    "vmap": lambda m, f, xs: m.vmap(f, in_axes=(0, None))(xs, 1.3),
    "vmap-grad": lambda m, f, xs: m.vmap(m.grad(f), in_axes=(0, None))(xs, 1.3),
    "grad-vmap": lambda m, f, xs: m.grad(lambda q, w: m.vmap(f, in_axes=(0, None))(q, w).sum(), argnums=(0, 1))(
        xs, 1.3
    ),
    "grad-vmap-grad": lambda m, f, xs: m.grad(lambda q, w: m.vmap(m.grad(f), (0, None))(q, w).sum(), (0, 1))(xs, 1.3),
    "grad-grad-vmap": lambda m, f, xs: m.grad(
        lambda w: m.grad(lambda q, w: m.vmap(f, in_axes=(0, None))(q, w).sum())(xs, w).sum()
    )(1.3),
    "vmap-vmap-grad": lambda m, f, xs: m.vmap(lambda y: m.vmap(lambda x: m.grad(f)(x, y))(xs))(xs),
    "grad-vmap-vmap": lambda m, f, xs: m.grad(lambda q: m.vmap(lambda y: m.vmap(lambda x: f(x, y))(q))(q).sum())(xs),
    "jacrev": lambda m, f, xs: m.jacrev(lambda x: m.vmap(f)(x, x))(xs),
}
FORWARD: dict[str, Callable[[Any, Any, Any], Any]] = {
    "jvp": lambda m, f, xs: m.jvp(f, (0.7, 1.3), (1.0, 2.0)),
    "jvp-constant": lambda m, f, xs: m.jvp(lambda y: f(0.7, y), (1.3,), (2.0,)),
    "jvp-jvp": lambda m, f, xs: m.jvp(lambda x: m.jvp(f, (x, 1.3), (1.0, 2.0))[1], (0.7,), (1.0,)),
    "grad-jvp": lambda m, f, xs: m.grad(lambda x: m.jvp(f, (x, 1.3), (1.0, 2.0))[1])(0.7),
    "jvp-grad": lambda m, f, xs: m.jvp(m.grad(f), (0.7, 1.3), (1.0, 2.0)),
    "hessian": lambda m, f, xs: m.hessian(f, argnums=(0, 1))(0.7, 1.3),
    "jvp-vmap": lambda m, f, xs: m.jvp(m.vmap(f, in_axes=(0, None)), (xs, 1.3), (xs, 2.0)),
    "vmap-jvp": lambda m, f, xs: m.vmap(lambda x: m.jvp(f, (x, 1.3), (1.0, 2.0))[1])(xs),
    "vmap-hessian": lambda m, f, xs: m.vmap(m.hessian(f), in_axes=(0, None))(xs, 1.3),
    "jvp-grad-vmap": lambda m, f, xs: m.jvp(
        m.grad(lambda q, w: m.vmap(f, in_axes=(0, None))(q, w).sum()), (xs, 1.3), (xs, 2.0)
    ),
    "grad-vmap-jvp": lambda m, f, xs: m.grad(lambda z: m.vmap(lambda x: m.jvp(f, (x, z), (1.0, 2.0))[1])(xs).sum())(
        1.3
    ),
}


def numbers(result: Any) -> list[Any]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(result)]


def agree(ours: Any, theirs: Any) -> None:
    for found, expected in zip(numbers(ours), numbers(theirs), strict=True):
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=1e-10)


@pytest.mark.parametrize("mode", REVERSE)
@pytest.mark.parametrize("make", [by_vjp, by_jvp])
def test_reverse_mode_as_jax(make: Any, mode: str) -> None:
    run = REVERSE[mode]
    agree(run(pb, make(pb, np), XS), jax.jit(lambda xs: run(jax, make(jax, jnp), xs))(XS))


@pytest.mark.parametrize("mode", FORWARD)
def test_forward_mode_as_jax(mode: str) -> None:
    run = FORWARD[mode]
    agree(run(pb, by_jvp(pb, np), XS), jax.jit(lambda xs: run(jax, by_jvp(jax, jnp), xs))(XS))


@pytest.mark.parametrize("mode", FORWARD)
def test_forward_mode_of_custom_vjp_is_refused(mode: str) -> None:
    with pytest.raises((TypeError, NotImplementedError), match=r"forward-mode autodiff|custom_lin"):
        FORWARD[mode](jax, by_vjp(jax, jnp), jnp.asarray(XS))
    with pytest.raises(TypeError, match=r"can't apply forward-mode autodiff \(jvp\) to a custom_vjp function: f "):
        FORWARD[mode](pb, by_vjp(pb, np), XS)


def test_forward_over_reverse_works_if_the_rule_does_not_call_the_function() -> None:
    @pb.custom_vjp
    def cube(x: Any) -> Any:
        return x**3

    cube.defvjp(lambda x: (x**3, x), lambda x, g: (3 * x * x * g,))
    assert pb.jvp(pb.grad(cube), (2.0,), (1.0,)) == (12.0, 12.0)
    assert pb.hessian(cube)(2.0) == 12.0


def test_a_second_derivative_is_the_same_twice() -> None:
    f = by_vjp(pb, np)
    second = pb.grad(pb.grad(f))
    first = second(0.7, 1.3)
    assert [second(0.7, 1.3) for _ in range(3)] == [first] * 3
    x = pb.tensor(0.7, dtype=pb.float64, requires_grad=True)
    y = f(x, 1.3)
    (g,) = pb.autograd.grad(y, x, create_graph=True)
    found = [pb.autograd.grad(g, x, retain_graph=True)[0].item() for _ in range(3)]
    np.testing.assert_allclose(found, [first] * 3, rtol=1e-12)


def test_a_residual_made_of_the_result() -> None:
    @pb.custom_vjp
    def exp(x: Any) -> Any:
        return np.exp(x)

    def forward(x: Any) -> Any:
        y = exp(x)
        return y, y

    exp.defvjp(forward, lambda y, g: (g * y,))
    derivative = exp
    for _ in range(4):
        np.testing.assert_allclose(derivative(0.3), np.exp(0.3), rtol=1e-12)
        derivative = pb.grad(derivative)


def test_containers_static_arguments_and_none() -> None:
    def make(m: Any, xp: Any) -> Any:
        from functools import partial

        @partial(m.custom_vjp, nondiff_argnums=(1,))
        def f(params: Any, power: Any, x: Any) -> Any:
            return {"y": params["w"] ** power * x, "b": params["b"][0]}

        def forward(params: Any, power: Any, x: Any) -> Any:
            return f(params, power, x), (params, x, None, "note")

        def backward(power: Any, saved: Any, g: Any) -> Any:
            params, x, none, _ = saved
            assert none is None
            slope = power * params["w"] ** (power - 1) * x
            return {"w": g["y"] * slope, "b": [g["b"] * 10.0]}, None

        if m is jax:  # JAX's residuals are arrays only
            f.defvjp(
                lambda params, power, x: (f(params, power, x), (params, x)),
                lambda power, saved, g: backward(power, (*saved, None, ""), g),
            )
        else:
            f.defvjp(forward, backward)
        return f

    params = {"w": XS, "b": [2.0]}
    for m, xp in ((pb, np), (jax, jnp)):
        f = make(m, xp)
        loss = lambda p, x, f=f, xp=xp: xp.sum(f(p, 3, x)["y"]) + f(p, 3, x)["b"]  # noqa: E731
        found = m.grad(loss, argnums=(0, 1))(params, 2.0)
        np.testing.assert_allclose(found[0]["w"], 6 * XS**2)
        np.testing.assert_allclose(found[0]["b"][0], 10.0)
        np.testing.assert_allclose(found[1], 0.0)


def test_keyword_arguments() -> None:
    f = by_vjp(pb, np)
    assert pb.grad(lambda x: f(y=1.3, x=x))(0.7) == pb.grad(f)(0.7, 1.3)
    assert f(x=0.7, y=1.3) == np.sin(0.7) * 1.3


def test_numpy_alone_runs_the_function_itself() -> None:
    f = by_vjp(pb, np)
    assert isinstance(f(XS, 2.0), np.ndarray)
    assert type(f(0.7, 1.3)) is np.float64
    assert f.__name__ == "f"
    assert f(pb.tensor(0.5), 2.0).requires_grad is False


def test_in_the_graph() -> None:
    f = by_vjp(pb, np)
    x = pb.tensor(0.7, requires_grad=True)
    y = f(x, pb.tensor(1.3, requires_grad=True))
    assert y.grad_fn.name() == "fBackward"
    assert y.grad_fn.next_functions[0][0].variable is x
    y.backward()
    np.testing.assert_allclose(x.grad.item(), 2 * np.cos(0.7) * 1.3, rtol=1e-6)
    with pytest.raises(RuntimeError, match="second time"):
        y.backward()


def test_a_saved_argument_that_changed_is_noticed() -> None:
    @pb.custom_vjp
    def square(x: Any) -> Any:
        return x * x

    square.defvjp(lambda x: (x * x, x), lambda x, g: (2 * x * g,))
    x = pb.tensor([1.0, 2.0], requires_grad=True)
    y = x * 1
    z = square(y).sum()
    with pb.no_grad():
        y.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.backward()


def test_gradients_are_summed_to_the_argument_and_checked() -> None:
    @pb.custom_vjp
    def f(x: Any) -> Any:
        return x * 2

    f.defvjp(lambda x: (x * 2, None), lambda _, g: (np.ones((4, 3)),))
    assert pb.grad(lambda x: f(x).sum())(XS).tolist() == [4.0] * 3
    f.defvjp(lambda x: (x * 2, None), lambda _, g: (np.ones(2),))
    with pytest.raises(RuntimeError, match=r"got \[2\] but expected shape compatible with \[3\]"):
        pb.grad(lambda x: f(x).sum())(XS)
    f.defvjp(lambda x: (x * 2, None), lambda _, g: g)
    with pytest.raises(TypeError, match="must return a tuple of 1"):
        pb.grad(lambda x: f(x).sum())(XS)
    f.defvjp(lambda x: x * 2, lambda _, g: (g,))
    with pytest.raises(TypeError, match=r"must return a pair \(result, residuals\)"):
        pb.grad(lambda x: f(x).sum())(XS)


def test_two_arguments_given_one_array_do_not_share_it() -> None:
    @pb.custom_vjp
    def add(x: Any, y: Any) -> Any:
        return x + y

    add.defvjp(lambda x, y: (x + y, None), lambda _, g: (g, g))
    x, y = pb.ones(2, requires_grad=True), pb.ones(2, requires_grad=True)
    add(x, y).sum().backward()
    x.grad.add_(5)
    assert y.grad.tolist() == [1.0, 1.0]


def test_what_is_closed_over_is_refused() -> None:
    w = pb.tensor(2.0, requires_grad=True)

    @pb.custom_vjp
    def f(x: Any) -> Any:
        return x * w

    f.defvjp(lambda x: (f(x), None), lambda _, g: (g,))
    with pytest.raises(RuntimeError, match="not one of its arguments"):
        f(pb.tensor(1.0, requires_grad=True))


def test_without_a_rule() -> None:
    f = pb.custom_vjp(lambda x: x)
    with pytest.raises(AttributeError, match="No derivative rule defined"):
        f(1.0)
    g = pb.custom_jvp(lambda x: x)
    with pytest.raises(AttributeError, match="No derivative rule defined"):
        g(1.0)


def test_defjvps() -> None:
    f = pb.custom_jvp(lambda x, y: x * x * y)
    f.defjvps(lambda t, result, x, y: 2 * x * y * t, None)
    assert pb.grad(f, (0, 1))(3.0, 2.0) == (12.0, 0.0)
    assert pb.jvp(f, (3.0, 2.0), (1.0, 5.0)) == (18.0, 12.0)


def test_integer_arguments_have_no_gradient() -> None:
    f = by_vjp(pb, np)
    assert pb.grad(lambda x: f(x, 2))(0.7) == 4 * np.cos(0.7)
    g = by_jvp(pb, np)
    assert pb.grad(lambda x: g(x, 2))(0.7) == 4 * np.cos(0.7)


def test_inside_a_tape_and_a_trace() -> None:
    for f in (by_vjp(pb, np), by_jvp(pb, np)):
        v = pb.Variable(np.float64(0.7))
        with pb.GradientTape() as tape:
            y = f(v, 1.3)
        np.testing.assert_allclose(tape.gradient(y, v).item(), 2 * np.cos(0.7) * 1.3)
        traced = pb.make_graph(pb.grad(f))(0.1, 1.0)
        np.testing.assert_allclose(traced(0.7, 1.3), 2 * np.cos(0.7) * 1.3)


def test_stop_gradient() -> None:
    def f(xp: Any, stop: Any, x: Any) -> Any:
        parts = stop({"a": x * x, "b": [xp.sin(x)]})
        return x * parts["a"] + parts["b"][0]

    ours, theirs = (lambda x: f(np, pb.stop_gradient, x)), (lambda x: f(jnp, jax.lax.stop_gradient, x))
    for run in (
        lambda m, f: m.grad(f)(0.7),
        lambda m, f: m.grad(m.grad(f))(0.7),
        lambda m, f: m.jvp(f, (0.7,), (2.0,)),
        lambda m, f: m.jvp(m.grad(f), (0.7,), (2.0,)),
        lambda m, f: m.vmap(m.grad(f))(XS),
    ):
        agree(run(pb, ours), run(jax, theirs))
    assert pb.stop_gradient(3.0) == 3.0
    assert pb.stop_gradient((None, "text")) == (None, "text")
