"""The Kullback-Leibler divergence KL(p ‖ q) = E log p(X) - E log q(X), X from p.

For a pair of families there is a function, entered with `@register_kl(P, Q)`; the nearest pair of base classes is
taken. Where log q is a sum of a few statistics of x, one function serves every p that has their expectations: then
KL = -H(p) - E log q.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from pullback.distributions.categorical import Categorical, OneHotCategorical
from pullback.distributions.continuous import Cauchy, Exponential, Gumbel, Laplace, Pareto, Uniform
from pullback.distributions.discrete import Bernoulli, Binomial, ContinuousBernoulli, Geometric, Poisson
from pullback.distributions.distribution import Distribution
from pullback.distributions.functions import EULER, digamma, filled, lgamma, log_beta, plain, softplus, sum_last
from pullback.distributions.gamma import Beta, Dirichlet, Gamma
from pullback.distributions.multivariate_normal import (
    LowRankMultivariateNormal,
    MultivariateNormal,
    half_log_det,
    mahalanobis,
    right_divided,
)
from pullback.distributions.normal import HALF_LOG_TAU, HalfNormal, Normal
from pullback.distributions.transformed import Independent, TransformedDistribution
from pullback.tensor.arithmetic import xlogy
from pullback.tensor.gathering import where

__all__ = ["kl_divergence", "register_kl"]

Pair = tuple[type, type]
_REGISTERED: Final[dict[Pair, Callable[[Any, Any], Any]]] = {}
_FOUND: Final[dict[Pair, Callable[[Any, Any], Any]]] = {}


def register_kl(type_p: type, type_q: type) -> Callable[[Callable[[Any, Any], Any]], Callable[[Any, Any], Any]]:
    """Enter a function of (p, q) as the divergence for these families and those derived from them.

    Raises `TypeError` for what is not a family.
    """
    for name, given in (("type_p", type_p), ("type_q", type_q)):
        if not (isinstance(given, type) and issubclass(given, Distribution)):
            raise TypeError(f"Expected {name} to be a Distribution subclass but got {given}")

    def enter(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        _REGISTERED[type_p, type_q] = function
        _FOUND.clear()
        return function

    return enter


def _lookup(pair: Pair) -> Callable[[Any, Any], Any] | None:
    """The function for the nearest pair of base classes; distances add up, and ties go to the nearer p."""
    found = _FOUND.get(pair)
    if found is None:
        lines = [list(family.__mro__) for family in pair]
        near = [
            (lines[0].index(p) + lines[1].index(q), lines[0].index(p), f)
            for (p, q), f in _REGISTERED.items()
            if p in lines[0] and q in lines[1]
        ]
        if not near:
            return None
        found = _FOUND[pair] = min(near, key=lambda entry: entry[:2])[2]
    return found


def kl_divergence(p: Distribution, q: Distribution) -> Any:
    """KL(p ‖ q), of the batch's shape.

    Raises `NotImplementedError` if there is no formula for these families.

    >>> import pullback as pb
    >>> d = pb.distributions
    >>> d.kl_divergence(d.Normal(0.0, 1.0), d.Normal(1.0, 1.0))
    tensor(0.5000)
    """
    function = _lookup((type(p), type(q)))
    if function is None:
        raise NotImplementedError(
            f"No KL(p || q) is implemented for p type {type(p).__name__} and q type {type(q).__name__}"
        )
    return function(p, q)


def _registered_for(*families: type, q: type) -> Callable[[Callable[[Any, Any], Any]], Callable[[Any, Any], Any]]:
    def enter(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        for p in families:
            register_kl(p, q)(function)
        return function

    return enter


# Expectations


def _mean_of_log(p: Any) -> Any:
    """E log X."""
    if isinstance(p, Gamma):
        return digamma(p.concentration) - p.rate.log()
    if isinstance(p, Beta):
        return digamma(p.concentration1) - digamma(p.concentration1 + p.concentration0)
    if isinstance(p, Exponential):
        return -EULER - p.rate.log()
    if isinstance(p, Pareto):
        return p.scale.log() + p.alpha.reciprocal()
    return (xlogy(p.high, p.high) - xlogy(p.low, p.low)) / (p.high - p.low) - 1  # Uniform


def _log_laplace(p: Any, t: Any) -> Any:
    """log E exp(-tX)."""
    if isinstance(p, Gamma):
        return -p.concentration * (t / p.rate).log1p()
    if isinstance(p, Exponential):
        return -(t / p.rate).log1p()
    if isinstance(p, Normal):
        return -t * p.loc + 0.5 * (t * p.scale).square()
    if isinstance(p, Gumbel):
        return -t * p.loc + lgamma(1 + t * p.scale)
    width = t * (p.high - p.low)  # Uniform
    return (-(-width).expm1() / width).log() - t * p.low


# By expectations of the statistics of q


@_registered_for(Normal, Beta, ContinuousBernoulli, Exponential, Gamma, Gumbel, Laplace, Pareto, Uniform, q=Normal)
def _to_normal(p: Any, q: Any) -> Any:
    square = p.variance + (p.mean - q.loc).square()
    return 0.5 * square / q.scale.square() + q.scale.log() + HALF_LOG_TAU - p.entropy()


@_registered_for(Exponential, Beta, ContinuousBernoulli, Gamma, Pareto, q=Exponential)
def _to_exponential(p: Any, q: Any) -> Any:
    return q.rate * p.mean - q.rate.log() - p.entropy()


@_registered_for(Gamma, Beta, Exponential, Pareto, q=Gamma)
def _to_gamma(p: Any, q: Any) -> Any:
    a, rate = q.concentration, q.rate
    return lgamma(a) - a * rate.log() - (a - 1) * _mean_of_log(p) + rate * p.mean - p.entropy()


@_registered_for(Gumbel, Exponential, Gamma, Normal, Uniform, q=Gumbel)
def _to_gumbel(p: Any, q: Any) -> Any:
    t = q.scale.reciprocal()
    return q.scale.log() + t * (p.mean - q.loc) + (_log_laplace(p, t) + t * q.loc).exp() - p.entropy()


@register_kl(Beta, Beta)
def _beta_to_beta(p: Any, q: Any) -> Any:
    a, b, total = p.concentration1, p.concentration0, digamma(p.concentration1 + p.concentration0)
    logs = (q.concentration1 - 1) * (digamma(a) - total) + (q.concentration0 - 1) * (digamma(b) - total)
    return log_beta(q.concentration1, q.concentration0) - logs - p.entropy()


@_registered_for(ContinuousBernoulli, Beta, q=ContinuousBernoulli)
def _to_continuous_bernoulli(p: Any, q: Any) -> Any:
    return softplus(q.logits) - p.mean * q.logits - q._log_norm() - p.entropy()


@register_kl(Bernoulli, Poisson)
def _bernoulli_to_poisson(p: Any, q: Any) -> Any:
    return q.rate - p.probs * q.rate.log() - p.entropy()


@register_kl(Normal, Laplace)
def _normal_to_laplace(p: Any, q: Any) -> Any:
    z = (p.loc - q.loc) / p.scale
    distance = p.scale * (math.sqrt(2 / math.pi) * (-0.5 * z * z).exp() + z * (z * math.sqrt(0.5)).erf())
    return (2 * q.scale).log() + distance / q.scale - p.entropy()


# Where the support of q may not hold that of p


def _or_infinite(outside: Any, value: Any) -> Any:
    return where(outside, math.inf, value)


@_registered_for(Uniform, Beta, ContinuousBernoulli, q=Uniform)
def _to_uniform(p: Any, q: Any) -> Any:
    low, high = (p.low, p.high) if isinstance(p, Uniform) else (0.0, 1.0)
    return _or_infinite((q.low > low) | (q.high < high), (q.high - q.low).log() - p.entropy())


@register_kl(Uniform, Beta)
def _uniform_to_beta(p: Any, q: Any) -> Any:
    inside = (p.low >= q.support.lower_bound) & (p.high <= q.support.upper_bound)
    low, high = where(inside, p.low, 0.25), where(inside, p.high, 0.75)
    part = Uniform(low, high, validate_args=False)
    rest = Uniform(1 - high, 1 - low, validate_args=False)
    logs = (q.concentration1 - 1) * _mean_of_log(part) + (q.concentration0 - 1) * _mean_of_log(rest)
    return _or_infinite(~inside, log_beta(q.concentration1, q.concentration0) - logs - p.entropy())


@register_kl(Uniform, ContinuousBernoulli)
def _uniform_to_continuous_bernoulli(p: Any, q: Any) -> Any:
    return _or_infinite((p.low < 0) | (p.high > 1), _to_continuous_bernoulli(p, q))


@register_kl(Uniform, Exponential)
def _uniform_to_exponential(p: Any, q: Any) -> Any:
    return _or_infinite(p.low < 0, _to_exponential(p, q))


@register_kl(Uniform, Gamma)
def _uniform_to_gamma(p: Any, q: Any) -> Any:
    outside = p.low < 0
    part = Uniform(where(outside, 1.0, p.low), where(outside, 2.0, p.high), validate_args=False)
    return _or_infinite(outside, _to_gamma(part, q))


@register_kl(Uniform, Pareto)
def _uniform_to_pareto(p: Any, q: Any) -> Any:
    outside = p.low < q.scale
    part = Uniform(where(outside, 1.0, p.low), where(outside, 2.0, p.high), validate_args=False)
    tail = (q.alpha + 1) * _mean_of_log(part) - q.alpha.log() - q.alpha * q.scale.log()
    return _or_infinite(outside, tail - p.entropy())


@register_kl(Pareto, Pareto)
def _pareto_to_pareto(p: Any, q: Any) -> Any:
    ratio = q.alpha / p.alpha
    return _or_infinite(p.scale < q.scale, q.alpha * (p.scale / q.scale).log() - ratio.log() + ratio - 1)


def _infinite(p: Any, q: Any) -> Any:
    """The support of p exceeds that of q, whatever the parameters."""
    return filled(p.mean + q.mean, math.inf)


for _q, _ps in {
    Pareto: (Beta, ContinuousBernoulli, Exponential, Gamma, Gumbel, Laplace, Normal),
    Uniform: (Exponential, Gamma, Gumbel, Laplace, Normal, Pareto),
    Beta: (Exponential, Gamma, Gumbel, Laplace, Normal, Pareto),
    ContinuousBernoulli: (Exponential, Gamma, Gumbel, Laplace, Normal, Pareto),
    Exponential: (Gumbel, Laplace, Normal),
    Gamma: (Gumbel, Laplace, Normal),
    Bernoulli: (Poisson,),
    Binomial: (Poisson,),
}.items():
    _registered_for(*_ps, q=_q)(_infinite)


# Within a family


def _guarded(weight: Any, term: Any, impossible: Any) -> Any:
    """weight·term, infinite where q rules out what p has, 0 where p has nothing."""
    return where(weight == 0, 0.0, where(impossible, math.inf, weight * term))


@register_kl(Bernoulli, Bernoulli)
def _bernoulli(p: Any, q: Any) -> Any:
    one = _guarded(p.probs, softplus(-q.logits) - softplus(-p.logits), q.probs == 0)
    zero = _guarded(1 - p.probs, softplus(q.logits) - softplus(p.logits), q.probs == 1)
    return one + zero


@register_kl(Binomial, Binomial)
def _binomial(p: Any, q: Any) -> Any:
    """For as many trials of both, or infinite if p has more. Raises `NotImplementedError` if it has fewer."""
    fewer = p.total_count < q.total_count
    if plain(fewer) and bool(fewer.any()):
        raise NotImplementedError("KL between Binomials where q.total_count > p.total_count is not implemented")
    one = p.total_count * (p.probs * (p.logits - q.logits) + (-p.probs).log1p() - (-q.probs).log1p())
    return _or_infinite(p.total_count > q.total_count, one)


@register_kl(Categorical, Categorical)
@register_kl(OneHotCategorical, OneHotCategorical)
def _categorical(p: Any, q: Any) -> Any:
    return _guarded(p.probs, p.logits - q.logits, q.probs == 0).sum(-1)


@register_kl(Dirichlet, Dirichlet)
def _dirichlet(p: Any, q: Any) -> Any:
    a, b = p.concentration, q.concentration
    total = a.sum(-1)
    logs = digamma(a) - digamma(total).unsqueeze(-1)
    return lgamma(total) - lgamma(b.sum(-1)) + (lgamma(b) - lgamma(a) + (a - b) * logs).sum(-1)


@register_kl(Geometric, Geometric)
def _geometric(p: Any, q: Any) -> Any:
    return -p.entropy() - (-q.probs).log1p() / p.probs - q.logits


@register_kl(HalfNormal, HalfNormal)
def _half_normal(p: Any, q: Any) -> Any:
    square = (p.scale / q.scale).square()
    return 0.5 * (square - 1 - square.log())


@register_kl(Laplace, Laplace)
def _laplace(p: Any, q: Any) -> Any:
    ratio, distance = p.scale / q.scale, (p.loc - q.loc).abs()
    return -ratio.log() + distance / q.scale + ratio * (-distance / p.scale).exp() - 1


@register_kl(Cauchy, Cauchy)
def _cauchy(p: Any, q: Any) -> Any:
    square = (p.scale + q.scale).square() + (p.loc - q.loc).square()
    return square.log() - (4 * p.scale * q.scale).log()


@register_kl(Poisson, Poisson)
def _poisson(p: Any, q: Any) -> Any:
    return p.rate * (p.rate.log() - q.rate.log()) - (p.rate - q.rate)


def _multivariate_normal(p: Any, q: Any) -> Any:
    if p.event_shape != q.event_shape:
        raise ValueError(
            "KL-divergence between two Multivariate Normals with different event shapes cannot be computed"
        )
    n = int(p.event_shape[0])
    batch = np.broadcast_shapes(tuple(p.batch_shape), tuple(q.batch_shape))
    mine, other = (x.scale_tril.expand((*batch, n, n)) for x in (p, q))
    trace = sum_last(right_divided(other, mine).square(), 2)
    square = mahalanobis(other, (q.loc - p.loc).expand((*batch, n)))
    return half_log_det(other) - half_log_det(mine) + 0.5 * (trace + square - n)


for _p in (MultivariateNormal, LowRankMultivariateNormal):
    _registered_for(MultivariateNormal, LowRankMultivariateNormal, q=_p)(_multivariate_normal)


# Made of others


@register_kl(Independent, Independent)
def _independent(p: Any, q: Any) -> Any:
    if p.reinterpreted_batch_ndims != q.reinterpreted_batch_ndims:
        raise NotImplementedError("KL of two Independents needs the same reinterpreted_batch_ndims")
    return sum_last(kl_divergence(p.base_dist, q.base_dist), p.reinterpreted_batch_ndims)


@register_kl(TransformedDistribution, TransformedDistribution)
def _transformed(p: Any, q: Any) -> Any:
    """A map that both share leaves the divergence as it is."""
    if p.transforms != q.transforms or p.event_shape != q.event_shape:
        raise NotImplementedError("KL of two TransformedDistributions needs the same transforms and event_shape")
    return kl_divergence(p.base_dist, q.base_dist)
