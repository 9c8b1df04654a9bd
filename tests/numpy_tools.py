"""Comparing what NumPy gives for arrays with what it gives for Tensors."""

from typing import Any

import numpy as np

import pullback as pb


def leaves(result: Any) -> list[Any]:
    if isinstance(result, tuple | list):
        return [leaf for part in result for leaf in leaves(part)]
    return [result]


def numbers(x: Any) -> Any:
    return x.detach().numpy()[()] if isinstance(x, pb.Tensor) else x


def assert_same(found: Any, expected: Any, rtol: float = 1e-12, atol: float = 1e-13) -> None:
    found, expected = leaves(found), leaves(expected)
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        a = numbers(a)
        if not isinstance(b, np.ndarray | np.generic):
            assert a == b
            continue
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)
