"""Parts of arrays: what is cut and joined again, and cotangents of parts that are added up.

The gradient of `x[i]` is zeros with a part put in (`embed`). Added to another cotangent it need not touch more than the
part: `x + embed(v)` becomes x with `x[i] + v` at [i], which buffers do in place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from pullback.compile.passes.layout import is_whole
from pullback.compile.passes.rewrite import Rewrite, Rule, is_literal, is_number, rewrite, shape_of
from pullback.values.graph import Graph, Instruction, Symbol
from pullback.values.shape import Shape, spec_of

__all__ = ["scatter"]


def scatter(graph: Graph) -> Graph:
    """The graph with parts that are joined as they were cut replaced by the whole, with parts read where they were
    written replaced by what was written, and with sums of embedded parts replaced by updates of the part.

    The numbers stay, but for this: where a part is not added, x stays as it is, and a -0.0 is not made 0.0 by adding
    the zero around the part.
    """
    return rewrite(graph, _RULES)


# Indices of whole numbers and slices


def _spans(index: tuple[Any, ...], shape: Shape) -> list[range] | None:
    """The places that an index takes along each axis; None for other indices."""
    axes = [i for i in index if i is not None]
    if ... in axes or len(axes) > len(shape):
        return None
    axes += [slice(None)] * (len(shape) - len(axes))
    return [
        range(*i.indices(n)) if type(i) is slice else range(i % n, i % n + 1) if n else range(0)
        for i, n in zip(axes, shape, strict=True)
    ]


def _disjoint(one: Sequence[range], other: Sequence[range]) -> bool:
    """Whether two indices certainly have no place in common: along some axis one ends before the other begins, or they
    alternate."""
    for a, b in zip(one, other, strict=True):
        if not a or not b:
            return True
        if max(a[0], a[-1]) < min(b[0], b[-1]) or max(b[0], b[-1]) < min(a[0], a[-1]):
            return True
        if (a[0] - b[0]) % math.gcd(a.step, b.step):
            return True
    return False


def _slice(new: Rewrite, step: Instruction) -> Any:
    """A part of what was put together: the part, or a part of one piece."""
    x, index = step.args[0], step.params["index"]
    inner = new.makers.get(x) if type(x) is Symbol else None
    if inner is None or inner.op.name not in ("embed", "slice_update"):
        return None
    written = inner.args[-1]
    spec = step.outputs[0].spec
    if not is_number(written) and spec_of(written) == spec and _same(inner.params["index"], index):
        return written
    if inner.op.name == "slice_update":
        spans = _spans(index, shape_of(x)), _spans(inner.params["index"], shape_of(x))
        if spans[0] is not None and spans[1] is not None and _disjoint(spans[0], spans[1]):
            return new.apply("slice", inner.args[0], index=index)
    return None


def _same(a: tuple[Any, ...], b: tuple[Any, ...]) -> bool:
    return a == b and list(map(type, a)) == list(map(type, b))


def _slice_update(new: Rewrite, step: Instruction) -> Any:
    """Of everything; of what is there already; of what an earlier one wrote."""
    x, v = step.args
    index = step.params["index"]
    if is_whole(index, shape_of(x)) and not is_number(v) and spec_of(v).dtype == spec_of(x).dtype:
        shape = step.outputs[0].spec.shape
        return new.apply("reshape", v, shape=shape) if spec_of(v).size == math.prod(shape) else None
    read = new.maker(v, "slice")
    if read is not None and read.args[0] is x and _same(read.params["index"], index):
        return x
    inner = new.maker(x, "slice_update") or new.maker(x, "embed")
    if inner is None or not _same(inner.params["index"], index) or shape_of(inner.args[-1]) != shape_of(v):
        return None
    if inner.op.name == "slice_update":
        return new.apply("slice_update", inner.args[0], v, index=index)
    if is_number(v) or spec_of(v).dtype != spec_of(x).dtype:
        return None
    return new.apply("embed", v, index=index, shape=shape_of(x))


def _add(new: Rewrite, step: Instruction) -> Any:
    """x + embed(v)."""
    a, b = step.args
    if is_number(a) or is_number(b) or spec_of(a) != spec_of(b):
        return None
    left, right = new.maker(a, "embed"), new.maker(b, "embed")
    if left is not None and right is not None and _same(left.params["index"], right.params["index"]):
        return new.apply("embed", new.apply("add", left.args[0], right.args[0]), **left.params)
    if right is None:
        a, right = b, left
    if right is None:
        return None
    v, index = right.args[0], right.params["index"]
    if type(v) is not Symbol or 2 * v.size > math.prod(right.params["shape"]):
        return None  # a large part is better added by one pass over everything
    if not _is_zero(new, a, index):
        v = new.apply("add", new.apply("slice", a, index=index), v)
    return new.apply("slice_update", a, v, index=index)


def _is_zero(new: Rewrite, x: Any, index: tuple[Any, ...]) -> bool:
    """Whether x certainly holds zeros at the index."""
    spans = _spans(index, shape_of(x))
    while spans is not None and (inner := new.maker(x)) is not None and inner.op.name in ("embed", "slice_update"):
        if inner.op.name == "slice_update" and _same(inner.params["index"], index):
            spread = new.maker(inner.args[1], "broadcast_to")
            written = inner.args[1] if spread is None else spread.args[0]
            return is_literal(written) and not written
        taken = _spans(inner.params["index"], shape_of(x))
        if taken is None or not _disjoint(spans, taken):
            return False
        if inner.op.name == "embed":
            return True
        x = inner.args[0]
    return False


# Joining what was cut


def _join(new: Rewrite, step: Instruction) -> Any:
    """All results of one `split` or `unbind`, or slices that follow each other."""
    axis = step.params["axis"]
    first = new.maker(step.args[0])
    if first is None:
        return None
    if step.op.name == "concatenate" and len(step.args) == 1:
        return step.args[0]
    if first.op.name == _CUTS[step.op.name] and first.params["axis"] == axis and first.outputs == step.args:
        return first.args[0]
    return _slices(new, step, axis) if step.op.name == "concatenate" and first.op.name == "slice" else None


def _slices(new: Rewrite, step: Instruction, axis: int) -> Any:
    makers = [new.maker(arg, "slice") for arg in step.args]
    whole = makers[0].args[0] if makers[0] is not None else None
    if type(whole) is not Symbol or whole.spec != step.outputs[0].spec:
        return None
    end = 0
    for maker in makers:
        if maker is None or maker.args[0] is not whole or not all(type(i) is slice for i in maker.params["index"]):
            return None
        spans = _spans(maker.params["index"], whole.shape)
        if spans is None or any(
            s != range(n) for i, (s, n) in enumerate(zip(spans, whole.shape, strict=True)) if i != axis
        ):
            return None
        mine = spans[axis]
        if len(mine) and (mine.step != 1 or mine[0] != end):
            return None
        end += len(mine)
    return whole if end == whole.shape[axis] else None


def _cut(new: Rewrite, step: Instruction) -> Any:
    """What was joined from the same pieces."""
    x, axis = step.args[0], step.params["axis"]
    inner = new.maker(x, _JOINS[step.op.name])
    if inner is None or inner.params["axis"] != axis or len(inner.args) != len(step.outputs):
        return None
    if any(is_number(arg) or spec_of(arg) != symbol.spec for arg, symbol in zip(inner.args, step.outputs, strict=True)):
        return None
    return tuple(inner.args)


_CUTS: Final = {"concatenate": "split", "stack": "unbind"}
_JOINS: Final = {cut: join for join, cut in _CUTS.items()}
_RULES: Final[dict[str, Rule]] = {
    "slice": _slice,
    "slice_update": _slice_update,
    "add": _add,
    **dict.fromkeys(_CUTS, _join),
    **dict.fromkeys(_JOINS, _cut),
}
