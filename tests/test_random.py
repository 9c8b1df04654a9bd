"""Random numbers: the generators, the samples' distributions, and the derivatives of samples in their parameters."""

import threading
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
import scipy.special
import scipy.stats

import pullback as pb
import pullback.distributions as d
from pullback.ops.sampling import gamma_sample, gamma_slope

SHAPES = (1e-3, 1e-2, 0.1, 0.5, 1.0, 1.5, 3.7, 31.0, 1e3, 1e4)
LEVELS = (1e-9, 1e-3, 0.03, 0.5, 0.97, 0.999, 1 - 1e-9)
DRAWS = 4000


# The derivative of gamma-distributed numbers


def exact_slope(a: float, y: float, order: int = 0) -> float:
    """-(∂F/∂a)/(∂F/∂y) with forty digits, or its derivative in a at a fixed y."""

    def slope(a: Any) -> Any:
        below = mpmath.diff(lambda t: mpmath.gammainc(t, 0, y, regularized=True), a, h=a * mpmath.mpf(10) ** -12)
        return -below / (mpmath.mpf(y) ** (a - 1) * mpmath.exp(-y) / mpmath.gamma(a))

    with mpmath.workdps(45):
        y, at = mpmath.mpf(y), mpmath.mpf(a)
        return float(slope(at) if order == 0 else mpmath.diff(slope, at, h=at * mpmath.mpf(10) ** -6))


@pytest.mark.parametrize("a", SHAPES)
def test_gamma_slope_is_exact(a: float) -> None:
    y = scipy.special.gammaincinv(a, np.array(LEVELS))
    y = y[y > 1e-300]
    found = gamma_slope(np.full_like(y, a), y)
    np.testing.assert_allclose(found, [exact_slope(a, v) for v in y], rtol=1e-11)


@pytest.mark.parametrize("a", [0.05, 1.5, 20.0])
def test_gamma_slope_derivative_is_exact(a: float) -> None:
    y = scipy.special.gammaincinv(a, np.array([0.1, 0.6, 0.95]))
    y = y[y > 1e-300]
    found = gamma_slope(np.full_like(y, a), y, order=1)
    np.testing.assert_allclose(found, [exact_slope(a, v, 1) for v in y], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("a", SHAPES)
def test_gamma_gradient_is_the_quantile_s(a: float) -> None:
    """Against differences of SciPy's quantile function at fixed levels."""
    levels = np.array([0.01, 0.2, 0.5, 0.9, 0.99]) if a > 0.01 else np.array([0.9, 0.97, 0.99, 0.999])
    quantile, step = scipy.special.gammaincinv, a * 1e-4
    ends = [quantile(a + n * step, levels) for n in (-2, -1, 1, 2)]
    wanted = (ends[0] - 8 * ends[1] + 8 * ends[2] - ends[3]) / (12 * step)
    found = pb.jvp(lambda a: gamma_sample(a, levels), (np.full(levels.shape, a),), (np.ones(levels.shape),))[1]
    chosen = quantile(a, levels) > 1e-200
    np.testing.assert_allclose(found[chosen], wanted[chosen], rtol=1e-6)


def test_gamma_slope_at_the_edges() -> None:
    assert gamma_slope(np.float64(1e-3), np.float64(0.0)) == 0
    assert np.isnan(gamma_slope(np.float64(1.0), np.float64(np.nan)))
    assert gamma_slope(np.zeros((0, 2)), np.zeros((0, 2))).shape == (0, 2)
    assert gamma_slope(np.float32(2.0), np.float32(1.0)).dtype == np.float32
    below, above = gamma_slope(np.float64(2.5), np.array([1.5 - 1e-12, 1.5 + 1e-12]))
    assert below == pytest.approx(above, rel=1e-10)  # series and quadrature meet


# Samples: their distribution, and their gradients. Of E f(X) both sides are known.

CONTINUOUS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "Normal": (lambda: d.Normal(0.5, 2.0), lambda: scipy.stats.norm(0.5, 2.0)),
    "LogNormal": (lambda: d.LogNormal(0.1, 0.5), lambda: scipy.stats.lognorm(0.5, scale=np.exp(0.1))),
    "HalfNormal": (lambda: d.HalfNormal(2.0), lambda: scipy.stats.halfnorm(scale=2.0)),
    "Laplace": (lambda: d.Laplace(0.5, 2.0), lambda: scipy.stats.laplace(0.5, 2.0)),
    "Cauchy": (lambda: d.Cauchy(0.5, 2.0), lambda: scipy.stats.cauchy(0.5, 2.0)),
    "HalfCauchy": (lambda: d.HalfCauchy(2.0), lambda: scipy.stats.halfcauchy(scale=2.0)),
    "Gumbel": (lambda: d.Gumbel(0.5, 2.0), lambda: scipy.stats.gumbel_r(0.5, 2.0)),
    "Uniform": (lambda: d.Uniform(-1.0, 2.0), lambda: scipy.stats.uniform(-1.0, 3.0)),
    "Exponential": (lambda: d.Exponential(2.0), lambda: scipy.stats.expon(scale=0.5)),
    "Weibull": (lambda: d.Weibull(2.0, 1.5), lambda: scipy.stats.weibull_min(1.5, scale=2.0)),
    "Pareto": (lambda: d.Pareto(2.0, 3.0), lambda: scipy.stats.pareto(3.0, scale=2.0)),
    "Gamma": (lambda: d.Gamma(0.6, 2.0), lambda: scipy.stats.gamma(0.6, scale=0.5)),
    "Chi2": (lambda: d.Chi2(3.0), lambda: scipy.stats.chi2(3.0)),
    "InverseGamma": (lambda: d.InverseGamma(3.0, 2.0), lambda: scipy.stats.invgamma(3.0, scale=2.0)),
    "Beta": (lambda: d.Beta(0.5, 2.0), lambda: scipy.stats.beta(0.5, 2.0)),
    "StudentT": (lambda: d.StudentT(3.0, 0.5, 2.0), lambda: scipy.stats.t(3.0, 0.5, 2.0)),
    "FisherSnedecor": (lambda: d.FisherSnedecor(4.0, 6.0), lambda: scipy.stats.f(4.0, 6.0)),
    "VonMises": (lambda: d.VonMises(0.5, 2.0), lambda: scipy.stats.vonmises(2.0, loc=0.5)),
}


