"""Stochastic gradient descent, with momentum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pullback.optim.formula import Group, State, descended, number
from pullback.optim.optimizer import Optimizer, check

__all__ = ["SGD"]


class SGD(Optimizer):
    """p ← p - lr · g; with momentum μ and dampening τ, b ← μ·b + (1-τ)·g (b = g at first) and p ← p - lr · b.

    `nesterov` descends g + μ·b instead of b. `weight_decay` adds that times p to g; `maximize` ascends. Sutskever et
    al., "On the importance of initialization and momentum in deep learning", ICML 2013, in PyTorch's variant of it: lr
    scales the whole step. `foreach` and `fused` choose among PyTorch's kernels and have no effect here;
    `differentiable` records the step on the tape.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: Any = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check(lr=lr, momentum=momentum, weight_decay=weight_decay)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
            "foreach": foreach,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults)

    def slots(self, group: Group) -> Sequence[str]:
        return ("momentum_buffer",) if group["momentum"] else ()

    def begin(self, p: Any, group: Group) -> dict[str, Any]:
        return {"momentum_buffer": None}

    def update(self, m: Any, p: Any, g: Any, state: State, group: Group, scratch: State) -> tuple[Any, State]:
        t, u = scratch
        g = descended(m, p, g, group, group["weight_decay"], t, u)
        momentum = group["momentum"]
        if momentum:
            (buffer,) = state
            if buffer is None:
                buffer = m.multiply(g, 1.0)
            else:
                fresh = 1 - group["dampening"]
                more = g if fresh == 1 else m.multiply(g, fresh, u)
                buffer = m.add(m.multiply(buffer, momentum, buffer), more, buffer)
            g = m.add(g, m.multiply(buffer, momentum, u), t) if group["nesterov"] else buffer
            state = (buffer,)
        return m.subtract(p, m.multiply(g, number(group["lr"], p), u), p), state
