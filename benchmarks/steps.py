"""Training steps as closures, written once for pullback and PyTorch: `xp` is either module."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

__all__ = ["Array", "descent_step", "network_step", "set_parameters"]

Array = np.ndarray[Any, Any]


def set_parameters(xp: Any, module: Any, values: Sequence[Array]) -> None:
    """Write `values`, in the order of `module.parameters()`."""
    with xp.no_grad():
        for parameter, value in zip(module.parameters(), values, strict=True):
            parameter.copy_(xp.tensor(value))


def descent_step(xp: Any, x: Any) -> Callable[[], Any]:
    """x·x + 4x of a scalar leaf, backward, in-place update, zero. The step returns the value before the update."""

    def step() -> Any:
        y = x * x + 4 * x
        y.backward()
        with xp.no_grad():
            x.sub_(0.01 * x.grad)
        x.grad.zero_()
        return y

    return step


def network_step(loss_of: Callable[[Any, Any], Any], optimizer: Any) -> Callable[[Any, Any], Any]:
    """One step of `optimizer` on a batch x with targets t; returns the loss before it."""

    def step(x: Any, t: Any) -> Any:
        optimizer.zero_grad()
        loss = loss_of(x, t)
        loss.backward()
        optimizer.step()
        return loss

    return step
