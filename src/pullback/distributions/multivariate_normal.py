"""Normal distributions of vectors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pullback.distributions import constraints
from pullback.distributions.distribution import Distribution
from pullback.distributions.functions import noise, tensor_of
from pullback.tensor.creation import eye
from pullback.tensor.linalg_namespace import cholesky, solve_triangular
from pullback.tensor.rearranging import diag_embed

__all__ = ["LowRankMultivariateNormal", "MultivariateNormal", "half_log_det", "mahalanobis", "right_divided"]

_LOG_TAU = math.log(2 * math.pi)


def half_log_det(factor: Any) -> Any:
    """The logarithm of the determinant of a Cholesky factor, half that of the matrix."""
    return factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def right_divided(factor: Any, x: Any) -> Any:
    """L⁻¹x for a lower triangular L and matrices x, broadcast over the dimensions in front."""
    batch = np.broadcast_shapes(tuple(factor.shape)[:-2], tuple(x.shape)[:-2])
    factor, x = (a.expand((*batch, *tuple(a.shape)[-2:])) for a in (factor, x))
    return solve_triangular(factor, x, upper=False)


def mahalanobis(factor: Any, x: Any) -> Any:
    """|L⁻¹x|² for vectors x of shape (..., *batch, n) and L of shape (*batch, n, n); each L is used once."""
    n, batch = int(x.shape[-1]), tuple(factor.shape)[:-2]
    front = tuple(x.shape)[: x.ndim - 1 - len(batch)]
    flat = x.reshape((-1, *batch, n)) if 0 not in front else x.reshape((0, *batch, n))
    columns = flat.movedim(0, -1)  # (*batch, n, samples)
    square = right_divided(factor, columns).square().sum(-2)
    return square.movedim(-1, 0).reshape((*front, *batch))


class MultivariateNormal(Distribution):
    """The normal distribution of vectors with mean `loc`, given by its covariance, its inverse, or its Cholesky factor.

    >>> import pullback as pb
    >>> d = pb.distributions.MultivariateNormal(pb.zeros(2), pb.eye(2))
    >>> d.log_prob(pb.tensor([1.0, 1.0]))
    tensor(-2.8379)
    """

    arg_constraints = {  # noqa: RUF012
        "loc": constraints.real_vector,
        "covariance_matrix": constraints.positive_definite,
        "precision_matrix": constraints.positive_definite,
        "scale_tril": constraints.lower_cholesky,
    }
    support = constraints.real_vector
    has_rsample = True

    def __init__(
        self,
        loc: Any,
        covariance_matrix: Any = None,
        precision_matrix: Any = None,
        scale_tril: Any = None,
        validate_args: bool | None = None,
    ) -> None:
        loc = tensor_of(loc)
        if loc.ndim < 1:
            raise ValueError("loc must be at least one-dimensional.")
        matrices = {
            "covariance_matrix": covariance_matrix,
            "precision_matrix": precision_matrix,
            "scale_tril": scale_tril,
        }
        given = {name: tensor_of(matrix) for name, matrix in matrices.items() if matrix is not None}
        if len(given) != 1:
            raise ValueError("Exactly one of covariance_matrix or precision_matrix or scale_tril may be specified.")
        ((name, matrix),) = given.items()
        if matrix.ndim < 2:
            raise ValueError(f"{name} must be at least two-dimensional, with optional leading batch dimensions")
        batch = np.broadcast_shapes(tuple(matrix.shape)[:-2], tuple(loc.shape)[:-1])
        event = tuple(loc.shape)[-1:]
        self.loc = loc.expand((*batch, *event))
        self.__dict__[name] = matrix.expand((*batch, *tuple(matrix.shape)[-2:]))
        super().__init__(batch, event, validate_args)
        factors: dict[str, Any] = {"covariance_matrix": cholesky, "precision_matrix": _factor_of_inverse}
        self._unbroadcasted_scale_tril = factors[name](matrix) if name in factors else matrix

    def __getattr__(self, name: str) -> Any:
        if name not in ("covariance_matrix", "precision_matrix", "scale_tril"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        factor = self._unbroadcasted_scale_tril
        if name == "covariance_matrix":
            found = factor @ factor.mT
        elif name == "precision_matrix":
            inverse = right_divided(factor, eye(int(factor.shape[-1]), dtype=factor.dtype))
            found = inverse.mT @ inverse
        else:
            found = factor
        return found.expand((*self._batch_shape, *self._event_shape, *self._event_shape))

    @property
    def mean(self) -> Any:
        return self.loc

    mode = mean

    @property
    def variance(self) -> Any:
        return self._unbroadcasted_scale_tril.square().sum(-1).expand((*self._batch_shape, *self._event_shape))

    def _draw(self, shape: Any, rng: Any) -> Any:
        x = noise(rng.standard_normal(tuple(shape)), self.loc)
        return self.loc + (self._unbroadcasted_scale_tril @ x.unsqueeze(-1)).squeeze(-1)

    def _factor(self) -> Any:
        factor = self._unbroadcasted_scale_tril
        return factor if factor.ndim == 2 else factor.expand((*self._batch_shape, *tuple(factor.shape)[-2:]))

    def log_prob(self, value: Any) -> Any:
        factor = self._factor()
        square = mahalanobis(factor, self._checked(value) - self.loc)
        return -0.5 * (int(self._event_shape[0]) * _LOG_TAU + square) - half_log_det(factor)

    def entropy(self) -> Any:
        logs = half_log_det(self._unbroadcasted_scale_tril)
        return (0.5 * int(self._event_shape[0]) * (1 + _LOG_TAU) + logs).expand(tuple(self._batch_shape))


def _factor_of_inverse(precision: Any) -> Any:
    """The Cholesky factor of P⁻¹. With the order of rows and columns reversed P = MMᵀ; reversed back M is the upper
    triangular U of P = UUᵀ, so that P⁻¹ = (U⁻ᵀ)(U⁻ᵀ)ᵀ, and U⁻ᵀ is lower triangular.
    """
    factor = cholesky(precision.flip((-2, -1))).flip((-2, -1)).mT
    return right_divided(factor, eye(int(precision.shape[-1]), dtype=precision.dtype))


class LowRankMultivariateNormal(Distribution):
    """The normal distribution of vectors with covariance W Wᵀ + diag(D), for a narrow W = `cov_factor`, D = `cov_diag`.

    By Woodbury's identity everything is solved in the width of W.
    """

    arg_constraints = {  # noqa: RUF012
        "loc": constraints.real_vector,
        "cov_factor": constraints.independent(constraints.real, 2),
        "cov_diag": constraints.independent(constraints.positive, 1),
    }
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, loc: Any, cov_factor: Any, cov_diag: Any, validate_args: bool | None = None) -> None:
        loc, cov_factor, cov_diag = map(tensor_of, (loc, cov_factor, cov_diag))
        if loc.ndim < 1:
            raise ValueError("loc must be at least one-dimensional.")
        event = tuple(loc.shape)[-1:]
        if cov_factor.ndim < 2:
            raise ValueError("cov_factor must be at least two-dimensional, with optional leading batch dimensions")
        if tuple(cov_factor.shape)[-2:-1] != event:
            raise ValueError(f"cov_factor must be a batch of matrices with shape {event[0]} x m")
        if tuple(cov_diag.shape)[-1:] != event:
            raise ValueError(f"cov_diag must be a batch of vectors with shape {event}")
        batch = np.broadcast_shapes(tuple(loc.shape)[:-1], tuple(cov_factor.shape)[:-2], tuple(cov_diag.shape)[:-1])
        self.loc = loc.expand((*batch, *event))
        self.cov_diag = cov_diag.expand((*batch, *event))
        self.cov_factor = cov_factor.expand((*batch, *tuple(cov_factor.shape)[-2:]))
        super().__init__(batch, event, validate_args)

    @property
    def capacitance_tril(self) -> Any:
        """The Cholesky factor of I + Wᵀ D⁻¹ W."""
        scaled = self.cov_factor / self.cov_diag.unsqueeze(-1)
        width = int(self.cov_factor.shape[-1])
        return cholesky(self.cov_factor.mT @ scaled + eye(width, dtype=scaled.dtype))

    @property
    def covariance_matrix(self) -> Any:
        """W Wᵀ + diag(D)."""
        return self.cov_factor @ self.cov_factor.mT + diag_embed(self.cov_diag)

    @property
    def scale_tril(self) -> Any:
        """The Cholesky factor of the covariance."""
        return cholesky(self.covariance_matrix)

    @property
    def precision_matrix(self) -> Any:
        """The inverse of the covariance."""
        scaled = self.cov_factor.mT / self.cov_diag.unsqueeze(-2)
        part = right_divided(self.capacitance_tril, scaled)
        return diag_embed(self.cov_diag.reciprocal()) - part.mT @ part

    @property
    def mean(self) -> Any:
        return self.loc

    mode = mean

    @property
    def variance(self) -> Any:
        return self.cov_factor.square().sum(-1) + self.cov_diag

    def _draw(self, shape: Any, rng: Any) -> Any:
        width = int(self.cov_factor.shape[-1])
        low = noise(rng.standard_normal((*tuple(shape)[:-1], width)), self.loc)
        full = noise(rng.standard_normal(tuple(shape)), self.loc)
        return self.loc + (self.cov_factor @ low.unsqueeze(-1)).squeeze(-1) + self.cov_diag.sqrt() * full

    def _half_log_det(self, capacitance: Any) -> Any:
        return half_log_det(capacitance) + 0.5 * self.cov_diag.log().sum(-1)

    def log_prob(self, value: Any) -> Any:
        x = self._checked(value) - self.loc
        capacitance = self.capacitance_tril
        inner = ((self.cov_factor / self.cov_diag.unsqueeze(-1)).mT @ x.unsqueeze(-1)).squeeze(-1)
        square = (x.square() / self.cov_diag).sum(-1) - mahalanobis(capacitance, inner)
        return -0.5 * (int(self._event_shape[0]) * _LOG_TAU + square) - self._half_log_det(capacitance)

    def entropy(self) -> Any:
        return 0.5 * int(self._event_shape[0]) * (1 + _LOG_TAU) + self._half_log_det(self.capacitance_tril)
