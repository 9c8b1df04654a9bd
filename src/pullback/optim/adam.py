"""Adam and its relatives: steps scaled by running means of the gradient and of its magnitude.

Throughout, n is the number of the step, m the running mean of the gradient (`exp_avg`), v that of its square
(`exp_avg_sq`), and β₁, β₂ are their decay rates (`betas`). Dividing by 1 - βⁿ undoes the pull of the zeros at the
start. The options `foreach`, `fused` and `capturable` choose among PyTorch's kernels and have no effect here;
`differentiable` records the step on the tape.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pullback.ops import compare as c
from pullback.ops import elementwise as e
from pullback.optim.formula import Group, State, descended, lerp, number, plus_square
from pullback.optim.optimizer import Optimizer, check, counter

__all__ = ["Adam", "AdamW", "Adamax", "NAdam", "RAdam"]


def _decayed(m: Any, p: Any, g: Any, group: Group, scratch: State) -> tuple[Any, Any]:
    """Parameter and gradient after weight decay: of the parameter itself if it is decoupled, else in the gradient."""
    decay = group["weight_decay"]
    if decay and group["decoupled_weight_decay"]:
        p = m.multiply(p, 1 - number(group["lr"], p) * decay, p)
        decay = 0
    return p, descended(m, p, g, group, decay, *scratch)


class Adam(Optimizer):
    """p ← p - lr · (m / (1-β₁ⁿ)) / (√(v / (1-β₂ⁿ)) + eps).

    Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015. `amsgrad` takes the largest v so far in
    place of v (Reddi et al., ICLR 2018). `weight_decay` adds that times p to the gradient, or with
    `decoupled_weight_decay` shrinks p by lr times that before the step, as AdamW; `maximize` ascends.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        check(lr=lr, eps=eps, betas=betas, weight_decay=weight_decay)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
            "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, defaults)

    def slots(self, group: Group) -> Sequence[str]:
        return _LARGEST if group["amsgrad"] else _MEANS

    def update(self, m: Any, p: Any, g: Any, state: State, group: Group, scratch: State) -> tuple[Any, State]:
        step, mean, square, *largest = state
        u = scratch[1]
        p, g = _decayed(m, p, g, group, scratch)
        step = step + 1
        n = number(step, p)
        beta1, beta2 = group["betas"]
        mean = lerp(m, mean, g, 1 - beta1, u)
        square = plus_square(m, square, g, beta2, u)
        bound = square
        if largest:
            bound = m.maximum(largest[0], square, out=largest[0])
            largest = [bound]
        # √(v / (1-β₂ⁿ)) + eps = (√v + eps·r) / r with r = √(1-β₂ⁿ): one pass over the array less
        root = (1 - beta2**n) ** 0.5
        bottom = m.add(m.sqrt(bound, u), group["eps"] * root, u)
        size = number(group["lr"], p) / (1 - beta1**n) * root
        p = m.subtract(p, m.multiply(m.divide(mean, bottom, u), size, u), p)
        return p, (step, mean, square, *largest)


_MEANS = ("step", "exp_avg", "exp_avg_sq")
_LARGEST = (*_MEANS, "max_exp_avg_sq")


class AdamW(Adam):
    """Adam whose weight decay shrinks p by lr · weight_decay before the step, apart from the gradient.

    Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            foreach=foreach,
            maximize=maximize,
            capturable=capturable,
            differentiable=differentiable,
            fused=fused,
            decoupled_weight_decay=True,
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:  # also after loading what Adam has saved
            group["decoupled_weight_decay"] = True


class Adamax(Optimizer):
    """p ← p - lr / (1-β₁ⁿ) · m / w, where w ← max(β₂·w, |g| + eps): Adam with the largest magnitude for the mean
    square.

    Kingma and Ba, ICLR 2015, section 7.1.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        check(lr=lr, eps=eps, betas=betas, weight_decay=weight_decay)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def slots(self, group: Group) -> Sequence[str]:
        return ("step", "exp_avg", "exp_inf")

    def update(self, m: Any, p: Any, g: Any, state: State, group: Group, scratch: State) -> tuple[Any, State]:
        step, mean, norm = state
        t, u = scratch
        g = descended(m, p, g, group, group["weight_decay"], t, u)
        step = step + 1
        beta1, beta2 = group["betas"]
        mean = lerp(m, mean, g, 1 - beta1, u)
        norm = m.maximum(m.multiply(norm, beta2, norm), m.add(m.absolute(g, u), group["eps"], u), out=norm)
        size = number(group["lr"], p) / (1 - beta1 ** number(step, p))
        p = m.subtract(p, m.multiply(m.divide(mean, norm, u), size, u), p)
        return p, (step, mean, norm)


