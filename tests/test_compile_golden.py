"""What the passes make of a few graphs, in full: tests/golden holds each before and after.

Run this file, `python tests/test_compile_golden.py`, to write them anew, and read the difference.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pullback as pb
from pullback.compile.passes import simplify
from pullback.compile.text import parse_graph, print_graph
from pullback.compile.verify import verify
from pullback.transforms.trace import trace
from pullback.values.graph import Graph

FILES = Path(__file__).parent / "golden"
F = pb.nn.functional


def numbers(*shape: int, dtype: str = "float64") -> Any:
    """Numbers, some of either sign; only their shapes are written down."""
    return np.cos(np.arange(np.prod(shape), dtype=dtype)).reshape(shape)


def logistic_loss(w: Any, b: Any, x: Any, y: Any) -> Any:
    z = x @ w + b
    return np.mean(np.logaddexp(0.0, z) - y * z)


def cross_entropy(x: Any, labels: Any) -> Any:
    y = np.exp(x - np.max(x, axis=1, keepdims=True))
    return -np.mean(np.log(y / np.sum(y, axis=1, keepdims=True))[np.arange(len(labels)), labels])


def normalised(x: Any, w: Any, b: Any) -> Any:
    return (F.layer_norm(x, (16,), w, b) ** 2).sum()


def network_loss(p: Any, x: Any, y: Any) -> Any:
    return np.mean((np.tanh(x @ p["w1"] + p["b1"]) @ p["w2"] + p["b2"] - y) ** 2)


def network_step(p: Any, x: Any, y: Any) -> Any:
    g = pb.grad(network_loss)(p, x, y)
    return {name: p[name] - 0.1 * g[name] for name in p}


LABELS = np.arange(32) % 10
NETWORK = {"w1": numbers(30, 16), "b1": numbers(16), "w2": numbers(16, 2), "b2": numbers(2)}
CASES: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "logistic": (pb.grad(logistic_loss, argnums=(0, 1)), (numbers(8), np.float64(0.5), numbers(768, 8), numbers(768))),
    "cross_entropy": (pb.grad(cross_entropy), (numbers(32, 10, dtype="float32"), LABELS)),
    "layer_norm": (
        pb.grad(normalised, argnums=(0, 1, 2)),
        (numbers(32, 16, dtype="float32"), numbers(16, dtype="float32"), numbers(16, dtype="float32")),
    ),
    "network": (network_step, (NETWORK, numbers(32, 30), numbers(32, 2))),
}


def traced(name: str) -> Graph:
    f, args = CASES[name]
    return trace(f, *args).graph


def written(name: str) -> str:
    """The file of a case: the graph before all passes and after them. Constants' bytes stay out of it."""
    graph = traced(name)
    return f"{graph}\n\n{simplify(graph)}\n"


@pytest.mark.parametrize("name", CASES)
def test_golden(name):
    assert written(name) == (FILES / f"{name}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", CASES)
def test_the_same_numbers(name):
    graph = traced(name)
    after = simplify(graph)
    verify(after)
    assert print_graph(parse_graph(print_graph(after))) == print_graph(after)
    rng = np.random.default_rng(0)
    inputs = [
        rng.integers(0, 10, s.shape) if s.dtype.kind == "i" else rng.standard_normal(s.shape).astype(s.dtype)[()]
        for s in graph.inputs
    ]
    for a, b in zip(graph(*inputs), after(*inputs), strict=True):
        np.testing.assert_allclose(b, a, rtol=2e-3 if a.dtype == np.float32 else 1e-12, atol=1e-6)


if __name__ == "__main__":
    FILES.mkdir(exist_ok=True)
    for case in CASES:
        (FILES / f"{case}.txt").write_text(written(case), encoding="utf-8")
