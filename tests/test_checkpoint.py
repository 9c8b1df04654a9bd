"""Checkpoints: the same results and derivatives in every mode, random numbers included, for less memory."""

import gc
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pullback as pb

X = np.array([0.1, 0.2, 0.7])
W = np.array([1.0, 2.0, 3.0])


def f(x: Any, w: Any) -> Any:
    return np.sum(np.sin(np.sin(x * w)) ** 2)


MODES: dict[str, Callable[[Any], Any]] = {
    "value": lambda f: f(X, W),
    "grad": lambda f: pb.grad(f, argnums=(0, 1))(X, W),
    "hessian": lambda f: pb.hessian(f, argnums=(0, 1))(X, W),
    "third": lambda f: pb.grad(lambda x: np.sum(pb.grad(lambda x: np.sum(pb.grad(f)(x, W) * X))(x) * W))(X),
    "jvp": lambda f: pb.jvp(f, (X, W), (W, X)),
    "grad of jvp": lambda f: pb.grad(lambda x: pb.jvp(f, (x, W), (W, X))[1])(X),
    "jvp of grad": lambda f: pb.jvp(lambda x: pb.grad(f)(x, W), (X,), (W,)),
    "vmap of grad": lambda f: pb.vmap(pb.grad(f), (0, None))(np.stack([X, W]), W),
    "grad of vmap": lambda f: pb.grad(lambda x: pb.vmap(lambda a: f(a, x))(np.stack([X, W])).sum())(X),
    "jacrev of vmap": lambda f: pb.jacrev(lambda x: pb.vmap(lambda a: f(a, x))(np.stack([x, x * W])))(X),
    "closure": lambda f: pb.grad(lambda w: pb.checkpoint(lambda x: f(x, w))(X))(W),
    "nested": lambda f: pb.grad(lambda w: pb.checkpoint(lambda x: f(np.sin(x), w) * f(x, x))(w))(W),
}


@pytest.mark.parametrize("mode", MODES)
def test_derivatives_are_those_of_the_function(mode: str) -> None:
    expected, _ = pb.transforms.tree.flatten(MODES[mode](f))
    found, _ = pb.transforms.tree.flatten(MODES[mode](pb.checkpoint(f)))
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


def test_backward_reaches_arguments_and_what_is_closed_over() -> None:
    t, u = (pb.tensor(v, requires_grad=True) for v in ([1.0, 2.0], [3.0, 4.0]))
    pb.utils.checkpoint.checkpoint(lambda a: (a * u).exp().sum(), t, use_reentrant=False).backward()
    e = np.exp([3.0, 8.0])
    np.testing.assert_allclose(t.grad, e * [3, 4], rtol=1e-6)
    np.testing.assert_allclose(u.grad, e * [1, 2], rtol=1e-6)
    assert t.grad.dtype == pb.float32


def test_containers_and_keywords() -> None:
    def g(state: Any, *, scale: float) -> Any:
        return {"a": state["x"] * scale, "b": (state["y"].sin(), 3)}

    def loss(h: Any, x: Any) -> Any:
        out = h({"x": x, "y": x * x}, scale=2.0)
        assert out["b"][1] == 3
        return (out["a"] * out["b"][0]).sum()

    x = pb.tensor([0.3, 0.4], dtype=pb.float64)
    np.testing.assert_array_equal(pb.grad(lambda x: loss(pb.checkpoint(g), x))(x), pb.grad(lambda x: loss(g, x))(x))


def test_random_numbers_are_drawn_once() -> None:
    def noisy(x: Any) -> Any:
        return (x * pb.nn.functional.dropout(pb.ones(1000), 0.5) * np.random.normal()).sin().sum()

    def run(g: Any) -> Any:
        pb.manual_seed(0)
        np.random.seed(0)
        x = pb.ones(1000).requires_grad_()
        g(x).backward()
        return x.grad, pb.rand(1).item(), np.random.normal()

    plain, checkpointed = run(noisy), run(pb.checkpoint(noisy))
    np.testing.assert_array_equal(plain[0], checkpointed[0])
    assert plain[1:] == checkpointed[1:]


def held(g: Any) -> int:
    """Bytes held between forward and backward."""
    x = pb.tensor(np.ones(100_000), requires_grad=True)
    gc.collect()
    tracemalloc.start()
    try:
        y = g(x)
        gc.collect()
        size = tracemalloc.get_traced_memory()[0]
        y.backward()
    finally:
        tracemalloc.stop()
    return size


def test_memory_held_falls() -> None:
    def deep(x: Any) -> Any:
        for _ in range(20):
            x = (x * x).sin()
        return x.sum()

    assert held(deep) > 20 * 800_000
    assert held(pb.checkpoint(deep)) < 2 * 800_000


def test_sequential_is_the_chain() -> None:
    parts = [pb.sin, pb.exp, pb.cos, pb.tanh, pb.sigmoid]
    for segments in (1, 2, 3, 5):
        x = pb.tensor([0.3, 0.4], dtype=pb.float64, requires_grad=True)
        y = pb.utils.checkpoint.checkpoint_sequential(parts, segments, x, use_reentrant=False)
        y.sum().backward()
        z = x.detach().clone().requires_grad_()
        w = z
        for part in parts:
            w = part(w)
        w.sum().backward()
        np.testing.assert_allclose(x.grad, z.grad, rtol=1e-14)


def test_no_gradient_no_checkpoint() -> None:
    x = pb.tensor([1.0], requires_grad=True)
    with pb.no_grad():
        assert not pb.checkpoint(pb.sin)(x).requires_grad
    assert not pb.checkpoint(pb.sin)(pb.ones(1)).requires_grad
    assert pb.checkpoint(np.sin)(0.5) == np.sin(0.5)


def test_an_argument_changed_in_place_is_noticed() -> None:
    x = pb.tensor([1.0], requires_grad=True)
    z = x * 2
    y = pb.checkpoint(lambda z: z * z)(z)
    with pb.no_grad():
        z.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


def test_backward_twice_needs_retain_graph() -> None:
    x = pb.tensor([1.0], requires_grad=True)
    y = pb.checkpoint(lambda x: x * x)(x)
    y.backward(retain_graph=True)
    y.backward()
    np.testing.assert_allclose(x.grad, [4.0])
    with pytest.raises(RuntimeError, match="second time"):
        y.backward()


def test_numpy_code_that_writes() -> None:
    def g(x: Any) -> Any:
        out = np.zeros(3)
        out[0] = x[0] ** 2
        out[1:] = np.sin(x[1:])
        return np.sum(out * x)

    for derivative in (pb.grad, pb.hessian):
        np.testing.assert_allclose(derivative(pb.checkpoint(g))(W), derivative(g)(W), rtol=1e-14)
