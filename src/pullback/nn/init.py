"""Initialisers: fill a tensor in place with numbers suited to its shape, as `torch.nn.init`.

They draw from the thread's default generator (`pb.manual_seed`), or from a given one, record nothing, and return the
tensor.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from pullback.tensor.dispatch import materialize
from pullback.tensor.inplace import bump
from pullback.tensor.random import Generator, normal_array, source, uniform_array

__all__ = [
    "calculate_gain",
    "constant_",
    "dirac_",
    "eye_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "normal_",
    "ones_",
    "orthogonal_",
    "sparse_",
    "trunc_normal_",
    "uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]


def _fill(tensor: Any, values: Any) -> Any:
    materialize(tensor)[...] = values
    bump(tensor)
    return tensor


def _drawn(tensor: Any) -> tuple[tuple[int, ...], Any]:
    return tuple(tensor.shape), tensor._value.dtype


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The gain that keeps the variance through an activation; `param` is the slope of `leaky_relu`.

    >>> calculate_gain("tanh")
    1.6666666666666667
    """
    linear = "linear conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d sigmoid".split()
    if nonlinearity in linear:
        return 1
    if nonlinearity == "tanh":
        return 5 / 3
    if nonlinearity == "relu":
        return math.sqrt(2)
    if nonlinearity == "leaky_relu":
        if param is not None and (isinstance(param, bool) or not isinstance(param, int | float)):
            raise ValueError(f"negative_slope {param} not a valid number")
        return math.sqrt(2 / (1 + (0.01 if param is None else param) ** 2))
    if nonlinearity == "selu":
        return 3 / 4
    raise ValueError(f"Unsupported nonlinearity {nonlinearity}")


def uniform_(tensor: Any, a: float = 0.0, b: float = 1.0, generator: Generator | None = None) -> Any:
    """Numbers evenly distributed in [a, b)."""
    shape, dtype = _drawn(tensor)
    return _fill(tensor, uniform_array(source(generator), shape, dtype) * (b - a) + a)


def normal_(tensor: Any, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None) -> Any:
    """Normally distributed numbers."""
    shape, dtype = _drawn(tensor)
    return _fill(tensor, normal_array(source(generator), shape, dtype) * std + mean)


def trunc_normal_(
    tensor: Any,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Generator | None = None,
) -> Any:
    """Normally distributed numbers, drawn again while outside [a, b]."""
    if mean < a - 2 * std or mean > b + 2 * std:
        warnings.warn(
            "mean is more than 2 std from [a, b] in nn.init.trunc_normal_. "
            "The distribution of values may be incorrect.",
            stacklevel=2,
        )
    rng = source(generator)
    shape, _ = _drawn(tensor)
    low, high = (a - mean) / std, (b - mean) / std
    values = rng.standard_normal(shape)
    for _ in range(1000):
        outside = (values < low) | (values > high)
        count = np.count_nonzero(outside)
        if not count:
            break
        values[outside] = rng.standard_normal(count)
    return _fill(tensor, np.clip(values, low, high) * std + mean)


def constant_(tensor: Any, val: float) -> Any:
    """One number everywhere."""
    return _fill(tensor, val)


def ones_(tensor: Any) -> Any:
    """1 everywhere."""
    return _fill(tensor, 1)


def zeros_(tensor: Any) -> Any:
    """0 everywhere."""
    return _fill(tensor, 0)


def eye_(tensor: Any) -> Any:
    """The identity matrix, cut or padded with 0 to the shape."""
    if len(tensor.shape) != 2:
        raise ValueError("Only tensors with 2 dimensions are supported")
    return _fill(tensor, np.eye(*tensor.shape))


def dirac_(tensor: Any, groups: int = 1) -> Any:
    """The kernel (out, in, ...) of a convolution that passes channels through, in each of `groups`."""
    rank = len(tensor.shape)
    if rank not in (3, 4, 5):
        raise ValueError("Only tensors with 3, 4, or 5 dimensions are supported")
    out, channels, *kernel = tensor.shape
    if out % groups:
        raise ValueError("dim 0 must be divisible by groups")
    values = np.zeros((out, channels, *kernel))
    each = out // groups
    for g in range(groups):
        for i in range(min(each, channels)):
            values[(g * each + i, i, *(n // 2 for n in kernel))] = 1
    return _fill(tensor, values)


def _fans(tensor: Any) -> tuple[int, int]:
    """How many inputs each output has, and how many outputs each input."""
    shape = tuple(tensor.shape)
    if len(shape) < 2:
        raise ValueError("Fan in and fan out can not be computed for tensor with fewer than 2 dimensions")
    field = math.prod(shape[2:])
    return shape[1] * field, shape[0] * field


def xavier_uniform_(tensor: Any, gain: float = 1.0, generator: Generator | None = None) -> Any:
    """Uniform in ±gain·√(6/(fan_in + fan_out)) [Glorot & Bengio, 2010]."""
    bound = gain * math.sqrt(6 / sum(_fans(tensor)))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Any, gain: float = 1.0, generator: Generator | None = None) -> Any:
    """Normal with deviation gain·√(2/(fan_in + fan_out)) [Glorot & Bengio, 2010]."""
    return normal_(tensor, 0.0, gain * math.sqrt(2 / sum(_fans(tensor))), generator)


def _kaiming_std(tensor: Any, a: float, mode: str, nonlinearity: str) -> float:
    mode = mode.lower()
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"Mode {mode} not supported, please use one of ['fan_in', 'fan_out']")
    fan = _fans(tensor)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(fan)


def _is_empty(tensor: Any) -> bool:
    if 0 not in tensor.shape:
        return False
    warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=3)
    return True


def kaiming_uniform_(
    tensor: Any,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Any:
    """Uniform in ±gain·√(3/fan), the gain being that of the nonlinearity with slope `a` [He et al., 2015]."""
    if _is_empty(tensor):
        return tensor
    bound = math.sqrt(3) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Any,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Any:
    """Normal with deviation gain/√fan, the gain being that of the nonlinearity with slope `a` [He et al., 2015]."""
    if _is_empty(tensor):
        return tensor
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity), generator)


def orthogonal_(tensor: Any, gain: float = 1, generator: Generator | None = None) -> Any:
    """A matrix (all axes but the first made one) with orthonormal rows or columns, times `gain` [Saxe et al., 2013]."""
    shape = tuple(tensor.shape)
    if len(shape) < 2:
        raise ValueError("Only tensors with 2 or more dimensions are supported")
    if 0 in shape:
        return tensor
    rows, columns = shape[0], math.prod(shape[1:])
    q, r = np.linalg.qr(source(generator).standard_normal((max(rows, columns), min(rows, columns))))
    q *= np.sign(np.diagonal(r))  # evenly distributed over all such matrices
    return _fill(tensor, gain * (q if rows >= columns else q.T).reshape(shape))


def sparse_(tensor: Any, sparsity: float, std: float = 0.01, generator: Generator | None = None) -> Any:
    """Normal numbers, of which a share `sparsity` of every column is 0 [Martens, 2010]."""
    if len(tensor.shape) != 2:
        raise ValueError("Only tensors with 2 dimensions are supported")
    rows, columns = tensor.shape
    rng = source(generator)
    values = rng.standard_normal((rows, columns)) * std
    zeros = math.ceil(sparsity * rows)
    for j in range(columns):
        values[rng.permutation(rows)[:zeros], j] = 0
    return _fill(tensor, values)
