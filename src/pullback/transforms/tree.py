"""Nested containers as lists of leaves: tuples, named tuples, lists, dicts, dataclasses, None, and what registers
itself.

A field of a dataclass made with `metadata={"static": True}` is part of the container, not a leaf.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from pullback.tape.node import Handle

__all__ = ["Tree", "flatten", "leaves_like", "map_leaves", "register"]

Flatten = Callable[[Any], tuple[list[Any], Any]]
Rebuild = Callable[[Any, list[Any]], Any]
_registry: list[tuple[type, Flatten, Rebuild]] = []


def register(kind: type, flatten: Flatten, rebuild: Rebuild) -> None:
    """Make instances of `kind` (subclasses included) containers.

    `flatten(x)` gives the children and a hashable or comparable rest, `rebuild(rest, children)` the container again.
    """
    _registry.append((kind, flatten, rebuild))


class Tree(NamedTuple):
    """The shape of a nested container: how to rebuild a node from its children, or None for a leaf."""

    kind: type | None
    rest: Any
    children: tuple[Tree, ...]
    rebuild: Rebuild | None

    @property
    def size(self) -> int:
        """The number of leaves."""
        return 1 if self.rebuild is None else sum(child.size for child in self.children)

    def unflatten(self, leaves: Sequence[Any]) -> Any:
        """The container with these leaves."""
        if len(leaves) != self.size:
            raise ValueError(f"the tree has {self.size} leaves, {len(leaves)} were given")
        return self._build(iter(leaves))

    def _build(self, leaves: Iterator[Any]) -> Any:
        if self.rebuild is None:
            return next(leaves)
        return self.rebuild(self.rest, [child._build(leaves) for child in self.children])

    def same_as(self, other: Tree) -> bool:
        """Whether both have the same containers, keys and leaves in the same places."""
        return (
            self.kind is other.kind
            and len(self.children) == len(other.children)
            and (self.kind not in (dict, OrderedDict) or self.rest[0] == other.rest[0])
            and all(a.same_as(b) for a, b in zip(self.children, other.children, strict=True))
        )


_LEAF = Tree(None, None, (), None)
_PLAIN = {float, int, complex, bool, np.ndarray, np.float64, np.float32}  # known to be leaves


def _open(x: Any, registered: bool = True) -> tuple[list[Any], Any, Rebuild] | None:
    """The children of a container, what else is needed to rebuild it, and how; None for a leaf."""
    if x is None:
        return [], None, lambda rest, children: None
    kind = type(x)
    if kind is tuple:
        return list(x), None, lambda rest, children: tuple(children)
    if kind is list:
        return list(x), None, lambda rest, children: children
    if kind is dict or kind is OrderedDict:
        keys = _in_order(x)
        return [x[key] for key in keys], (keys, tuple(x)), _rebuild_ordered if kind is OrderedDict else _rebuild_dict
    if isinstance(x, tuple) and hasattr(x, "_fields"):
        return list(x), kind, lambda rest, children: rest(*children)
    for kind, flat, rebuild in _registry:
        if isinstance(x, kind):
            if not registered:
                return None
            children, rest = flat(x)
            return children, rest, rebuild
    if dataclasses.is_dataclass(x) and not isinstance(x, type):
        names = [f.name for f in dataclasses.fields(x) if not f.metadata.get("static")]
        return [getattr(x, name) for name in names], (x, names), _rebuild_dataclass
    return None


def _in_order(keys: Iterable[Any]) -> list[Any]:
    """Keys in an order that does not depend on how the dict was made, if they have one."""
    try:
        return sorted(keys)
    except TypeError:
        return list(keys)


def _rebuild_dict(rest: Any, children: list[Any]) -> Any:
    keys, order = rest
    found = dict(zip(keys, children, strict=True))
    return {key: found[key] for key in order}


def _rebuild_ordered(rest: Any, children: list[Any]) -> Any:
    return OrderedDict(_rebuild_dict(rest, children))


def _rebuild_dataclass(rest: Any, children: list[Any]) -> Any:
    original, names = rest
    copy = object.__new__(type(original))
    kept = vars(original) if hasattr(original, "__dict__") else {f.name: None for f in dataclasses.fields(original)}
    for name in kept:
        object.__setattr__(copy, name, getattr(original, name))
    for name, child in zip(names, children, strict=True):
        object.__setattr__(copy, name, child)
    return copy


def flatten(x: Any, registered: bool = True) -> tuple[list[Any], Tree]:
    """The leaves of a nested container, in order, and its shape. What has registered itself is a leaf if not
    `registered`.

    >>> leaves, tree = flatten({"a": [1, 2], "b": (3, None)})
    >>> leaves, tree.unflatten([10, 20, 30])
    ([1, 2, 3], {'a': [10, 20], 'b': (30, None)})
    """
    opened = None if type(x) in _PLAIN or isinstance(x, Handle) else _open(x, registered)
    if opened is None:
        return [x], _LEAF
    children, rest, rebuild = opened
    leaves: list[Any] = []
    trees = []
    for child in children:
        found, tree = flatten(child, registered)
        leaves += found
        trees.append(tree)
    return leaves, Tree(type(x), rest, tuple(trees), rebuild)


def leaves_like(tree: Tree, x: Any, message: str) -> list[Any]:
    """The leaves of `x`, which has the structure of `tree`; None in it stands for a None in place of every leaf below.

    Raises `TypeError` with `message` if the structure is another.
    """
    if x is None:
        return [None] * tree.size
    if tree.rebuild is None:
        return [x]
    opened = _open(x)
    if opened is None or len(opened[0]) != len(tree.children):
        raise TypeError(message)
    return [
        leaf for child, part in zip(tree.children, opened[0], strict=True) for leaf in leaves_like(child, part, message)
    ]


def map_leaves(function: Callable[..., Any], x: Any, *others: Any) -> Any:
    """`x` with each leaf replaced by `function(leaf, *leaves of others)`; the others have the shape of `x`."""
    leaves, tree = flatten(x)
    columns = [flatten(other)[0] for other in others]
    return tree.unflatten([function(*row) for row in zip(leaves, *columns, strict=True)])
