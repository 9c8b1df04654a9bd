"""Densities and distribution functions: values and slopes in the place and in every parameter, against SciPy."""

import warnings

import numpy as np
import pytest
import scipy.stats
import torch
from scipy.stats import multivariate_normal, norm

import pullback as pb
from pullback.scipy.entries.distribution import Continuous, Distribution
from pullback.scipy.table import FUNCTIONS

SHAPES = {
    "t": [3.3],
    "gamma": [2.3],
    "invgamma": [2.2],
    "beta": [1.4, 2.3],
    "chi2": [3.1],
    "lognorm": [0.8],
    "pareto": [2.5],
    "weibull_min": [1.7],
    "truncnorm": [-0.7, 1.2],
    "poisson": [2.3],
    "binom": [5.0, 0.3],
    "bernoulli": [0.3],
    "nbinom": [3.2, 0.4],
    "geom": [0.3],
}
STATS = {name.removeprefix("stats."): entry for name, entry in FUNCTIONS.items() if name.startswith("stats.")}
SINGLE = {name: entry for name, entry in STATS.items() if isinstance(entry, Distribution)}
PLACES = np.array([-2.0, -0.6, 0.1, 0.5, 0.51, 1.3, 2.7, 9.0])
COUNTS = np.array([-1.0, 0.0, 1.0, 2.0, 3.0, 5.0, 7.0, 1.5])
LEVELS = np.array([0.0, 0.1, 0.3, 0.5, 0.9, 1.0])
FIXED = {"binom": {1}}  # whole-number parameters: SciPy's differences say nothing about the slope


def cases():
    for name, mine in SINGLE.items():
        continuous = isinstance(mine, Continuous)
        for method in [*("logpdf pdf ppf isf" if continuous else "logpmf pmf").split(), "cdf", "sf", "logcdf", "logsf"]:
            if method in ("ppf", "isf") and name in ("t", "truncnorm"):
                continue
            yield name, method


def silently(function, *args):
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*args)


@pytest.mark.parametrize(("name", "method"), list(cases()))
def test_against_scipy(name, method):
    mine, theirs = SINGLE[name], getattr(getattr(scipy.stats, name), method)
    continuous = isinstance(mine, Continuous)
    at = LEVELS if method in ("ppf", "isf") else PLACES if continuous else COUNTS
    args = [at, *SHAPES.get(name, []), *([0.2, 1.3] if continuous else [])]
    args = [np.asarray(x, float) for x in args]
    wanted = silently(theirs, *args)
    leaves = [pb.tensor(x, requires_grad=True) for x in args]
    found = getattr(mine, method)(*leaves)
    np.testing.assert_allclose(found.detach().numpy(), wanted, rtol=1e-10, atol=1e-13)
    finite = np.isfinite(wanted)
    if method in ("ppf", "isf"):
        finite &= (at > 0) & (at < 1)
    pb.where(pb.tensor(finite), found, 0.0).sum().backward()
    for i, leaf in enumerate(leaves):
        if (i == 0 and not continuous) or i in FIXED.get(name, ()):
            continue
        sides = []
        for h in (1e-6, -1e-6):
            moved = list(args)
            moved[i] = np.clip(args[i] + h, 0, 1) if i == 0 and method in ("ppf", "isf") else args[i] + h
            sides.append(np.where(finite, silently(theirs, *moved), 0.0))
        numeric = (sides[0] - sides[1]) / 2e-6
        numeric = numeric if leaf.ndim else numeric.sum()
        np.testing.assert_allclose(leaf.grad.numpy(), numeric, rtol=3e-5, atol=3e-6)


def test_the_ways_to_give_parameters():
    gamma, x = pb.scipy.stats.gamma, np.array([0.5, 2.0])
    wanted = scipy.stats.gamma.logpdf(x, 2.0, 0.1, 3.0)
    for found in (
        gamma.logpdf(x, 2.0, 0.1, 3.0),
        gamma.logpdf(x, a=2.0, loc=0.1, scale=3.0),
        gamma.logpdf(x, 2.0, scale=3.0, loc=0.1),
        gamma(2.0, scale=3.0, loc=0.1).logpdf(x),
        gamma(2.0, 0.1).logpdf(x, scale=3.0),
    ):
        np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-14)
    for bad in (lambda: gamma.logpdf(x), lambda: gamma(2.0, shape=1.0), lambda: gamma.logpdf(x, 1.0, 2.0, 3.0, 4.0)):
        with pytest.raises(TypeError, match="gamma"):
            bad()
    with pytest.raises(NotImplementedError, match=r"t\.ppf"):
        pb.scipy.stats.t.ppf(0.5, 3.0)


