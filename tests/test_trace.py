"""Tracing: one tape over arrays and symbols.

The graph of a function, of its gradient or of a training step, run in NumPy, gives what the function gives.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pullback as pb
from pullback.tape.state import modes
from pullback.transforms.tree import flatten

rng = np.random.default_rng(0)
X, OTHER, A = rng.standard_normal((3, 4)), rng.standard_normal((3, 4)), rng.standard_normal((4, 2))


def written(x: Any) -> Any:
    y = x * 2
    y[0] = x[1] * x[2]
    rows = y[1:]
    rows[:, 0] += x[0, 0]
    rows *= x[0]
    return (y * y).sum()


def loop(x: Any) -> Any:
    u = x[0] * 1.0
    for i in range(3):
        u = u + 0.1 * np.tanh(u) * x[i]
    return (u * u).sum()


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "value": lambda x: np.sum(x * x),
    "grad": pb.grad(lambda x: np.sum(np.tanh(x) @ A)),
    "value_and_grad": pb.value_and_grad(lambda x: np.exp(-(x**2)).mean()),
    "grad-grad": pb.grad(lambda x: np.sum(pb.grad(lambda y: np.sum(y**3))(x))),
    "jvp": lambda x: pb.jvp(np.sin, (x,), (x,)),
    "vmap": pb.vmap(lambda row: np.exp(row) @ A),
    "vmap-grad": pb.vmap(pb.grad(lambda row: np.log(np.sum(np.exp(row))))),
    "jacfwd": pb.jacfwd(lambda x: np.cos(x) @ A),
    "hessian": pb.hessian(lambda x: np.sum(np.sin(x) * x)),
    "hvp": lambda x: pb.hvp(lambda x: np.sum(x**4), (x,), (x * 2,)),
    "vjp": lambda x: pb.vjp(lambda x: x @ A, x)[1](np.ones((3, 2))),
    "in-place": pb.grad(written),
    "in-place-hessian": pb.hessian(written),
    "loop": pb.grad(loop),
    "gather": pb.grad(lambda x: (x[[0, 0, 2]] * x[1:, 2:].mean()).sum()),
    "containers": lambda x: {"b": [x, (x.T, None)], "a": (np.max(x, axis=0), 3.0)},
    "cross-entropy": pb.grad(lambda x: pb.nn.functional.cross_entropy(x, pb.tensor([0, 1, 2]))),
    "concatenate": pb.grad(lambda x: (np.concatenate([x, x * 2])[2:5] ** 2).sum()),
    "scan": pb.grad(lambda x: np.cumsum(x, axis=1).prod(axis=1).sum()),
    "where": pb.grad(lambda x: np.where(x > 0, x, x * x).sum()),
    "sort": pb.grad(lambda x: (np.sort(x, axis=1) * np.arange(4.0)).sum()),
    "inverse": pb.grad(lambda x: np.linalg.inv(x[:3, :3]).sum()),
    "einsum": pb.grad(lambda x: np.einsum("ij,jk->ik", x, A).std()),
    "constant": lambda x: 2.0,
}


def arrays(result: Any) -> list[Any]:
    return [x.detach().numpy() if isinstance(x, pb.Tensor) else np.asarray(x) for x in flatten(result)[0]]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_graph_gives_what_the_function_gives(name: str) -> None:
    f = FUNCTIONS[name]
    traced = pb.make_graph(f)(X)
    for x in (X, OTHER):
        found, expected = traced(x), f(x)
        assert flatten(found)[1].same_as(flatten(expected)[1])
        for a, b in zip(arrays(found), arrays(expected), strict=True):
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
            np.testing.assert_allclose(a, b, rtol=1e-12)
    assert (modes.depth, modes.special) == (0, False)


def step(w: Any, b: Any, x: Any, y: Any) -> Any:
    loss = ((pb.tanh(x @ w) + b - y) ** 2).mean()
    loss.backward()
    with pb.no_grad():
        w -= 0.1 * w.grad
        b -= 0.1 * b.grad
    w.grad.zero_()
    b.grad = None
    return loss


def training(dtype: Any = pb.float32) -> list[Any]:
    pb.manual_seed(0)
    tensors = [
        pb.randn(4, 1, dtype=dtype),
        pb.zeros(1, dtype=dtype),
        pb.randn(8, 4, dtype=dtype),
        pb.randn(8, 1, dtype=dtype),
    ]
    return [tensors[0].requires_grad_(), tensors[1].requires_grad_(), *tensors[2:]]


def test_a_training_step_is_one_graph() -> None:
    traced = pb.make_graph(step)(*training())
    assert set(traced.written) == {0, 1}
    eager, state = training(), [x.detach().numpy() for x in training()]
    for _ in range(5):
        loss = step(*eager)
        outputs = traced.graph(*state)
        for i, k in traced.written.items():
            state[i] = outputs[k]
        np.testing.assert_allclose(outputs[0], loss.item(), rtol=1e-6)
    np.testing.assert_allclose(state[0], eager[0].detach(), rtol=1e-6)
    np.testing.assert_allclose(state[1], eager[1].detach(), rtol=1e-5)


def test_tracing_leaves_the_arguments_alone() -> None:
    tensors = training()
    before = [x.detach().numpy().copy() for x in tensors]
    pb.make_graph(step)(*tensors)
    for x, old in zip(tensors, before, strict=True):
        np.testing.assert_array_equal(x.detach(), old)
        assert x.grad is None


def test_a_momentum_step_over_containers() -> None:
    def step(state: Any, x: Any) -> Any:
        loss, g = pb.value_and_grad(lambda p: np.sum((x @ p["w"] + p["b"]) ** 2))(state["p"])
        velocity = {key: 0.9 * state["v"][key] - 0.01 * g[key] for key in g}
        return {"p": {key: state["p"][key] + velocity[key] for key in g}, "v": velocity}, loss

    p = {"w": rng.standard_normal(4), "b": np.float64(0.5)}
    state = {"p": p, "v": {"w": np.zeros(4), "b": np.float64(0.0)}}
    traced = pb.make_graph(step)(state, X)
    ours = theirs = state
    for _ in range(4):
        (ours, a), (theirs, b) = traced(ours, X), step(theirs, X)
        np.testing.assert_allclose(a, b)
    np.testing.assert_allclose(ours["p"]["w"], theirs["p"]["w"])


def test_tensors_in_tensors_out() -> None:
    traced = pb.make_graph(lambda x: x * 2)(pb.ones(2))
    found = traced(pb.tensor([1.0, 3.0]))
    assert isinstance(found, pb.Tensor)
    assert found.tolist() == [2.0, 6.0]


def test_a_constant_is_kept_as_it_was() -> None:
    w = np.ones(2)
    traced = pb.make_graph(lambda x: x * w)(np.ones(2))
    w[:] = 7.0
    assert traced(np.ones(2)).tolist() == [1.0, 1.0]


def test_what_a_trace_refuses() -> None:
    traced = pb.make_graph(np.sin)(np.ones(2))
    with pytest.raises(TypeError, match=r"argument 0 is float64\[3\], it was traced as float64\[2\]"):
        traced(np.ones(3))
    with pytest.raises(TypeError, match="float32"):
        traced(np.ones(2, np.float32))
    with pytest.raises(TypeError, match="containers"):
        traced((np.ones(2),))
    with pytest.raises(TypeError, match="a traced function returns"):
        pb.make_graph(lambda x: "text")(1.0)
    leaked = []
    pb.make_graph(lambda x: leaked.append(x) or x)(1.0)
    with pytest.raises(RuntimeError, match="belongs to another trace"):
        pb.make_graph(lambda x: x * leaked[0])(1.0)
    with pytest.raises(RuntimeError, match="belongs to another trace"):
        pb.make_graph(lambda x: leaked[0])(1.0)


@pytest.mark.parametrize("use", [lambda x: 1.0 if x > 0 else x, lambda x: float(x), lambda x: x.numpy()])
def test_numbers_that_are_not_known_cannot_be_read(use: Any) -> None:
    with pytest.raises((TypeError, RuntimeError)):
        pb.make_graph(use)(1.0)
    assert (modes.depth, modes.special) == (0, False)
