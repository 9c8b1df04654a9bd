"""Special functions: scipy.special in unchanged code, PyTorch's names, derivatives against mpmath, poles and kinks."""

import mpmath
import numpy as np
import pytest
import scipy.special
import torch

import pullback as pb
from pullback.ops import bessel, gammas
from pullback.scipy.table import FUNCTIONS
from pullback.tensor.numpy_api.table import SCIPY_UFUNCS

mpmath.mp.dps = 40


def tracked(x, dtype=np.float64):
    return pb.tensor(np.asarray(x, dtype), requires_grad=True)


# scipy.special's universal functions in unchanged code. Operands, and those of them that have a derivative.

_INSIDE = np.array([0.15, 0.4, 0.7, 0.95])
_X = np.array([0.2, -0.4, 0.6])
_CALLS = {
    "gammaincinv": ([np.array([0.5, 2.0, 3.0]), np.array([0.1, 0.5, 0.9])], (0, 1)),
    "gammainccinv": ([np.array([0.5, 2.0, 3.0]), np.array([0.1, 0.5, 0.9])], (0, 1)),
    "binom": ([np.array([4.0, 5.5, 7.0]), np.array([2.0, 1.2, 3.0])], (0, 1)),
    "hyp0f1": ([1.5, _X], (1,)),
    "hyp1f1": ([0.7, 1.5, _X], (2,)),
    "hyp2f1": ([0.7, 1.5, 2.2, _X], (3,)),
    "expn": ([2, _INSIDE], (1,)),
    "bdtr": ([np.array([1.0, 2.0, 3.0]), 5, np.array([0.3, 0.4, 0.6])], (2,)),
    "bdtrc": ([np.array([1.0, 2.0, 3.0]), 5, np.array([0.3, 0.4, 0.6])], (2,)),
    "pdtr": ([np.array([1.0, 2.0, 4.0]), np.array([0.3, 1.4, 2.6])], (1,)),
    "pdtrc": ([np.array([1.0, 2.0, 4.0]), np.array([0.3, 1.4, 2.6])], (1,)),
    **{name: ([2, np.array([0.3, 1.4, 3.0])], (1,)) for name in "jv yv yn iv ive hankel1 hankel2".split()},
    **{f"eval_{n}": ([3, _X], (1,)) for n in "legendre chebyt chebyu laguerre hermite hermitenorm".split()},
    **{f"eval_{n}": ([3, 1.5, _X], (2,)) for n in "genlaguerre gegenbauer".split()},
    "eval_jacobi": ([3, 0.5, 1.5, _X], (3,)),
    "stdtr": ([np.array([0.5, 3.0, 40.0, 2.0]), np.array([-3.0, 0.4, 1.5, 20.0])], (0, 1)),
}


def call_of(name):
    count = getattr(scipy.special, name).nin
    rng = np.random.default_rng(count)
    return _CALLS.get(name, ([rng.uniform(0.1, 0.95, 4) for _ in range(count)], tuple(range(count))))


@pytest.mark.parametrize("name", sorted(SCIPY_UFUNCS))
def test_universal_functions_of_scipy(name):
    function = getattr(scipy.special, name)
    args, moving = call_of(name)
    wanted = function(*args)
    leaves = [tracked(x) if i in moving else x for i, x in enumerate(args)]
    found = function(*leaves)
    several = isinstance(wanted, tuple)
    for k, (y, w) in enumerate(zip(found if several else (found,), wanted if several else (wanted,), strict=True)):
        assert y.detach().numpy().dtype == w.dtype
        np.testing.assert_allclose(y.detach().numpy(), w, rtol=1e-11)
        for part in (y.real, y.imag) if w.dtype.kind == "c" else (y,):
            imaginary = w.dtype.kind == "c" and part is not y and part.grad_fn.name().startswith("Imag")
            for i in moving:
                (slope,) = pb.autograd.grad(part.sum(), [leaves[i]], retain_graph=True)
                values = []
                for h in (1e-5, -1e-5):
                    at = function(*args[:i], args[i] + h, *args[i + 1 :])
                    at = at[k] if several else at
                    values.append(at.imag if imaginary else at.real)
                numeric = (values[0] - values[1]) / 2e-5
                np.testing.assert_allclose(slope.numpy(), numeric, rtol=3e-6, atol=1e-7)