@pytest.mark.parametrize("name", CONTINUOUS)
def test_samples_have_the_distribution(name: str) -> None:
    ours, peer = (make() for make in CONTINUOUS[name])
    pb.manual_seed(1)
    drawn = ours.sample((DRAWS,)).numpy().astype(float)
    assert scipy.stats.kstest(drawn, peer.cdf).pvalue > 1e-3
    np.testing.assert_allclose(ours.log_prob(pb.tensor(drawn[:9])).numpy(), peer.logpdf(drawn[:9]), rtol=1e-5)
    if name not in ("VonMises",):
        np.testing.assert_allclose(ours.cdf(pb.tensor(drawn[:9])).numpy(), peer.cdf(drawn[:9]), rtol=1e-5, atol=1e-7)
    if name not in ("Cauchy", "HalfCauchy", "VonMises"):
        assert ours.mean.item() == pytest.approx(peer.mean(), rel=1e-5)
        assert ours.variance.item() == pytest.approx(peer.var(), rel=1e-4)


DISCRETE: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "Bernoulli": (lambda: d.Bernoulli(0.3), lambda: scipy.stats.bernoulli(0.3)),
    "Binomial": (lambda: d.Binomial(5, 0.3), lambda: scipy.stats.binom(5, 0.3)),
    "Geometric": (lambda: d.Geometric(0.3), lambda: scipy.stats.geom(0.3, loc=-1)),
    "NegativeBinomial": (lambda: d.NegativeBinomial(2.5, 0.3), lambda: scipy.stats.nbinom(2.5, 0.7)),
    "Poisson": (lambda: d.Poisson(2.5), lambda: scipy.stats.poisson(2.5)),
    "Categorical": (
        lambda: d.Categorical(pb.tensor([1.0, 0.0, 2.0, 1.0])),
        lambda: scipy.stats.rv_discrete(values=([0, 1, 2, 3], [0.25, 0.0, 0.5, 0.25])),
    ),
}


@pytest.mark.parametrize("name", DISCRETE)
def test_discrete_samples_have_the_distribution(name: str) -> None:
    ours, peer = (make() for make in DISCRETE[name])
    pb.manual_seed(1)
    drawn = ours.sample((DRAWS,)).numpy().astype(int)
    assert drawn.min() >= 0
    for value in range(6):
        chance = float(peer.pmf(value))
        spread = np.sqrt(DRAWS * chance * (1 - chance)) + 1e-9
        assert abs((drawn == value).sum() - DRAWS * chance) <= 4 * spread


