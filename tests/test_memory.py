"""Training holds memory flat: no tensor or node outlives its step, and none waits in a reference cycle."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import pullback as pb
from pullback.tape.node import Handle, Node

OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "SGD": lambda params: pb.optim.SGD(params, lr=0.01, momentum=0.9),
    "Adam": lambda params: pb.optim.Adam(params, lr=0.01, amsgrad=True),
    "LBFGS": lambda params: pb.optim.LBFGS(params, max_iter=2, line_search_fn="strong_wolfe"),
}


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def census() -> Counter[str]:
    """How many tensors and nodes are alive."""
    return Counter(kind.__name__ for o in gc.get_objects() for kind in (Handle, Node) if issubclass(type(o), kind))


def regression(make: Callable[[Any], Any]) -> Callable[[], Any]:
    """One training step of a linear regression, with a view and an in-place write on the way."""
    x = pb.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 7.0]])
    y = pb.tensor([1.0, 2.0, 3.0])
    w, b = pb.zeros(2, requires_grad=True), pb.tensor(0.0, requires_grad=True)
    optimizer = make([w, b])

    def closure() -> Any:
        optimizer.zero_grad()
        residual = (x * w).sum(1) + b - y
        residual[1:] *= 0.5
        loss = (residual**2).sum()
        loss.backward()
        return loss

    def step() -> Any:
        if isinstance(optimizer, pb.optim.LBFGS):
            return optimizer.step(closure)
        loss = closure()
        optimizer.step()
        return loss

    return step


def test_twenty_thousand_steps_leave_nothing_behind(no_collector: None) -> None:
    x, target = pb.tensor([1.0, 2.0, 3.0]), 5.0
    w = pb.zeros(3, requires_grad=True)
    optimizer = pb.optim.SGD([w], lr=0.01)

    def train(steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            ((x * w).sum() - target).square().backward()
            optimizer.step()

    train(10)
    before, objects = census(), len(gc.get_objects())
    train(20_000)
    assert census() == before
    assert len(gc.get_objects()) - objects < 10
    assert gc.collect() == 0
    assert abs((x * w).sum().item() - target) < 1e-5


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_forward_backward_and_step_make_no_cycles(name: str, no_collector: None) -> None:
    step = regression(OPTIMIZERS[name])
    for _ in range(5):
        step()
    gc.collect()
    before = census()
    first = step().item()
    for _ in range(30):
        loss = step()
    assert loss.item() < first
    del loss
    assert gc.collect() == 0
    if name != "LBFGS":  # which remembers more of the past with every step
        assert census() == before


def test_a_graph_that_is_dropped_is_freed_at_once(no_collector: None) -> None:
    x = pb.ones(3, requires_grad=True)
    before = census()
    y = x
    for _ in range(1000):
        y = (y * 1.01).sin()
    assert census()["Node"] - before["Node"] == 2000
    del y
    assert census() == before
    assert gc.collect() == 0