def test_float32_float16_integers_and_numbers():
    assert scipy.special.gammaln(pb.tensor([0.5, 2.0])).dtype == pb.float32
    assert scipy.special.gammaln(pb.tensor([0.5, 2.0], dtype=pb.float16)).dtype == pb.float32
    assert scipy.special.gammaln(pb.tensor([3, 4])).dtype == pb.float64
    assert scipy.special.beta(pb.tensor([0.5]), 2.0).dtype == pb.float32
    assert scipy.special.beta(2, pb.tensor([0.5])).dtype == pb.float32
    out = pb.zeros(2, dtype=pb.float64)
    assert scipy.special.psi(pb.tensor([1.0, 2.0], dtype=pb.float64), out=out) is out
    np.testing.assert_allclose(out.numpy(), scipy.special.psi([1.0, 2.0]))


def test_refusals():
    x = tracked([0.5])
    with pytest.raises(TypeError, match="where="):
        scipy.special.gammaln(x, where=np.array([True]))
    with pytest.raises(TypeError, match="complex"):
        scipy.special.gammaln(pb.tensor([1j]))
    with pytest.raises(TypeError, match="pullback"):
        scipy.special.struve(1.0, x)
    with pytest.raises(NotImplementedError, match="order v"):
        scipy.special.jv(x, 1.0).sum().backward()
    with pytest.raises(TypeError, match="expn"):
        scipy.special.expn(np.array([1, 2]), x)
    with pytest.raises(TypeError, match="exact"):
        pb.scipy.special.comb(x, 1, exact=True)


def test_a_function_of_the_same_name_elsewhere_is_not_scipys():
    psi = np.frompyfunc(lambda x: x, 1, 1)
    with pytest.raises(TypeError, match="derivative"):
        psi(pb.tensor([1.0]))


# Derivatives in shape parameters and orders


def _lower(a, x):
    return mpmath.gammainc(a, 0, x, regularized=True)


def _upper(a, x):
    return mpmath.gammainc(a, x, mpmath.inf, regularized=True)


@pytest.mark.parametrize("a", [1e-3, 0.3, 1.0, 2.5, 17.0, 1000.0])
@pytest.mark.parametrize("ratio", [1e-3, 0.5, 1.0, 1.2, 4.0])
def test_gammainc_in_its_parameter(a, ratio):
    x = a * ratio
    for order, tol in ((1, 2e-11), (2, 5e-9)):
        f = (lambda t: _lower(t, x)) if ratio < 1 else (lambda t: -_upper(t, x))
        wanted = float(mpmath.diff(f, mpmath.mpf(a), order, h=mpmath.mpf(10) ** -12 * a))
        found = gammas.gammainc(np.float64(a), np.float64(x), order=order)
        assert abs(found - wanted) <= tol * abs(wanted) + 1e-300


@pytest.mark.parametrize(("a", "b"), [(0.01, 2.0), (0.3, 0.02), (1.0, 1.0), (3.0, 50.0), (300.0, 200.0)])
@pytest.mark.parametrize("x", [1e-3, 0.3, 0.6, 0.98])
def test_betainc_in_its_parameters(a, b, x):
    h = mpmath.mpf(10) ** -12 * min(a, b)
    for orders in ((1, 0), (0, 1), (1, 1)):
        if x * (a + b) < a:
            f = lambda s, t: mpmath.betainc(s, t, 0, x, regularized=True)  # noqa: E731
        else:
            f = lambda s, t: -mpmath.betainc(t, s, 0, 1 - mpmath.mpf(x), regularized=True)  # noqa: E731
        wanted = float(mpmath.diff(f, (mpmath.mpf(a), mpmath.mpf(b)), orders, h=h))
        found = gammas.betainc(np.float64(a), np.float64(b), np.float64(x), orders=orders)
        assert abs(found - wanted) <= 2e-10 * abs(wanted) + 1e-290


