"""Nested containers: tuples, named tuples, lists, dicts, dataclasses, None, and what registers itself, as lists of leaves."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

__all__ = ["Tree", "flatten", "map_leaves", "register"]

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
            and (self.kind is not dict or self.rest == other.rest)
            and all(a.same_as(b) for a, b in zip(self.children, other.children, strict=True))
        )


_LEAF = Tree(None, None, (), None)


def _open(x: Any) -> tuple[list[Any], Any, Rebuild] | None:
    """The children of a container, what else is needed to rebuild it, and how; None for a leaf."""
    if x is None:
        return [], None, lambda rest, children: None
    kind = type(x)
    if kind is tuple:
        return list(x), None, lambda rest, children: tuple(children)
    if kind is list:
        return list(x), None, lambda rest, children: children
    if kind is dict or kind is OrderedDict:
        return list(x.values()), (kind, tuple(x)), lambda rest, children: rest[0](zip(rest[1], children, strict=True))
    if isinstance(x, tuple) and hasattr(x, "_fields"):
        return list(x), kind, lambda rest, children: rest(*children)
    for registered, flat, rebuild in _registry:
        if isinstance(x, registered):
            children, rest = flat(x)
            return children, rest, rebuild
    if dataclasses.is_dataclass(x) and not isinstance(x, type):
        names = [f.name for f in dataclasses.fields(x)]
        return [getattr(x, name) for name in names], (x, names), _rebuild_dataclass
    return None


def _rebuild_dataclass(rest: Any, children: list[Any]) -> Any:
    original, names = rest
    copy = object.__new__(type(original))
    for name, value in vars(original).items() if hasattr(original, "__dict__") else ():
        object.__setattr__(copy, name, value)
    for name, child in zip(names, children, strict=True):
        object.__setattr__(copy, name, child)
    return copy


def flatten(x: Any) -> tuple[list[Any], Tree]:
    """The leaves of a nested container, in order, and its shape.

    >>> leaves, tree = flatten({"a": [1, 2], "b": (3, None)})
    >>> leaves, tree.unflatten([10, 20, 30])
    ([1, 2, 3], {'a': [10, 20], 'b': (30, None)})
    """
    opened = _open(x)
    if opened is None:
        return [x], _LEAF
    children, rest, rebuild = opened
    leaves: list[Any] = []
    trees = []
    for child in children:
        found, tree = flatten(child)
        leaves += found
        trees.append(tree)
    return leaves, Tree(type(x), rest, tuple(trees), rebuild)


def map_leaves(function: Callable[..., Any], x: Any, *others: Any) -> Any:
    """`x` with each leaf replaced by `function(leaf, *leaves of others)`; the others have the shape of `x`."""
    leaves, tree = flatten(x)
    columns = [flatten(other)[0] for other in others]
    return tree.unflatten([function(*row) for row in zip(leaves, *columns, strict=True)])
