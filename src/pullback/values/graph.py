"""Programs as data: a `Graph` is a list of instructions over `Symbol`s, in single-assignment form.

A `Symbol` stands for an array whose numbers are not known yet. Binding an op on symbols appends an instruction to the
graph being traced; the NumPy interpreter here (`Graph.__call__`) is the reference for whatever else runs a graph.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from pullback.values.dtype import DType
from pullback.values.shape import Shape, Spec, spec_of

__all__ = ["Graph", "Instruction", "Symbol"]

_ELSEWHERE = (
    "another thread is compiling a function that uses this Tensor. Compile it first, by a call before the threads "
    "start, or give each thread Tensors of its own."
)
_NUMBERS = (bool, int, float, complex)


class Symbol:
    """A value of a graph: a number within it and a `Spec`.

    One that stands for a Python number is `weak`, and so is what comes of weak ones alone: it takes on the dtype of
    what it meets, as the number would.
    """

    __slots__ = ("graph", "index", "spec", "weak")
    level = 0

    def __init__(self, graph: Graph, index: int, spec: Spec, weak: bool = False) -> None:
        self.graph = graph
        self.index = index
        self.spec = spec
        self.weak = weak

    @property
    def shape(self) -> Shape:
        return self.spec.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.spec.dtype

    @property
    def ndim(self) -> int:
        return len(self.spec.shape)

    @property
    def size(self) -> int:
        return self.spec.size

    def __repr__(self) -> str:
        return f"%{self.index}: {self.spec}"

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"a symbol has no {name!r}; if an array was meant, {_ELSEWHERE}")

    def __array_ufunc__(self, *args: Any, **kwargs: Any) -> Any:
        """NumPy was called, as it is in a thread that traces nothing: another thread does."""
        raise RuntimeError(_ELSEWHERE)

    def bind(self, op: Any, args: tuple[Any, ...], params: dict[str, Any]) -> Any:
        """Append `op` applied to payloads (symbols, arrays, numbers); return the symbol or symbols of its result."""
        result = self.graph.append(op, args, params)
        if self.weak and op.is_elementwise and isinstance(result, Symbol):
            result.weak = all(type(a) in _NUMBERS or (isinstance(a, Symbol) and a.weak) for a in args)
        return result


for _operator in "add sub mul truediv floordiv mod pow matmul and or xor".split():  # what arrays would do there
    setattr(Symbol, f"__{_operator}__", Symbol.__array_ufunc__)
    setattr(Symbol, f"__r{_operator}__", Symbol.__array_ufunc__)


class Instruction:
    """One op applied to symbols and constants."""

    __slots__ = ("args", "op", "outputs", "params")

    def __init__(self, op: Any, args: tuple[Any, ...], params: dict[str, Any], outputs: tuple[Symbol, ...]) -> None:
        self.op = op
        self.args = args
        self.params = params
        self.outputs = outputs

    def __str__(self) -> str:
        from pullback.values.printing import Printer

        return Printer(exact=False).instruction(self)


def _kept(array: Any) -> Any:
    """An array to keep, whatever its owner writes to his; one that is repeated along an axis is so still."""
    if 0 not in array.strides or array.size <= 1:
        return array.copy()
    once = array[tuple([slice(None) if stride else slice(1) for stride in array.strides])]
    return np.broadcast_to(once.copy(), array.shape)


class Graph:
    """A straight-line program: inputs, instructions in order, outputs.

    Calling it with arrays runs it in NumPy and gives the tuple of outputs. `thread` is the one that alone may append,
    if that is known: while a function is traced with what it finds outside, other threads may meet its symbols.
    """

    def __init__(self, thread: int | None = None) -> None:
        self.thread = thread
        self.inputs: list[Symbol] = []
        self.instructions: list[Instruction] = []
        self.outputs: list[Any] = []
        self._count = 0

    def _symbol(self, spec: Spec) -> Symbol:
        self._count += 1
        return Symbol(self, self._count - 1, spec)

    def input(self, spec: Spec, weak: bool = False) -> Symbol:
        """A new input of the program; `weak`, if it is given Python numbers."""
        symbol = self._symbol(spec)
        symbol.weak = weak
        self.inputs.append(symbol)
        return symbol

    def append(self, op: Any, args: tuple[Any, ...], params: dict[str, Any]) -> Any:
        """Apply `op`; its shape rule runs here, so a misuse is reported where it is written."""
        if self.thread is not None and self.thread != threading.get_ident():
            raise RuntimeError(f"{op.name}: {_ELSEWHERE}")
        for arg in args:
            if isinstance(arg, Symbol) and arg.graph is not self:
                raise RuntimeError(f"{op.name}: {arg!r} belongs to another trace; return it from that one instead")
        args = tuple(_kept(arg) if isinstance(arg, np.ndarray) else arg for arg in args)
        params = {name: value.dtype if isinstance(value, DType) else value for name, value in params.items()}
        specs = op.shape(
            *(spec_of(a) if isinstance(a, Symbol | np.ndarray | np.generic) else a for a in args), **params
        )
        many = isinstance(specs, list)
        outputs = tuple(self._symbol(spec) for spec in (specs if many else [specs]))
        self.instructions.append(Instruction(op, args, params, outputs))
        return outputs if many else outputs[0]

    def part(self, inputs: Sequence[Symbol], outputs: Sequence[Any]) -> Graph:
        """A graph of its own that computes `outputs` from `inputs`, symbols of this one that it needs not compute.

        Raises `ValueError` if the outputs depend on an input of this graph that is not among `inputs`.
        """
        new = Graph()
        known: dict[Symbol, Any] = {symbol: new.input(symbol.spec, symbol.weak) for symbol in inputs}
        needed = {out for out in outputs if isinstance(out, Symbol)} - set(known)
        steps = []
        for step in reversed(self.instructions):
            if any(y in needed for y in step.outputs):
                steps.append(step)
                needed.difference_update(step.outputs)
                needed.update(a for a in step.args if isinstance(a, Symbol) and a not in known)
        if needed:
            raise ValueError(f"the outputs depend on {sorted(s.index for s in needed)}, which are not among the inputs")

        def read(value: Any) -> Any:
            return known[value] if isinstance(value, Symbol) else value

        for step in reversed(steps):
            made = tuple([new._symbol(y.spec) for y in step.outputs])
            for old, y in zip(step.outputs, made, strict=True):
                known.setdefault(old, y)
            new.instructions.append(Instruction(step.op, tuple(map(read, step.args)), step.params, made))
        new.outputs = list(map(read, outputs))
        return new

    def __call__(self, *arrays: Any) -> tuple[Any, ...]:
        if len(arrays) != len(self.inputs):
            raise TypeError(f"the graph takes {len(self.inputs)} inputs, {len(arrays)} were given")
        known: dict[int, Any] = {symbol.index: array for symbol, array in zip(self.inputs, arrays, strict=True)}

        def read(value: Any) -> Any:
            return known[value.index] if isinstance(value, Symbol) else value

        for step in self.instructions:
            result = step.op.evaluate(*map(read, step.args), **step.params)
            results = result if isinstance(result, tuple) else (result,)
            known.update(zip((s.index for s in step.outputs), results, strict=True))
        return tuple(map(read, self.outputs))

    def __str__(self) -> str:
        from pullback.values.printing import Printer

        return Printer(exact=False).graph(self)