@pytest.mark.parametrize("v", [0.3, -1.5, 7.0, 40.0])
@pytest.mark.parametrize("x", [1e-3, 1.0, 20.0, 300.0])
def test_kv_in_its_order(v, x):
    for order in (1, 2):
        wanted = float(mpmath.diff(lambda t: mpmath.besselk(t, x), mpmath.mpf(v), order))
        found = bessel.kv(np.float64(v), np.float64(x), order=order)
        assert abs(found - wanted) <= 1e-10 * abs(wanted)


def test_evaluations_of_our_own():
    """Those that SciPy has not, or is slow at."""
    x = np.array([1e-50, 1e-5, 0.3, 2.5, 7.3, 40.0, 1e15])
    np.testing.assert_allclose(gammas.polygamma(x, n=1), [float(mpmath.psi(1, v)) for v in x], rtol=1e-15)
    x = np.array([0.01, -0.5, 0.99, 1.01, 3.0, 20.0])
    np.testing.assert_allclose(bessel.j2(x), [float(mpmath.besselj(2, v)) for v in x], rtol=4e-15)
    np.testing.assert_allclose(bessel.i2(x), [float(mpmath.besseli(2, v)) for v in x], rtol=4e-15)
    for name in ("entr", "xlog1py"):
        operands = [np.array([-1.0, 0.0, 0.5, np.nan])] * (1 if name == "entr" else 2)
        with np.errstate(all="ignore"):
            found = getattr(pb.scipy.special, name)(*operands).numpy()
        np.testing.assert_allclose(found, getattr(scipy.special, name)(*operands), rtol=1e-15)


def test_slopes_of_the_incomplete_functions_at_the_ends():
    a = np.array([0.5, 2.0])
    for x in (0.0, np.inf):
        np.testing.assert_array_equal(gammas.gammainc(a, np.full(2, x), order=1), 0.0)
    for x in (0.0, 1.0):
        np.testing.assert_array_equal(gammas.betainc(a, a, np.full(2, x), orders=(1, 0)), 0.0)
    assert np.isnan(gammas.gammainc(np.array([-1.0]), np.array([0.5]), order=1)).all()
    assert gammas.gammainc(np.zeros((0, 2)), np.zeros((0, 2)), order=1).shape == (0, 2)


# Against PyTorch: `tests/op_db.py` runs its samples; here the names it has without a gradient


@pytest.mark.parametrize("name", sorted(set(pb.special.__all__) & set(dir(torch.special))))
def test_torch_special(name):
    mine, theirs = getattr(pb.special, name), getattr(torch.special, name)
    x = np.array([0.15, 0.4, 0.7])
    extra = {
        "polygamma": ((2,), ()),
        "multigammaln": ((), (1,)),
        "log_softmax": ((), (0,)),
        "softmax": ((), (0,)),
        "logsumexp": ((), (0,)),
    }.get(name, ((), (np.array([2.0, 1.0, 3.0]),)) if "polynomial" in name else ((), ()))
    if name in ("gammainc", "gammaincc", "xlog1py", "xlogy", "zeta"):
        extra = ((), (np.array([1.5, 2.0, 0.5]),))
    both = [
        [make(v) if isinstance(v, np.ndarray) else v for v in (*extra[0], x, *extra[1])]
        for make in (pb.tensor, torch.tensor)
    ]
    np.testing.assert_allclose(mine(*both[0]).numpy(), theirs(*both[1]).numpy(), rtol=1e-9, atol=1e-12)


