"""Elementwise ops on long arrays, which take other paths through memory than short ones: piece by piece the same."""

import warnings
from typing import Any

import numpy as np
import pytest

import pullback as pb
from op_checks import is_inexact
from pullback.ops.table import TABLE, Op

PIECE, PIECES = 600, 10  # short enough for the one path, together long enough for the other
FUSED = [op for op in TABLE.values() if op.kernel is not None or (op.masks and op.family == "elementwise")]


def _operands(op: Op, index: int) -> list[Any]:
    """The operands of a sample, repeated to 6,000 elements, with NaN, infinities, zeros and ties among them."""
    sample = op.samples[index]
    made = [x if not isinstance(x, np.ndarray | np.generic) else np.ravel(x) for x in sample.make(3)]
    arrays = [np.resize(x, PIECE * PIECES) if isinstance(x, np.ndarray) else x for x in made]
    rng = np.random.default_rng(0)
    for x in arrays:
        if isinstance(x, np.ndarray) and is_inexact(x):
            x[rng.integers(0, x.size, 40)] = np.repeat([0.0, np.nan, np.inf, 1.0], 10)
    return arrays


def _gradients(op: Op, operands: list[Any], params: dict[str, Any]) -> list[Any]:
    leaves = [pb.tensor(x, requires_grad=True) if isinstance(x, np.ndarray) and is_inexact(x) else x for x in operands]
    y = op(*leaves, **params)
    if not y.requires_grad:
        return []
    y.backward(pb.tensor(np.resize(np.array([1.0, -0.5, 0.0, 2.0, 0.25]), y.shape).astype(y._value.dtype)))
    return [leaf.grad.numpy() for leaf in leaves if isinstance(leaf, pb.Tensor) and leaf.grad is not None]


@pytest.mark.parametrize("op", FUSED, ids=lambda op: op.name)
def test_long_arrays_are_like_short_ones(op: Op) -> None:
    operands = _operands(op, 0)
    params = op.samples[0].params
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        whole = _gradients(op, operands, params)
        for start in range(0, PIECE * PIECES, PIECE):
            part = [x[start : start + PIECE] if isinstance(x, np.ndarray) else x for x in operands]
            for long, short in zip(whole, _gradients(op, part, params), strict=True):
                np.testing.assert_allclose(long[start : start + PIECE], short, rtol=1e-12, atol=1e-300)
