"""Names for what a function finds outside its arguments: the variables, modules and optimisers through which it gets
there, as its author would write them."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Any, Final

import numpy as np

from pullback.tape.node import Handle
from pullback.transforms.tree import Tree

__all__ = ["Origin", "leaf_names"]

DEEPEST: Final = 6
"""Containers and functions within one another that are looked through."""
WIDEST: Final = 1000
"""Items of a container that are looked at."""
_PACKAGE: Final = __name__.partition(".")[0]


class Origin:
    """The names of Tensors, arrays, dicts of options and variables of closures that can be reached, by id."""

    def __init__(self, roots: Iterable[tuple[str, Any]]) -> None:
        self._names: dict[int, str] = {}
        self._seen: set[int] = set()
        self._places: set[int] = set()  # dicts of attributes
        self._kept: list[Any] = []  # so that no id is used again
        self._late: list[tuple[str, Any]] = []
        for name, thing in roots:
            self._visit(name, thing, 0)
        for name, optimizer in self._late:
            self._optimizer(name, optimizer)

    def of(self, thing: Any) -> str | None:
        """The name of a thing, None if it was found in another way."""
        return self._names.get(id(thing))

    def within(self, names: Any, name: str) -> str:
        """What a name in a dict is written as: an attribute, an item, or a variable."""
        owner = self.of(names)
        if owner is None:
            return name
        return f"{owner}.{name}" if id(names) in self._places else f"{owner}[{name!r}]"

    def _enter(self, name: str, thing: Any) -> None:
        self._names.setdefault(id(thing), name)
        self._kept.append(thing)

    def _visit(self, name: str, thing: Any, depth: int) -> None:
        if isinstance(thing, Handle | np.ndarray):
            self._enter(name, thing)
            return
        if depth > DEEPEST or id(thing) in self._seen or isinstance(thing, type | ModuleType):
            return
        self._seen.add(id(thing))
        self._kept.append(thing)
        if isinstance(thing, FunctionType):
            self._closure(thing, depth)
        elif isinstance(thing, MethodType):
            self._visit("self", thing.__self__, depth + 1)
            self._visit(name, thing.__func__, depth + 1)
        elif isinstance(thing, functools.partial):
            self._visit(name, thing.func, depth + 1)
            self._several(name, dict(enumerate(thing.args)), depth)
        elif isinstance(thing, dict):
            self._several(name, thing, depth)
        elif isinstance(thing, list | tuple):
            self._several(name, dict(enumerate(thing)), depth)
        elif hasattr(type(thing), "named_parameters"):
            for table in (thing.named_parameters, thing.named_buffers):
                for path, tensor in table():
                    self._enter(f"{name}.{path}", tensor)
            for path, module in thing.named_modules():
                self._attributes(f"{name}.{path}" if path else name, module)
        elif "param_groups" in (attributes := getattr(thing, "__dict__", {})):
            self._late.append((name, thing))
        elif attributes:
            self._attributes(name, thing)
            for attribute, value in list(attributes.items()):
                self._visit(f"{name}.{attribute}", value, depth + 1)

    def _attributes(self, name: str, thing: Any) -> None:
        own = vars(thing)
        for table in (
            own,
            *(own[key] for key in ("_parameters", "_buffers", "_modules") if isinstance(own.get(key), dict)),
        ):
            self._enter(name, table)
            self._places.add(id(table))

    def _several(self, name: str, things: Mapping[Any, Any], depth: int) -> None:
        for key, value in list(things.items()) if len(things) <= WIDEST else ():
            self._visit(f"{name}[{key!r}]", value, depth + 1)

    def _closure(self, function: FunctionType, depth: int) -> None:
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            self._enter(name, cell)
            content = _content(cell)
            if content is not None:
                self._visit(name, content, depth + 1)
        if (function.__module__ or "").partition(".")[0] == _PACKAGE:
            return  # a transform of somebody's function
        known = function.__globals__
        for name in function.__code__.co_names:
            if name in known and not name.startswith("__"):
                self._visit(name, known[name], depth + 1)

    def _optimizer(self, name: str, optimizer: Any) -> None:
        for i, group in enumerate(optimizer.param_groups):
            self._enter(f"{name}.param_groups[{i}]", group)
            for j, tensor in enumerate(group.get("params", ())):
                self._enter(f"{name}.param_groups[{i}]['params'][{j}]", tensor)
        for tensor, state in optimizer.state.items():
            if isinstance(state, Mapping):
                for key, value in state.items():
                    if isinstance(value, Handle | np.ndarray):
                        self._enter(f"{name}.state[{self.of(tensor) or 'a Tensor'}][{key!r}]", value)


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None


def leaf_names(tree: Tree, names: Iterable[str]) -> list[str]:
    """The name of every leaf of a container whose children go by these names."""
    found: list[str] = []
    for name, child in zip(names, tree.children, strict=True):
        if child.rebuild is None:
            found.append(name)
        else:
            found += leaf_names(child, [name + part for part in _parts(child)])
    return found


def _parts(tree: Tree) -> list[str]:
    """How the children of a container are written."""
    kind, rest = tree.kind, tree.rest
    if isinstance(rest, tuple) and len(rest) == 2 and isinstance(rest[0], list):  # a dict: its keys, and their order
        return [f"[{key!r}]" for key in rest[0]]
    if isinstance(rest, tuple) and len(rest) == 2 and isinstance(rest[1], list):  # a dataclass: itself, and its fields
        return [f".{name}" for name in rest[1]]
    fields = getattr(kind, "_fields", None)
    if fields is not None:
        return [f".{name}" for name in fields]
    return [f"[{i}]" for i in range(len(tree.children))]