def test_outside_support_and_domain():
    stats = pb.scipy.stats
    x = pb.tensor([-1.0, 0.5], requires_grad=True)
    y = stats.gamma.logpdf(x, 2.0)
    assert y[0].item() == -np.inf
    y[1].backward()
    np.testing.assert_allclose(x.grad.numpy(), [0.0, 1.0])
    for bad in (stats.norm.logpdf(1.0, 0.0, -1.0), stats.beta.pdf(0.5, -1.0, 2.0), stats.binom.logpmf(1, 3, 1.5)):
        assert np.isnan(bad.item())
    assert np.isnan(stats.norm.cdf(np.nan).item())
    assert stats.norm.logpdf(pb.tensor([1.0])).dtype == pb.float32
    scale = pb.tensor([1.0, -2.0], dtype=pb.float64, requires_grad=True)
    stats.expon.logpdf(1.0, 0.0, scale)[0].backward()
    np.testing.assert_array_equal(scale.grad.numpy(), [0.0, 0.0])


def test_tails():
    stats = pb.scipy.stats
    for name, x in (("norm", 30.0), ("logistic", 50.0), ("gumbel_r", 40.0), ("lognorm", 1e12)):
        shapes = SHAPES.get(name, [])
        for method in ("sf", "logsf"):
            wanted = getattr(getattr(scipy.stats, name), method)(x, *shapes)
            assert getattr(stats, name).__getattribute__(method)(x, *shapes).item() == pytest.approx(wanted, rel=1e-12)
    assert stats.truncnorm.logpdf(31.0, 30.0, np.inf).item() == pytest.approx(
        scipy.stats.truncnorm.logpdf(31.0, 30.0, np.inf), rel=1e-10
    )


# Several numbers at once


def _covariance(size):
    a = np.random.default_rng(size).standard_normal((size, size))
    return a @ a.T + size * np.eye(size)


@pytest.mark.parametrize("shape", [(3,), (5, 3), (2, 2, 3)])
def test_multivariate_normal(shape):
    rng = np.random.default_rng(0)
    x, mean, cov = rng.standard_normal(shape), rng.standard_normal(3), _covariance(3)
    wanted = multivariate_normal.logpdf(x, mean, cov)
    mine = pb.scipy.stats.multivariate_normal
    np.testing.assert_allclose(mine.logpdf(x, mean, cov).numpy(), wanted, rtol=1e-12)
    np.testing.assert_allclose(mine(mean, cov).pdf(x).numpy(), np.exp(wanted), rtol=1e-12)
    gradients = pb.grad(lambda *args: mine.logpdf(*args).sum(), argnums=(0, 1, 2))(x, mean, cov)
    leaves = [torch.tensor(v, requires_grad=True) for v in (x, mean, cov)]
    torch.distributions.MultivariateNormal(*leaves[1:]).log_prob(leaves[0]).sum().backward()
    for g, leaf in zip(gradients, leaves, strict=True):
        wanted = leaf.grad.numpy()
        np.testing.assert_allclose(g, (wanted + wanted.T) / 2 if leaf is leaves[2] else wanted, rtol=1e-9, atol=1e-12)


def test_the_covariance_gradient_has_the_right_sign():
    """At the mean a wider distribution is less dense: -½ Σ⁻¹."""
    cov = _covariance(2)
    gradient = pb.grad(lambda c: pb.scipy.stats.multivariate_normal.logpdf(np.zeros(2), np.zeros(2), c))(cov)
    np.testing.assert_allclose(gradient, -0.5 * np.linalg.inv(cov), rtol=1e-12)


@pytest.mark.parametrize("cov", [2.0, np.array([0.5, 1.5]), np.diag([0.5, 1.5])])
def test_covariances_of_few_numbers(cov):
    x = np.array([[0.3, -1.0], [2.0, 0.1]])
    mine = pb.scipy.stats.multivariate_normal.logpdf(x, np.zeros(2), cov).numpy()
    np.testing.assert_allclose(mine, multivariate_normal.logpdf(x, np.zeros(2), cov), rtol=1e-13)


