"""Optimizers of whole batches: Rprop, which follows the signs of gradients, and ASGD, which averages what it passes.

The options `foreach` and `capturable` choose among PyTorch's kernels and have no effect here; `differentiable` records
the step on the tape. `maximize` ascends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pullback.optim.formula import Group, State, descended, number
from pullback.optim.optimizer import Optimizer, check, counter, zeros_like
from pullback.tape.node import Handle, new_handle
from pullback.tensor.dispatch import is_raw

__all__ = ["ASGD", "Rprop"]


def _known(lr: Any) -> Any:
    """A learning rate as a number, if it is known."""
    return lr._value.item() if isinstance(lr, Handle) and is_raw(lr) else lr


class Rprop(Optimizer):
    """s ← min(max(η·s, smallest), largest), p ← p - s · sign(g): η is the larger of `etas` where the sign of g stayed,
    the smaller where it changed, where g then counts as 0, and 1 where either is 0. s begins as lr.

    Riedmiller and Braun, "A direct adaptive method for faster backpropagation learning", ICNN 1993.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check(lr=lr)
        if not 0.0 < etas[0] < 1.0 < etas[1]:
            raise ValueError(f"Invalid eta values: {etas[0]}, {etas[1]}")
        defaults = {
            "lr": lr,
            "etas": etas,
            "step_sizes": step_sizes,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def slots(self, group: Group) -> Sequence[str]:
        return ("step", "prev", "step_size")

    def begin(self, p: Any, group: Group) -> dict[str, Any]:
        lr = _known(group["lr"])
        size = zeros_like(p) + lr if isinstance(lr, Handle) else zeros_like(p, lr)
        return {"step": counter(), "prev": zeros_like(p), "step_size": size}

    def update(self, m: Any, p: Any, g: Any, state: State, group: Group, scratch: State) -> tuple[Any, State]:
        step, before, size = state
        t, u = scratch
        if group["maximize"]:
            g = m.negative(g, t)
        slower, faster = group["etas"]
        smallest, largest = group["step_sizes"]
        turn = m.multiply(g, before, u)
        same = m.where(m.less(turn, 0.0), m.multiply(size, slower), size)
        size = m.maximum(m.where(m.greater(turn, 0.0), m.multiply(size, faster), same), smallest, out=size)
        size = m.minimum(size, largest, out=size)
        g = m.where(m.less(turn, 0.0), 0.0, g)
        p = m.subtract(p, m.multiply(m.sign(g, u), size, u), p)
        return p, (step + 1, m.multiply(g, 1.0, before), size)


class ASGD(Optimizer):
    """p ← (1 - λ·η)·p - η·g and a ← a + μ·(p - a), with η = lr/(1 + λ·lr·n)^α and μ = 1/max(1, n - t0) after n steps;
    η begins as lr and μ as 1. a, the average, is kept as `ax` in the state. `weight_decay` adds that times p to g.

    Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", SIAM J. Control Optim. 30, 1992, with
    the rates of Bottou, "Large-scale machine learning with stochastic gradient descent", COMPSTAT 2010.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        check(lr=lr, weight_decay=weight_decay)
        defaults = {
            "lr": lr,
            "lambd": lambd,
            "alpha": alpha,
            "t0": t0,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def slots(self, group: Group) -> Sequence[str]:
        return ("step", "eta", "mu", "ax")

    def begin(self, p: Any, group: Group) -> dict[str, Any]:
        lr = _known(group["lr"])
        eta = new_handle(lr._value, lr._node) if isinstance(lr, Handle) else counter(lr)
        return {"step": counter(), "eta": eta, "mu": counter(1.0), "ax": zeros_like(p)}

    def update(self, m: Any, p: Any, g: Any, state: State, group: Group, scratch: State) -> tuple[Any, State]:
        step, eta, mu, average = state
        t, u = scratch
        g = descended(m, p, g, group, group["weight_decay"], t, u)
        decay, rate, share = group["lambd"], number(eta, p), number(mu, p)
        p = m.multiply(p, 1 - decay * rate, p)
        p = m.subtract(p, m.multiply(g, rate, u), p)
        if isinstance(share, float) and share == 1:
            average = m.multiply(p, 1.0, average)
        else:
            average = m.add(average, m.multiply(m.subtract(p, average, u), share, u), average)
        step = step + 1
        n, lr = number(step, p), number(group["lr"], p)
        late = n - group["t0"]
        late = max(late, 1.0) if isinstance(late, float) else m.maximum(late, 1.0)
        eta = eta * 0.0 + number(lr / (1 + decay * lr * n) ** group["alpha"], eta)
        return p, (step, eta, mu * 0.0 + number(1 / late, mu), average)
