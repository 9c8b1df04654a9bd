"""Special functions and softmax of tensors, under PyTorch's names."""

from __future__ import annotations

import math
from typing import Any

from pullback.ops import gammas, nn
from pullback.ops import special as s
from pullback.ops.bessel import i0 as i0_op
from pullback.ops.shape import reshape
from pullback.ops.table import Op
from pullback.tensor.dispatch import apply, as_handle, binary, promoted, to_dtype, unary
from pullback.values.dtype import as_dtype, type_name
from pullback.values.shape import normalize_axis

__all__ = [
    "digamma",
    "erf",
    "erfc",
    "erfinv",
    "i0",
    "igamma",
    "igammac",
    "lgamma",
    "log_softmax",
    "mvlgamma",
    "polygamma",
    "softmax",
]

erf, erfc, erfinv = unary(s.erf), unary(s.erfc), unary(s.erfinv)
digamma, lgamma, i0 = unary(gammas.digamma), unary(gammas.lgamma), unary(i0_op)
igamma, igammac = binary(gammas.gammainc, floating=True), binary(gammas.gammaincc, floating=True)


def polygamma(n: int, input: Any) -> Any:
    """The n-th derivative of `digamma`. Raises `RuntimeError` for a negative n.

    >>> import pullback as pb
    >>> pb.polygamma(1, pb.tensor([1.0, 0.5]))
    tensor([1.6449, 4.9348])
    """
    if n < 0:
        raise RuntimeError("polygamma(n, x) does not support negative n.")
    return apply(gammas.polygamma, input, floating=True, n=int(n))


def mvlgamma(input: Any, p: int) -> Any:
    """log of the multivariate gamma function of dimension `p`: log ∫ exp(-tr S) |S|**(x - (p+1)/2) dS over positive
    definite S, for x > (p - 1)/2. Raises `RuntimeError` for p < 1.
    """
    x = to_dtype(as_handle(input), promoted(input, floating=True))
    if p < 1:
        raise RuntimeError("p has to be greater than or equal to 1")
    total: Any = p * (p - 1) / 4 * math.log(math.pi)
    for j in range(p):
        total = lgamma(x - 0.5 * j) + total
    return total


def _along(op: Op, input: Any, dim: Any, axis: Any, dtype: Any) -> Any:
    x = as_handle(input)
    if dtype is not None:
        x = to_dtype(x, as_dtype(dtype).dtype)
    found = x._value.dtype
    if found.kind != "f":
        raise NotImplementedError(f"\"{op.name}_lastdim_kernel_impl\" not implemented for '{type_name(found)}'")
    if dim is None:
        dim = axis
    shape = x._value.shape
    axis = normalize_axis(dim, len(shape))
    return op(x, axis=axis) if shape else reshape(op(reshape(x, shape=(1,)), axis=0), shape=())


def softmax(input: Any, dim: int | None = None, dtype: Any = None, *, axis: int | None = None) -> Any:
    """exp(x) over its sum along `dim`, without overflow; computed in `dtype` if given.

    >>> import pullback as pb
    >>> pb.softmax(pb.tensor([0.0, 0.0]), 0)
    tensor([0.5000, 0.5000])
    """
    return _along(nn.softmax, input, dim, axis, dtype)


def log_softmax(input: Any, dim: int | None = None, dtype: Any = None, *, axis: int | None = None) -> Any:
    """log(softmax(x)) along `dim`, without overflow or cancellation; computed in `dtype` if given."""
    return _along(nn.log_softmax, input, dim, axis, dtype)


class SpecialMethods:
    """Special functions and softmax as methods of `Tensor`."""

    erf, erfc, erfinv = erf, erfc, erfinv
    digamma, lgamma, i0, mvlgamma = digamma, lgamma, i0, mvlgamma
    igamma, igammac = igamma, igammac
    softmax, log_softmax = softmax, log_softmax

    def polygamma(self, n: int) -> Any:
        """The n-th derivative of digamma."""
        return polygamma(n, self)