def test_one_dimension():
    for x, mean, cov in ((0.3, None, 2.0), (np.array([0.3, 1.0]), None, 1.0), (np.array([0.3, 1.0]), 0.5, 2.0)):
        mine = pb.scipy.stats.multivariate_normal.logpdf(x, mean, cov).numpy()
        np.testing.assert_allclose(mine, multivariate_normal.logpdf(x, mean, cov), rtol=1e-13)


def test_singular_covariances():
    with pytest.raises(pb.linalg.LinAlgError):
        pb.scipy.stats.multivariate_normal.logpdf(np.zeros(2), np.zeros(2), np.array([[1.0, 2.0], [2.0, 1.0]]))
    with pytest.raises(TypeError, match="allow_singular"):
        pb.scipy.stats.multivariate_normal.logpdf(np.zeros(2), allow_singular=True)


def test_dirichlet():
    alpha, x = np.array([0.7, 2.0, 3.5]), np.array([[0.2, 0.5], [0.3, 0.1], [0.5, 0.4]])
    mine = pb.scipy.stats.dirichlet
    for at in (x, x[:2], x[:, 0]):
        np.testing.assert_allclose(mine.logpdf(at, alpha).numpy(), scipy.stats.dirichlet.logpdf(at, alpha), rtol=1e-13)
    gradient = pb.grad(lambda a: mine.logpdf(x[:, 0], a))(alpha)
    leaf = torch.tensor(alpha, requires_grad=True)
    torch.distributions.Dirichlet(leaf).log_prob(torch.tensor(x[:, 0])).backward()
    np.testing.assert_allclose(gradient, leaf.grad.numpy(), rtol=1e-11)


def test_multinomial():
    p, x = np.array([0.2, 0.3, 0.5]), np.array([[1, 2, 3], [0, 6, 0], [1, 1, 1]])
    mine = pb.scipy.stats.multinomial
    np.testing.assert_allclose(mine.logpmf(x, 6, p).numpy(), scipy.stats.multinomial.logpmf(x, 6, p), rtol=1e-13)
    np.testing.assert_allclose(pb.grad(lambda q: mine.logpmf(x[0], 6, q))(p), x[0] / p)


def test_wishart():
    x, scale = _covariance(3), _covariance(3) / 4
    mine = pb.scipy.stats.wishart
    assert mine.logpdf(x, 5.5, scale).item() == pytest.approx(scipy.stats.wishart.logpdf(x, 5.5, scale), rel=1e-12)
    h = 1e-6
    numeric = (scipy.stats.wishart.logpdf(x, 5.5 + h, scale) - scipy.stats.wishart.logpdf(x, 5.5 - h, scale)) / (2 * h)
    assert pb.grad(lambda df: mine.logpdf(x, df, scale))(np.float64(5.5)) == pytest.approx(numeric, rel=1e-7)


# Unchanged code


def test_programs_that_call_scipy():
    x = np.array([1.0, 2.0])
    np.testing.assert_allclose(pb.grad(lambda t: norm.logpdf(t, 0.5, 2.0).sum())(x), -(x - 0.5) / 4)
    np.testing.assert_allclose(pb.grad(lambda t: norm(0.5, 2.0).logpdf(t).sum())(x), -(x - 0.5) / 4)
    np.testing.assert_allclose(pb.grad(lambda t: scipy.stats.norm(t, 2.0).logpdf(0.3).sum())(x), (0.3 - x) / 4)
    gradient = pb.grad(lambda t: multivariate_normal.logpdf(t, np.zeros(2), np.eye(2) * t[0]))(x)
    np.testing.assert_allclose(gradient, [0.5, -2.0])
    assert norm.logpdf(0.0) == pytest.approx(-0.9189385332046727)  # plain numbers are SciPy's business


def test_under_transforms():
    f = lambda a: pb.scipy.stats.gamma.cdf(1.5, a)  # noqa: E731
    a = np.array([0.5, 1.0, 3.0])
    np.testing.assert_allclose(pb.vmap(f)(a), scipy.stats.gamma.cdf(1.5, a), rtol=1e-13)
    h = 1e-3
    second = np.diag(pb.hessian(lambda t: f(t).sum())(a))
    wanted = (
        scipy.stats.gamma.cdf(1.5, a + h) - 2 * scipy.stats.gamma.cdf(1.5, a) + scipy.stats.gamma.cdf(1.5, a - h)
    ) / h**2
    np.testing.assert_allclose(second, wanted, rtol=2e-5)


def test_every_distribution_has_a_test():
    assert set(STATS) == set(SINGLE) | {"multivariate_normal", "dirichlet", "multinomial", "wishart"}
