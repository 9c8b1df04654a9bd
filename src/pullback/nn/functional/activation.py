"""Activation functions of tensors, under PyTorch's names."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from pullback.ops import activation as a
from pullback.ops import elementwise as e
from pullback.ops.control import stop_gradient
from pullback.ops.table import Op
from pullback.tape.node import new_handle
from pullback.tensor.arithmetic import relu as relu_of
from pullback.tensor.arithmetic import sigmoid, tanh
from pullback.tensor.dispatch import as_handle, materialize
from pullback.tensor.inplace import update
from pullback.tensor.random import drawn
from pullback.tensor.special import log_softmax as log_softmax_of
from pullback.tensor.special import softmax as softmax_of
from pullback.values.dtype import type_name

__all__ = [
    "celu",
    "celu_",
    "elu",
    "elu_",
    "gelu",
    "glu",
    "gumbel_softmax",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "hardtanh_",
    "leaky_relu",
    "leaky_relu_",
    "log_softmax",
    "logsigmoid",
    "mish",
    "normalize",
    "prelu",
    "relu",
    "relu6",
    "relu_",
    "rrelu",
    "rrelu_",
    "selu",
    "selu_",
    "sigmoid",
    "silu",
    "softmax",
    "softmin",
    "softplus",
    "softshrink",
    "softsign",
    "tanh",
    "tanhshrink",
    "threshold",
    "threshold_",
]

_SELU_ALPHA = 1.6732632423543772848170429916717
_SELU_SCALE = 1.0507009873554804934193349852946
_selu = a.elu.titled("SeluBackward0")
_celu = a.elu.titled("CeluBackward0")


def _run(op: Op, input: Any, inplace: bool = False, **params: Any) -> Any:
    """Apply an activation to a tensor of floats, or to its memory if `inplace`."""
    x = as_handle(input)
    dtype = x._value.dtype
    if dtype.kind != "f":
        raise NotImplementedError(f"\"{op.name}_cpu\" not implemented for '{type_name(dtype)}'")
    return update(x, op, **params) if inplace else op(x, **params)


def relu(input: Any, inplace: bool = False) -> Any:
    """max(x, 0), with slope 0 at 0."""
    return update(input, e.relu) if inplace else relu_of(input)


def leaky_relu(input: Any, negative_slope: float = 0.01, inplace: bool = False) -> Any:
    """x above 0, `negative_slope`·x below."""
    return _run(a.leaky_relu, input, inplace, slope=float(negative_slope))


def prelu(input: Any, weight: Any) -> Any:
    """`leaky_relu` with a slope that is learnt: one number, or one for each channel (axis 1)."""
    x, w = as_handle(input), as_handle(weight)
    if len(w.shape) > 1:
        raise RuntimeError(f"prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = {len(w.shape)}")
    size = w.shape[0] if w.shape else 1
    rank = len(x.shape)
    if size > 1:
        channels = x.shape[1] if rank > 1 else 1
        if rank == 0 or channels != size:
            raise RuntimeError(
                f"Mismatch of parameter numbers and input channel size. Found parameter numbers = {size} and "
                f"channel size = {channels}."
            )
        w = w.reshape(size, *(1,) * (rank - 2))
    elif w.shape:
        w = w.reshape(())
    return e.where(x > 0, x, x * w)


def rrelu(input: Any, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, inplace: bool = False) -> Any:
    """`leaky_relu` with a slope drawn evenly from [lower, upper] for each element; their mean unless `training`."""
    if not training:
        return leaky_relu(input, (lower + upper) / 2, inplace)
    x = as_handle(input)
    shape, dtype = tuple(x.shape), x._value.dtype
    negative = drawn(lambda rng: rng.uniform(lower, upper, shape).astype(dtype))
    slope = e.where(x > 0, 1.0, new_handle(negative))
    return update(x, e.mul, slope) if inplace else x * slope


def elu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Any:
    """x above 0, alpha·(exp(x) - 1) below."""
    return _run(a.elu, input, inplace, alpha=float(alpha), scale=1.0, rate=1.0)


def selu(input: Any, inplace: bool = False) -> Any:
    """scale·elu(x, alpha) with the constants that keep mean 0 and variance 1 [Klambauer et al., 2017]."""
    return _run(_selu, input, inplace, alpha=_SELU_ALPHA, scale=_SELU_SCALE, rate=1.0)


def celu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Any:
    """x above 0, alpha·(exp(x/alpha) - 1) below: smooth at 0 for every alpha."""
    if alpha == 0:
        raise RuntimeError("ZeroDivisionError: alpha cannot be 0 for CELU")
    return _run(_celu, input, inplace, alpha=float(alpha), scale=1.0, rate=1 / alpha)


def softplus(input: Any, beta: float = 1, threshold: float = 20) -> Any:
    """log(1 + exp(beta·x))/beta; x itself where beta·x exceeds the threshold."""
    return _run(a.softplus, input, beta=float(beta), threshold=float(threshold))


def logsigmoid(input: Any) -> Any:
    """log(sigmoid(x)), without overflow or cancellation."""
    return _run(a.logsigmoid, input)


def silu(input: Any, inplace: bool = False) -> Any:
    """x·sigmoid(x)."""
    return _run(a.silu, input, inplace)


def mish(input: Any, inplace: bool = False) -> Any:
    """x·tanh(softplus(x))."""
    return _run(a.mish, input, inplace)


def gelu(input: Any, approximate: str = "none") -> Any:
    """x·Φ(x) with the normal distribution function Φ, or with `approximate="tanh"` a formula near it."""
    if approximate not in ("none", "tanh"):
        raise RuntimeError("approximate argument must be either none or tanh.")
    return _run(a.gelu if approximate == "none" else a.gelu_tanh, input)


def hardtanh(input: Any, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Any:
    """x held between `min_val` and `max_val`, with slope 0 at both."""
    if min_val > max_val:
        raise ValueError("min_val cannot be greater than max_val")
    return _run(a.hardtanh, input, inplace, low=float(min_val), high=float(max_val))


def relu6(input: Any, inplace: bool = False) -> Any:
    """x held between 0 and 6."""
    return _run(a.hardtanh, input, inplace, low=0.0, high=6.0)


def hardsigmoid(input: Any, inplace: bool = False) -> Any:
    """(x + 3)/6 held between 0 and 1."""
    return _run(a.hardsigmoid, input, inplace)


def hardswish(input: Any, inplace: bool = False) -> Any:
    """x·hardsigmoid(x)."""
    return _run(a.hardswish, input, inplace)


def softsign(input: Any) -> Any:
    """x/(1 + |x|)."""
    return _run(a.softsign, input)


def tanhshrink(input: Any) -> Any:
    """x - tanh(x)."""
    return _run(a.tanhshrink, input)


def threshold(input: Any, threshold: float, value: float, inplace: bool = False) -> Any:
    """x above the threshold, `value` at it and below."""
    return _run(a.threshold, input, inplace, threshold=float(threshold), value=float(value))


def hardshrink(input: Any, lambd: float = 0.5) -> Any:
    """x outside [-lambd, lambd], 0 within."""
    return _run(a.hardshrink, input, lambd=float(lambd))


def softshrink(input: Any, lambd: float = 0.5) -> Any:
    """x moved towards 0 by `lambd`, 0 within [-lambd, lambd]."""
    if lambd < 0:
        raise RuntimeError(f"lambda must be greater or equal to 0, but found to be {lambd:g}.")
    return _run(a.softshrink, input, lambd=float(lambd))


def glu(input: Any, dim: int = -1) -> Any:
    """a·sigmoid(b) for the halves a and b of x along `dim`. Raises `RuntimeError` for an odd size."""
    x = as_handle(input)
    size = x.shape[dim]
    if size % 2:
        raise RuntimeError(f"Halving dimension must be even, but dimension {dim} is size {size}")
    half = size // 2
    return x.narrow(dim, 0, half) * sigmoid(x.narrow(dim, half, half))


def _in_place(function: Callable[..., Any]) -> Callable[..., Any]:
    """An activation that writes its result into the memory of its operand."""

    @functools.wraps(function)
    def run(input: Any, *args: Any, **kwargs: Any) -> Any:
        return function(input, *args, inplace=True, **kwargs)

    run.__name__ = run.__qualname__ = function.__name__ + "_"
    return run


celu_ = _in_place(celu)
elu_ = _in_place(elu)
hardtanh_ = _in_place(hardtanh)
leaky_relu_ = _in_place(leaky_relu)
relu_ = _in_place(relu)
rrelu_ = _in_place(rrelu)
selu_ = _in_place(selu)
threshold_ = _in_place(threshold)


# Along a dimension


def _implicit_dim(name: str, ndim: int) -> int:
    warnings.warn(
        f"Implicit dimension choice for {name} has been deprecated. Change the call to include dim=X as an argument.",
        stacklevel=3,
    )
    return 0 if ndim in (0, 1, 3) else 1


def softmax(input: Any, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Any:
    """exp(x) over its sum along `dim`, in `dtype` if given."""
    return softmax_of(input, _implicit_dim("softmax", len(input.shape)) if dim is None else dim, dtype)


def log_softmax(input: Any, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Any:
    """log(softmax(x)) along `dim`, without overflow or cancellation."""
    return log_softmax_of(input, _implicit_dim("log_softmax", len(input.shape)) if dim is None else dim, dtype)


def softmin(input: Any, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Any:
    """softmax(-x)."""
    return softmax_of(-input, _implicit_dim("softmin", len(input.shape)) if dim is None else dim, dtype)


def gumbel_softmax(logits: Any, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1) -> Any:
    """A random distribution near a one-hot one, drawn with the probabilities softmax(logits), differentiable in them.

    `hard` rounds it to one-hot and keeps its gradient [Jang et al., 2017; Maddison et al., 2017].
    """
    x = as_handle(logits)
    shape, dtype = tuple(x.shape), x._value.dtype
    noise = drawn(lambda rng: rng.gumbel(size=shape).astype(dtype))
    y = softmax_of((x + new_handle(noise)) / tau, dim)
    if not hard:
        return y
    index = materialize(stop_gradient(y)).argmax(dim)
    hot = np.zeros(tuple(y.shape), y._value.dtype)
    np.put_along_axis(hot, np.expand_dims(index, dim), 1, dim)
    return new_handle(hot) - y.detach() + y


def normalize(input: Any, p: float = 2.0, dim: Any = 1, eps: float = 1e-12) -> Any:
    """x over its p-norm along `dim`, the norm being at least `eps`."""
    x = as_handle(input)
    return x / x.norm(p, dim, keepdim=True).clamp(min=eps)
