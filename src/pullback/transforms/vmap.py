"""Vectorisation: a batch carries an extra axis, always in front, through every op."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from pullback.ops.shape import broadcast_to, transpose
from pullback.ops.table import Op
from pullback.tape.node import Handle, content, new_handle, wrap
from pullback.tape.state import nested
from pullback.transforms.lifting import run_program, to_handle, unlike
from pullback.transforms.tree import Tree, flatten
from pullback.values.shape import normalize_axis

__all__ = ["Batch", "vmap"]


class Batch:
    """Values for every element of a batch, along axis 0 of `value`, at one level of nesting."""

    __slots__ = ("level", "value")

    def __init__(self, value: Any, level: int) -> None:
        self.value = value
        self.level = level

    @property
    def shape(self) -> Any:
        return self.value.shape[1:]

    @property
    def dtype(self) -> Any:
        return self.value.dtype

    @property
    def ndim(self) -> int:
        return len(self.value.shape) - 1

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))

    def bind(self, op: Op, args: tuple[Any, ...], params: dict[str, Any]) -> Any:
        batched = tuple(isinstance(a, Batch) and a.level == self.level for a in args)
        values = tuple(a.value if has else a for a, has in zip(args, batched, strict=True))
        result = op.batch(self.value.shape[0], values, batched, **params)
        if isinstance(result, tuple | list):
            return tuple(new_handle(Batch(part, self.level)) for part in result)
        return new_handle(Batch(result, self.level))


def _spread_axes(axes: Any, tree: Tree) -> list[int | None]:
    """One axis for each leaf of `tree`, from a prefix of it."""
    if tree.rebuild is None or axes is None or isinstance(axes, int):
        if axes is not None and not isinstance(axes, int):
            raise TypeError(f"vmap: an axis must be an integer or None, not {axes!r}")
        return [axes] * tree.size
    children = list(axes.values()) if isinstance(axes, dict) else list(axes)
    if len(children) != len(tree.children):
        raise ValueError(f"vmap: {len(children)} axes were given for {len(tree.children)} values")
    if isinstance(axes, dict):
        children = [axes[key] for key in tree.rest[0]]
    return [axis for prefix, child in zip(children, tree.children, strict=True) for axis in _spread_axes(prefix, child)]


def vmap(f: Callable[..., Any], in_axes: Any = 0, out_axes: Any = 0, **unsupported: Any) -> Callable[..., Any]:
    """A function that applies `f` to every element of a batch at once.

    `in_axes` says which axis of each argument is the batch (None: the same value for all), `out_axes` where it goes in
    the results; both may be containers that match the arguments' structure, or its upper part. Raises `ValueError` if
    nothing is batched or the sizes differ.

    >>> import numpy as np
    >>> import pullback as pb
    >>> pb.vmap(np.dot)(np.arange(6.0).reshape(3, 2), np.ones((3, 2)))
    array([1., 5., 9.])
    """
    if unsupported:
        raise TypeError(f"vmap: unknown option {next(iter(unsupported))!r}")

    @functools.wraps(f)
    def batched(*args: Any, **kwargs: Any) -> Any:
        leaves, tree = flatten(args)
        axes = _spread_axes(list(in_axes) if isinstance(in_axes, tuple | list) else in_axes, tree)
        sizes = {}
        for i, (x, axis) in enumerate(zip(leaves, axes, strict=True)):
            if axis is not None:
                shape = np.shape(x) if not isinstance(x, Handle) else tuple(x.shape)
                if not shape:
                    raise ValueError(f"vmap: argument {i} has no axis to batch over; give in_axes=None for it")
                sizes[i] = shape[normalize_axis(axis, len(shape))]
        if not sizes:
            raise ValueError("vmap: nothing is batched; at least one of in_axes must not be None")
        if len(set(sizes.values())) > 1:
            raise ValueError(f"vmap: the batched arguments have different sizes: {sizes}")
        size = next(iter(sizes.values()))
        with nested() as depth:
            level = 2 * depth
            inner = [
                x if axis is None else new_handle(Batch(content(_front(to_handle(x), axis)), level))
                for x, axis in zip(leaves, axes, strict=True)
            ]
            outs, out_tree = flatten(run_program(f, tree.unflatten(inner), kwargs, leaves))
            places = _spread_axes(out_axes, out_tree)
            results = [_unbatch(out, level, size, place) for out, place in zip(outs, places, strict=True)]
        back = unlike(leaves)
        return out_tree.unflatten(list(map(back, results)))

    return batched


def _front(x: Any, axis: int) -> Any:
    rank = len(x.shape)
    axis = normalize_axis(axis, rank)
    return x if axis == 0 else transpose(x, axes=(axis, *(i for i in range(rank) if i != axis)))


def _unbatch(out: Any, level: int, size: int, place: int | None) -> Any:
    handle = to_handle(out)
    value = handle._value
    if isinstance(value, Batch) and value.level == level:
        if place is None:
            raise ValueError("vmap: out_axes=None for a result that differs across the batch")
        result = wrap(value.value)
    elif place is None:
        return handle
    else:
        result = wrap(broadcast_to(handle, shape=(size, *handle.shape)))
    rank = len(result.shape)
    place = normalize_axis(place, rank)
    if place == 0:
        return result
    return wrap(transpose(result, axes=(*range(1, place + 1), 0, *range(place + 1, rank))))