class NAdam(Optimizer):
    """Adam with Nesterov momentum: m in the step is replaced by a mean of g and the m of the next step.

    With μₙ = β₁ (1 - 0.96^(n·ψ) / 2), ψ = momentum_decay, and Mₙ = μ₁···μₙ (`mu_product`),
    p ← p - lr · ((1-μₙ)/(1-Mₙ) · g + μₙ₊₁/(1-Mₙ₊₁) · m) / (√(v / (1-β₂ⁿ)) + eps).
    Dozat, "Incorporating Nesterov momentum into Adam", ICLR workshop 2016.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        check(lr=lr, eps=eps, betas=betas, weight_decay=weight_decay, momentum_decay=momentum_decay)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum_decay": momentum_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    scratch = 3

    def slots(self, group: Group) -> Sequence[str]:
        return ("step", "mu_product", "exp_avg", "exp_avg_sq")

    def begin(self, p: Any, group: Group) -> dict[str, Any]:
        return {**super().begin(p, group), "mu_product": counter(1.0)}

    def update(self, m: Any, p: Any, g: Any, state: State, group: Group, scratch: State) -> tuple[Any, State]:
        step, product, mean, square = state
        _, u, w = scratch
        p, g = _decayed(m, p, g, group, scratch[:2])
        step = step + 1
        n = number(step, p)
        beta1, beta2 = group["betas"]
        momentum, next_momentum = (beta1 * (1 - 0.5 * 0.96 ** (k * group["momentum_decay"])) for k in (n, n + 1))
        product = product * number(momentum, product)
        reached = number(product, p)
        mean = lerp(m, mean, g, 1 - beta1, u)
        square = plus_square(m, square, g, beta2, u)
        bottom = m.add(m.sqrt(m.divide(square, 1 - beta2**n, u), u), group["eps"], u)
        lr = number(group["lr"], p)
        p = m.subtract(p, m.multiply(m.divide(g, bottom, w), lr * (1 - momentum) / (1 - reached), w), p)
        ahead = lr * next_momentum / (1 - reached * next_momentum)
        p = m.subtract(p, m.multiply(m.divide(mean, bottom, w), ahead, w), p)
        return p, (step, product, mean, square)


class RAdam(Optimizer):
    """Adam that leaves out the scaling by √v while too few steps are known to estimate it, and tempers it after.

    With ρ∞ = 2/(1-β₂) - 1 and ρₙ = ρ∞ - 2nβ₂ⁿ/(1-β₂ⁿ): for ρₙ > 5 Adam's step times
    √((ρₙ-4)(ρₙ-2)ρ∞ / ((ρ∞-4)(ρ∞-2)ρₙ)), else p ← p - lr · m / (1-β₁ⁿ). Liu et al., "On the variance of the adaptive
    learning rate and beyond", ICLR 2020; eps is added to √v before the correction, as in PyTorch.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        check(lr=lr, eps=eps, betas=betas, weight_decay=weight_decay)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "decoupled_weight_decay": decoupled_weight_decay,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def slots(self, group: Group) -> Sequence[str]:
        return _MEANS

    def update(self, m: Any, p: Any, g: Any, state: State, group: Group, scratch: State) -> tuple[Any, State]:
        step, mean, square = state
        u = scratch[1]
        p, g = _decayed(m, p, g, group, scratch)
        step = step + 1
        n = number(step, p)
        beta1, beta2 = group["betas"]
        mean = lerp(m, mean, g, 1 - beta1, u)
        square = plus_square(m, square, g, beta2, u)
        limit = 2 / (1 - beta2) - 1
        length = limit - 2 * n * beta2**n / (1 - beta2**n)
        size = number(group["lr"], p) / (1 - beta1**n)

        def scaled(length: Any) -> Any:
            rectified = ((length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length)) ** 0.5
            bottom = m.add(m.sqrt(square, u), group["eps"], u)
            return m.multiply(m.divide(mean, bottom, u), rectified * (1 - beta2**n) ** 0.5, u)

        if limit <= 5 or (isinstance(length, float) and length <= 5):
            direction = mean
        elif isinstance(length, float):
            direction = scaled(length)
        else:
            direction = e.where(c.greater(length, 5.0), scaled(e.maximum(length, 5.0)), mean)
        return m.subtract(p, m.multiply(direction, size, u), p), (step, mean, square)
