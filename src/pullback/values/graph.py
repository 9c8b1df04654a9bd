"""Programs as data: a `Graph` is a list of instructions over `Symbol`s, in single-assignment form.

A `Symbol` stands for an array whose numbers are not known yet. Binding an op on symbols appends an instruction to the
graph being traced; the NumPy interpreter here (`Graph.__call__`) is the reference for whatever else runs a graph.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.values.shape import Shape, Spec, spec_of

__all__ = ["Graph", "Instruction", "Symbol"]


class Symbol:
    """A value of a graph: a number within it and a `Spec`."""

    __slots__ = ("graph", "index", "spec")
    level = 0

    def __init__(self, graph: Graph, index: int, spec: Spec) -> None:
        self.graph = graph
        self.index = index
        self.spec = spec

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

    def bind(self, op: Any, args: tuple[Any, ...], params: dict[str, Any]) -> Any:
        """Append `op` applied to payloads (symbols, arrays, numbers); return the symbol or symbols of its result."""
        return self.graph.append(op, args, params)


class Instruction:
    """One op applied to symbols and constants."""

    __slots__ = ("args", "op", "outputs", "params")

    def __init__(self, op: Any, args: tuple[Any, ...], params: dict[str, Any], outputs: tuple[Symbol, ...]) -> None:
        self.op = op
        self.args = args
        self.params = params
        self.outputs = outputs

    def __str__(self) -> str:
        outputs = ", ".join(map(repr, self.outputs))
        args = ", ".join(f"%{a.index}" if isinstance(a, Symbol) else _literal(a) for a in self.args)
        params = "".join(f" {key}={value!r}" for key, value in self.params.items())
        return f"{outputs} = {self.op.name}({args}){params}"


def _literal(value: Any) -> str:
    if isinstance(value, np.ndarray | np.generic):
        return f"{value.item()!r}:{value.dtype}" if value.size == 1 and value.ndim == 0 else f"const {spec_of(value)}"
    return repr(value)


class Graph:
    """A straight-line program: inputs, instructions in order, outputs.

    Calling it with arrays runs it in NumPy and gives the tuple of outputs.
    """

    def __init__(self) -> None:
        self.inputs: list[Symbol] = []
        self.instructions: list[Instruction] = []
        self.outputs: list[Any] = []
        self._count = 0

    def _symbol(self, spec: Spec) -> Symbol:
        self._count += 1
        return Symbol(self, self._count - 1, spec)

    def input(self, spec: Spec) -> Symbol:
        """A new input of the program."""
        symbol = self._symbol(spec)
        self.inputs.append(symbol)
        return symbol

    def append(self, op: Any, args: tuple[Any, ...], params: dict[str, Any]) -> Any:
        """Apply `op`; its shape rule runs here, so a misuse is reported where it is written."""
        for arg in args:
            if isinstance(arg, Symbol) and arg.graph is not self:
                raise RuntimeError(f"{op.name}: {arg!r} belongs to another trace; return it from that one instead")
        args = tuple(arg.copy() if isinstance(arg, np.ndarray) else arg for arg in args)
        specs = op.shape(
            *(spec_of(a) if isinstance(a, Symbol | np.ndarray | np.generic) else a for a in args), **params
        )
        many = isinstance(specs, list)
        outputs = tuple(self._symbol(spec) for spec in (specs if many else [specs]))
        self.instructions.append(Instruction(op, args, params, outputs))
        return outputs if many else outputs[0]

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
        head = ", ".join(map(repr, self.inputs))
        tail = ", ".join(f"%{o.index}" if isinstance(o, Symbol) else _literal(o) for o in self.outputs)
        return "\n".join([f"graph({head})", *(f"  {step}" for step in self.instructions), f"  return {tail}"])
