"""`pb.distributions` against PyTorch: densities, moments, entropies, divergences, and their gradients."""

import inspect
import itertools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributions as peers

import pullback as pb
import pullback.distributions as d

RNG = np.random.default_rng(0)


def real(*shape: int) -> Any:
    return RNG.standard_normal(shape)


def positive(*shape: int) -> Any:
    return RNG.random(shape) * 2 + 0.3


def chance(*shape: int) -> Any:
    return RNG.random(shape) * 0.8 + 0.1


def simplex(*shape: int) -> Any:
    weights = RNG.random(shape) + 0.1
    return weights / weights.sum(-1, keepdims=True)


def factor(*shape: int) -> Any:
    root = RNG.standard_normal(shape)
    return np.linalg.cholesky(root @ root.swapaxes(-1, -2) + np.eye(shape[-1]))


def definite(*shape: int) -> Any:
    root = factor(*shape)
    return root @ root.swapaxes(-1, -2)


TEMPERATURE = np.array(0.7)
LOOSE = {"VonMises": 1e-4}  # PyTorch's Bessel functions are polynomials of single precision
# name of the family, parameters
FAMILIES: list[tuple[str, dict[str, Any]]] = [
    ("Normal", {"loc": real(4), "scale": positive(4)}),
    ("LogNormal", {"loc": real(4), "scale": positive(4)}),
    ("HalfNormal", {"scale": positive(4)}),
    ("LogisticNormal", {"loc": real(2, 3), "scale": positive(2, 3)}),
    ("Laplace", {"loc": real(4), "scale": positive(4)}),
    ("Cauchy", {"loc": real(4), "scale": positive(4)}),
    ("Gumbel", {"loc": real(4), "scale": positive(4)}),
    ("HalfCauchy", {"scale": positive(4)}),
    ("Uniform", {"low": real(4) - 3, "high": positive(4)}),
    ("Exponential", {"rate": positive(4)}),
    ("Weibull", {"scale": positive(4), "concentration": positive(4)}),
    ("Pareto", {"scale": positive(4), "alpha": positive(4) + 2}),
    ("Pareto", {"scale": positive(2), "alpha": np.array([0.7, 1.5])}),
    ("Kumaraswamy", {"concentration1": positive(4) + 1, "concentration0": positive(4) + 1}),
    ("Gamma", {"concentration": positive(4), "rate": positive(4)}),
    ("Chi2", {"df": positive(4) * 3}),
    ("InverseGamma", {"concentration": positive(4) + 2, "rate": positive(4)}),
    ("InverseGamma", {"concentration": np.array([0.7, 1.5]), "rate": positive(2)}),
    ("Beta", {"concentration1": positive(4) + 1, "concentration0": positive(4) + 1}),
    ("Dirichlet", {"concentration": positive(2, 3) + 1}),
    ("Dirichlet", {"concentration": np.array([[0.5, 0.2, 0.4], [3.0, 0.5, 1.0]])}),
    ("StudentT", {"df": positive(4) + 2, "loc": real(4), "scale": positive(4)}),
    ("StudentT", {"df": np.array([0.5, 1.5]), "loc": real(2), "scale": positive(2)}),
    ("FisherSnedecor", {"df1": positive(4) + 3, "df2": positive(4) + 5}),
    ("FisherSnedecor", {"df1": np.array([1.0, 4.0]), "df2": np.array([1.5, 3.0])}),
    ("VonMises", {"loc": real(4), "concentration": positive(4)}),
    ("Bernoulli", {"probs": chance(4)}),
    ("Bernoulli", {"logits": real(4)}),
    ("ContinuousBernoulli", {"probs": chance(4)}),
    ("ContinuousBernoulli", {"logits": real(4)}),
    ("Geometric", {"probs": chance(4)}),
    ("Geometric", {"logits": real(4)}),
    ("Poisson", {"rate": positive(4)}),
    ("Binomial", {"total_count": 5, "probs": chance(4)}),
    ("Binomial", {"total_count": 5, "logits": real(4)}),
    ("NegativeBinomial", {"total_count": positive(4) * 3, "probs": chance(4)}),
    ("NegativeBinomial", {"total_count": positive(4), "logits": real(4)}),
    ("Categorical", {"probs": simplex(2, 3)}),
    ("Categorical", {"logits": real(2, 3)}),
    ("OneHotCategorical", {"probs": simplex(2, 3)}),
    ("OneHotCategorical", {"logits": real(2, 3)}),
    ("OneHotCategoricalStraightThrough", {"probs": simplex(2, 3)}),
    ("Multinomial", {"total_count": 5, "probs": simplex(2, 3)}),
    ("Multinomial", {"total_count": 5, "logits": real(2, 3)}),
    ("RelaxedBernoulli", {"temperature": TEMPERATURE, "probs": chance(4)}),
    ("RelaxedBernoulli", {"temperature": TEMPERATURE, "logits": real(4)}),
    ("RelaxedOneHotCategorical", {"temperature": TEMPERATURE, "probs": simplex(2, 3)}),
    ("RelaxedOneHotCategorical", {"temperature": TEMPERATURE, "logits": real(2, 3)}),
    ("MultivariateNormal", {"loc": real(2, 3), "covariance_matrix": definite(3, 3)}),
    ("MultivariateNormal", {"loc": real(3), "precision_matrix": definite(2, 3, 3)}),
    ("MultivariateNormal", {"loc": real(2, 3), "scale_tril": factor(2, 3, 3)}),
    ("LowRankMultivariateNormal", {"loc": real(2, 3), "cov_factor": real(3, 2), "cov_diag": positive(2, 3)}),
]
NAMED = [pytest.param(*family, id=f"{family[0]}-{'-'.join(family[1])}-{i}") for i, family in enumerate(FAMILIES)]


