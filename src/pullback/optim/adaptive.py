"""Optimizers that scale each coordinate by its past gradients: RMSprop, Adagrad, Adadelta.

The options `foreach`, `fused` and `capturable` choose among PyTorch's kernels and have no effect here; `differentiable`
records the step on the tape. `weight_decay` adds that times p to the gradient g; `maximize` ascends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pullback.optim.formula import Group, State, descended, lerp, number, plus_square
from pullback.optim.optimizer import Optimizer, check, counter, zeros_like

__all__ = ["Adadelta", "Adagrad", "RMSprop"]


class RMSprop(Optimizer):
    """v ← α·v + (1-α)·g², p ← p - lr · g / (√v + eps); with momentum μ, b ← μ·b + g / (√v + eps) and p ← p - lr · b.

    `centered` subtracts the squared running mean of g from v under the root. Hinton, lecture 6e of "Neural networks for
    machine learning", 2012; centred as in Graves, "Generating sequences with recurrent neural networks", 2013.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check(lr=lr, eps=eps, momentum=momentum, weight_decay=weight_decay, alpha=alpha)
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "alpha": alpha,
            "eps": eps,
            "centered": centered,
            "weight_decay": weight_decay,
            "capturable": capturable,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def slots(self, group: Group) -> Sequence[str]:
        buffer = ("momentum_buffer",) if group["momentum"] > 0 else ()
        return ("step", "square_avg", *buffer, *(("grad_avg",) if group["centered"] else ()))

    def update(self, m: Any, p: Any, g: Any, state: State, group: Group, scratch: State) -> tuple[Any, State]:
        step, square, *rest = state
        t, u = scratch
        g = descended(m, p, g, group, group["weight_decay"], t, u)
        alpha, momentum, lr = group["alpha"], group["momentum"], number(group["lr"], p)
        square = plus_square(m, square, g, alpha, u)
        spread = square
        if group["centered"]:
            rest[-1] = mean = lerp(m, rest[-1], g, 1 - alpha, u)
            spread = m.subtract(square, m.multiply(mean, mean, u), u)
        scaled = m.divide(g, m.add(m.sqrt(spread, u), group["eps"], u), u)
        if momentum > 0:
            rest[0] = scaled = m.add(m.multiply(rest[0], momentum, rest[0]), scaled, rest[0])
        return m.subtract(p, m.multiply(scaled, lr, u), p), (step + 1, square, *rest)


class Adagrad(Optimizer):
    """s ← s + g², p ← p - lr / (1 + (n-1)·lr_decay) · g / (√s + eps) at step n; s begins as
    `initial_accumulator_value`.

    Duchi, Hazan and Singer, "Adaptive subgradient methods for online learning and stochastic optimization", JMLR 2011.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check(
            lr=lr,
            lr_decay=lr_decay,
            weight_decay=weight_decay,
            initial_accumulator_value=initial_accumulator_value,
            eps=eps,
        )
        defaults = {
            "lr": lr,
            "lr_decay": lr_decay,
            "eps": eps,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults)
        for group in self.param_groups:  # at once, as PyTorch: also for what never gets a gradient
            for p in group["params"]:
                self.state[p] = self.begin(p, group)

    def slots(self, group: Group) -> Sequence[str]:
        return ("step", "sum")

    def begin(self, p: Any, group: Group) -> dict[str, Any]:
        return {"step": counter(), "sum": zeros_like(p, group["initial_accumulator_value"])}

    def update(self, m: Any, p: Any, g: Any, state: State, group: Group, scratch: State) -> tuple[Any, State]:
        step, total = state
        t, u = scratch
        g = descended(m, p, g, group, group["weight_decay"], t, u)
        lr = number(group["lr"], p) / (1 + number(step, p) * group["lr_decay"])
        total = m.add(total, m.multiply(g, g, u), total)
        scaled = m.divide(g, m.add(m.sqrt(total, u), group["eps"], u), u)
        return m.subtract(p, m.multiply(scaled, lr, u), p), (step + 1, total)


class Adadelta(Optimizer):
    """v ← ρ·v + (1-ρ)·g², d = √(a + eps) / √(v + eps) · g, a ← ρ·a + (1-ρ)·d², p ← p - lr · d.

    Zeiler, "ADADELTA: an adaptive learning rate method", 2012.
    """

    scratch = 3

    def __init__(
        self,
        params: Any,
        lr: Any = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check(lr=lr, rho=rho, eps=eps, weight_decay=weight_decay)
        defaults = {
            "lr": lr,
            "rho": rho,
            "eps": eps,
            "weight_decay": weight_decay,
            "maximize": maximize,
            "capturable": capturable,
            "foreach": foreach,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def slots(self, group: Group) -> Sequence[str]:
        return ("step", "square_avg", "acc_delta")

    def update(self, m: Any, p: Any, g: Any, state: State, group: Group, scratch: State) -> tuple[Any, State]:
        step, square, moved = state
        t, u, w = scratch
        g = descended(m, p, g, group, group["weight_decay"], t, u)
        rho, eps = group["rho"], group["eps"]
        square = plus_square(m, square, g, rho, u)
        top, bottom = m.sqrt(m.add(moved, eps, u), u), m.sqrt(m.add(square, eps, w), w)
        delta = m.multiply(m.divide(top, bottom, w), g, w)
        moved = plus_square(m, moved, delta, rho, u)
        return m.subtract(p, m.multiply(delta, number(group["lr"], p), u), p), (step + 1, square, moved)