def test_every_name_of_torch_special_that_is_missing_is_known():
    missing = {name for name in dir(torch.special) if not name.startswith("_")} - set(dir(pb.special))
    known = {"chebyshev_polynomial_v", "chebyshev_polynomial_w", "common_args", "multi_dim_common", "Tensor", "torch"}
    assert {n for n in missing if not n.startswith("shifted_")} <= known


# Poles and kinks


def slope(f, x, second=False):
    x = np.float64(x)
    d = lambda t: pb.jvp(f, (t,), (np.float64(1.0),))[1]  # noqa: E731
    with np.errstate(all="ignore"):
        return float(pb.jvp(d, (x,), (np.float64(1.0),))[1] if second else d(x))


def test_poles_and_kinks():
    special = pb.scipy.special
    assert np.isinf(float(special.gammaln(np.float64(0.0))))
    assert slope(special.entr, 0.0) == np.inf
    assert float(special.entr(np.float64(-1.0))) == -np.inf
    assert slope(lambda x: special.xlogy(x, 0.0), 0.0) == 0.0
    assert slope(lambda x: special.xlog1py(x, -1.0), 0.0) == 0.0
    assert slope(lambda y: special.xlog1py(0.0, y), -1.0) == 0.0
    for n in range(4):  # 1/Γ passes through its zeros with slope (-1)ⁿ n!
        assert slope(special.rgamma, -n) == pytest.approx((-1) ** n * scipy.special.factorial(n), rel=1e-13)
        wanted = float(mpmath.diff(mpmath.rgamma, -n, 2))
        assert slope(special.rgamma, -n, second=True) == pytest.approx(wanted, rel=1e-11)
    assert slope(special.exprel, 0.0) == 0.5
    assert slope(special.exprel, 0.0, second=True) == pytest.approx(1 / 3, rel=1e-14)
    assert slope(special.spence, 1.0) == -1.0
    assert slope(special.ellipk, 0.0) == pytest.approx(np.pi / 8, rel=1e-15)
    assert slope(special.ellipe, 0.0) == pytest.approx(-np.pi / 8, rel=1e-15)
    assert slope(lambda t: special.stdtr(3.0, t), 0.0) == pytest.approx(0.36755259694786135, rel=1e-13)
    assert slope(lambda df: special.stdtr(df, 0.0), 3.0) == 0.0
    assert slope(lambda lam: special.boxcox(2.0, lam), 0.0) == pytest.approx(np.log(2) ** 2 / 2, rel=1e-14)
    assert slope(lambda x: special.huber(1.0, x), 1.0) == 1.0
    assert slope(special.i0e, 0.0) == 0.0


@pytest.mark.parametrize("x", [-40.0, -5.0, 0.0, 5.0, 40.0])
def test_log_ndtr_in_both_tails(x):
    log_phi = lambda t: mpmath.log(mpmath.ncdf(t))  # noqa: E731
    for order in (1, 2):
        with mpmath.workdps(60 if x < 30 else 800):
            wanted = float(mpmath.diff(log_phi, x, order))
        assert slope(pb.scipy.special.log_ndtr, x, second=order == 2) == pytest.approx(wanted, rel=1e-9, abs=1e-300)


def test_ratios_are_smooth_across_the_switch_of_formula():
    special = pb.scipy.special
    for x in (0.999999, 1.000001, -1.0, 0.3, -30.0):
        exprel = lambda t: mpmath.expm1(t) / t  # noqa: E731
        assert slope(special.exprel, x) == pytest.approx(float(mpmath.diff(exprel, x)), rel=1e-13)
        assert slope(special.exprel, x, second=True) == pytest.approx(float(mpmath.diff(exprel, x, 2)), rel=1e-11)
    for m in (0.199999, 0.200001, -0.2, 0.95, -8.0):
        assert slope(special.ellipk, m) == pytest.approx(float(mpmath.diff(mpmath.ellipk, m)), rel=1e-12)
        assert slope(special.ellipe, m, second=True) == pytest.approx(
            float(mpmath.diff(mpmath.ellipe, m, 2)), rel=1e-10
        )