class Twins:
    """A distribution here and in PyTorch, with parameters that require gradients."""

    def __init__(self, name: str, parameters: dict[str, Any]) -> None:
        arrays = {key: isinstance(value, np.ndarray) for key, value in parameters.items()}
        self.mine = {k: pb.tensor(v, requires_grad=True) if arrays[k] else v for k, v in parameters.items()}
        self.theirs = {k: torch.tensor(v, requires_grad=True) if arrays[k] else v for k, v in parameters.items()}
        self.ours, self.peer = getattr(d, name)(**self.mine), getattr(peers, name)(**self.theirs)
        torch.manual_seed(0)
        self.values = self.peer.sample((5,)).double() if name != "Categorical" else self.peer.sample((5,))

    def leaves(self) -> list[tuple[Any, Any]]:
        return [(self.mine[k], self.theirs[k]) for k in self.mine if isinstance(self.mine[k], pb.Tensor)]


def compare(ours: Any, peer: Any, f: Callable[[Any, Any], Any], leaves: Any = (), tol: float = 1e-6) -> bool:
    """`f(distribution, tensor)` gives the same here and in PyTorch, and the same gradients; `tensor` makes tensors.

    False if PyTorch has no such function. Where its gradients are NaN or infinite, by a branch not taken, ours are 0.
    """
    try:
        wanted = f(peer, torch.tensor)
    except NotImplementedError:
        return False
    got = f(ours, pb.tensor)
    a, b = got.detach().numpy(), wanted.detach().numpy()
    assert (a.shape, a.dtype) == (b.shape, b.dtype)
    np.testing.assert_allclose(a, b, rtol=tol / 10, atol=1e-9)
    if not wanted.requires_grad or not got.requires_grad:
        return True
    weights = np.random.default_rng(1).standard_normal(b.shape)
    options = {"retain_graph": True, "allow_unused": True}
    loss = (wanted * torch.tensor(weights)).sum()
    try:
        expected = torch.autograd.grad(loss, [theirs for _, theirs in leaves], **options)
    except NotImplementedError:  # the incomplete gamma function in its shape
        return True
    found = pb.autograd.grad((got * pb.tensor(weights)).sum(), [mine for mine, _ in leaves], **options)
    for mine, theirs in zip(found, expected, strict=True):
        if theirs is None or mine is None:
            assert not any(x is not None and np.nan_to_num(x.numpy()).any() for x in (mine, theirs))
        else:
            finite = np.where(np.isfinite(theirs.numpy()), theirs.numpy(), 0.0)
            np.testing.assert_allclose(mine.numpy(), finite, rtol=tol, atol=1e-8)
    return True


