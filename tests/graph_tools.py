"""Graphs to test the compiler with: every sample of every op, and its gradient."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import pullback as pb
from pullback.ops.samples import Sample
from pullback.ops.table import TABLE, Op
from pullback.transforms.trace import trace
from pullback.values.graph import Graph

__all__ = ["bits", "sample_graphs"]


def bits(value: Any) -> tuple[Any, ...]:
    """All there is to an array: equal for two of them only if nothing tells them apart."""
    array = np.asarray(value)
    return array.dtype.str, array.shape, array.tobytes()


def _program(op: Op, sample: Sample, args: tuple[Any, ...], places: list[int]) -> Callable[..., Any]:
    def f(*xs: Any) -> Any:
        given = dict(zip(places, xs, strict=True))
        return op(*(given.get(i, arg) for i, arg in enumerate(args)), **sample.params)

    return f


def _total(f: Callable[..., Any]) -> Callable[..., Any]:
    """A number that depends on every result of f."""

    def total(*xs: Any) -> Any:
        y = f(*xs)
        found = 0.0
        for part in y if isinstance(y, tuple | list) else (y,):
            if part.dtype.kind == "c":
                found = found + np.sum(np.real(part) * 0.3) + np.sum(np.imag(part) ** 2)
            elif part.dtype.kind == "f":
                found = found + np.sum(part * part * 0.5)
        return found

    return total


def sample_graphs(names: Any = TABLE) -> Iterator[tuple[str, Graph, list[Any]]]:
    """A name, the graph and its inputs, for every sample of the ops and for its gradient where it has one."""
    for name in names:
        op = TABLE[name]
        for n, sample in enumerate(op.samples):
            args = sample.make()
            places = [i for i, arg in enumerate(sample.args) if callable(arg) or isinstance(arg, np.ndarray)]
            inputs = [args[i] for i in places]
            f = _program(op, sample, args, places)
            yield f"{name}-{n}", trace(f, *inputs).graph, inputs
            smooth = tuple(j for j, i in enumerate(places) if callable(sample.args[i]) and inputs[j].dtype.kind in "fc")
            if smooth and op.family != "nondifferentiable":
                yield f"{name}-{n}-grad", trace(pb.grad(_total(f), argnums=smooth), *inputs).graph, inputs
