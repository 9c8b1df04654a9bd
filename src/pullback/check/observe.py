"""Running functions with their local variables observed, statement by statement.

Only frames of the user's own code are observed, in the thread that runs them; what is compiled (C, Numba, jitted) runs
as ever, and nothing is seen of it. Tracing ends with the run, however it ends.
"""

from __future__ import annotations

import ast
import site
import sys
import sysconfig
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import CodeType, FrameType
from typing import Any, Final

import numpy as np

from pullback.check.adapters import adapter_for, is_inexact
from pullback.check.statements import Statement, missing, path_of, reads_of, statement_at, value_at
from pullback.tape.location import is_internal
from pullback.tape.node import Edge, Handle, edge_of

__all__ = ["Observer", "Step", "leaves_of"]

_KEPT: Final = 64  # values of one name at one line: of a loop, the last ones
_SECONDS: Final = 10.0  # after this the rest of a run is not observed
_BYTES: Final = 2**28  # nor is what does not fit
_DEPTH, _WIDTH = 3, 64  # how far containers are looked into
_FRAMEWORKS: Final = ("torch", "jax", "jaxlib", "tensorflow")


@dataclass(eq=False)
class Step:
    """One value that a statement gave to a place.

    name      the place as the user writes it; for what is returned and has no name, the expression.
    value     a copy of the numbers.
    origin    the object itself, kept so that its identity means something.
    edge      its place on the tape, in a run on the tape.
    reads     the steps whose values the statement read.
    scope     the global and the local names as the statement found them.
    is_argument  whether it is an argument that a function was called with.
    call, caller, code  which call of which function.
    """

    number: int
    name: str
    value: np.ndarray[Any, Any]
    origin: Any
    statement: Statement
    code: CodeType
    call: int
    caller: int
    edge: Edge = None
    reads: tuple[Step, ...] = ()
    scope: tuple[dict[str, Any], dict[str, Any]] | None = None
    is_argument: bool = False
    is_result: bool = False

    @property
    def where(self) -> str:
        """The line, as `file:line`."""
        return f"{self.code.co_filename}:{self.line}"

    @property
    def line(self) -> int:
        return self.statement.line

    @property
    def key(self) -> tuple[CodeType, int, str]:
        """The same for every time the statement gave the place a value."""
        return self.code, self.line, self.name


@dataclass(eq=False)
class _Call:
    """A call that is running: the statement it is at, and what that read."""

    number: int
    caller: int
    code: CodeType
    statement: Statement | None = None
    reads: list[Step] = field(default_factory=list)
    scope: tuple[dict[str, Any], dict[str, Any]] | None = None
    before: list[tuple[str, Any, Any]] = field(default_factory=list)  # paths and places to be assigned, what they held
    dirty: dict[str, tuple[Any, Statement, list[Step]]] = field(default_factory=dict)  # written to, not yet read again