@pytest.mark.parametrize(("name", "parameters"), NAMED)
def test_formulas(name: str, parameters: dict[str, Any]) -> None:
    twins = Twins(name, parameters)
    ours, peer, leaves = twins.ours, twins.peer, twins.leaves()
    assert tuple(ours.batch_shape) == tuple(peer.batch_shape)
    assert tuple(ours.event_shape) == tuple(peer.event_shape)
    assert ours.has_rsample == peer.has_rsample
    assert ours.has_enumerate_support == peer.has_enumerate_support
    tol = LOOSE.get(name, 1e-6)
    x, levels = twins.values.numpy(), np.random.default_rng(2).random((5, *peer.batch_shape)) * 0.9 + 0.05
    assert compare(ours, peer, lambda o, t: o.log_prob(t(x)), leaves, tol)
    compare(ours, peer, lambda o, t: o.cdf(t(x)), leaves)
    compare(ours, peer, lambda o, t: o.icdf(t(levels)), leaves)
    for what in ("mean", "mode", "variance", "stddev"):
        if (name, what) != ("Kumaraswamy", "mode"):  # PyTorch's is NaN
            compare(ours, peer, lambda o, t, what=what: getattr(o, what), leaves, tol)
    for what in ("entropy", "perplexity", "enumerate_support"):
        compare(ours, peer, lambda o, t, what=what: getattr(o, what)(), leaves)
    if ours.has_enumerate_support:
        compare(ours, peer, lambda o, t: o.enumerate_support(False), leaves)


@pytest.mark.parametrize(("name", "parameters"), NAMED)
def test_expanded(name: str, parameters: dict[str, Any]) -> None:
    twins = Twins(name, parameters)
    ours = twins.ours.expand((3, *twins.ours.batch_shape))
    peer = twins.peer.expand((3, *twins.peer.batch_shape))
    assert tuple(ours.batch_shape) == tuple(peer.batch_shape)
    x = twins.values.numpy()[:1]
    compare(ours, peer, lambda o, t: o.log_prob(t(x)), twins.leaves(), LOOSE.get(name, 1e-6))
    assert tuple(ours.sample((2,)).shape) == tuple(peer.sample((2,)).shape)


@pytest.mark.parametrize(("name", "parameters"), NAMED)
def test_samples(name: str, parameters: dict[str, Any]) -> None:
    """Shape, dtype, support; reparametrised ones are tracked and have the density's gradients (see test_random)."""
    low = {k: v.astype("float32") if isinstance(v, np.ndarray) else v for k, v in parameters.items()}
    for given, seed in itertools.product((parameters, low), range(2)):
        ours = getattr(d, name)(**{k: pb.tensor(v) if isinstance(v, np.ndarray) else v for k, v in given.items()})
        pb.manual_seed(seed)
        drawn = ours.sample((50, 2))
        assert tuple(drawn.shape) == (50, 2, *ours.batch_shape, *ours.event_shape)
        wanted = pb.int64 if name == "Categorical" else pb.float32 if given is low else pb.float64
        assert drawn.dtype == wanted
        assert not drawn.requires_grad
        if name not in ("RelaxedOneHotCategorical", "LogisticNormal", "Dirichlet") or given is parameters:
            assert np.isfinite(ours.log_prob(drawn).numpy()).all()  # which checks the support
        assert ours.log_prob(drawn).dtype == (pb.float32 if given is low else pb.float64)
        pb.manual_seed(seed)
        assert (ours.sample((50, 2)) == drawn).all()
        other = ours.sample((50, 2), generator=pb.Generator().manual_seed(seed))
        assert (other == drawn).all()
        if ours.has_rsample:
            pb.manual_seed(seed)
            assert (ours.rsample((50, 2)) == drawn).all()
        else:
            with pytest.raises(NotImplementedError):
                ours.rsample()


# Divergences

SHARED = dict(reversed(FAMILIES))
TORCH_FAILS = {("LowRankMultivariateNormal", "MultivariateNormal")}
PAIRS = sorted(
    (p.__name__, q.__name__)
    for p, q in peers.kl._KL_REGISTRY
    if p.__name__ in SHARED and q.__name__ in SHARED and (p.__name__, q.__name__) not in TORCH_FAILS
)


