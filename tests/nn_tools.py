"""Comparing a function of pullback's tensors with PyTorch's: values, gradients, gradients of gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import pullback as pb
from pullback.tensor import autograd

torch = pytest.importorskip("torch")

TOLERANCE = {"float32": {"rtol": 2e-5, "atol": 2e-6}, "float64": {"rtol": 1e-10, "atol": 1e-12}}


def gradients(lib: Any, *args: Any, **options: Any) -> Any:
    """`autograd.grad` of a library."""
    return (autograd if lib is pb else torch.autograd).grad(*args, **options)


def numbers(tensor: Any) -> Any:
    """The numbers of a tensor of either kind."""
    return np.asarray(tensor.detach().numpy(force=True))


def same(mine: Any, theirs: Any, what: str = "", **tolerance: float) -> None:
    """Values, shapes and dtypes agree."""
    a, b = numbers(mine), numbers(theirs)
    assert a.dtype == b.dtype, f"{what}: dtype {a.dtype}, PyTorch has {b.dtype}"
    assert a.shape == b.shape, f"{what}: shape {a.shape}, PyTorch has {b.shape}"
    np.testing.assert_allclose(a, b, err_msg=what, **(tolerance or TOLERANCE.get(a.dtype.name, {})))


def leaves(lib: Any, arrays: Sequence[Any]) -> list[Any]:
    """Tensors of a library on copies of arrays; the float ones require gradients."""
    tensors = [lib.tensor(a) for a in arrays]
    return [t.requires_grad_() if a.dtype.kind == "f" else t for t, a in zip(tensors, arrays, strict=True)]


def compare(function: Callable[..., Any], *arrays: Any, second: bool = True, **tolerance: float) -> None:
    """`function(library, *tensors)` has PyTorch's values and derivatives with respect to every float operand.

    The second derivatives are those of the gradients' product with fixed directions.
    """
    cotangent = None
    found: list[list[Any]] = []
    for lib in (pb, torch):
        xs = leaves(lib, arrays)
        y = function(lib, *xs)
        values = [y]
        free = [x for x in xs if x.requires_grad]
        if y.requires_grad and free:
            if cotangent is None:
                cotangent = np.random.default_rng(3).standard_normal(tuple(y.shape)).astype(numbers(y).dtype)
            seed = lib.tensor(cotangent)
            grads = gradients(lib, y, free, seed, create_graph=second, allow_unused=True)
            values += grads
            tracked = [g for g in grads if g is not None and g.requires_grad]
            if second and tracked:
                rng = np.random.default_rng(4)
                directions = [rng.standard_normal(tuple(g.shape)).astype(numbers(g).dtype) for g in tracked]
                total = sum((g * lib.tensor(d)).sum() for g, d in zip(tracked, directions, strict=True))
                values += gradients(lib, total, free, allow_unused=True)
        found.append(values)
    mine, theirs = found
    for i, (a, b) in enumerate(zip(mine, theirs, strict=False)):
        what = "value" if i == 0 else f"derivative {i}"
        if a is None or b is None:
            for other in (a, b):
                assert other is None or not numbers(other).any(), f"{what}: one is None, the other not zero"
        else:
            same(a, b, what, **tolerance)