def test_samples_of_vectors() -> None:
    pb.manual_seed(0)
    cov = np.array([[2.0, 0.6], [0.6, 1.0]])
    for normal in (
        d.MultivariateNormal(pb.tensor([1.0, -1.0]), pb.tensor(cov, dtype=pb.float32)),
        d.LowRankMultivariateNormal(pb.tensor([1.0, -1.0]), pb.tensor([[1.0], [0.6]]), pb.tensor([1.0, 0.64])),
    ):
        drawn = normal.sample((DRAWS,)).numpy()
        np.testing.assert_allclose(drawn.mean(0), [1, -1], atol=0.1)
        np.testing.assert_allclose(np.cov(drawn.T), cov, atol=0.15)
    drawn = d.Dirichlet(pb.tensor([0.5, 1.0, 2.0])).sample((DRAWS,)).numpy()
    np.testing.assert_allclose(drawn.sum(-1), 1, rtol=1e-6)
    for i, (a, rest) in enumerate([(0.5, 3.0), (1.0, 2.5), (2.0, 1.5)]):
        assert scipy.stats.kstest(drawn[:, i].astype(float), scipy.stats.beta(a, rest).cdf).pvalue > 1e-3
    drawn = d.Multinomial(6, pb.tensor([1.0, 2.0, 1.0])).sample((DRAWS,)).numpy()
    assert (drawn.sum(-1) == 6).all()
    np.testing.assert_allclose(drawn.mean(0), [1.5, 3, 1.5], atol=0.1)
    drawn = d.RelaxedOneHotCategorical(pb.tensor(0.5), pb.tensor([0.2, 0.8])).sample((DRAWS,)).numpy()
    assert (drawn.argmax(-1) == 1).mean() == pytest.approx(0.8, abs=0.03)  # the largest is chosen as if not relaxed
    mix = d.MixtureSameFamily(d.Categorical(pb.tensor([0.3, 0.7])), d.Normal(pb.tensor([-5.0, 5.0]), 1.0))
    assert (mix.sample((DRAWS,)).numpy() > 0).mean() == pytest.approx(0.7, abs=0.03)


# E f(X) as a function of the parameters, with its gradient: (draw, f, parameters, the expectation)
EXPECTATIONS: dict[str, tuple[Callable[..., Any], Callable[..., Any], tuple[float, ...], Callable[..., Any]]] = {
    "Normal": (d.Normal, lambda x: x * x, (0.5, 2.0), lambda m, s: m * m + s * s),
    "Gamma": (d.Gamma, lambda x: x * x, (2.5, 2.0), lambda a, r: a * (a + 1) / (r * r)),
    "Gamma, small": (d.Gamma, lambda x: x, (0.3, 1.0), lambda a, r: a / r),
    "Beta": (d.Beta, lambda x: x, (0.5, 2.0), lambda a, b: a / (a + b)),
    "InverseGamma": (d.InverseGamma, lambda x: 1 / x, (3.0, 2.0), lambda a, r: a / r),
    "Weibull": (d.Weibull, lambda x: x, (2.0, 1.5), lambda s, k: s * scipy.special.gamma(1 + 1 / k)),
    "StudentT": (
        d.StudentT,
        lambda x: 1 / (1 + x * x),
        (5.0, 0.0, 1.0),
        lambda *values: float(scipy.stats.t(*values).expect(lambda x: 1 / (1 + x * x))),
    ),
    "Kumaraswamy": (d.Kumaraswamy, lambda x: x, (1.5, 2.0), lambda a, b: b * scipy.special.beta(1 + 1 / a, b)),
    "Chi2": (d.Chi2, lambda x: x, (3.0,), lambda df: df),
}


@pytest.mark.parametrize("name", EXPECTATIONS)
def test_gradients_of_expectations(name: str) -> None:
    family, f, parameters, expectation = EXPECTATIONS[name]
    leaves = [pb.tensor(p, dtype=pb.float64, requires_grad=True) for p in parameters]
    pb.manual_seed(0)
    terms = f(family(*leaves).rsample((20000,)))
    terms.mean().backward()
    assert terms.mean().item() == pytest.approx(expectation(*parameters), rel=0.05)
    for i, leaf in enumerate(leaves):
        ends = [expectation(*parameters[:i], parameters[i] + h, *parameters[i + 1 :]) for h in (1e-4, -1e-4)]
        assert leaf.grad.item() == pytest.approx((ends[0] - ends[1]) / 2e-4, rel=0.1, abs=0.01)


def test_gradients_of_dirichlet_means() -> None:
    a = np.array([0.5, 1.0, 2.0])

    def mean(a: Any) -> Any:
        generator = pb.Generator().manual_seed(0)
        return d.Dirichlet(a).rsample((20000,), generator=generator).mean(0)

    total = a.sum()
    wanted = (np.eye(3) * total - a[:, None]) / total**2
    np.testing.assert_allclose(pb.jacobian(mean)(a), wanted, atol=0.01)
    tiny = d.Dirichlet(pb.full((3,), 1e-3, dtype=pb.float64)).rsample((200,))
    assert np.isfinite(tiny.numpy()).all()
    np.testing.assert_allclose(tiny.sum(-1).numpy(), 1, rtol=1e-12)


# Under the transforms


