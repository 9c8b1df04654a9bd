"""The shortest way to call a compiled function again: a Python function written for one version, from source.

What is looked up is known, so that nothing is looped over: containers are taken apart by name, what must hold is
compared line by line, and whatever is not as it was leads to the long way.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, Final

from pullback.compile.call import Given
from pullback.compile.capture import Cell, Guard, same_items
from pullback.compile.signature import Static
from pullback.transforms.tree import Tree

__all__ = ["Source", "row"]

_PLAIN: Final = frozenset((bool, int, float, complex, str, bytes))
_FILE: Final = os.path.join(os.path.dirname(__file__), "<a compiled function>")  # ours, so not the user's line


def row(count: int) -> str:
    """A tuple of all results, as a format."""
    return "(" + "".join(f"{{{k}}}, " for k in range(count)) + ")"


class Source:
    """A Python function of positional arguments being written, and the objects that it names."""

    class Unknown(Exception):
        """There is a container that it can't take apart or put together."""

    def __init__(self) -> None:
        self.lines = ["def quick(*args, **kwargs):", "    if kwargs: return SLOW"]
        self.names: dict[str, Any] = {}
        self.leaves: list[str] = []  # of the arguments

    def line(self, text: str) -> None:
        self.lines.append(f"    {text}")

    def name(self, thing: Any) -> str:
        name = f"n{len(self.names)}"
        self.names[name] = thing
        return name

    def take(self, tree: Tree, x: str) -> list[str]:
        """Take a container apart, or miss: the names of its leaves."""
        if tree.rebuild is None:
            return [x]
        if tree.kind is type(None):
            self.line(f"if {x} is not None: return SLOW")
            return []
        if tree.kind not in (tuple, list, dict):
            raise self.Unknown
        self.line(f"if type({x}) is not {tree.kind.__name__} or len({x}) != {len(tree.children)}: return SLOW")
        parts = [f"v{len(self.lines)}_{i}" for i in range(len(tree.children))]
        if tree.kind is dict:
            keys, _ = tree.rest
            self.line("try:")
            for part, key in zip(parts, keys, strict=True):
                self.line(f"    {part} = {x}[{self.name(key)}]")
            self.line("    pass")
            self.line("except KeyError: return SLOW")
        elif parts:
            self.line(f"{''.join(part + ', ' for part in parts)} = {x}")
        return [leaf for part, child in zip(parts, tree.children, strict=True) for leaf in self.take(child, part)]

    def make(self, tree: Tree, places: Iterator[Any]) -> str:
        """An expression for a container of results, as a format."""
        if tree.rebuild is None:
            place = next(places)
            if isinstance(place, Given):
                return self.leaves[place.number]
            return self.name(place[0]) if type(place) is tuple else f"{{{place}}}"
        if tree.kind is type(None):
            return "None"
        if tree.kind not in (tuple, list, dict):
            raise self.Unknown
        parts = [self.make(child, places) for child in tree.children]
        if tree.kind is dict:
            keys, order = tree.rest
            by_key = dict(zip(keys, parts, strict=True))
            return "{{" + ", ".join(f"{self.name(key)}: {by_key[key]}" for key in order) + "}}"
        inside = "".join(part + ", " for part in parts)
        return f"({inside})" if tree.kind is tuple else f"[{inside}]"

    def same(self, x: str, static: Static) -> None:
        """Miss if a static argument is another."""
        value = self.name(static.value)
        other = f" and (type({x}) is not type({value}) or {x} != {value})" if static.kind in _PLAIN else ""
        self.line(f"if {x} is not {value}{other}: return SLOW")

    def guard(self, guard: Guard) -> None:
        """Miss if something is not as it was. (The entry sees to the kinds of arrays.)"""
        if guard.kind == "spec":
            return
        place, value = self.name(guard.place), self.name(guard.value)
        if guard.kind in ("grad", "tracked"):
            attribute = "_grad" if guard.kind == "grad" else "_node"
            self.line(f"if ({place}.{attribute} is None) is not {value}: return SLOW")
            return
        if guard.kind == "items":
            if guard.value:
                self.names["same_items"] = same_items
                self.line(f"if not same_items({place}, {value}): return SLOW")
            else:
                self.line(f"if {place}: return SLOW")
            return
        now = f"{place}.get({guard.name!r})" if guard.kind == "name" else f"{place}.cell_contents"
        other = ""
        if guard.is_plain:
            other = f" and (type(x) is not type({value}) or x != {value})"
        self.line(f"if (x := {now}) is not {value}{other}: return SLOW")

    def cell(self, cell: Cell) -> str:
        """What a place outside holds."""
        place = self.name(cell.owner)
        return {
            "handle": f"{place}._value",
            "grad": f"{place}._grad",
            "array": place,
            "option": f"{place}[{cell.name!r}]",
            "name": f"{place}.get({cell.name!r})",
            "cell": f"{place}.cell_contents",
        }[cell.kind]

    def compiled(self, slow: Callable[..., Any]) -> Callable[..., Any]:
        """The function; where it misses it calls `slow`."""
        names = {**self.names, "slow": slow, "__name__": __name__}
        source = "\n".join(self.lines).replace("SLOW", "slow(*args, **kwargs)")
        exec(compile(source, _FILE, "exec"), names)
        return names.pop("quick")  # type: ignore[no-any-return]