def other_parameters(name: str) -> dict[str, Any]:
    """Parameters that differ from those of `SHARED`."""
    given = dict(SHARED[name])
    for key, value in given.items():
        if key == "probs":
            given[key] = simplex(2, 3) if value.ndim == 2 else chance(4)
        elif isinstance(value, np.ndarray):
            given[key] = value * 1.1
    return given


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_divergences(first: str, second: str) -> None:
    inside = {"Uniform": {"low": chance(4) * 0.2 + 0.1, "high": chance(4) * 0.2 + 0.6}}
    wide = {
        "Uniform": {"low": -positive(4), "high": positive(4) + 1},
        "Pareto": {"scale": positive(4) * 0.01, "alpha": positive(4)},
    }
    cases = [(SHARED[first], other_parameters(second))]
    if {first, second} & {"Uniform", "Pareto"}:
        cases.append((inside.get(first, SHARED[first]), wide.get(second, SHARED[second])))
    for mine, yours in cases:
        p, q = Twins(first, mine), Twins(second, yours)
        wanted = peers.kl_divergence(p.peer, q.peer).detach().numpy()
        if np.isfinite(wanted).all():
            ours, theirs = (d, p.ours, q.ours), (peers, p.peer, q.peer)
            compare(ours, theirs, lambda o, t: o[0].kl_divergence(o[1], o[2]), p.leaves() + q.leaves())
        else:
            np.testing.assert_allclose(d.kl_divergence(p.ours, q.ours).detach().numpy(), wanted, rtol=1e-7)


def test_divergence_of_low_rank_normals() -> None:
    low = d.LowRankMultivariateNormal(real(3), real(3, 2), positive(3))
    dense = d.MultivariateNormal(low.loc, low.covariance_matrix)
    other = d.MultivariateNormal(real(3), definite(3, 3))
    for p, q in ((low, dense), (dense, low)):
        assert abs(d.kl_divergence(p, q).item()) < 1e-12
    assert d.kl_divergence(low, other).item() == pytest.approx(d.kl_divergence(dense, other).item(), rel=1e-12)
    np.testing.assert_allclose(low.precision_matrix.numpy(), np.linalg.inv(low.covariance_matrix.numpy()), rtol=1e-10)


def test_divergence_dispatch() -> None:
    class Mine(d.Normal):
        pass

    p, q = Mine(0.0, 1.0), d.Normal(1.0, 1.0)
    assert d.kl_divergence(p, q).item() == pytest.approx(0.5)
    d.register_kl(Mine, d.Normal)(lambda p, q: "mine")
    assert d.kl_divergence(p, q) == "mine"
    with pytest.raises(NotImplementedError, match=r"No KL\(p \|\| q\)"):
        d.kl_divergence(d.Cauchy(0.0, 1.0), q)
    with pytest.raises(TypeError, match="Expected type_p"):
        d.register_kl(int, d.Normal)
    with pytest.raises(NotImplementedError):
        d.kl_divergence(d.Binomial(2, 0.5), d.Binomial(3, 0.5))


def test_impossible_divergences() -> None:
    """0 · log 0 is 0, and what q rules out is infinite."""
    p = d.Categorical(pb.tensor([0.0, 1.0]))
    assert d.kl_divergence(p, d.Categorical(pb.tensor([0.5, 0.5]))).item() == pytest.approx(np.log(2))
    assert d.kl_divergence(d.Categorical(pb.tensor([0.5, 0.5])), p).item() == np.inf
    assert d.kl_divergence(d.Bernoulli(0.5), d.Bernoulli(0.0)).item() == np.inf
    assert d.kl_divergence(d.Bernoulli(0.0), d.Bernoulli(0.0)).item() == 0
    assert d.kl_divergence(d.Uniform(0.0, 2.0), d.Uniform(0.0, 1.0)).item() == np.inf


# Transforms