# Functions that are not universal


def test_logsumexp_with_weights_and_signs():
    special = pb.scipy.special
    a, b = np.array([[1.0, 2.0, 3.0], [800.0, 801.0, -5.0]]), np.array([[1.0, -2.0, 0.5], [2.0, 0.0, 3.0]])
    for options in ({}, {"axis": 1}, {"axis": (0, 1)}, {"axis": 0, "keepdims": True}):
        np.testing.assert_allclose(special.logsumexp(a, **options).numpy(), scipy.special.logsumexp(a, **options))
        for x, y in zip(
            special.logsumexp(a, b=b, return_sign=True, **options),
            scipy.special.logsumexp(a, b=b, return_sign=True, **options),
            strict=True,
        ):
            np.testing.assert_allclose(x.numpy(), y, rtol=1e-13)
    gradient = pb.grad(lambda w: special.logsumexp(np.array([0.0, 3.0]), b=w))(np.array([1.0, 0.0]))
    np.testing.assert_allclose(gradient, [1.0, np.exp(3.0)])
    assert special.logsumexp(np.array([0.0, 1000.0]), b=np.array([2.0, 0.0])).item() == np.log(2.0)
    assert special.logsumexp(np.array([-np.inf, -np.inf])).item() == -np.inf


@pytest.mark.parametrize("axis", [None, 0, 1, (0, 1)])
def test_softmax_axes(axis):
    x = np.random.default_rng(0).standard_normal((2, 3))
    for name in ("softmax", "log_softmax"):
        found = getattr(pb.scipy.special, name)(x, axis=axis).numpy()
        np.testing.assert_allclose(found, getattr(scipy.special, name)(x, axis=axis), rtol=1e-13)


def test_the_others_against_scipy():
    special, x = pb.scipy.special, np.array([0.5, 1.3, 4.2])
    calls = [
        ("polygamma", (1, x)),
        ("polygamma", (np.array([0, 1, 3]), x)),
        ("zeta", (2.5, x)),
        ("zeta", (x + 1,)),
        ("multigammaln", (x + 2, 3)),
        ("comb", (5.0, np.array([-1.0, 2.0, 6.0]))),
        ("perm", (5.0, np.array([-1.0, 2.0, 6.0]))),
        ("factorial", (np.array([-1.0, 0.0, 4.5]),)),
        ("lambertw", (x,)),
        ("lambertw", (x, -1)),
        ("sinc", (x,)),
        ("softplus", (x,)),
        ("digamma", (x,)),
        ("jn", (2, x)),
    ]
    for name, args in calls:
        np.testing.assert_allclose(
            getattr(special, name)(*args).numpy(), getattr(scipy.special, name)(*args), rtol=1e-12
        )
    called = {name for name, _ in calls} | {"logsumexp", "softmax", "log_softmax"} | set(SCIPY_UFUNCS)
    entered = {name.removeprefix("special.") for name in FUNCTIONS if name.startswith("special.")}
    assert entered <= called, "an entry without a test"


def test_lambertw_of_real_numbers_has_real_slopes():
    f = lambda x: pb.scipy.special.lambertw(x).real.sum()  # noqa: E731
    gradient = pb.grad(f)(np.array([0.0, 1.0]))
    assert gradient.dtype == np.float64
    np.testing.assert_allclose(gradient, [1.0, 0.3618962566348892], rtol=1e-12)


def test_rel_entr_and_kl_div_beyond_their_domain():
    x, y = np.array([0.0, 0.0, 1.0, -1.0, np.nan]), np.array([1.0, 0.0, 0.0, 1.0, 1.0])
    for name in ("rel_entr", "kl_div"):
        found = getattr(pb.scipy.special, name)(x, y).numpy()
        np.testing.assert_array_equal(found, getattr(scipy.special, name)(x, y))


