"""Signatures: what decides which version of a compiled function a call is for."""

from __future__ import annotations

import dataclasses
import inspect
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from typing import Any, NamedTuple

import numpy as np

from pullback.compile.capture import Untraceable
from pullback.tape.node import Handle
from pullback.tape.state import modes
from pullback.transforms.tree import Tree
from pullback.values.dtype import default_dtype

__all__ = ["Signature", "Static", "describe", "key_of", "leaf_names", "sign"]

_DYNAMIC = (np.ndarray, np.number, np.bool_, bool, int, float)


class Signature(NamedTuple):
    """What a version is for: the containers of the arguments, the kinds of their leaves, and the modes.

    dynamic   the leaves that are, by number. `tracked`: those of them that require gradients.
    """

    key: tuple[Any, ...]
    dynamic: list[int]
    tracked: set[int]


def sign(
    leaves: list[Any], tree: Tree, tracked: set[int], fixed: tuple[int, ...] = (), integers: Collection[int] = ()
) -> Signature:
    """The signature of arguments with these leaves. Arrays, Tensors and numbers are dynamic; all else is static, by
    value or as the object that it is; so are the arguments numbered in `fixed` and the integers at leaves `integers`.

    Raises `Untraceable` for arrays of other things than numbers, or with operators of their own.
    """
    known = _leaves_of(fixed, tree)
    kinds: list[Any] = []
    dynamic: list[int] = []
    for i, leaf in enumerate(leaves):
        kind: Any
        if i in known:
            kind = Static(leaf)
        elif isinstance(leaf, Handle):
            kind = (type(leaf), leaf._value.dtype, tuple(leaf._value.shape), i in tracked)
        elif isinstance(leaf, np.ndarray):
            if leaf.dtype.kind not in "biufc" or isinstance(leaf, np.matrix | np.ma.MaskedArray):
                raise Untraceable
            kind = (type(leaf), leaf.dtype, leaf.shape)
        elif isinstance(leaf, _DYNAMIC) and not (type(leaf) is int and i in integers):
            kind = type(leaf)
        else:
            kind = Static(leaf)
        if not isinstance(kind, Static):
            dynamic.append(i)
        kinds.append(kind)
    return Signature((key_of(tree), tuple(kinds), modes.grad, default_dtype()), dynamic, tracked)


def _leaves_of(arguments: tuple[int, ...], tree: Tree) -> set[int]:
    """The numbers of the leaves of some positional arguments."""
    found: set[int] = set()
    start = 0
    for i, child in enumerate(tree.children[0].children):
        if i in arguments:
            found.update(range(start, start + child.size))
        start += child.size
    return found


class Static:
    """A static argument in a signature: its value, or, if that can't be hashed, the object itself."""

    __slots__ = ("by_value", "kind", "value")

    def __init__(self, value: Any) -> None:
        self.value = value
        self.kind = type(value)
        try:
            hash(value)
            self.by_value = True
        except TypeError:
            self.by_value = False

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Static) or self.kind is not other.kind or self.by_value is not other.by_value:
            return False
        return bool(self.value == other.value) if self.by_value else self.value is other.value

    def __hash__(self) -> int:
        return hash((self.kind, self.value if self.by_value else id(self.value)))

    def __repr__(self) -> str:
        return repr(self.value)


def leaf_names(f: Callable[..., Any], tree: Tree) -> list[str]:
    """What the leaves of the arguments are called: the parameter, and the way to the leaf in it."""

    def inside(name: str, part: Tree) -> Iterator[str]:
        if part.rebuild is None:
            yield name
            return
        keys = part.rest[0] if part.kind in (dict, OrderedDict) else range(len(part.children))
        for key, child in zip(keys, part.children, strict=True):
            yield from inside(f"{name}[{key!r}]", child)

    args, kwargs = tree.children
    try:
        parameters = [p for p in inspect.signature(f).parameters.values() if p.kind < p.VAR_POSITIONAL]
    except (TypeError, ValueError):
        parameters = []
    names = [p.name for p in parameters] + [f"argument {i}" for i in range(len(parameters), len(args.children))]
    found = [leaf for name, child in zip(names, args.children, strict=False) for leaf in inside(name, child)]
    keys = kwargs.rest[0]
    return found + [leaf for key, child in zip(keys, kwargs.children, strict=True) for leaf in inside(key, child)]


def describe(kind: Any) -> str:
    if isinstance(kind, Static):
        return repr(kind)
    if type(kind) is tuple:
        return f"{kind[1]}[{','.join(map(str, kind[2]))}]"
    return f"a {kind.__name__}"


def key_of(tree: Tree) -> Any:
    """A tree as something to hash."""
    if tree.rebuild is None:
        return None
    rest = tree.rest
    if isinstance(rest, tuple) and len(rest) == 2 and dataclasses.is_dataclass(rest[0]):
        rest = tuple(rest[1])
    elif isinstance(rest, tuple):
        rest = tuple(tuple(part) if isinstance(part, list) else part for part in rest)
    return (tree.kind, rest, tuple(map(key_of, tree.children)))
