"""Maps of vectors and matrices: simplices, Cholesky factors, shapes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pullback.distributions import constraints
from pullback.distributions.functions import eps, softplus
from pullback.distributions.transforms.numbers import Transform
from pullback.tensor.creation import eye
from pullback.tensor.joining import cat
from pullback.tensor.linalg_namespace import cholesky
from pullback.tensor.rearranging import diag_embed
from pullback.values.shape import Size

__all__ = [
    "CorrCholeskyTransform",
    "LowerCholeskyTransform",
    "PositiveDefiniteTransform",
    "ReshapeTransform",
    "SoftmaxTransform",
    "StickBreakingTransform",
]


class SoftmaxTransform(Transform):
    """y = exp(x) over its sum; not bijective, its inverse gives log y."""

    domain = constraints.real_vector
    codomain = constraints.simplex

    def _call(self, x: Any) -> Any:
        return x.softmax(-1)

    def _inverse(self, y: Any) -> Any:
        return y.log()

    def forward_shape(self, shape: Any) -> Any:
        if len(shape) < 1:
            raise ValueError("Too few dimensions on input")
        return shape

    inverse_shape = forward_shape


class StickBreakingTransform(Transform):
    """From n unconstrained numbers to n + 1 probabilities: each takes a share of what is left of a stick.

    The k-th of n takes sigmoid(xₖ - log(n + 1 - k)), so that x = 0 breaks the stick evenly.
    """

    domain = constraints.real_vector
    codomain = constraints.simplex
    bijective = True

    @staticmethod
    def _offset(x: Any, count: int) -> Any:
        return np.log(np.arange(count, 0, -1)).astype(x._value.dtype)

    def _call(self, x: Any) -> Any:
        count = int(x.shape[-1])
        logits = x - self._offset(x, count)
        left = (-softplus(logits)).cumsum(-1)  # log of what is left after each
        before = cat([left[..., :1] * 0.0, left[..., :-1]], -1) if count else left
        return cat([(logits - softplus(logits) + before).exp(), left[..., -1:].exp()], -1)

    def _inverse(self, y: Any) -> Any:
        left = 1 - y[..., :-1].cumsum(-1)
        left = left.clamp(float(np.finfo(y._value.dtype).tiny))
        return y[..., :-1].log() - left.log() + self._offset(y, int(y.shape[-1]) - 1)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        logits = x - self._offset(x, int(x.shape[-1]))
        return (-logits + (logits - softplus(logits)) + y[..., :-1].log()).sum(-1)

    def forward_shape(self, shape: Any) -> Any:
        if len(shape) < 1:
            raise ValueError("Too few dimensions on input")
        return Size((*shape[:-1], shape[-1] + 1))

    def inverse_shape(self, shape: Any) -> Any:
        if len(shape) < 1:
            raise ValueError("Too few dimensions on input")
        return Size((*shape[:-1], shape[-1] - 1))


class LowerCholeskyTransform(Transform):
    """The lower triangle of a matrix with its diagonal exponentiated."""

    domain = constraints.independent(constraints.real, 2)
    codomain = constraints.lower_cholesky

    def _call(self, x: Any) -> Any:
        return x.tril(-1) + diag_embed(x.diagonal(dim1=-2, dim2=-1).exp())

    def _inverse(self, y: Any) -> Any:
        return y.tril(-1) + diag_embed(y.diagonal(dim1=-2, dim2=-1).log())


class PositiveDefiniteTransform(Transform):
    """L Lᵀ for the `LowerCholeskyTransform` L of a matrix."""

    domain = constraints.independent(constraints.real, 2)
    codomain = constraints.positive_definite

    def _call(self, x: Any) -> Any:
        factor = LowerCholeskyTransform()(x)
        return factor @ factor.mT

    def _inverse(self, y: Any) -> Any:
        return LowerCholeskyTransform()._inverse(cholesky(y))


def vector_to_matrix(x: Any, size: int, diagonal: int) -> Any:
    """The lower triangle of a square matrix of this size, up to `diagonal`, filled row by row from the last axis."""
    rows, columns = np.tril_indices(size, diagonal)
    place = np.full((size, size), rows.size)  # where there is nothing: a zero, put last
    place[rows, columns] = np.arange(rows.size)
    padded = cat([x, x.new_zeros((*x.shape[:-1], 1))], -1)
    return padded[..., place.reshape(-1)].reshape((*x.shape[:-1], size, size))


def matrix_to_vector(y: Any, diagonal: int) -> Any:
    """The lower triangle of square matrices up to `diagonal`, row by row along one axis."""
    size = int(y.shape[-1])
    rows, columns = np.tril_indices(size, diagonal)
    return y.reshape((*y.shape[:-2], size * size))[..., rows * size + columns]


class CorrCholeskyTransform(Transform):
    """From n(n - 1)/2 numbers to the Cholesky factor of an n by n correlation matrix.

    Row by row, tanh(x) is the share of what is left of the row's unit length, as in stick breaking [Lewandowski,
    Kurowicka and Joe, "Generating random correlation matrices based on vines and extended onion method", 2009].
    """

    domain = constraints.real_vector
    codomain = constraints.corr_cholesky
    bijective = True

    def _call(self, x: Any) -> Any:
        size = self.forward_shape(tuple(x.shape))[-1]
        share = vector_to_matrix(x.tanh().clamp(-1 + eps(x), 1 - eps(x)), size, -1)
        left = (1 - share * share).sqrt().cumprod(-1)
        share = share + eye(size, dtype=x.dtype)
        before = cat([left[..., :1] * 0.0 + 1.0, left[..., :-1]], -1)
        return share * before

    def _inverse(self, y: Any) -> Any:
        left = (1 - (y * y).cumsum(-1)).clamp(eps(y))
        before = cat([left[..., :1] * 0.0 + 1.0, left[..., :-1]], -1)
        share = matrix_to_vector(y, -1) / matrix_to_vector(before, -1).sqrt()
        return 0.5 * (share.log1p() - (-share).log1p())

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        left = (1 - (y * y).cumsum(-1)).clamp(eps(y))
        before = cat([left[..., :1] * 0.0 + 1.0, left[..., :-1]], -1)
        stick = 0.5 * matrix_to_vector(before, -1).log().sum(-1)
        return stick - 2.0 * (x + softplus(-2.0 * x) - math.log(2.0)).sum(-1)

    def forward_shape(self, shape: Any) -> Any:
        if len(shape) < 1:
            raise ValueError("Too few dimensions on input")
        count = shape[-1]
        size = round((0.25 + 2 * count) ** 0.5 + 0.5)
        if size * (size - 1) // 2 != count:
            raise ValueError("Input is not a flattened lower-diagonal number")
        return Size((*shape[:-1], size, size))

    def inverse_shape(self, shape: Any) -> Any:
        if len(shape) < 2:
            raise ValueError("Too few dimensions on input")
        if shape[-2] != shape[-1]:
            raise ValueError("Input is not square")
        return Size((*shape[:-2], shape[-1] * (shape[-1] - 1) // 2))


class ReshapeTransform(Transform):
    """Points of shape `in_shape` as points of shape `out_shape`."""

    bijective = True

    def __init__(self, in_shape: Any, out_shape: Any, cache_size: int = 0) -> None:
        super().__init__(cache_size)
        self.in_shape, self.out_shape = Size(in_shape), Size(out_shape)
        if self.in_shape.numel() != self.out_shape.numel():
            raise ValueError("in_shape, out_shape have different numbers of elements")

    @property
    def domain(self) -> Any:
        return constraints.independent(constraints.real, len(self.in_shape))

    @property
    def codomain(self) -> Any:
        return constraints.independent(constraints.real, len(self.out_shape))

    def _call(self, x: Any) -> Any:
        return x.reshape(self.forward_shape(x.shape))

    def _inverse(self, y: Any) -> Any:
        return y.reshape(self.inverse_shape(y.shape))

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        return x.new_zeros(tuple(x.shape)[: x.ndim - len(self.in_shape)])

    def forward_shape(self, shape: Any) -> Any:
        return _exchange(shape, self.in_shape, self.out_shape)

    def inverse_shape(self, shape: Any) -> Any:
        return _exchange(shape, self.out_shape, self.in_shape)


def _exchange(shape: Any, old: Any, new: Any) -> Any:
    if len(shape) < len(old):
        raise ValueError("Too few dimensions on input")
    cut = len(shape) - len(old)
    if tuple(shape[cut:]) != tuple(old):
        raise ValueError(f"Shape mismatch: expected {tuple(shape[cut:])} but got {tuple(old)}")
    return Size((*shape[:cut], *new))