def test_under_transforms():
    special = pb.scipy.special
    x = np.array([0.5, 1.5, 2.5])
    f = lambda t: scipy.special.gammaln(t) * scipy.special.gammainc(t, 2.0)  # noqa: E731
    rows = np.array([float(f(t)) for t in x])
    np.testing.assert_allclose(pb.vmap(lambda t: special.gammaln(t) * special.gammainc(t, 2.0))(x), rows)
    hessian = pb.hessian(lambda t: (special.gammaln(t) * special.gammainc(t, 2.0)).sum())(x)
    h = 1e-4
    wanted = [(float(f(t + h)) - 2 * float(f(t)) + float(f(t - h))) / h**2 for t in x]
    np.testing.assert_allclose(np.diag(hessian), wanted, rtol=1e-5)


# Samples and floating-point numbers


def test_quantile_in_its_level():
    x = np.array([3.0, 1.0, 10.0, 4.0])
    np.testing.assert_allclose(pb.grad(lambda q: pb.quantile(pb.tensor(x), q))(np.float64(0.4)), 3.0)
    assert pb.nanquantile(pb.tensor([np.nan, np.nan]), 0.5).isnan().item()
    levels = pb.vmap(lambda q: pb.quantile(pb.tensor(x), q))(np.array([0.0, 0.5, 1.0]))
    np.testing.assert_allclose(levels, [1.0, 3.5, 10.0])


def test_frexp_and_nextafter():
    x = tracked([3.0, 0.0, -0.3])
    mantissa, exponent = pb.frexp(x)
    np.testing.assert_array_equal(mantissa.detach().numpy(), np.frexp([3.0, 0.0, -0.3])[0])
    np.testing.assert_array_equal(exponent.numpy(), np.frexp([3.0, 0.0, -0.3])[1])
    mantissa.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [0.25, 1.0, 2.0])
    assert pb.nextafter(pb.tensor([1.0]), pb.tensor([2.0])).item() == np.nextafter(np.float32(1), np.float32(2))
    with pytest.raises(RuntimeError, match="floating"):
        pb.frexp(pb.tensor([1]))


def test_what_numpy_has_no_numbers_for():
    with pytest.raises(TypeError, match="bfloat16"):
        pb.tensor([1.0]).bfloat16()
    with pytest.raises(TypeError, match="complex32"):
        pb.tensor([1.0]).chalf()


def test_trapezoid_and_gradient_in_the_places():
    y, x = np.array([1.0, 4.0, 9.0, 16.0]), np.array([1.0, 2.0, 3.5, 4.0])
    places = pb.grad(lambda t: pb.trapezoid(pb.tensor(y), t))(x)
    tx = torch.tensor(x, requires_grad=True)
    torch.trapezoid(torch.tensor(y), tx).backward()
    np.testing.assert_allclose(places, tx.grad.numpy())
    (found,) = pb.gradient(pb.tensor(y), spacing=(pb.tensor(x),))
    np.testing.assert_allclose(found.numpy(), np.gradient(y, x))
    with pytest.raises(RuntimeError, match="spacing"):
        pb.gradient(pb.zeros(3, 3), spacing=[1.0])
    with pytest.raises(RuntimeError, match="not both"):
        pb.trapezoid(pb.tensor(y), pb.tensor(x), dx=1.0)


def test_sum_to_size():
    x = tracked(np.ones((2, 3)))
    y = x.sum_to_size(2, 1)
    y.sum().backward()
    assert tuple(y.shape) == (2, 1)
    np.testing.assert_array_equal(x.grad.numpy(), np.ones((2, 3)))
    with pytest.raises(RuntimeError, match="expandable"):
        x.sum_to_size(4, 1)


def test_integer_divisors():
    a, b = pb.tensor([12, 18, 0]), pb.tensor([18, 4, 5])
    np.testing.assert_array_equal(pb.gcd(a, b).numpy(), [6, 2, 5])
    np.testing.assert_array_equal(pb.lcm(a, b).numpy(), [36, 36, 0])
