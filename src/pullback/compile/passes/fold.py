"""Constant folding: instructions on constants alone are computed now."""

from __future__ import annotations

import warnings
from typing import Any, Final

import numpy as np

from pullback.compile.passes.rewrite import Rewrite, has_effect, rewrite
from pullback.values.graph import Graph, Instruction, Symbol
from pullback.values.shape import Spec, spec_of

__all__ = ["fold"]

LARGEST: Final = 4096  # bytes: beyond that a constant must not be larger than what it is made of


def fold(graph: Graph) -> Graph:
    """The graph with instructions on constants replaced by their values, as NumPy evaluates them.

    The numbers are those of the reference, infinities and NaNs included; a step that NumPy refuses (a singular matrix,
    an index out of bounds) is kept, so that the error comes when the program runs. Large results of small operands (a
    broadcast, a range) are kept too, broadcasts always: they are cheaper made than read.
    """
    return rewrite(graph, {}, _fold)


def _fold(_new: Rewrite, step: Instruction) -> Any:
    for arg in step.args:
        if type(arg) is Symbol:
            return None
    if has_effect(step.op) or (step.op.name == "broadcast_to" and step.outputs[0].spec.size != 1):
        return None
    specs = [symbol.spec for symbol in step.outputs]
    if sum(map(_bytes, specs)) > max(LARGEST, sum(_bytes(spec_of(arg)) for arg in step.args)):
        return None
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            result = step.op.evaluate(*step.args, **step.params)
    except (ArithmeticError, LookupError, ValueError):
        return None
    results = tuple(map(_constant, result if isinstance(result, tuple) else (result,)))
    if [spec_of(value) for value in results] != specs:
        return None
    return results if step.op.several else results[0]


def _bytes(spec: Spec) -> int:
    return spec.size * spec.dtype.itemsize


def _constant(value: Any) -> Any:
    """A value on memory of its own; NumPy scalars for what has no axes."""
    array = np.array(value, order="C")
    return array if array.ndim else array[()]
