"""Native lowerings of ops that move elements: which element of the operand each element of the result is.

A `View` rule begins with the shape of the operand, an `Element` rule with the builder, the index and the reads. Here
`at` is always an index of the result; an `inside` of None means everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pullback.ops.lowering import Element, Scatter, View
from pullback.ops.scalars import is_number, promoted
from pullback.values.shape import Shape

__all__ = [
    "as_strided",
    "as_strided_update",
    "broadcast",
    "concatenate",
    "diag_embed",
    "diagonal",
    "diagonal_update",
    "embed",
    "flip",
    "gather",
    "identity",
    "index_update",
    "overlap_add",
    "pad",
    "reshape",
    "roll",
    "scatter_add",
    "slice_update",
    "slice_view",
    "split",
    "stack",
    "transpose",
    "triangle",
    "unbind",
    "windows",
]

Axis = tuple[int | None, int, int]
Places = tuple[Any, Sequence[Any]]  # whether an index of a result shows an operand's element, and where that is


def _whole(axis: int) -> Axis:
    return axis, 1, 0


# Views

identity = View(lambda own: [_whole(i) for i in range(len(own))])
transpose = View(lambda own, axes: [_whole(axes.index(i)) for i in range(len(own))])
flip = View(lambda own, axis: [(i, -1, n - 1) if i in axis else _whole(i) for i, n in enumerate(own)])


def _broadcast(own: Shape, shape: Shape) -> list[Axis]:
    lead = len(shape) - len(own)
    return [(None, 0, 0) if n == 1 else _whole(lead + i) for i, n in enumerate(own)]


def _reshape(own: Shape, shape: Shape) -> list[Axis] | None:
    """Axes of length 1 put in and taken out."""
    longer = [i for i, n in enumerate(shape) if n != 1]
    if [shape[i] for i in longer] != [n for n in own if n != 1]:
        return None
    after = iter(longer)
    return [(None, 0, 0) if n == 1 else _whole(next(after)) for n in own]


def _items(index: tuple[Any, ...], own: Shape) -> list[tuple[Any, int | None]]:
    """The integers and slices of an index, one for each axis of the operand, with the axis of the result."""
    count = sum(i is not None and i is not Ellipsis for i in index)
    fill = (slice(None),) * (len(own) - count)
    at = next((k for k, i in enumerate(index) if i is Ellipsis), len(index))
    items: list[tuple[Any, int | None]] = []
    axis = 0
    for item in (*index[:at], *fill, *index[at + 1 :]):
        if item is None:
            axis += 1
        elif isinstance(item, slice):
            items.append((item, axis))
            axis += 1
        else:
            items.append((int(item), None))
    return items


def _slice_view(own: Shape, index: tuple[Any, ...]) -> list[Axis]:
    shown: list[Axis] = []
    for n, (item, axis) in zip(own, _items(index, own), strict=True):
        if axis is None:
            shown.append((None, 0, item % n))
        else:
            start, _, step = item.indices(n)
            shown.append((axis, step, start))
    return shown


def _diagonal(own: Shape, offset: int, axis1: int, axis2: int) -> list[Axis]:
    others = iter(range(len(own)))
    starts = {axis1: max(0, -offset), axis2: max(0, offset)}
    return [(len(own) - 2, 1, starts[i]) if i in starts else _whole(next(others)) for i in range(len(own))]


def _split(own: Shape, sizes: Shape, axis: int) -> list[list[Axis]]:
    starts = [sum(sizes[:k]) for k in range(len(sizes))]
    return [[(i, 1, start if i == axis else 0) for i in range(len(own))] for start in starts]


def _unbind(own: Shape, axis: int) -> list[list[Axis]]:
    rest: list[Axis] = [_whole(i) for i in range(len(own) - 1)]
    return [[*rest[:axis], (None, 0, k), *rest[axis:]] for k in range(own[axis])]


broadcast, reshape, slice_view, diagonal = View(_broadcast), View(_reshape), View(_slice_view), View(_diagonal)
split, unbind = View(_split), View(_unbind)

# Reading at a place


def read(operand: Any, place: Sequence[Any]) -> Any:
    """The element of an operand that is broadcast to more axes, aligned on the right; a Python number is itself."""
    if is_number(operand):
        return operand
    shape = operand.shape
    own = place[len(place) - len(shape) :]
    return operand(*(0 if n == 1 else i for i, n in zip(own, shape, strict=True)))


def held(b: Any, i: Any, n: int) -> Any:
    """The index i, held inside an axis of n elements."""
    return 0 if n == 1 else b.minimum(b.maximum(i, 0), n - 1)


def both(*conditions: Any) -> Any:
    """The conjunction of conditions, of which None holds everywhere."""
    found = None
    for condition in conditions:
        if condition is not None:
            found = condition if found is None else found & condition
    return found


def within(i: Any, n: int) -> Any:
    return (i >= 0) & (i < n)


def divided(b: Any, i: Any, step: int) -> Places:
    """i / step for a step that is positive, and whether it is whole."""
    if step == 1:
        return None, i
    whole = b.divide(i, step)
    return b.equal(whole * step, i), whole


def chosen(b: Any, inside: Any, x: Any, other: Any) -> Any:
    """x inside, elsewhere the other."""
    if inside is None:
        return x
    if is_number(x) and is_number(other):
        return NotImplemented
    return b.where(inside, x, other)


def _sliced(b: Any, at: Sequence[Any], index: tuple[Any, ...], shape: Shape, rank: int) -> Places:
    """Where in x[index], of `rank` axes, the element `at` of x, of `shape`, stands."""
    inside, places = None, [0] * rank
    for i, n, (item, axis) in zip(at, shape, _items(index, shape), strict=True):
        if axis is None:
            inside = both(inside, b.equal(i, item % n))
            continue
        start, stop, step = item.indices(n)
        count = len(range(start, stop, step))
        if step == 1:
            k = i - start if start else i
            low, high = k >= 0 if start else None, k < count if start + count < n else None
            inside = both(inside, low, high)
            places[axis] = k if low is None and high is None else held(b, k, count)
        else:
            whole, k = divided(b, i - start if step > 0 else start - i, abs(step))
            inside = both(inside, whole, within(k, count))
            places[axis] = held(b, k, count)
    return inside, places


def _rank(index: tuple[Any, ...], shape: Shape) -> int:
    return sum(i is None for i in index) + sum(axis is not None for _, axis in _items(index, shape))


def _embed(b: Any, at: Sequence[Any], x: Any, index: tuple[Any, ...], shape: Shape) -> Any:
    if 0 in x.shape:
        return b.constant(0, x.dtype)
    inside, places = _sliced(b, at, index, shape, _rank(index, shape))
    return chosen(b, inside, read(x, places), 0)


def _slice_update(b: Any, at: Sequence[Any], x: Any, v: Any, index: tuple[Any, ...]) -> Any:
    inside, places = _sliced(b, at, index, x.shape, _rank(index, x.shape))
    old = x(*at)
    if not is_number(v) and 0 in v.shape:
        return old
    new = read(v, places)
    return chosen(b, inside, b.constant(new, old.dtype) if is_number(new) else b.cast(new, old.dtype), old)


embed, slice_update = Element(_embed), Element(_slice_update)


def _pad(b: Any, at: Sequence[Any], x: Any, widths: Sequence[tuple[int, int]], value: float) -> Any:
    if 0 in x.shape:
        return b.constant(value, x.dtype)
    inside, places = None, []
    for i, n, (before, after) in zip(at, x.shape, widths, strict=True):
        k = i - before if before else i
        low = k >= 0 if before > 0 else None
        high = k < n if after > 0 else None
        inside = both(inside, low, high)
        places.append(k if low is None and high is None else held(b, k, n))
    return chosen(b, inside, x(*places), value)


def _concatenate(b: Any, at: Sequence[Any], *xs: Any, axis: int) -> Any:
    """The last operand that begins at or before the place is read there."""
    axis %= len(at)
    start, starts = 0, []
    for x in xs:
        starts.append(start)
        start += x.shape[axis]
    parts = [(x, begin) for x, begin in zip(xs, starts, strict=True) if 0 not in x.shape]
    values = [x(*at[:axis], held(b, at[axis] - begin, x.shape[axis]), *at[axis + 1 :]) for x, begin in parts]
    values = list(promoted(b, *values))
    found = values[0]
    for (_, begin), value in zip(parts[1:], values[1:], strict=True):
        found = b.where(at[axis] >= begin, value, found)
    return found


def _stack(b: Any, at: Sequence[Any], *xs: Any, axis: int) -> Any:
    axis %= len(at)
    values = promoted(b, *(x(*at[:axis], *at[axis + 1 :]) for x in xs))
    found = values[0]
    for k, value in enumerate(values[1:], 1):
        found = b.where(at[axis] >= k, value, found)
    return found


def _roll(b: Any, at: Sequence[Any], x: Any, shift: Shape, axis: Shape) -> Any:
    places = list(at)
    for by, a in zip(shift, axis, strict=True):
        n = x.shape[a]
        if by % n:
            k = places[a] - by % n
            places[a] = b.where(k < 0, k + n, k)
    return x(*places)


pad, concatenate, stack, roll = Element(_pad), Element(_concatenate), Element(_stack), Element(_roll)

# Diagonals and triangles


def triangle(lower: bool) -> Element:
    """The elements below (or above) a diagonal of the last two axes, zeros elsewhere."""

    def rule(b: Any, at: Sequence[Any], x: Any, diagonal: int) -> Any:
        k = at[-1] - at[-2]
        return b.where(k <= diagonal if lower else k >= diagonal, x(*at), 0)

    return Element(rule)


def _on_diagonal(b: Any, at: Sequence[Any], v: Any, offset: int, axis1: int, axis2: int) -> tuple[Any, Any]:
    """Whether the place lies on the diagonal, and v's element there."""
    i, j = at[axis1] - max(0, -offset), at[axis2] - max(0, offset)
    others = [k for a, k in enumerate(at) if a not in (axis1, axis2)]
    n = v.shape[-1]
    return b.equal(i, j) & within(i, n), v(*others, held(b, i, n))


