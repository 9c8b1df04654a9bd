"""Which entries of a function's results depend on which entries of its argument, read off its graph.

For every value of the graph there is a boolean matrix, a row for each of its entries and a column for each entry of the
argument. What moves entries about (`reshape`, slices, `concatenate`) is run on their numbers to see where they go;
elementwise ops unite their operands' rows; reductions unite along axes; products follow the zeros of constant factors.
Of any other op, every entry of a result is taken to depend on all that its operands do: the pattern may have entries
that are zero, but no entry is missed, whatever the values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pullback.values.graph import Graph, Instruction, Symbol
from pullback.values.optional import scipy_module

__all__ = ["dependence"]

# Every entry of the result is one entry of an operand, or constant. Operands after the given number are indices.
_MOVES: dict[str, int] = {
    **dict.fromkeys(
        (
            *("reshape", "transpose", "broadcast_to", "flip", "roll", "pad", "split", "unbind", "embed", "slice"),
            *("diagonal", "diag_embed", "tril", "triu", "identity"),
        ),
        1,
    ),
    **dict.fromkeys(("slice_update", "diagonal_update", "index_update"), 2),
    "gather": 1,
    "concatenate": 9**9,
    "stack": 9**9,
}
_ALIKE = {"cast", "real", "imag", "conj", "abs", "angle", "sgn", "gate"}  # act on each entry alone
_ALONG = {"cumsum", "cumprod", "logcumsumexp", "softmax", "log_softmax", "sort"}  # unite along `axis`, which stays
_REDUCE = {"sum", "mean", "prod", "amax", "amin", "logsumexp", "var", "std", "norm"}  # unite along `axis`, a tuple
_PRODUCTS = {"matmul", "mm", "mv", "dot"}


def dependence(graph: Graph) -> Any:
    """The matrix of the outputs of a graph, one after the other, against its inputs, as a boolean `csr_array`."""
    sparse = scipy_module("sparse")
    total = sum(symbol.size for symbol in graph.inputs)
    known: dict[int, Any] = {}
    start = 0
    for symbol in graph.inputs:
        known[symbol.index] = sparse.eye_array(symbol.size, total, k=start, dtype=bool, format="csr")
        start += symbol.size
    for step in graph.instructions:
        operands = [known.get(a.index) if isinstance(a, Symbol) else None for a in step.args]
        if step.op.family == "nondifferentiable" or all(m is None for m in operands):
            continue
        found = _rule(step)(step, operands)
        for symbol, matrix in zip(step.outputs, found, strict=True):
            if matrix is not None and matrix.nnz:
                known[symbol.index] = matrix
    rows = [
        known.get(out.index, sparse.csr_array((out.size, total), dtype=bool))
        if isinstance(out, Symbol)
        else sparse.csr_array((np.size(out), total), dtype=bool)
        for out in graph.outputs
    ]
    return sparse.csr_array(sparse.vstack(rows, format="csr", dtype=bool))


Matrices = list[Any]
Rule = Callable[[Instruction, Matrices], Matrices]


def _rule(step: Instruction) -> Rule:
    name = step.op.name
    if name in _MOVES:
        return _moved
    if step.op.family == "elementwise" or name in _ALIKE:
        return _elementwise
    if name in _REDUCE or (name in _ALONG and "axis" in step.params):
        return _along_axes
    if name in _PRODUCTS:
        return _product
    return _full


def _shape(x: Any) -> tuple[int, ...]:
    return tuple(x.shape) if isinstance(x, Symbol) else np.shape(x)


def _selection(indices: Any, size: int) -> Any:
    """The matrix that takes row `indices[i] - 1` to row i, and nothing to row i where the index is 0."""
    sparse = scipy_module("sparse")
    flat = np.asarray(indices).reshape(-1)
    rows = np.flatnonzero(flat)
    columns = flat[rows].astype(np.int64) - 1
    return sparse.csr_array((np.ones(rows.size, bool), (rows, columns)), (flat.size, size))


def _union(matrices: Matrices) -> Any:
    found = [m for m in matrices if m is not None]
    total = found[0]
    for m in found[1:]:
        total = total + m
    return total


def _moved(step: Instruction, operands: Matrices) -> Matrices:
    """Run the op on the numbers of the entries, counted from 1 through all operands; 0 is a constant."""
    sparse = scipy_module("sparse")
    count = _MOVES[step.op.name]
    if any(isinstance(a, Symbol) for a in step.args[count:]) or step.params.get("mode", "constant") != "constant":
        return _full(step, operands)
    start, numbered, stacked = 0, [], []
    for a, m in zip(step.args[:count], operands, strict=False):
        shape = _shape(a)
        size = int(np.prod(shape))
        if m is None:
            numbered.append(np.zeros(shape))
            continue
        numbered.append(np.arange(start + 1.0, start + size + 1).reshape(shape))
        stacked.append(m)
        start += size
    params = {k: 0.0 if k in ("value", "fill") else v for k, v in step.params.items()}
    results = step.op.evaluate(*numbered, *step.args[count:], **params)
    source = sparse.vstack(stacked, format="csr") if len(stacked) > 1 else stacked[0]
    return [_selection(r, start) @ source for r in (results if isinstance(results, tuple) else (results,))]


def _elementwise(step: Instruction, operands: Matrices) -> Matrices:
    (out,) = step.outputs
    spread = []
    for a, m in zip(step.args, operands, strict=True):
        if m is not None and _shape(a) != out.shape:
            size = int(np.prod(_shape(a)))
            m = _selection(np.broadcast_to(np.arange(1, size + 1).reshape(_shape(a)), out.shape), size) @ m
        spread.append(m)
    return [_union(spread)]


def _groups(shape: tuple[int, ...], axes: tuple[int, ...]) -> Any:
    """For each entry of an array, the number of the group of those that differ from it along `axes` alone."""
    kept = [1 if i in axes else n for i, n in enumerate(shape)]
    return np.broadcast_to(np.arange(int(np.prod(kept))).reshape(kept), shape)


def _along_axes(step: Instruction, operands: Matrices) -> Matrices:
    sparse = scipy_module("sparse")
    (out,) = step.outputs
    shape = _shape(step.args[0])
    axis = step.params.get("axis")
    axes = tuple(range(len(shape))) if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)
    groups = _groups(shape, tuple(a % max(len(shape), 1) for a in axes)).reshape(-1)
    count = int(groups.max()) + 1 if groups.size else 0
    if step.op.name in _REDUCE and count != out.size:
        return _full(step, operands)
    entries = np.arange(groups.size)
    unite = sparse.csr_array((np.ones(groups.size, bool), (groups, entries)), (count, groups.size))
    united = unite @ operands[0]
    if step.op.name in _ALONG:
        united = unite.T.tocsr() @ united
    return [_union([united, *[None if m is None else _row(m, out.size) for m in operands[1:]]])]


def _product(step: Instruction, operands: Matrices) -> Matrices:
    """Row i, column k of a product: row i of one factor and column k of the other, where the other factor is not 0."""
    sparse = scipy_module("sparse")
    a, b = step.args
    left, right = _shape(a), _shape(b)
    if len(left) > 2 or len(right) > 2:
        return _full(step, operands)
    rows = left[0] if len(left) == 2 else 1
    columns = right[1] if len(right) == 2 else 1
    inner = left[-1]

    def nonzero(x: Any, shape: tuple[int, int]) -> Any:
        return sparse.csr_array(np.ones(shape, bool) if isinstance(x, Symbol) else np.reshape(x, shape) != 0)

    found: Matrices = []
    if operands[0] is not None:
        found.append(sparse.kron(sparse.eye_array(rows, dtype=bool), nonzero(b, (inner, columns)).T, format="csr"))
        found[-1] = sparse.csr_array(found[-1]) @ operands[0]
    if operands[1] is not None:
        found.append(sparse.kron(nonzero(a, (rows, inner)), sparse.eye_array(columns, dtype=bool), format="csr"))
        found[-1] = sparse.csr_array(found[-1]) @ operands[1]
    return [_union(found)]


def _row(matrix: Any, size: int) -> Any:
    """`size` rows, each with whatever any row of `matrix` has."""
    sparse = scipy_module("sparse")
    columns = np.unique(matrix.indices)
    indptr = np.arange(size + 1) * columns.size
    ones = np.ones(size * columns.size, bool)
    return sparse.csr_array((ones, np.tile(columns, size), indptr), (size, matrix.shape[1]))


def _full(step: Instruction, operands: Matrices) -> Matrices:
    found = [m for m in operands if m is not None]
    united = _union([_row(m, 1) for m in found])
    return [_row(united, out.size) for out in step.outputs]
