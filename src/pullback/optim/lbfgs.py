"""Limited-memory BFGS, with an optional line search for the strong Wolfe conditions.

Nocedal and Wright, "Numerical optimization", 2nd edition, 2006: the two-loop recursion is algorithm 7.4, the search and
its zoom are algorithms 3.5 and 3.6, the cubic interpolation is equation 3.59. Constants, safeguards and stopping rules
are those of PyTorch, and so are the iterates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from pullback.optim.optimizer import Optimizer, check
from pullback.tape.node import Handle, new_handle
from pullback.tape.state import enable_grad
from pullback.tensor.core import Tensor
from pullback.tensor.dispatch import is_raw
from pullback.tensor.inplace import bump, store

__all__ = ["LBFGS"]

_ARMIJO, _CURVATURE = 1e-4, 0.9  # c₁ and c₂ of the Wolfe conditions
_MIN_CURVATURE = 1e-10  # pairs with y·s below it are not remembered


def _float(loss: Any) -> float:
    return float(loss.detach() if isinstance(loss, Tensor) else loss)


class _Point(NamedTuple):
    """The objective along the search direction: step length, value, gradient, and slope (None where not needed)."""

    t: Any
    f: Any
    g: Any
    slope: Any


def _cubic_minimum(a: _Point, b: _Point, bounds: tuple[Any, Any] | None = None) -> Any:
    """Where the cubic through two points with their slopes has its minimum, held within bounds (or the points)."""
    if a.t > b.t:
        a, b = b, a
    low, high = bounds if bounds is not None else (a.t, b.t)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        d1 = a.slope + b.slope - 3 * (a.f - b.f) / (a.t - b.t)
        inside = d1 * d1 - a.slope * b.slope
        if not inside >= 0:
            return (low + high) / 2.0
        d2 = np.sqrt(inside)
        t = b.t - (b.t - a.t) * ((b.slope + d2 - d1) / (b.slope - a.slope + 2 * d2))
    return min(max(t, low), high)


def _strong_wolfe(
    evaluate: Callable[[Any], _Point], start: _Point, t: Any, longest: Any, tolerance: float, budget: int
) -> tuple[_Point, int]:
    """A point along the direction that satisfies the strong Wolfe conditions, or the best found within `budget` calls.

    `start` is the point at 0, `t` the first step to try, `longest` the largest entry of the direction: the bracket is
    not refined below `tolerance` of movement. Returns the point and the number of evaluations.
    """

    def too_high(point: _Point) -> bool:
        return bool(point.f > start.f + _ARMIJO * point.t * start.slope)

    def flat(point: _Point) -> bool:
        return bool(abs(point.slope) <= -_CURVATURE * start.slope)

    previous, point, calls = start, evaluate(t), 1
    bracket = [start, point]
    done = False
    for tries in range(budget):
        if too_high(point) or (tries > 1 and point.f >= previous.f):
            bracket = [previous, point]
            break
        if flat(point):
            bracket, done = [point, point], True
            break
        if point.slope >= 0:
            bracket = [previous, point]
            break
        t = _cubic_minimum(previous, point, (point.t + 0.01 * (point.t - previous.t), point.t * 10))
        previous, point = point, evaluate(t)
        calls += 1
        bracket = [start, point]
    tries = calls - 1

    low, high = (0, 1) if bracket[0].f <= bracket[1].f else (1, 0)
    stuck = False
    while not done and tries < budget:
        ends = [end.t for end in bracket]
        left, right = min(ends), max(ends)
        if (right - left) * longest < tolerance or left == right:
            break
        t = _cubic_minimum(bracket[0], bracket[1])
        margin = 0.1 * (right - left)
        if min(right - t, t - left) < margin:  # too near an end; the second time, or at the end itself, step inward
            if stuck or t >= right or t <= left:
                t = right - margin if abs(t - right) < abs(t - left) else left + margin
                stuck = False
            else:
                stuck = True
        else:
            stuck = False
        point = evaluate(t)
        calls += 1
        tries += 1
        if too_high(point) or point.f >= bracket[low].f:
            bracket[high] = point
            low, high = (0, 1) if bracket[0].f <= bracket[1].f else (1, 0)
            continue
        if flat(point):
            done = True
        elif point.slope * (bracket[high].t - bracket[low].t) >= 0:
            bracket[high] = bracket[low]
        bracket[low] = point
    return bracket[low], calls


class LBFGS(Optimizer):
    """Quasi-Newton steps from the last `history_size` changes of parameters and gradient, without a Hessian.

    `step(closure)` makes up to `max_iter` iterations; `closure` clears the gradients, computes the loss, calls
    `backward()` and returns the loss. It is called at most `max_eval` times (default 1.25 · max_iter). A step ends
    early when no entry of the gradient exceeds `tolerance_grad`, or when no parameter or the loss moves by more than
    `tolerance_change`. `line_search_fn` is None (the step length is `lr`) or "strong_wolfe". One parameter group, real
    parameters of one dtype.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        check(lr=lr)
        defaults = {
            "lr": lr,
            "max_iter": max_iter,
            "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad,
            "tolerance_change": tolerance_change,
            "history_size": history_size,
            "line_search_fn": line_search_fn,
        }
        super().__init__(params, defaults)
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")

    # The parameters as one vector

    def _gradient(self) -> Any:
        parts = []
        for p in self.param_groups[0]["params"]:
            grad = p._grad
            if not is_raw(p) or (grad is not None and not is_raw(grad)):
                raise TypeError("LBFGS decides by the numbers of the loss, so it can't run inside vmap, jvp or a trace")
            if p._value.dtype.kind == "c":
                raise TypeError("LBFGS takes real parameters: hold a complex one as its real and imaginary parts")
            parts.append(np.zeros(p._value.size, p._value.dtype) if grad is None else np.ravel(grad._value))
        return np.concatenate(parts)

    def _write(self, vector: Any) -> None:
        offset = 0
        for p in self.param_groups[0]["params"]:
            end = offset + p._value.size
            store(p, vector[offset:end].reshape(p._value.shape))
            bump(p)
            offset = end

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Run up to `max_iter` iterations and return the loss that the first call of `closure` gave."""
        if closure is None:
            raise TypeError(
                "LBFGS.step needs a closure that computes the loss anew: clear, forward, backward, return loss"
            )
        group = self.param_groups[0]
        search = group["line_search_fn"]
        if search not in (None, "strong_wolfe"):
            raise RuntimeError("only 'strong_wolfe' is supported")
        lr = group["lr"]._value.item() if isinstance(group["lr"], Handle) else group["lr"]
        max_iter, max_eval, tolerance = group["max_iter"], group["max_eval"], group["tolerance_change"]

        def objective() -> Any:
            with enable_grad():
                return closure()

        first_loss = objective()
        loss, gradient, calls = _float(first_loss), self._gradient(), 1
        params = group["params"]
        state = self.state[params[0]]  # of all parameters, kept with the first, as in PyTorch
        state.setdefault("n_iter", 0)
        state["func_evals"] = state.get("func_evals", 0) + 1
        if np.abs(gradient).max() <= group["tolerance_grad"]:
            return first_loss
        memory = _Memory(state, group["history_size"])
        x = np.concatenate([np.ravel(p._value) for p in params])
        for iteration in range(1, max_iter + 1):
            state["n_iter"] += 1
            first = state["n_iter"] == 1
            direction = memory.direction(gradient, first)
            previous_loss = loss
            t = min(1.0, 1.0 / np.abs(gradient).sum()) * lr if first else lr
            memory.t = t
            slope = gradient.dot(direction)
            if slope > -tolerance:
                break
            spent = 0
            if search:

                def evaluate(t: Any, x: Any = x, direction: Any = direction) -> _Point:
                    self._write(x + t * direction)
                    f = _float(objective())
                    g = self._gradient()
                    return _Point(t, f, g, g.dot(direction))

                start = _Point(0, loss, gradient, slope)
                best, spent = _strong_wolfe(evaluate, start, t, np.abs(direction).max(), tolerance, max_eval - calls)
                memory.t, loss, gradient = best.t, best.f, best.g
            x = x + memory.t * direction
            self._write(x)
            if not search and iteration != max_iter:
                loss, gradient, spent = _float(objective()), self._gradient(), 1
            calls += spent
            state["func_evals"] += spent
            if (
                iteration == max_iter
                or calls >= max_eval
                or np.abs(gradient).max() <= group["tolerance_grad"]
                or np.abs(direction * memory.t).max() <= tolerance
                or abs(loss - previous_loss) < tolerance
            ):
                break
        memory.save(state, previous_loss)
        return first_loss


def _bare(value: Any) -> Any:
    """The arrays of saved Tensors."""
    if isinstance(value, list):
        return list(map(_bare, value))
    return value._value if isinstance(value, Handle) else value


def _tensor(value: Any) -> Any:
    return new_handle(np.asarray(value)) if isinstance(value, np.ndarray | np.generic) else value


class _Memory:
    """What stands for the Hessian: changes y of the gradient (`old_dirs`) and s of the parameters, and 1/y·s (`ro`)."""

    def __init__(self, state: dict[str, Any], size: int) -> None:
        self.size = size
        self.d, self.t, self.gradient = (_bare(state.get(name)) for name in ("d", "t", "prev_flat_grad"))
        self.ys, self.ss, self.rhos = (_bare(state.get(name)) or [] for name in ("old_dirs", "old_stps", "ro"))
        self.scale = _bare(state.get("H_diag", 1))

    def direction(self, gradient: Any, first: bool) -> Any:
        """The direction -H·gradient, after the last step has been remembered."""
        if first:
            d = -gradient
            self.ys, self.ss, self.rhos, self.scale = [], [], [], 1
        else:
            y, s = gradient - self.gradient, self.d * self.t
            ys = y.dot(s)
            if ys > _MIN_CURVATURE:
                if len(self.ys) == self.size:
                    del self.ys[0], self.ss[0], self.rhos[0]
                self.ys.append(y)
                self.ss.append(s)
                self.rhos.append(1.0 / ys)
                self.scale = ys / y.dot(y)
            d = -gradient
            weights = []
            for y, s, rho in zip(reversed(self.ys), reversed(self.ss), reversed(self.rhos), strict=True):
                weights.append(s.dot(d) * rho)
                d -= weights[-1] * y
            d *= self.scale
            for y, s, rho, weight in zip(self.ys, self.ss, self.rhos, reversed(weights), strict=True):
                d += (weight - y.dot(d) * rho) * s
        self.d, self.gradient = d, gradient.copy()
        return d

    def save(self, state: dict[str, Any], loss: float) -> None:
        """Put all of it into the optimizer's state, as Tensors under PyTorch's names."""
        state.update(
            d=_tensor(self.d),
            t=_tensor(self.t),
            old_dirs=list(map(_tensor, self.ys)),
            old_stps=list(map(_tensor, self.ss)),
            ro=list(map(_tensor, self.rhos)),
            H_diag=_tensor(self.scale),
            prev_flat_grad=_tensor(self.gradient),
            prev_loss=loss,
        )
        state.setdefault("al", [None] * self.size)
