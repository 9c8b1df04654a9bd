"""From a graph to native code: simplified, fused, given buffers, lowered, and linked or found in the disk cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from pullback.compile.fusion import fuse
from pullback.compile.llvm import blas, engine, gemm, store, threads
from pullback.compile.llvm.callback import make_callback
from pullback.compile.llvm.emit import Module, emit
from pullback.compile.llvm.entry import Input, Output, make_entry
from pullback.compile.nodes import Access, Node, Nodes
from pullback.compile.passes.pipeline import simplify
from pullback.values.graph import Graph
from pullback.values.shape import Spec, spec_of

__all__ = ["Native", "get_num_threads", "lowered", "set_num_threads"]

LONG = 200_000
"""Scalar operations from which on code runs without the GIL: some tens of microseconds."""


def lowered(graph: Graph, donated: Mapping[int, int]) -> Module:
    """The IR of a simplified graph; outputs in `donated` are written over the inputs given there."""
    return emit(fuse(Nodes(graph)), donated)


def set_num_threads(n: int) -> None:
    """Let compiled functions use up to `n` threads for long loops and products, from the next call on; the libraries
    for linear algebra that NumPy and SciPy have brought too. At first there is one. Sums are then taken in other
    parts, so that results may differ in rounding. Raises `ValueError` for less than one thread."""
    threads.set_num_threads(n)
    blas.set_num_threads(n)


def get_num_threads() -> int:
    """How many threads compiled functions use at most."""
    return threads.get_num_threads()


class Native:
    """A graph as native code.

    graph    the simplified graph. `module`: its IR before LLVM's optimisation, `code`: in memory.
    cached   whether the code came from the disk cache.
    """

    def __init__(self, graph: Graph, donated: Mapping[int, int], observe: Callable[[str, Graph], None] | None = None):
        self.graph = simplify(graph, observe)
        self.module = lowered(self.graph, donated)
        self.code, self.cached = _linked(self.module)
        self.context = tuple(map(_callback, self.module.calls))

    def entry(
        self, inputs: Sequence[Input], outputs: Sequence[Output], miss: object, single: bool
    ) -> Callable[..., Any]:
        """The function that checks its arguments and runs the code; see `make_entry`."""
        module = self.module
        return make_entry(
            self.code.address,
            inputs,
            outputs,
            module.arena,
            self.context,
            miss,
            release_gil=module.work > LONG,
            single=single,
            keep=(self.code, module.imports),
        )


def _linked(module: Module) -> tuple[engine.Code, bool]:
    """The code of a module, from the disk cache if it is there; constants and BLAS are found anew each time."""
    imports = {name: array.ctypes.data for name, array in module.imports.items()}
    imports |= {f"{name}_": blas.address(name) for name in module.routines}
    imports |= {name: gemm.address(dtype) for name, dtype in module.products.items()}
    if module.shared:
        imports[threads.SYMBOL] = threads.address()
    key = store.key(module.ir)
    found = store.read(key)
    if found is not None:
        return engine.link(found.object, "run", imports, ir=module.ir), True
    code = engine.load(module.ir, "run", imports)
    store.write(key, code.object)
    return code, False


def _callback(node: Node) -> Callable[[int], None]:
    """The function that a call node calls: the op's NumPy evaluation."""
    instruction = node.instruction
    assert instruction is not None
    args = [
        spec_of(arg) if isinstance(read, Access) else arg
        for read, arg in zip(node.reads, instruction.args, strict=True)
    ]
    evaluate = instruction.op.evaluate

    def quiet(*arrays: Any, **params: Any) -> Any:
        with np.errstate(all="ignore"):
            return evaluate(*arrays, **params)

    results: list[Spec] = [y.spec for y in instruction.outputs]
    return make_callback(quiet, args, instruction.params, results)
