"""Eager speed against PyTorch: the same training steps, alternately, in one process, on one thread.

    python -m benchmarks.eager [--rounds 15] [--json out.json]

Each round times a batch of steps of pullback, then the same of PyTorch; the figure is the ratio of the medians
(pullback / PyTorch: below 1 is faster).
"""

from __future__ import annotations

from benchmarks.timing import one_thread

one_thread()

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.steps import descent_step, network_step
from benchmarks.table import show
from benchmarks.timing import Step, seconds_per_step, timed_in_turn

import pullback as pb


def scalar_step(xp: Any) -> Step:
    return descent_step(xp, xp.tensor(3.0, requires_grad=True))


def linear_regression_step(xp: Any) -> Step:
    """Mean squared error of a line on 398 rows, by hand-written tensor expressions."""
    rng = np.random.default_rng(0)
    x = xp.tensor(rng.standard_normal((398, 1)).astype("float32"))
    t = xp.tensor(rng.standard_normal((398, 1)).astype("float32"))
    w = xp.zeros(1, 1, requires_grad=True)
    b = xp.zeros(1, requires_grad=True)

    def step() -> None:
        loss = ((x @ w + b - t) ** 2).mean()
        loss.backward()
        with xp.no_grad():
            w.sub_(0.01 * w.grad)
            b.sub_(0.01 * b.grad)
        w.grad.zero_()
        b.grad.zero_()

    return step


def two_layers(xp: Any, sizes: tuple[int, int, int], batch: int, activation: str, optimizer: str) -> Step:
    """A two-layer network, cross entropy, one optimiser step."""
    nn = xp.nn
    rng = np.random.default_rng(0)
    x = xp.tensor(rng.standard_normal((batch, sizes[0])).astype("float32"))
    t = xp.tensor(rng.integers(0, sizes[2], batch))
    model = nn.Sequential(nn.Linear(sizes[0], sizes[1]), getattr(nn, activation)(), nn.Linear(sizes[1], sizes[2]))
    loss_function = nn.CrossEntropyLoss()
    opt = getattr(xp.optim, optimizer)(model.parameters(), lr=1e-3)
    return partial(network_step(lambda x, t: loss_function(model(x), t), opt), x, t)


def add_step(xp: Any) -> Step:
    """a + b on 4 elements, recorded."""
    a = xp.ones(4, requires_grad=True)
    b = xp.ones(4, requires_grad=True)
    return lambda: a + b


WORK: dict[str, tuple[Callable[[Any], Step], float, int]] = {
    "scalar descent step": (scalar_step, 0.35, 2000),
    "linear regression step, 398×1": (linear_regression_step, 0.5, 1000),
    "30-16-2 network step, batch 32, SGD": (lambda xp: two_layers(xp, (30, 16, 2), 32, "Sigmoid", "SGD"), 0.7, 500),
    "784-128-10 network step, batch 64, Adam": (
        lambda xp: two_layers(xp, (784, 128, 10), 64, "ReLU", "Adam"),
        1.5,
        100,
    ),
    "a + b on 4 elements, with grad": (add_step, 0.8, 20000),
}


def compare(build: Callable[[Any], Step], count: int, rounds: int) -> tuple[float, float]:
    """Median seconds per step of pullback and of PyTorch, timed in turn."""
    steps = {"pullback": build(pb), "PyTorch": build(torch)}
    for step in steps.values():
        seconds_per_step(step, max(20, count // 10))
    times = timed_in_turn(steps, dict.fromkeys(steps, count), rounds)
    return times["pullback"], times["PyTorch"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    torch.set_num_threads(1)

    rows = []
    figures = {}
    for name, (build, target, count) in WORK.items():
        mine, other = compare(build, count, options.rounds)
        ratio = mine / other
        figures[name] = {"pullback_us": mine * 1e6, "torch_us": other * 1e6, "ratio": ratio, "target": target}
        mark = "" if ratio <= target else " missed"
        rows.append([name, f"{mine * 1e6:.2f}", f"{other * 1e6:.2f}", f"{ratio:.2f}", f"≤ {target}{mark}"])
    headings = ("work", ">pullback µs", ">PyTorch µs", ">ratio", ">target")
    show(headings, rows, f"Eager, one thread: pullback {pb.__version__} against PyTorch {torch.__version__}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
