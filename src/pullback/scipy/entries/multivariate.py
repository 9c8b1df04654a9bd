"""Distributions of vectors and matrices."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from pullback.ops import compare as c
from pullback.ops import elementwise as e
from pullback.ops import gammas as g
from pullback.ops.shape import sum_, transpose
from pullback.scipy.entries.special import operands
from pullback.scipy.table import FUNCTIONS
from pullback.tensor import linalg_namespace as linalg
from pullback.tensor.numpy_api.operands import lift, shape_of

__all__ = ["Multivariate"]

Function = Callable[..., Any]
_LOG_ROOT_2PI: Final = 0.5 * math.log(2 * math.pi)


class Multivariate:
    """A distribution of vectors or matrices, from the logarithm of its density."""

    def __init__(self, name: str, log: Function, suffix: str = "pdf") -> None:
        self.name = name
        self.__doc__ = log.__doc__
        setattr(self, f"log{suffix}", log)
        setattr(self, suffix, lambda x, *args, **kwargs: e.exp(log(x, *args, **kwargs)))
        FUNCTIONS[f"stats.{name}"] = self

    def __repr__(self) -> str:
        return f"<distribution {self.name}>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The distribution with its parameters given."""
        frozen = object.__new__(Multivariate)
        frozen.name = self.name
        for method in ("pdf", "logpdf", "pmf", "logpmf"):
            function = getattr(self, method, None)
            if function is not None:
                setattr(frozen, method, lambda x, function=function: function(x, *args, **kwargs))
        return frozen


def _half_log_det(root: Any) -> Any:
    return sum_(e.log(linalg.diagonal(root)), axis=(len(shape_of(root)) - 2,), keepdims=False)


def _multivariate_normal(x: Any, mean: Any = None, cov: Any = 1.0, allow_singular: bool = False) -> Any:
    """`multivariate_normal`: log-density of vectors (the last axis of x), for a covariance matrix, a vector of
    variances or one variance. The gradient in the covariance is symmetric.

    Raises `LinAlgError` if the covariance is not positive definite, `TypeError` for `allow_singular`.
    """
    if allow_singular:
        raise TypeError(
            "multivariate_normal(allow_singular=True) has no derivative: a singular covariance has no density"
        )
    x, mean, cov = (lift(v) for v in operands(x, 0.0 if mean is None else mean, cov, name="multivariate_normal"))
    size = next((shape_of(v)[-1] for v in (mean, cov) if shape_of(v)), 1)
    if size == 1 and len(shape_of(x)) < 2:  # numbers, not vectors
        x = x.reshape(*shape_of(x), 1)
    away = x - mean
    last = len(shape_of(away)) - 1
    if len(shape_of(cov)) < 2:
        spread = cov + np.zeros(size, cov._value.dtype)
        squares, logs = away * away / spread, sum_(0.5 * e.log(spread), axis=(0,), keepdims=False)
    else:
        root = linalg.cholesky(cov)
        flat = away.reshape(-1, size)
        white = transpose(linalg.solve(root, transpose(flat, axes=(1, 0))), axes=(1, 0))
        squares = e.square(white).reshape(*shape_of(away))
        logs = _half_log_det(root)
    return -0.5 * sum_(squares, axis=(last,), keepdims=False) - logs - size * _LOG_ROOT_2PI


def _dirichlet(x: Any, alpha: Any) -> Any:
    """`dirichlet`: log-density of points on the simplex, whose coordinates are the first axis of x (the last of them
    may be left out)."""
    x, alpha = (lift(v) for v in operands(x, alpha, name="dirichlet"))
    count, trailing = shape_of(alpha)[0], (1,) * (len(shape_of(x)) - 1)
    powers = alpha.reshape(count, *trailing) - 1.0
    if shape_of(x)[0] == count - 1:
        rest = e.xlogy(powers[-1], 1.0 - sum_(x, axis=(0,), keepdims=False))
        value = sum_(e.xlogy(powers[:-1], x), axis=(0,), keepdims=False) + rest
    else:
        value = sum_(e.xlogy(powers, x), axis=(0,), keepdims=False)
    return value + g.lgamma(sum_(alpha, axis=(0,), keepdims=False)) - sum_(g.lgamma(alpha), axis=(0,), keepdims=False)


def _multinomial(x: Any, n: Any, p: Any) -> Any:
    """`multinomial`: log-probability of counts (the last axis of x), which must add up to n: -inf where they do not."""
    x, n, p = (lift(v) for v in operands(x, n, p, name="multinomial"))
    terms = e.xlogy(x, p) - g.lgamma(x + 1.0)
    last = (len(shape_of(terms)) - 1,)
    whole = c.equal(sum_(x, axis=(len(shape_of(x)) - 1,), keepdims=False), n)
    return e.where(whole, g.lgamma(n + 1.0) + sum_(terms, axis=last, keepdims=False), -math.inf)


def _wishart(x: Any, df: Any, scale: Any) -> Any:
    """`wishart`: log-density of a positive definite matrix."""
    x, df, scale = (lift(v) for v in operands(x, df, scale, name="wishart"))
    size = shape_of(scale)[-1]
    root, scale_root = linalg.cholesky(x), linalg.cholesky(scale)
    ratio = linalg.solve(scale_root, root)
    value = (df - (size + 1.0)) * _half_log_det(root) - df * _half_log_det(scale_root)
    value = value - 0.5 * sum_(e.square(ratio), axis=(0, 1), keepdims=False) - 0.5 * size * math.log(2) * df
    return value - FUNCTIONS["special.multigammaln"](0.5 * df, size)


Multivariate("multivariate_normal", _multivariate_normal)
Multivariate("dirichlet", _dirichlet)
Multivariate("multinomial", _multinomial, "pmf")
Multivariate("wishart", _wishart)
