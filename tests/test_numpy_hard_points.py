"""NumPy's functions where a derivative is easily got wrong: ties, zeros, masks, empty and strided arrays, dtypes.

The conventions: equal extremes share evenly; of equal elements in an order (sort, median, quantiles, partition) those
count that a stable sort puts in place; a jump has slope 0. They hold in every mode.
"""

import warnings

import numpy as np
import pytest

import pullback as pb


def every_mode(f, x):
    """The gradient of a scalar function in reverse, forward and batched mode, which must be the same."""
    x = np.asarray(x, float)
    reverse = pb.grad(f)(x)
    np.testing.assert_allclose(pb.jacfwd(f)(x), reverse, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(pb.vmap(pb.grad(f))(np.stack([x, x]))[1], reverse, rtol=1e-12, atol=1e-12)
    return np.asarray(reverse).tolist()


WEIGHTS = np.array([1.0, 10.0, 100.0])


@pytest.mark.parametrize(
    ("f", "x", "expected"),
    [
        # Ties
        (lambda x: np.max(x), [2.0, 1.0, 2.0], [0.5, 0.0, 0.5]),
        (lambda x: np.min(x), [1.0, 1.0, 1.0], [1 / 3, 1 / 3, 1 / 3]),
        (lambda x: np.maximum(x[0], x[1]), [3.0, 3.0], [0.5, 0.5]),
        (lambda x: np.ptp(x), [1.0, 3.0, 3.0], [-1.0, 0.5, 0.5]),
        (lambda x: np.sum(np.sort(x) * WEIGHTS), [2.0, 1.0, 1.0], [100.0, 1.0, 10.0]),
        (lambda x: np.median(x), [2.0, 2.0, 2.0], [0.0, 1.0, 0.0]),
        (lambda x: np.median(x), [5.0, 1.0, 5.0, 5.0], [0.5, 0.0, 0.5, 0.0]),
        (lambda x: np.quantile(x, 0.25), [1.0, 1.0, 1.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0, 0.0]),
        (lambda x: np.nanmedian(x), [2.0, np.nan, 2.0, 2.0], [0.0, 0.0, 1.0, 0.0]),
        (lambda x: np.maximum.accumulate(x)[2], [4.0, 4.0, 1.0], [0.0, 1.0, 0.0]),
        (lambda x: np.clip(x, 0.0, 1.0).sum(), [0.0, 1.0, 2.0], [1.0, 1.0, 0.0]),
        (lambda x: np.abs(x).sum(), [0.0, -2.0], [0.0, -1.0]),
        # Masks and starting values
        (lambda x: np.sum(x * x, where=[True, False, True]), [1.0, 2.0, 3.0], [2.0, 0.0, 6.0]),
        (lambda x: np.mean(x, where=[True, False, True]), [1.0, np.nan, 3.0], [0.5, 0.0, 0.5]),
        (lambda x: np.max(x, initial=10.0), [1.0, 2.0, 3.0], [0.0, 0.0, 0.0]),
        (lambda x: np.max(x, initial=-1.0, where=[True, True, False]), [1.0, 2.0, 3.0], [0.0, 1.0, 0.0]),
        (lambda x: np.prod(x, where=[True, False, True]), [2.0, 0.0, 3.0], [3.0, 0.0, 2.0]),
        (lambda x: np.nansum(x * x), [1.0, np.nan, 3.0], [2.0, 0.0, 6.0]),
        (lambda x: np.where(x > 0, np.log(np.where(x > 0, x, 1.0)), 0.0).sum(), [2.0, 0.0], [0.5, 0.0]),
        (lambda x: np.logaddexp.reduce(x, where=[True, False, True]), [0.0, 5.0, 0.0], [0.5, 0.0, 0.5]),
        # Zeros
        (lambda x: np.sum(x**0), [0.0, 2.0], [0.0, 0.0]),
        (lambda x: np.sum(0.0**x), [0.0, 2.0], [0.0, 0.0]),
        (lambda x: np.sum(np.float_power(0.0, x)), [0.0, 2.0], [0.0, 0.0]),
        (lambda x: np.linalg.norm(x), [0.0, 0.0], [0.0, 0.0]),
        (lambda x: np.hypot.reduce(x), [0.0, 0.0], [0.0, 0.0]),
        (lambda x: np.std(x), [2.0, 2.0], [0.0, 0.0]),
        (lambda x: np.prod(x), [2.0, 0.0, 3.0], [0.0, 6.0, 0.0]),
        (lambda x: np.sum(np.cumprod(x)), [0.0, 2.0, 3.0], [9.0, 0.0, 0.0]),
        (lambda x: np.multiply.reduceat(x, [0, 1]).sum(), [5.0, 0.0, 3.0], [1.0, 3.0, 0.0]),
        (lambda x: np.sinc(x).sum(), [0.0, 1.0], [0.0, -1.0]),
        (lambda x: np.i0(x).sum(), [0.0], [0.0]),
        # Infinities beside finite numbers
        (lambda x: np.median(np.append(x, [np.inf, np.inf])), [1.0, 2.0, 3.0], [0.0, 0.0, 1.0]),
        # Order
        (lambda x: np.sum(np.unique(x) * WEIGHTS[:2]), [7.0, 3.0, 7.0], [10.0, 1.0, 0.0]),
    ],
)
def test_slopes(f, x, expected):
    if "unique" in f.__code__.co_names:  # how many there are is not known under vmap
        assert pb.grad(f)(np.array(x)).tolist() == expected
        return
    assert every_mode(f, x) == pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_the_slope_of_a_root_at_zero_is_infinite():
    with np.errstate(divide="ignore"):
        assert pb.grad(lambda x: np.sum(np.sqrt(x)))(np.array([0.0, 4.0])).tolist() == [np.inf, 0.25]
        assert pb.jvp(np.sqrt, (np.array([0.0, 4.0]),), (np.ones(2),))[1].tolist() == [np.inf, 0.25]


@pytest.mark.parametrize(
    ("f", "x", "expected"),
    [
        (lambda x: np.prod(x), [0.0, 0.0, 5.0], [[0, 5, 0], [5, 0, 0], [0, 0, 0]]),
        (lambda x: np.cumprod(x)[2], [0.0, 0.0, 5.0], [[0, 5, 0], [5, 0, 0], [0, 0, 0]]),
        (lambda x: np.sinc(x).sum(), [0.0], [[-(np.pi**2) / 3]]),
        (lambda x: np.sum(x**0), [0.0], [[0]]),
        (lambda x: np.i0(x).sum(), [0.0], [[0.5]]),
        (lambda x: np.median(x**2), [1.0, 2.0, 3.0], [[0, 0, 0], [0, 2, 0], [0, 0, 0]]),
        (lambda x: np.roots(x).real.sum(), [1.0, 3.0, 2.0], [[-6, 1, 0], [1, 0, 0], [0, 0, 0]]),
    ],
)
def test_second_derivatives(f, x, expected):
    x = np.array(x)
    np.testing.assert_allclose(pb.hessian(f)(x), expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(pb.jacfwd(pb.jacfwd(f))(x), expected, rtol=1e-9, atol=1e-9)


def test_slopes_in_the_level_of_a_quantile():
    x = np.array([1.0, 4.0, 2.0, 8.0, 16.0])
    slope = pb.grad(lambda q: np.quantile(x, q))
    assert slope(0.3) == pytest.approx(4 * (4.0 - 2.0))
    assert slope(0.25) == pytest.approx(4 * (4.0 - 2.0))  # at an element, to the right
    assert slope(1.0) == 0.0
    for method in ("lower", "higher", "nearest", "inverted_cdf", "midpoint"):
        assert pb.grad(lambda q, method=method: np.quantile(x, q, method=method))(0.3) == 0.0
    levels = np.array([0.15, 0.62])
    jacobian = pb.jacobian(lambda q: np.percentile(x, 100 * q, method="hazen"))(levels)
    h = 1e-6
    expected = (np.quantile(x, levels + h, method="hazen") - np.quantile(x, levels - h, method="hazen")) / (2 * h)
    np.testing.assert_allclose(jacobian, np.diag(expected), rtol=1e-6)


def test_order_statistics_of_long_lines_are_those_of_a_stable_sort():
    rng = np.random.default_rng(0)
    x = np.round(rng.standard_normal(5000), 1)
    x[::100] = np.nan
    order = np.argsort(x, kind="stable")
    for k in (0, 2000, 4949, 4990):
        place = int(np.argmax(pb.grad(lambda x, k=k: np.sort(x)[k])(np.where(np.isnan(x), np.inf, x))))
        assert place == order[k]
    known = np.flatnonzero(~np.isnan(x))
    slope = pb.grad(np.median)(x[known])
    middle = np.argsort(x[known], kind="stable")[[known.size // 2 - 1, known.size // 2]]
    assert np.flatnonzero(slope).tolist() == sorted(middle.tolist())
    assert np.isnan(np.asarray(np.median(pb.asarray(x))))
    assert not pb.grad(np.median)(x).any()


def test_empty_arrays():
    nothing = np.zeros(0)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        for name in ("sum", "prod", "cumsum", "sort", "diff", "flip", "ravel", "unique", "nansum", "cumprod"):
            call = getattr(np, name)
            assert pb.grad(lambda x, call=call: np.sum(call(x)))(nothing).shape == (0,)
        assert pb.grad(lambda x: np.max(x, initial=3.0))(nothing).shape == (0,)
        assert np.isnan(np.median(pb.asarray(nothing)).item())
    assert np.histogram(pb.asarray(nothing), 2)[0].tolist() == [0, 0]
    with pytest.raises(ValueError, match="zero-size array"):
        np.max(pb.asarray(nothing))


def test_negative_strides_and_other_layouts():
    x = np.arange(1.0, 13.0).reshape(3, 4)
    for view in (x[::-1, ::-2], x.T, np.asfortranarray(x), np.broadcast_to(x[0], (3, 4)), x[:, 1]):
        weights = np.random.default_rng(0).standard_normal(view.shape)
        found = pb.grad(lambda v, weights=weights: np.sum(np.cumsum(v, axis=0) * weights) + np.median(v))(view)
        copy = pb.grad(lambda v, weights=weights: np.sum(np.cumsum(v, axis=0) * weights) + np.median(v))(view.copy())
        np.testing.assert_array_equal(found, copy)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(
    "name",
    """
    sum mean max std median ptp sort cumsum cumprod diff gradient prod nanmean nanmedian average cumulative_sum flip
    """.split(),
)
def test_gradients_keep_their_dtype(name, dtype):
    x = np.array([0.5, 2.0, 1.0], dtype)
    f = getattr(np, name)
    assert f(pb.asarray(x)).dtype == f(x).dtype
    assert pb.grad(lambda x: np.sum(f(x)))(x).dtype == dtype
    assert pb.jvp(f, (x,), (np.ones_like(x),))[1].dtype == dtype


def test_integers_are_refused():
    with pytest.raises(TypeError, match=r"int|float"):
        pb.grad(np.median)(np.arange(4))


def test_complex_gradients_are_those_of_pytorch():
    torch = pytest.importorskip("torch")
    z, w = np.array([1 + 2j, -0.5 + 0.3j, 0.2j]), np.array([0.7 - 1j, 2.0 + 0j])

    def mine(z):
        return np.sum(np.abs(np.convolve(z, w)) ** 2) + np.abs(np.prod(z)) + np.real(np.polyval(z, 1 - 1j))

    t = torch.tensor(z, requires_grad=True)
    full = torch.stack([t[0] * w[0], t[1] * w[0] + t[0] * w[1], t[2] * w[0] + t[1] * w[1], t[2] * w[1]])
    x = torch.tensor(1 - 1j)
    (full.abs().square().sum() + torch.prod(t).abs() + (t[0] * x * x + t[1] * x + t[2]).real).backward()
    np.testing.assert_allclose(pb.grad(mine)(z), t.grad.numpy(), rtol=1e-12)


def test_remainders_of_polynomials():
    u, v = np.array([1.0, -3.0, 0.5, 2.0, 7.0]), np.array([2.0, 1.0, -1.0])
    quotient, rest = np.polydiv(pb.asarray(u), pb.asarray(v))
    np.testing.assert_allclose(rest.numpy(), np.polydiv(u, v)[1], rtol=1e-12)
    np.testing.assert_allclose(np.polyadd(np.polymul(quotient, v), rest).numpy(), u, rtol=1e-12)


def test_numpy_that_folds_from_the_left():
    """`power` and `arctan2` fold one after the other along every axis."""
    x = np.array([[2.0, 1.5, 0.5], [3.0, 0.3, 1.2]])
    for function in (np.power, np.arctan2):
        expected = function(function(x[:, 0], x[:, 1]), x[:, 2])
        np.testing.assert_allclose(function.reduce(pb.asarray(x), axis=1).numpy(), expected, rtol=1e-14)


def test_writing_into_an_array_keeps_no_gradient_and_says_so():
    x = pb.tensor([1.0, 2.0], dtype=pb.float64, requires_grad=True)
    for write in (
        lambda a: np.put(a, [0, 1], x),
        lambda a: np.copyto(a, x),
        lambda a: np.place(a, a == 0, x),
        lambda a: np.put_along_axis(a, np.array([1, 0]), x, 0),
        lambda a: np.putmask(a, a == 0, x),
    ):
        array = np.zeros(2)
        with pytest.raises(TypeError, match="gradient would be lost"):
            write(array)
        assert not array.any()
    array = np.zeros(2)
    np.put(array, pb.tensor([1, 0]), x.detach())
    assert array.tolist() == [2.0, 1.0]


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda x: np.quantile(x, 1.5), ValueError),
        (lambda x: np.quantile(x, 0.5, method="none"), ValueError),
        (lambda x: np.quantile(x, 0.5, weights=x[0], method="inverted_cdf"), TypeError),
        (lambda x: np.quantile(x, 0.5, weights=x), ValueError),
        (lambda x: np.partition(x, 7), ValueError),
        (lambda x: np.convolve(x, x), ValueError),
        (lambda x: np.convolve(x[0], x[0][:0]), ValueError),
        (lambda x: np.correlate(x[0], x[0], "some"), ValueError),
        (lambda x: np.gradient(x, 1.0, 2.0, 3.0), TypeError),
        (lambda x: np.gradient(x, edge_order=3), ValueError),
        (lambda x: np.gradient(x[:1], axis=0), ValueError),
        (lambda x: np.interp(x, [1.0, 2.0], [1.0]), ValueError),
        (lambda x: np.interp(x, [1.0], [1.0], period=0), ValueError),
        (lambda x: np.pad(x, 1, "unheard"), ValueError),
        (lambda x: np.pad(x, -1), ValueError),
        (lambda x: np.pad(x, 1.5), TypeError),
        (lambda x: np.pad(x, 1, "edge", stat_length=3), ValueError),
        (lambda x: np.polyfit(x, x, 1), TypeError),
        (lambda x: np.polyfit(x[0], x[0], -1), ValueError),
        (lambda x: np.polyfit(x[0], x[0, :2], 1), TypeError),
        (lambda x: np.polyder(x[0], -1), ValueError),
        (lambda x: np.poly(x), ValueError),
        (lambda x: np.histogram(x, 0), ValueError),
        (lambda x: np.histogram(x, [3.0, 1.0]), ValueError),
        (lambda x: np.histogram(x, range=(2, 1)), ValueError),
        (lambda x: np.histogram(x, weights=x[0]), ValueError),
        (lambda x: np.digitize(x, [1.0, 3.0, 2.0]), ValueError),
        (lambda x: np.bincount(x[0]), TypeError),
        (lambda x: np.put(x, 99, 1.0), IndexError),
        (lambda x: np.fill_diagonal(x[0], 1.0), ValueError),
        (lambda x: np.block([[x], x]), ValueError),
        (lambda x: np.piecewise(x, [x > 0], [1.0, 2.0, 3.0]), ValueError),
        (lambda x: np.subtract.reduce(x, axis=(0, 1)), ValueError),
        (lambda x: np.hypot.reduceat(x, [5]), IndexError),
        (lambda x: np.cumulative_sum(x), ValueError),
        (lambda x: np.cov(x[None]), ValueError),
        (lambda x: np.cov(x, ddof=1.5), ValueError),
        (lambda x: np.cov(x, fweights=np.full(3, 1.5)), TypeError),
        (lambda x: np.nanargmax(x * np.nan), ValueError),
        (lambda x: np.i0(x + 1j), TypeError),
        (lambda x: np.ediff1d(x).reshape(7), ValueError),
    ],
)
def test_misuse_raises_as_numpy_does(call, error):
    from pullback.tape.state import numpy_promotion

    x = np.arange(1.0, 7.0).reshape(2, 3)
    with pytest.raises(error):
        call(x.copy())
    with pytest.raises(error), numpy_promotion(True):
        call(pb.asarray(x))
