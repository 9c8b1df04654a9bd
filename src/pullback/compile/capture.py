"""State: what a function that is compiled reads and writes of the world outside its arguments.

While the function is traced, every Tensor from outside that an operation touches is lifted: it holds a symbol, an input
of the graph, until the trace ends. What it holds then is written back by every run. So parameters, their gradients,
optimisers' state and running averages are read and written in place, wherever the function has found them; and the
names through which it found what it did are noted, so that a run under other circumstances is traced anew.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from pullback.ops.effects import draw
from pullback.tape.node import Handle, LeafMark, new_handle
from pullback.tape.state import modes
from pullback.tensor.dispatch import materialize
from pullback.values.graph import Graph, Symbol
from pullback.values.shape import Spec, spec_of

__all__ = ["Cell", "Guard", "Put", "Tracer", "Untraceable", "is_tensor_cell", "same_items"]

_RAW = (np.ndarray, np.generic)
_PLAIN = frozenset((bool, int, float, complex, str, bytes, type(None)))


class Untraceable(Exception):
    """The function uses a value that an outer transform is working on: it can't be a program of its own."""


class Cell:
    """A place outside that a graph reads, and perhaps writes.

    kind    "handle": a Tensor; "grad": the `.grad` of one; "array": an array that a program has met; "name", "cell":
            what a name in a dict, or a variable of an enclosing function, stands for; "option": a number in the options
            of an optimiser.
    owner   the Tensor, the array, the dict, or the variable.
    """

    __slots__ = ("handle", "kind", "name", "node", "owner", "symbol", "value", "written")

    def __init__(self, kind: str, owner: Any, handle: Any, symbol: Symbol, value: Any, name: str = "") -> None:
        self.kind = kind
        self.owner = owner
        self.handle = handle
        self.symbol = symbol
        self.value = value
        self.node = handle._node
        self.name = name
        self.written: Any = None

    def read(self) -> Any:
        """What the place holds now, for the code."""
        kind = self.kind
        if kind == "handle":
            return self.owner._value
        if kind == "grad":
            return self.owner._grad
        if kind == "name":
            return self.owner.get(self.name)
        if kind == "cell":
            return self.owner.cell_contents
        return self.owner if kind == "array" else float(self.owner[self.name])


class Guard:
    """Something that must be as it was for a trace to hold.

    kind   "name": what a name in a dict stands for; "cell": a variable of an enclosing function; "spec": the kind of
           array that one of these is; "items": what is in a list or a dict; "grad": whether a Tensor has a gradient;
           "tracked": whether it requires one.
    """

    __slots__ = ("kind", "name", "place", "value")

    def __init__(self, kind: str, place: Any, name: str, value: Any) -> None:
        self.kind = kind
        self.place = place
        self.name = name
        self.value = value

    @property
    def is_plain(self) -> bool:
        """Whether an equal value will do."""
        return type(self.value) in _PLAIN

    def holds(self) -> bool:
        """Whether it is as it was."""
        value, place = self.value, self.place
        if self.kind == "grad":
            return (place._grad is None) is value
        if self.kind == "tracked":
            return (place._node is None) is value
        if self.kind == "items":
            return same_items(place, value)
        now = _found(place, self.name)
        return _kind_of(now) == value if self.kind == "spec" else _same(now, value)

    def __str__(self) -> str:
        return {
            "name": f"{self.name!r}",
            "cell": "a variable of an enclosing function",
            "spec": f"the shape or dtype of {self.name!r}" if self.name else "the shape or dtype of a variable",
            "items": "what is in a list or a dict",
            "grad": "a .grad",
            "tracked": "a .requires_grad",
        }[self.kind]


class _Nothing:
    """Where there is no value."""


def _found(place: Any, name: str) -> Any:
    """What a name in a dict, or a variable of an enclosing function, stands for."""
    if isinstance(place, dict):
        return place.get(name, _Nothing)
    try:
        return place.cell_contents
    except ValueError:
        return _Nothing


def _same(now: Any, value: Any) -> bool:
    return now is value or (type(value) in _PLAIN and type(now) is type(value) and now == value)


def _kind_of(value: Any) -> Any:
    """What must be alike for one array or Tensor to stand where another did."""
    array = value._value if isinstance(value, Handle) else value
    tracked = isinstance(value, Handle) and value._node is not None
    return (type(value), getattr(array, "dtype", None), getattr(array, "shape", None), tracked)


def same_items(now: Any, before: Any) -> bool:
    """Whether a list or a dict holds what it did."""
    if len(now) != len(before):
        return False
    if type(now) is dict:
        return all(key in now and _same(now[key], value) for key, value in before.items())
    return all(map(_same, now, before))


class Put(NamedTuple):
    """A name in a dict, or a variable of an enclosing function, that the function has bound to something computed."""

    place: Any
    name: str
    value: Any
    tensor: bool