def _diag_embed(b: Any, at: Sequence[Any], v: Any, shape: Shape, **diagonal: int) -> Any:
    if 0 in v.shape:
        return b.constant(0, v.dtype)
    return b.where(*_on_diagonal(b, at, v, **diagonal), 0)


def _diagonal_update(b: Any, at: Sequence[Any], x: Any, v: Any, **diagonal: int) -> Any:
    if 0 in v.shape:
        return x(*at)
    inside, new = _on_diagonal(b, at, v, **diagonal)
    return b.where(inside, b.cast(new, x.dtype), x(*at))


diag_embed, diagonal_update = Element(_diag_embed), Element(_diagonal_update)

# Index arrays


def _indices(b: Any, at: Sequence[Any], indices: Sequence[Any], own: Shape) -> tuple[list[Any], Sequence[Any]]:
    """What the index arrays, broadcast together, name along the leading axes of an operand of shape `own`, and the rest
    of `at`."""
    rank = max((0 if is_number(i) else len(i.shape) for i in indices), default=0)
    found = [b.index(read(i, at[:rank]), n) for i, n in zip(indices, own, strict=False)]
    return found, at[rank:]


def _gather(b: Any, at: Sequence[Any], x: Any, *indices: Any) -> Any:
    if 0 in x.shape:
        return NotImplemented
    found, rest = _indices(b, at, indices, x.shape)
    return x(*found, *rest)