@pytest.mark.parametrize("name", ["Normal", "Gamma", "Beta", "StudentT", "Gumbel", "Kumaraswamy"])
def test_samples_under_the_transforms(name: str) -> None:
    family, parameters = getattr(d, name), {"StudentT": (3.0, 0.5, 2.0)}.get(name, (1.5, 2.5))

    def f(*values: Any) -> Any:
        return family(*values).rsample((3,), generator=pb.Generator().manual_seed(7)).sum()

    rows = np.array([parameters, [p * 1.2 for p in parameters], [p * 0.8 for p in parameters]])
    columns = list(rows.T)
    np.testing.assert_allclose(pb.vmap(f)(*columns), [f(*map(np.array, row)).item() for row in rows], rtol=1e-12)
    for i in range(len(parameters)):
        grad = pb.grad(f, argnums=i)
        np.testing.assert_allclose(pb.vmap(grad)(*columns), [grad(*row) for row in rows], rtol=1e-9)
        direction = tuple(float(j == i) for j in range(len(parameters)))
        tangent = pb.jvp(f, parameters, direction)[1]
        assert float(tangent) == pytest.approx(float(grad(*parameters)), rel=1e-11)
        moves = [np.multiply(direction, h) for h in (1e-5, -1e-5)]
        steps = [[np.array(p + t) for p, t in zip(parameters, move, strict=True)] for move in moves]
        first, second = (f(*ends).item() for ends in steps)
        assert float(tangent) == pytest.approx((first - second) / 2e-5, rel=1e-6)  # samples move with the parameters
        slopes = [grad(*ends) for ends in steps]
        curvature = pb.jvp(grad, parameters, direction)[1]
        assert float(curvature) == pytest.approx((slopes[0] - slopes[1]) / 2e-5, rel=1e-5, abs=1e-7)


def test_what_needs_plain_numbers_says_so() -> None:
    with pytest.raises(TypeError, match=r"Poisson\.sample\(\) needs plain numbers"):
        pb.vmap(lambda rate: d.Poisson(rate).sample())(np.ones(3))


# Generators


def test_threads_do_not_share_noise() -> None:
    """What a thread draws after seeding depends on nothing that others do meanwhile."""
    pb.manual_seed(5)
    wanted = d.Gamma(2.0, 1.0).sample((100,)).numpy()
    found: dict[int, Any] = {}
    barrier = threading.Barrier(4)

    def work(i: int) -> None:
        pb.manual_seed(5)
        barrier.wait()
        found[i] = np.concatenate([d.Gamma(2.0, 1.0).sample((25,)).numpy() for _ in range(4)])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(4):
        np.testing.assert_array_equal(found[i], wanted)


def test_a_generator_is_left_alone() -> None:
    """Drawing from one generator moves neither the default one nor its like."""
    pb.manual_seed(3)
    wanted = pb.rand(4)
    pb.manual_seed(3)
    d.Normal(0.0, 1.0).sample((10,), generator=pb.Generator().manual_seed(1))
    assert (pb.rand(4) == wanted).all()


def test_exported_state_continues() -> None:
    generator = pb.Generator().manual_seed(9)
    d.Beta(1.0, 2.0).sample((3,), generator=generator)
    twin = generator.clone_state()
    first = d.Beta(1.0, 2.0).sample((3,), generator=generator)
    assert (d.Beta(1.0, 2.0).sample((3,), generator=twin) == first).all()


@pytest.mark.parametrize(
    ("fill", "peer"),
    [
        (lambda x: x.cauchy_(1.0, 2.0), scipy.stats.cauchy(1.0, 2.0)),
        (lambda x: x.log_normal_(0.5, 0.7), scipy.stats.lognorm(0.7, scale=np.exp(0.5))),
        (lambda x: x.exponential_(2.0), scipy.stats.expon(scale=0.5)),
        (lambda x: x.normal_(1.0, 2.0), scipy.stats.norm(1.0, 2.0)),
        (lambda x: x.uniform_(1.0, 2.0), scipy.stats.uniform(1.0, 1.0)),
    ],
)
def test_filling_in_place(fill: Callable[[Any], Any], peer: Any) -> None:
    pb.manual_seed(0)
    x = pb.empty(DRAWS)
    assert fill(x) is x
    assert scipy.stats.kstest(x.numpy().astype(float), peer.cdf).pvalue > 1e-3


def test_filling_with_counts() -> None:
    pb.manual_seed(0)
    x = pb.empty(DRAWS).geometric_(0.3)
    assert x.numpy().min() == 1
    assert x.numpy().mean() == pytest.approx(1 / 0.3, rel=0.05)
    for bad in (lambda x: x.geometric_(0.0), lambda x: x.cauchy_(0.0, -1.0), lambda x: x.log_normal_(0.0, 0.0)):
        with pytest.raises(RuntimeError, match="expects"):
            bad(pb.empty(2))
    p = pb.tensor([0.0, 1.0])
    assert (p.bernoulli() == p).all()
    assert p.multinomial(3, replacement=True).tolist() == [1, 1, 1]
