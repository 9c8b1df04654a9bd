"""Helpers of the tests of `pb.scipy`: differences, and a function against SciPy's own in value and derivatives."""

from collections.abc import Callable
from typing import Any

import numpy as np

import pullback as pb


def differences(f: Callable[[Any], Any], x: Any, step: float = 1e-5) -> Any:
    """The Jacobian by central differences, laid out as `pb.jacobian`'s."""
    x = np.asarray(x, float)
    units = np.eye(x.size).reshape(x.size, *x.shape) * step
    columns = [(np.asarray(f(x + e)) - np.asarray(f(x - e))) / (2 * step) for e in units]
    return np.stack(columns, -1).reshape((*np.shape(f(x)), *x.shape))


def agree(
    ours: Callable[[Any], Any],
    theirs: Callable[[Any], Any],
    x: Any,
    tolerance: float = 1e-6,
    step: float = 1e-5,
    forward: bool = True,
    value: float = 1e-9,
) -> None:
    """Values within `value` of SciPy's, and both modes' Jacobians within `tolerance` of its differences."""
    found, _ = pb.vjp(ours, x)
    np.testing.assert_allclose(found, theirs(x), rtol=value, atol=value)
    expected = differences(theirs, x, step)
    np.testing.assert_allclose(pb.jacrev(ours)(x), expected, rtol=tolerance, atol=tolerance)
    if forward:
        np.testing.assert_allclose(pb.jacfwd(ours)(x), expected, rtol=tolerance, atol=tolerance)


def second_order(f: Callable[[Any], Any], x: Any, tolerance: float = 1e-4, step: float = 1e-4) -> None:
    """The second derivatives, forward over reverse, against differences of the first."""
    expected = differences(lambda x: pb.jacrev(f)(x), x, step)
    np.testing.assert_allclose(pb.jacfwd(pb.jacrev(f))(x), expected, rtol=tolerance, atol=tolerance)
