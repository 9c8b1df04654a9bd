"""Layout: reshapes, transposes and broadcasts are joined, and moved behind elementwise work.

So chains of elementwise work are uninterrupted, and run on the small operand of a broadcast. No number changes.
"""

from __future__ import annotations

import functools
import math
from typing import Any, Final

import numpy as np

from pullback.compile.passes.rewrite import Rewrite, Rule, has_effect, is_literal, is_number, rewrite, shape_of
from pullback.ops.shape import reduced
from pullback.ops.table import TABLE, Op
from pullback.values.graph import Graph, Instruction, Symbol
from pullback.values.shape import Shape, spec_of

__all__ = ["is_whole", "layout"]

_REDUCTIONS: Final = tuple("sum mean prod amax amin any all count_nonzero logsumexp norm var std".split())
_ALIKE: Final = frozenset(("cast", "conj", "real", "imag", "identity"))  # elementwise, but not by family
_VIEWS: Final = ("reshape", "transpose", "broadcast_to")


def layout(graph: Graph) -> Graph:
    """The graph with each chain of reshapes, transposes and broadcasts made one, or none; with reductions that keep no
    axes of length 1; and with elementwise ops applied before the view that all their operands share.

    Sums over what a broadcast has repeated 2ᵏ times become a product, exact where the sum of equal numbers rounds.
    """
    return rewrite(graph, _rules(len(TABLE)))


# Views of views


def _reshape(new: Rewrite, step: Instruction) -> Any:
    x, shape = step.args[0], step.params["shape"]
    if shape_of(x) == shape:
        return x
    if (inner := new.maker(x, "reshape")) is not None:
        return new.apply("reshape", inner.args[0], shape=shape)
    if (inner := new.maker(x, "broadcast_to")) is not None and math.prod(shape_of(inner.args[0])) == 1:
        return _repeat(new, inner.args[0], shape)
    return None


def _repeat(new: Rewrite, x: Any, shape: Shape) -> Any:
    """The one element of x, repeated."""
    if math.prod(shape) == 1:
        return new.apply("reshape", x, shape=shape)
    return new.apply("broadcast_to", new.apply("reshape", x, shape=()) if shape_of(x) else x, shape=shape)


def _transpose(new: Rewrite, step: Instruction) -> Any:
    x, axes = step.args[0], tuple(a % len(step.params["axes"]) for a in step.params["axes"])
    shape = shape_of(x)
    if axes == tuple(range(len(axes))):
        return x
    moved = [a for a in axes if shape[a] != 1]
    if moved == sorted(moved):  # only axes of length 1 move
        return new.apply("reshape", x, shape=tuple(shape[a] for a in axes))
    if (inner := new.maker(x, "transpose")) is not None:
        first = inner.params["axes"]
        return new.apply("transpose", inner.args[0], axes=tuple(first[a] for a in axes))
    return None


def _broadcast(new: Rewrite, step: Instruction) -> Any:
    x, shape = step.args[0], step.params["shape"]
    if is_number(x):
        return None
    own = shape_of(x)
    if own == shape:
        return x
    if math.prod(own) == math.prod(shape) and math.prod(own):
        return new.apply("reshape", x, shape=shape)
    if (inner := new.maker(x, "broadcast_to")) is not None:
        return new.apply("broadcast_to", inner.args[0], shape=shape)
    lead = next((i for i, n in enumerate(own) if n != 1), len(own))
    if lead:  # leading axes of length 1 come by themselves
        return new.apply("broadcast_to", new.apply("reshape", x, shape=own[lead:]), shape=shape)
    return None


def _slice(new: Rewrite, step: Instruction) -> Any:
    """x[:, None]: whole slices and new axes only."""
    x, index = step.args[0], step.params["index"]
    return new.apply("reshape", x, shape=step.outputs[0].spec.shape) if is_whole(index, shape_of(x)) else None


def _embed(new: Rewrite, step: Instruction) -> Any:
    index, shape = step.params["index"], step.params["shape"]
    return new.apply("reshape", step.args[0], shape=shape) if is_whole(index, shape) else None