def _scatter_add(b: Any, at: Sequence[Any], g: Any, *indices: Any, shape: Shape) -> Any:
    if not _covers(g, indices, shape):
        return NotImplemented
    found, rest = _indices(b, at, indices, shape)
    return (*found, *rest)


def _index_update(b: Any, at: Sequence[Any], x: Any, v: Any, *indices: Any) -> Any:
    if is_number(v) or not _covers(v, indices, x.shape):
        return NotImplemented
    found, rest = _indices(b, at, indices, x.shape)
    return (*found, *rest)


def _covers(updates: Any, indices: Sequence[Any], shape: Shape) -> bool:
    """Whether there is an update for each index, and a place to put it."""
    shapes = [() if is_number(i) else i.shape for i in indices]
    rank = max(map(len, shapes), default=0)
    if len(updates.shape) != rank + len(shape) - len(indices) or updates.shape[rank:] != shape[len(indices) :]:
        return False
    lead = updates.shape[:rank]
    longest = [max((s[len(s) - k] for s in shapes if len(s) >= k), default=1) for k in range(rank, 0, -1)]
    return list(lead) == longest and 0 not in shape


gather = Element(_gather)
scatter_add = Scatter(_scatter_add, add=True, zeros=True)
index_update = Scatter(_index_update, add=False)

# Strides and windows


def _strided(b: Any, at: Sequence[Any], own: Shape, strides: Shape, offset: int) -> list[Any]:
    """The index in an array of shape `own` of what stands at offset + Σ i·stride in it."""
    place: Any = offset
    for i, stride in zip(at, strides, strict=True):
        place = i * stride + place
    index, size = [], math.prod(own)
    for n in own:
        size //= n
        whole = b.divide(place, size) if not isinstance(place, int) else place // size
        index.append(whole)
        place = place - whole * size
    return index


def _as_strided(b: Any, at: Sequence[Any], x: Any, shape: Shape, strides: Shape, offset: int) -> Any:
    return x(*_strided(b, at, x.shape, strides, offset))


def _as_strided_update(b: Any, at: Sequence[Any], x: Any, v: Any, shape: Shape, strides: Shape, offset: int) -> Any:
    return tuple(_strided(b, at, x.shape, strides, offset)) if v.shape == tuple(shape) else NotImplemented


def _windows(b: Any, at: Sequence[Any], x: Any, axis: int, size: int, step: int) -> Any:
    return x(*_in_window(at, axis, step))


def _in_window(at: Sequence[Any], axis: int, step: int) -> tuple[Any, ...]:
    return (*at[:axis], at[axis] * step + at[-1], *at[axis + 1 : -1])


as_strided, as_strided_update = Element(_as_strided), Scatter(_as_strided_update, add=False)
windows = Element(_windows)
overlap_add = Scatter(lambda b, at, g, axis, step, length: _in_window(at, axis, step), add=True, zeros=True)