class Tracer:
    """What a function reads and writes while it is traced into `graph`; see `tape.state.Tracer`.

    After `settle`: `written`, the cells that were; `gradients`, leaves and what their `.grad` is now; `puts`; `guards`.
    """

    _MANY = 1000

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.cells: list[Cell] = []
        self.written: list[Cell] = []
        self.gradients: list[tuple[Any, Any]] = []
        self.puts: list[Put] = []
        self.guards: list[Guard] = []
        self.rescheduled = False
        self.refusal = ""  # why the function can't be compiled
        self._by_id: dict[int, Cell] = {}
        self._names: dict[tuple[int, str], Guard] = {}
        self._places: dict[int, tuple[str, Any, str]] = {}  # of arrays, by id
        self._watched: dict[int, tuple[dict[str, Any], dict[str, Any]]] = {}
        self._variables: dict[int, tuple[Any, Any]] = {}
        self._items: dict[int, tuple[Any, Any]] = {}
        self._leaves: dict[int, tuple[Any, Any]] = {}  # by id, and the gradients they came with
        self._read: set[int] = set()
        self._cleared: set[int] = set()
        self._views: list[tuple[Any, Any, Any]] = []

    # Called while the function runs

    def lift(self, handle: Any) -> None:
        value = handle._value
        if type(value) is Symbol or handle._made is self:
            return
        if not isinstance(value, _RAW):
            raise Untraceable
        if handle._view is not None and handle._base is not None:
            parent, op, params = handle._view
            self.lift(parent)
            self._views.append((handle, value, handle._node))
            handle._value = op(new_handle(parent._value), **params)._value
            return
        materialize(handle)
        self._enter(id(handle), "handle", handle, handle, handle._value)

    def _enter(
        self, key: int, kind: str, owner: Any, handle: Any, value: Any, name: str = "", weak: bool = False
    ) -> Cell:
        symbol = self.graph.input(Spec(tuple(np.shape(value)), np.asarray(value).dtype), weak)
        cell = Cell(kind, owner, handle, symbol, value, name)
        handle._value = symbol
        self.cells.append(cell)
        self._by_id[key] = cell
        if isinstance(handle._node, LeafMark):
            self._know(handle)
        return cell

    def _know(self, leaf: Any) -> None:
        self._leaves.setdefault(id(leaf), (leaf, leaf._grad))

    def reads_grad(self, leaf: Any) -> None:
        if leaf._made is self or id(leaf) in self._cleared:
            return
        self._know(leaf)
        self._read.add(id(leaf))

    def clears_grad(self, leaf: Any) -> None:
        if leaf._made is self:
            return
        self._know(leaf)
        if id(leaf) not in self._read:
            self._cleared.add(id(leaf))

    def reads_name(self, names: Any, name: str, value: Any) -> None:
        if not isinstance(value, ModuleType | type):
            self._reads("name", names, name, value)

    def reads_cell(self, cell: Any) -> None:
        value = _found(cell, "")
        self._variables.setdefault(id(cell), (cell, value))
        if value is not _Nothing and not isinstance(value, ModuleType | type):
            self._reads("cell", cell, "", value)

    def _reads(self, kind: str, place: Any, name: str, value: Any) -> None:
        if type(value) is np.ndarray and modes.numpy and value.dtype.kind in "fc":
            self._places.setdefault(id(value), (kind, place, name))
            kind = "spec"
        self._names.setdefault((id(place), name), Guard(kind, place, name, None))
        self._opens(value)

    def _opens(self, value: Any, depth: int = 0) -> None:
        """Remember what is in a list or a dict, and in those inside it."""
        if type(value) in (list, dict) and len(value) <= self._MANY and depth < 4 and id(value) not in self._items:
            self._items[id(value)] = value, value.copy()
            for part in value.values() if type(value) is dict else value:
                self._opens(part, depth + 1)

    def watches(self, names: dict[str, Any]) -> None:
        if id(names) not in self._watched:
            self._watched[id(names)] = names, dict(names)

    def array(self, value: Any) -> Any:
        known = self._by_id.get(id(value))
        if known is None:
            kind, owner, name = self._places.get(id(value), ("array", value, ""))
            known = self._enter(id(value), kind, owner, new_handle(value), value, name)
        return known.handle

    def options(self, group: dict[str, Any]) -> dict[str, Any]:
        found = dict(group)
        for name, value in group.items():
            if name == "lr" and type(value) is float:
                handle = new_handle(value)
                self._enter(id(handle), "option", group, handle, value, name, weak=True)
                found[name] = handle
            elif type(value) in _PLAIN or type(value) is tuple:
                self.reads_name(group, name, value)
        return found

    def known(self, handle: Any) -> Any:
        cell = self._by_id.get(id(handle))
        return cell.value if cell is not None and cell.kind == "option" else handle

    def adopt(self, handle: Any) -> None:
        if handle is None:
            raise Untraceable
        handle._made = None

    def draw(self, sample: Callable[[Any], Any], source: Callable[[], Any]) -> Any:
        found = np.asarray(sample(copy.deepcopy(source())))
        if found.dtype.kind not in "biufc":
            raise NotImplementedError("a compiled function draws numbers: this way of using a generator gives none")
        return self.graph.append(draw, (), {"sample": sample, "source": source, "spec": spec_of(found)})

    # When the function has run

    def settle(self) -> None:
        """Put everything outside back as it was, and take note of what the function did to it."""
        for cell in self.cells:
            if cell.handle._value is not cell.symbol:
                cell.written = cell.handle._value
                self.written.append(cell)
            if cell.kind == "handle" and cell.handle._node is not cell.node:
                self.refusal = "it writes what requires a gradient into a Tensor that it finds outside: detach it first"
        self._settle_gradients()
        for cell in self.cells:
            handle = cell.handle
            if cell.kind == "handle":
                handle._value, handle._node = cell.value, cell.node
                if isinstance(cell.node, LeafMark) or type(handle) is not handle.maker:  # a parameter
                    self.guards.append(Guard("tracked", handle, "", cell.node is None))
            elif cell.kind == "option" and cell.owner[cell.name] != cell.value:
                cell.owner[cell.name] = cell.value
                self.rescheduled = True
        for handle, value, node in reversed(self._views):
            handle._value, handle._node = value, node
        self._settle_names()
        for guard in self._names.values():
            value = _found(guard.place, guard.name)
            if value is not _Nothing:
                guard.value = _kind_of(value) if guard.kind == "spec" else value
                self.guards.append(guard)
        self.guards += [Guard("items", place, "", before) for place, before in self._items.values()]

    def _settle_gradients(self) -> None:
        origin: dict[int, Any] = {}
        for key, (leaf, before) in self._leaves.items():
            if leaf._grad is not before:
                self.gradients.append((leaf, leaf._grad))
                leaf._grad = before
            if before is not None:
                origin[id(before)] = leaf
            if key in self._read and key not in self._cleared:
                self.guards.append(Guard("grad", leaf, "", before is None))
        for cell in self.cells:
            if cell.kind == "handle" and id(cell.handle) in origin:
                cell.handle._value, cell.handle._node = cell.value, cell.node
                cell.kind, cell.owner = "grad", origin[id(cell.handle)]

    def _settle_names(self) -> None:
        for names, before in self._watched.values():
            for name in {**before, **names}:
                self._settle_name(names, name, before.get(name, _Nothing))
        for cell, was in self._variables.values():
            self._settle_name(cell, "", was)
        for place, before in self._items.values():
            if not same_items(place, before):
                traced = [x for x in (place.values() if type(place) is dict else place) if _is_traced(x)]
                place.clear()
                place.update(before) if type(place) is dict else place.extend(before)
                self.refusal = "it changes a list or a dict that it finds outside" + (
                    ", which happens while tracing only: return what goes in there" if traced else ""
                )

    def _settle_name(self, place: Any, name: str, was: Any) -> None:
        now = _found(place, name)
        if now is was:
            return
        if was is _Nothing:
            place.pop(name) if isinstance(place, dict) else delattr(place, "cell_contents")
        elif isinstance(place, dict):
            place[name] = was
        else:
            place.cell_contents = was
        known = self._by_id.get(id(was))
        if known is not None and known.handle is now:
            return  # what stood for it while the function ran
        if now is _Nothing or not (isinstance(now, Handle) or type(now) is np.ndarray):
            what = f"{name!r}" if name else "a variable of an enclosing function"
            self.refusal = f"it sets {what} to something that is no array or Tensor"
            return
        if isinstance(now, Handle) and now._node is not None:
            what = f"{name!r}" if name else "a variable of an enclosing function"
            self.refusal = f"it sets {what} to something that requires a gradient: detach it first"
            return
        tensor = isinstance(was, Handle) or (was is _Nothing and not modes.numpy)
        self.puts.append(Put(place, name, now, tensor))
        if known is not None and known.kind in ("handle", "array"):
            known.kind, known.owner, known.name = "name" if isinstance(place, dict) else "cell", place, name
        if (guard := self._names.get((id(place), name))) is not None:
            guard.kind = "spec"


def _is_traced(value: Any) -> bool:
    while isinstance(value, Handle):
        value = value._value
    return isinstance(value, Symbol)


def is_tensor_cell(cell: Cell) -> bool:
    """Whether a place holds a Tensor, so that what is computed with it is one."""
    return cell.kind in ("handle", "grad") or (cell.kind in ("name", "cell") and isinstance(cell.read(), Handle))