def transforms() -> list[tuple[Any, Any, Any]]:
    """Each here, in PyTorch, and where to try it."""
    made: list[tuple[Any, Any, Any]] = []
    for module, tensor in ((d.transforms, pb.tensor), (peers.transforms, torch.tensor)):
        affine = module.AffineTransform(tensor(1.5), tensor(-2.0))
        row = [
            (module.ExpTransform(), real(4)),
            (module.PowerTransform(tensor(2.5)), positive(4)),
            (module.SigmoidTransform(), real(4)),
            (module.TanhTransform(), real(4)),
            (module.SoftplusTransform(), real(4)),
            (module.AbsTransform(), positive(4)),
            (affine, real(4)),
            (module.AffineTransform(0.5, 2.0, event_dim=1), real(2, 3)),
            (module.SoftmaxTransform(), real(2, 3)),
            (module.StickBreakingTransform(), real(2, 3)),
            (module.LowerCholeskyTransform(), real(2, 3, 3)),
            (module.PositiveDefiniteTransform(), np.tril(real(3, 3))),
            (module.CorrCholeskyTransform(), real(2, 6)),
            (module.ComposeTransform([affine, module.ExpTransform()]), real(4)),
            (module.ComposeTransform([affine, module.StickBreakingTransform()]), real(2, 3)),
            (module.IndependentTransform(module.ExpTransform(), 1), real(2, 3)),
            (module.ReshapeTransform((6,), (2, 3)), real(4, 6)),
            (module.CatTransform([module.ExpTransform(), affine], 0, [1, 3]), real(4)),
            (module.StackTransform([module.ExpTransform(), affine], 1), real(3, 2)),
        ]
        made.append(row)  # type: ignore[arg-type]
    return [(a, b, x) for (a, x), (b, _) in zip(*made, strict=True)]


@pytest.mark.parametrize(
    ("ours", "peer", "at"), [pytest.param(*t, id=f"{type(t[0]).__name__}-{i}") for i, t in enumerate(transforms())]
)
def test_transforms(ours: Any, peer: Any, at: Any) -> None:
    x, y = pb.tensor(at, requires_grad=True), torch.tensor(at, requires_grad=True)
    ends = (ours, x), (peer, y)
    assert compare(*ends, lambda o, t: o[0](o[1]), [(x, y)])
    assert compare(*ends, lambda o, t: o[0].inv(o[0](o[1])), [(x, y)])
    if compare(*ends, lambda o, t: o[0].log_abs_det_jacobian(o[1], o[0](o[1])), [(x, y)]):
        image = ours(x)
        volume, back = ours.log_abs_det_jacobian(x, image), ours.inv.log_abs_det_jacobian(image, x)
        np.testing.assert_allclose(back.detach().numpy(), -volume.detach().numpy(), rtol=1e-8)
    assert tuple(ours.forward_shape(at.shape)) == tuple(peer.forward_shape(torch.Size(at.shape)))
    assert tuple(ours.inverse_shape(tuple(ours(x).shape))) == tuple(at.shape) or not ours.bijective
    assert ours.bijective == peer.bijective
    assert ours.domain.event_dim == peer.domain.event_dim
    assert ours.codomain.event_dim == peer.codomain.event_dim
    assert ours.codomain.check(ours(x)).all()
    assert ours.inv.inv is ours or ours.inv.inv == ours or isinstance(ours, d.ComposeTransform)
    assert ours.with_cache(1).inv is not None


def test_volume_is_that_of_the_jacobian() -> None:
    """log |det| against the Jacobian itself, for the bijections of vectors."""
    x = real(6)
    stick, corr = d.StickBreakingTransform(), d.CorrCholeskyTransform()
    full = pb.jacobian(lambda x: stick(x)[:-1])(x)
    found = stick.log_abs_det_jacobian(pb.tensor(x), stick(pb.tensor(x)))
    assert found.item() == pytest.approx(np.linalg.slogdet(full)[1], rel=1e-10)
    rows, columns = np.tril_indices(4, -1)
    full = pb.jacobian(lambda x: corr(x)[rows, columns])(x)
    found = corr.log_abs_det_jacobian(pb.tensor(x), corr(pb.tensor(x)))
    assert found.item() == pytest.approx(np.linalg.slogdet(full)[1], rel=1e-10)


def test_cached_transform() -> None:
    calls = []

    class Counting(d.ExpTransform):
        def _call(self, x: Any) -> Any:
            calls.append(x)
            return super()._call(x)

    t, x = Counting(cache_size=1), pb.tensor([1.0, 2.0])
    y = t(x)
    assert t(x) is y
    assert t.inv(y) is x
    assert len(calls) == 1
    with pytest.raises(ValueError, match="cache_size"):
        Counting(cache_size=2)


