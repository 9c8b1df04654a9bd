"""Part 6: the training loops of the other parts, compiled."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np

import pullback as pb
from pullback import nn, optim
from pullback.demo.part import Part
from pullback.demo.rows import cars, patients

TITLE = "Compiled"
Step = Callable[..., Any]


def run(part: Part) -> None:
    if not find_spec("llvmlite") or not find_spec("scipy"):
        part.skip("compiling (llvmlite or SciPy is not installed: pip install 'pullback[compile]')")
        return
    part.say(
        "The steps of parts 3 and 4 again, as they stand and under pb.jit: traced once, with their backward pass, "
        "their update and the optimiser's state, and run as native code. Both must come to the same numbers."
    )
    table = part.table(
        "A step, eager and compiled",
        ["step", "steps", "eager", "compiled", "ratio", "compiling"],
        note="error: of the losses of all steps, relative to the largest. Times are medians, taken just now.",
    )
    for name, build, bound in (
        ("descent on x² + 4x", curve, 1e-14),
        ("linear regression, 392×7, float64", line, 1e-12),
        ("logistic regression with pb.grad, 768×9, float64", probability, 1e-12),
        ("30-16-2 network, 32 rows, Adam, float32", network, 1e-4),
    ):
        steps = 50 if part.quick else 400
        eager, _, usual = follow(build(lambda step: step), steps)
        compiled, first, quick = follow(build(pb.jit), steps)
        check = part.check(f"{name}: compiled = eager", compiled, eager, bound)
        part.row(
            table, name, steps, f"{usual * 1e6:.1f} µs", f"{quick * 1e6:.1f} µs", f"{quick / usual:.2f}",
            f"{first * 1e3:.0f} ms", check=check,
        )  # fmt: skip
    part.show(table)
    show_code(part)


def follow(step: Callable[[], Any], steps: int) -> tuple[list[float], float, float]:
    """The losses of some steps, how long the first took, and the median of the others, in seconds."""
    losses, times = [], []
    for _ in range(steps):
        start = time.perf_counter()
        loss = step()
        times.append(time.perf_counter() - start)
        losses.append(float(loss.detach() if isinstance(loss, pb.Tensor) else loss))
    return losses, times[0], statistics.median(times[1:])


def curve(compiled: Callable[[Step], Step]) -> Callable[[], Any]:
    x = pb.tensor(3.0, dtype=pb.float64, requires_grad=True)

    def step() -> Any:
        y = x * x + 4 * x
        y.backward()
        with pb.no_grad():
            x.sub_(0.1 * x.grad)
        x.grad = None
        return y

    return compiled(step)


def line(compiled: Callable[[Step], Step]) -> Callable[[], Any]:
    X, mpg = cars()
    design, target = pb.tensor(np.column_stack([X, np.ones(len(X))])), pb.tensor(mpg)
    params = pb.zeros(7, dtype=pb.float64, requires_grad=True)
    optimizer = optim.SGD([params], lr=0.1)

    def step() -> Any:
        optimizer.zero_grad()
        loss = ((design @ params - target) ** 2).mean()
        loss.backward()
        optimizer.step()
        return loss

    return compiled(step)


def probability(compiled: Callable[[Step], Step]) -> Callable[[], Any]:
    X, ill = patients()
    design = np.column_stack([X, np.ones(len(X))])

    def loss(params: Any) -> Any:
        z = design @ params
        return np.mean(np.logaddexp(0, z) - ill * z)

    descend = compiled(pb.value_and_grad(loss))
    params: Any = np.zeros(9)

    def step() -> Any:
        nonlocal params
        value, slope = descend(params)
        params = params - 0.5 * slope
        return value

    return step


def network(compiled: Callable[[Step], Step]) -> Callable[[], Any]:
    rng = np.random.default_rng(0)
    rows, labels = pb.tensor(rng.normal(size=(32, 30)), dtype=pb.float32), pb.tensor(rng.integers(0, 2, 32))
    pb.manual_seed(0)
    model = nn.Sequential(nn.Linear(30, 16), nn.Sigmoid(), nn.Linear(16, 2))
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    loss_function = nn.CrossEntropyLoss()

    def step(batch: Any, target: Any) -> Any:
        optimizer.zero_grad()
        loss = loss_function(model(batch), target)
        loss.backward()
        optimizer.step()
        return loss

    ready = compiled(step)
    return lambda: ready(rows, labels)


def show_code(part: Part) -> None:
    """What a small gradient becomes."""
    slope = pb.jit(pb.grad(lambda x: np.sum(np.sin(x) * x)))
    part.say("The gradient of Σ x·sin(x), for a hundred numbers: the graph that the tape left, simplified.")
    part.code(str(slope.graph(np.zeros(100))))
    at = np.linspace(-3, 3, 100)
    part.check("gradient of Σ x·sin(x): compiled = by hand", slope(at), np.cos(at) * at + np.sin(at), 1e-14)