class Observer:
    """Observes the functions run by `run`. `steps` has what was seen, in order.

    `roots` are functions whose files count as the user's own, wherever they are installed.
    """

    def __init__(self, *roots: Any) -> None:
        self.steps: list[Step] = []
        self.complete = True
        codes = [_code(f) for f in roots]
        self._files = {code.co_filename: True for code in codes if code is not None}
        self._stack: list[_Call] = []
        self._latest: dict[int, Step] = {}  # by the id of an object: the step that gave it to a place
        self._series: dict[Any, deque[Step]] = {}
        self._returns: dict[int, tuple[Any, Step]] = {}
        self._calls = 0
        self._bytes = 0
        self._until = 0.0

    def run(self, f: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What `f` returns; its locals, and those of the functions it calls, are added to `steps`."""
        before = sys.gettrace()
        self._until = time.monotonic() + _SECONDS
        sys.settrace(self._enter)
        try:
            return f(*args, **kwargs)
        finally:
            sys.settrace(before)
            self._stack.clear()
            self.steps = [step for step in self.steps if step.number >= 0]

    def step_of(self, value: Any) -> Step | None:
        """The last step that gave this very object to a place."""
        found = self._latest.get(id(value))
        return found if found is not None and found.origin is value else None

    def return_of(self, value: Any) -> Step | None:
        """The `return` that first gave this very object, or the last one of all, as a step without a value."""
        found = self._returns.get(id(value))
        if found is None and self._returns:
            found = list(self._returns.values())[-1]
        return None if found is None else found[1]

    # What Python calls

    def _enter(self, frame: FrameType, event: str, arg: Any) -> Any:
        code = frame.f_code
        if not self._is_user(code):
            return None
        try:
            if time.monotonic() > self._until:
                self.complete = False
                return None
            self._calls += 1
            call = _Call(self._calls, self._stack[-1].number if self._stack else 0, code)
            self._stack.append(call)
            self._arguments(call, frame)
        except Exception:  # an observer must not disturb what it observes
            return None

        def trace(frame: FrameType, event: str, arg: Any) -> Any:
            try:
                if event == "line":
                    self._at_line(call, frame)
                elif event == "return":
                    self._at_return(call, frame, arg)
            except Exception:
                self.complete = False
            return trace

        return trace

    def _is_user(self, code: CodeType) -> bool:
        name = code.co_filename
        known = self._files.get(name)
        if known is None:
            known = not (name.startswith(_LIBRARIES) or is_internal[name])
            self._files[name] = known
        return known and (not code.co_name.startswith("<") or code.co_name == "<lambda>")

    def _arguments(self, call: _Call, frame: FrameType) -> None:
        code = call.code
        statement = Statement(code.co_firstlineno, f"def {code.co_name}", ())
        count = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & 4) + bool(code.co_flags & 8)
        for name in code.co_varnames[:count]:
            for path, leaf in leaves_of(name, frame.f_locals.get(name)):
                source = self.step_of(leaf)
                step = self._record(call, path, leaf, statement, [source] if source else [])
                if step is not None:
                    step.is_argument = True

    def _at_line(self, call: _Call, frame: FrameType) -> None:
        names = frame.f_locals
        self._finish(call, names)
        if time.monotonic() > self._until:
            self.complete = False
            frame.f_trace_lines = False
            return
        statement = statement_at(call.code, frame.f_lineno)
        own = {path_of(place) for place in statement.written}
        reads: list[Step] = []
        for path in list(call.dirty):
            if path in own and call.dirty[path][1] is not statement:
                self._flush(call, path)
        for place in statement.read:
            path = path_of(place)
            if path in call.dirty and path not in own:
                self._flush(call, path)
            value = value_at(place, names)
            if value is not missing:
                reads += self._sources(path, value)
        call.statement, call.reads, call.scope = statement, reads, (frame.f_globals, dict(names))
        call.before = [(path_of(place, names), place, value_at(place, names)) for place in statement.assigned]
        if not statement.nodes:
            call.before = [(name, None, value) for name, value in names.items()]

    def _sources(self, path: str, value: Any) -> Iterator[Step]:
        for _, leaf in leaves_of(path, value):
            step = self.step_of(leaf)
            if step is not None:
                yield step

    def _finish(self, call: _Call, names: Any) -> None:
        """Take in what the last statement has done."""
        statement = call.statement
        if statement is None:
            return
        if not statement.nodes:  # no source: whatever has changed
            known = {name: value for name, _, value in call.before}
            for name, value in list(names.items()):
                if value is not known.get(name, missing):
                    self._take(call, name, value, statement)
            return
        written = {path_of(place) for place in statement.written}
        for path, place, before in call.before:
            value = value_at(place, names)
            if path not in written and value is not missing and value is not before:
                call.dirty.pop(path, None)
                self._take(call, path, value, statement)
        for place in statement.written:
            value = value_at(place, names)
            path = path_of(place)
            if value is missing or not (_is_numbers(value) or isinstance(value, list | dict)):
                continue
            earlier = call.dirty.get(path)
            if isinstance(statement.only, ast.Expr):  # what was appended
                for name, leaf in leaves_of(path, value):
                    if self.step_of(leaf) is None:
                        self._record(call, name, leaf, statement, call.reads)
            reads = earlier[2] if earlier is not None else []
            call.dirty[path] = value, statement, [*reads, *call.reads] if len(reads) < 4 * _WIDTH else reads
        call.reads = []

    def _take(self, call: _Call, path: str, value: Any, statement: Statement) -> None:
        for name, leaf in leaves_of(path, value):
            known = self.step_of(leaf)
            if name != path and known is not None:
                continue  # what a container holds is known by its own name
            self._record(call, name, leaf, statement, [known] if known is not None else call.reads)

    def _flush(self, call: _Call, path: str) -> None:
        """Record a value that was written to in place, now that it is done."""
        value, statement, reads = call.dirty.pop(path)
        for name, leaf in leaves_of(path, value):
            known = self.step_of(leaf)
            if known is None and name != path:
                continue  # its own statement is yet to be taken in
            if known is not None and np.array_equal(known.value, _numbers(leaf), equal_nan=True):
                continue
            self._record(call, name, leaf, statement, [*reads, known] if known else reads)

    def _at_return(self, call: _Call, frame: FrameType, result: Any) -> None:
        statement = call.statement
        names, reads = frame.f_locals, list(call.reads)
        self._finish(call, names)
        for path in list(call.dirty):
            self._flush(call, path)
        if self._stack and self._stack[-1] is call:
            self._stack.pop()
        elif call in self._stack:  # a generator that was left
            self._stack.remove(call)
        if statement is None:
            statement = statement_at(call.code, frame.f_lineno)
        expressions = statement.returns
        if id(result) not in self._returns and isinstance(statement.only, ast.Return):
            at = statement, call.code, call.number, call.caller
            end = Step(len(self.steps), statement.text, np.zeros(0), None, *at)
            self._returns[id(result)] = result, end
        elements = result if isinstance(result, tuple) and expressions and len(expressions) == len(result) else [result]
        outer = self._stack[-1] if self._stack else None
        for i, element in enumerate(elements):
            text, own = "the result", reads
            if expressions and len(expressions) == len(elements):
                text = path_of(expressions[i])
                own = [step for step in reads if step.is_result and step.call != call.number]
                for place in reads_of(expressions[i]):
                    own += self._sources(text, value_at(place, names))
            for path, leaf in leaves_of(text, element):
                step = self.step_of(leaf)
                if step is None:
                    step = self._record(call, path, leaf, statement, own)
                    if step is not None:
                        step.is_result = True
                if step is not None and outer is not None:
                    outer.reads.append(step)

    # The record

    def _record(self, call: _Call, name: str, value: Any, statement: Statement, reads: list[Step]) -> Step | None:
        numbers = _numbers(value)
        if numbers is None or self._bytes + numbers.nbytes > _BYTES:
            self.complete = self.complete and numbers is None
            return None
        edge = edge_of(value) if isinstance(value, Handle) and value._node is not None else None
        unique = tuple({id(step): step for step in reads}.values())
        step = Step(len(self.steps), name, numbers, value, statement, call.code, call.number, call.caller, edge, unique)
        if statement is call.statement:
            step.scope = call.scope
        self.steps.append(step)
        self._latest[id(value)] = step
        self._bytes += numbers.nbytes
        series = self._series.setdefault(step.key, deque())
        series.append(step)
        if len(series) > _KEPT:
            oldest = series.popleft()
            oldest.number = -1
            self._bytes -= oldest.value.nbytes
            oldest.value = np.zeros(0)
        return step


def leaves_of(path: str, value: Any, depth: int = _DEPTH) -> Iterator[tuple[str, Any]]:
    """The values of numbers in nested lists, tuples and dicts, and how a user would write them."""
    if _is_numbers(value):
        yield path, value
    elif depth and isinstance(value, list | tuple):
        for i, part in enumerate(value[:_WIDTH]):
            yield from leaves_of(f"{path}[{i}]", part, depth - 1)
    elif depth and isinstance(value, dict):
        for key, part in list(value.items())[:_WIDTH]:
            yield from leaves_of(f"{path}[{key!r}]", part, depth - 1)


def _is_numbers(value: Any) -> bool:
    """Whether a value is an array or a number that can have, or be, a derivative."""
    kind = type(value)
    if kind is np.ndarray or isinstance(value, np.generic):
        return bool(value.dtype.kind in "fc")
    if kind is float or kind is complex:
        return True
    if isinstance(value, Handle):
        return isinstance(value._value, np.ndarray | np.generic) and value._value.dtype.kind in "fc"
    package = kind.__module__.partition(".")[0]
    return package in _FRAMEWORKS and hasattr(value, "shape") and is_inexact(value)


def _numbers(value: Any) -> Any:
    """A copy of the numbers; None if there are none to be had."""
    try:
        found = np.array(value._value if isinstance(value, Handle) else adapter_for(value).array(value))
    except Exception:  # a value that a framework's own transform is working on
        return None
    return found if found.dtype.kind in "fc" else None


def _code(f: Any) -> CodeType | None:
    """The code of a user's function or callable object; None for what a framework has made of one."""
    f = getattr(f, "__func__", f)
    code = getattr(f, "__code__", None)
    if code is None:
        code = getattr(vars(type(f)).get("__call__"), "__code__", None)
        is_framework = type(f).__module__.partition(".")[0] in (*_FRAMEWORKS, "numpy", "scipy", "functools")
        code = None if is_framework else code
    return None if code is None or is_internal[code.co_filename] else code


def _libraries() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    found = {paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    found.update(site.getsitepackages())
    found.add(site.getusersitepackages())
    return (*filter(None, found), "<frozen", "<__")


_LIBRARIES: Final = _libraries()