def test_transformed_distributions() -> None:
    loc, at = real(3), chance(5, 3)
    for sign in (2.0, -2.0):
        ours = d.TransformedDistribution(
            d.Normal(pb.tensor(loc), 1.5), [d.AffineTransform(1.0, sign), d.SigmoidTransform()]
        )
        peer = peers.TransformedDistribution(
            peers.Normal(torch.tensor(loc), 1.5),
            [peers.transforms.AffineTransform(1.0, sign), peers.transforms.SigmoidTransform()],
        )
        for what in ("log_prob", "cdf", "icdf"):
            compare(ours, peer, lambda o, t, what=what: getattr(o, what)(t(at)))
        assert d.kl_divergence(ours, ours).numpy() == pytest.approx(np.zeros(3))
        assert ours.rsample((2,)).shape == (2, 3)
    with pytest.raises(ValueError, match="transforms must be"):
        d.TransformedDistribution(d.Normal(0.0, 1.0), "exp")  # type: ignore[arg-type]


def test_independent_and_mixture() -> None:
    loc, scale, weights = real(2, 3), positive(2, 3), simplex(2)
    ours = d.Independent(d.Normal(pb.tensor(loc), pb.tensor(scale)), 1)
    peer = peers.Independent(peers.Normal(torch.tensor(loc), torch.tensor(scale)), 1)
    x, y = real(5, 2, 3), real(5, 3)
    compare(ours, peer, lambda o, t: o.log_prob(t(x)))
    compare(ours, peer, lambda o, t: o.entropy())
    compare((d, ours), (peers, peer), lambda o, t: o[0].kl_divergence(o[1], o[1].expand((2,))))
    mix = d.MixtureSameFamily(d.Categorical(pb.tensor(weights)), ours)
    theirs = peers.MixtureSameFamily(peers.Categorical(torch.tensor(weights)), peer)
    compare(mix, theirs, lambda o, t: o.log_prob(t(y)))
    compare(mix, theirs, lambda o, t: o.mean)
    compare(mix, theirs, lambda o, t: o.variance)
    assert mix.sample((4,)).shape == (4, 3)
    assert mix.expand((6,)).sample().shape == (6, 3)
    with pytest.raises(ValueError, match="component"):
        d.MixtureSameFamily(d.Categorical(pb.ones(3)), ours)
    with pytest.raises(ValueError, match="reinterpreted_batch_ndims"):
        d.Independent(ours, 2)
    flat = d.MixtureSameFamily(d.Categorical(pb.tensor(weights)), d.Normal(pb.tensor(loc[:, 0]), 1.0))
    twin = peers.MixtureSameFamily(peers.Categorical(torch.tensor(weights)), peers.Normal(torch.tensor(loc[:, 0]), 1.0))
    compare(flat, twin, lambda o, t: o.cdf(t(x[:, 0, 0])))


# Checks of arguments


def test_parameters_are_checked() -> None:
    with pytest.raises(ValueError, match=r"Expected parameter scale .* to satisfy the constraint GreaterThan"):
        d.Normal(0.0, -1.0)
    with pytest.raises(ValueError, match="Expected parameter covariance_matrix"):
        d.MultivariateNormal(pb.zeros(2), -pb.eye(2))
    with pytest.raises(ValueError, match="low >= high"):
        d.Uniform(1.0, 0.0)
    with pytest.raises(ValueError, match="Either `probs` or `logits`"):
        d.Bernoulli(0.5, 0.5)
    with pytest.raises(ValueError, match="to be within the support"):
        d.Exponential(1.0).log_prob(pb.tensor(-1.0))
    with pytest.raises(ValueError, match="not broadcastable"):
        d.Normal(pb.zeros(3), 1.0).log_prob(pb.zeros(2))
    with pytest.raises(ValueError, match="must match event_shape"):
        d.Dirichlet(pb.ones(3)).log_prob(pb.ones(2))
    with pytest.raises(ValueError, match="must be a Tensor"):
        d.Normal(0.0, 1.0).log_prob("one")
    assert d.Normal(0.0, -1.0, validate_args=False).scale.item() == -1
    d.Distribution.set_default_validate_args(False)
    try:
        d.Exponential(1.0).log_prob(pb.tensor(-1.0))
    finally:
        d.Distribution.set_default_validate_args(True)


def test_repr_is_pytorchs() -> None:
    for name, parameters in FAMILIES:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            twins = Twins(name, parameters)
        if name not in ("Uniform",) and "Relaxed" not in name and "LogisticNormal" not in name and name != "LogNormal":
            shown, wanted = repr(twins.ours), repr(twins.peer)
            assert shown.partition("(")[0] == wanted.partition("(")[0]
    assert repr(d.Normal(0.0, 1.0)) == repr(peers.Normal(0.0, 1.0))
    assert repr(d.Normal(pb.zeros(3), pb.ones(3))) == repr(peers.Normal(torch.zeros(3), torch.ones(3)))
    for constraint in ("real", "positive", "unit_interval", "simplex", "real_vector", "nonnegative_integer", "boolean"):
        assert repr(getattr(d.constraints, constraint)) == repr(getattr(peers.constraints, constraint))