def is_whole(index: tuple[Any, ...], shape: Shape) -> bool:
    """Whether the index takes everything in order, at most with other axes of length 1."""
    axes = [i for i in index if i is not None]
    if len(axes) > len(shape) or ... in axes:
        return False
    return all(i.indices(n) == (0, n, 1) if type(i) is slice else n == 1 for i, n in zip(axes, shape, strict=False))


# Reductions


def _reduction(new: Rewrite, step: Instruction) -> Any:
    """Without axes of length 1 in the result; of nothing but axes of length 1 no reduction at all."""
    x, axis, keepdims = step.args[0], step.params["axis"], step.params["keepdims"]
    shape, spec, name = shape_of(x), step.outputs[0].spec, step.op.name
    rest = {key: value for key, value in step.params.items() if key not in ("axis", "keepdims")}
    if name in ("sum", "mean", "prod", "amax", "amin"):
        real = tuple(a for a in axis if shape[a] != 1)
        if not real:
            return new.apply("reshape", x, shape=spec.shape)
        if len(real) < len(axis):
            squeezed = new.apply("reshape", x, shape=reduced(shape, tuple(a for a in axis if a not in real), False))
            kept = [a for a in range(len(shape)) if a not in axis or a in real]
            found = new.apply(name, squeezed, axis=tuple(map(kept.index, real)), keepdims=False, **rest)
            return new.apply("reshape", found, shape=spec.shape)
    if name == "sum" and (found := _sum_of_broadcast(new, step)) is not None:
        return found
    if not keepdims or not axis:
        return None
    return new.apply("reshape", new.apply(name, x, axis=axis, keepdims=False, **rest), shape=spec.shape)


def _sum_of_broadcast(new: Rewrite, step: Instruction) -> Any:
    inner = new.maker(step.args[0], "broadcast_to")
    if inner is None or step.outputs[0].spec.dtype.kind != "f" or is_number(inner.args[0]):
        return None
    x, axis = inner.args[0], step.params["axis"]
    own, wide = shape_of(x), inner.params["shape"]
    lead = len(wide) - len(own)
    repeated = [a for a in axis if a < lead or own[a - lead] != wide[a]]
    count = math.prod(wide[a] for a in repeated)
    if not repeated or count < 1 or count & (count - 1) or count > np.finfo(spec_of(x).dtype).max:
        return None
    narrow = tuple(1 if a in repeated else n for a, n in enumerate(wide))
    x = new.apply("mul", new.apply("broadcast_to", x, shape=narrow), float(count))
    return new.apply("sum", x, axis=axis, keepdims=step.params["keepdims"])


# Elementwise ops before views


def _sink(new: Rewrite, step: Instruction) -> Any:
    """op(view(x), view(y)) as view(op(x, y)): the same view of operands of one shape; numbers go along."""
    views: list[Instruction] = []
    for arg in step.args:
        if is_literal(arg):
            continue
        inner = new.makers.get(arg) if type(arg) is Symbol else None
        if inner is None or inner.op.name not in _VIEWS or is_number(inner.args[0]):
            return None
        if views and (inner.op is not views[0].op or inner.params != views[0].params):
            return None
        if views and shape_of(inner.args[0]) != shape_of(views[0].args[0]):
            return None
        views.append(inner)
    if not views or views[0].outputs[0].spec.shape != step.outputs[0].spec.shape:
        return None
    sources = iter(views)
    args = tuple(arg if is_literal(arg) else next(sources).args[0] for arg in step.args)
    result = new.apply(step.op.name, *args, **step.params)
    if spec_of(result).dtype != step.outputs[0].spec.dtype:
        return None
    return new.apply(views[0].op.name, result, **views[0].params)


_BASE: Final[dict[str, Rule]] = {
    "reshape": _reshape,
    "transpose": _transpose,
    "broadcast_to": _broadcast,
    "slice": _slice,
    "embed": _embed,
    **dict.fromkeys(_REDUCTIONS, _reduction),
}


def _sinks(op: Op) -> bool:
    return (op.is_elementwise or op.name in _ALIKE) and not op.several and not has_effect(op)


@functools.lru_cache(maxsize=1)
def _rules(_size: int) -> dict[str, Rule]:
    """The rules for the table of this size, which grows but does not change."""
    sinking = {name: _sink for name, op in TABLE.items() if _sinks(op)}
    return {**sinking, **_BASE}