def test_numbers_take_the_dtype_of_tensors() -> None:
    assert d.Normal(pb.zeros(2, dtype=pb.float64), 1).scale.dtype == pb.float64
    assert d.Normal(0, 1).scale.dtype == pb.float32
    assert d.Normal(np.zeros(2), 1.0).log_prob(np.zeros(2)).dtype == pb.float64


# Under the transforms


def test_numpy_code() -> None:
    x = real(5)
    found = pb.grad(lambda m: d.Normal(m, 2.0).log_prob(x).sum())(1.0)
    assert found == pytest.approx(np.sum(x - 1.0) / 4)
    cov = definite(2, 2)
    point = real(2)

    def density(cov: Any) -> Any:
        return d.MultivariateNormal(np.zeros(2), cov).log_prob(point)

    inverse = np.linalg.inv(cov)
    wanted = 0.5 * (np.outer(inverse @ point, inverse @ point) - inverse)
    np.testing.assert_allclose(pb.grad(density)(cov), wanted, rtol=1e-9)


@pytest.mark.parametrize("name", ["Normal", "Gamma", "Beta", "StudentT", "Bernoulli", "Poisson", "Gumbel"])
def test_second_order_and_batches(name: str) -> None:
    parameters = SHARED[name]
    x = Twins(name, parameters).values.numpy()[0]
    keys = list(parameters)

    def density(*values: Any) -> Any:
        return getattr(d, name)(**dict(zip(keys, values, strict=True))).log_prob(x[0])

    points = [parameters[k] for k in keys]
    at = [v[0] for v in points]
    for i in range(len(keys)):
        grad = pb.grad(density, argnums=i)
        forward = pb.jvp(lambda v, i=i, grad=grad: grad(*at[:i], v, *at[i + 1 :]), (at[i],), (1.0,))[1]
        step = 1e-5
        moved = [grad(*at[:i], at[i] + s, *at[i + 1 :]) for s in (step, -step)]
        assert float(forward) == pytest.approx((moved[0] - moved[1]) / (2 * step), rel=1e-5, abs=1e-7)
        rows = [grad(*(p[k] for p in points)) for k in range(3)]
        np.testing.assert_allclose(pb.vmap(grad)(*(p[:3] for p in points)), rows, rtol=1e-10)


def test_names() -> None:
    """Every family and function that PyTorch has is here, but for a few."""
    missing = {
        name
        for name, value in vars(peers).items()
        if not name.startswith("_") and (inspect.isclass(value) or callable(value)) and not hasattr(d, name)
    }
    assert missing <= {"ExponentialFamily", "GeneralizedPareto", "LKJCholesky", "Wishart"}


@pytest.mark.parametrize("registry", ["biject_to", "transform_to"])
def test_maps_onto_constraints(registry: str) -> None:
    names = "real positive nonnegative unit_interval simplex lower_cholesky corr_cholesky positive_definite".split()
    cases = [(getattr(d.constraints, name), getattr(peers.constraints, name)) for name in names]
    for bounds in (("greater_than", 2.0), ("less_than", -1.0), ("interval", -1.0, 3.0), ("half_open_interval", 0, 2)):
        cases.append(tuple(getattr(m.constraints, bounds[0])(*bounds[1:]) for m in (d, peers)))  # type: ignore[arg-type]
    cases.append((d.constraints.real_vector, peers.constraints.real_vector))
    x = real(3, 3, 3)
    for ours, theirs in cases:
        try:
            peer = getattr(peers, registry)(theirs)
        except NotImplementedError:
            with pytest.raises(NotImplementedError):
                getattr(d, registry)(ours)
            continue
        mine = getattr(d, registry)(ours)
        assert compare(mine, peer, lambda o, t: o(t(x)))
        assert ours.check(mine(pb.tensor(x))).all()
    with pytest.raises(TypeError, match="Expected constraint"):
        getattr(d, registry).register(int, lambda c: None)
