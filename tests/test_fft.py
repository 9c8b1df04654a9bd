"""Fourier transforms, against NumPy and PyTorch."""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np
import pytest
import scipy.fft

import pullback as pb
from torch_peer import agree, data, same_error, torch

X = data(0, 6)
CUBE = data(1, 3, 4, 5)
REAL = ("rfft", "ihfft")  # of real input
HALF = ("irfft", "hfft")  # to real output
KINDS = ("fft", "ifft", *REAL, *HALF)


def parts(t, y):
    return t.stack([y.real, y.imag], -1) if y.is_complex() else y


def as_input(t, kind, x):
    """Complex numbers, made from the operand differentiably, where the kind takes them."""
    return x if kind in REAL else t.complex(x, x.flip(0) * 0.3)


ONE = [
    {},
    {"n": 4},
    {"n": 9},
    {"n": 1},
    {"dim": 0, "norm": "ortho"},
    {"n": 5, "dim": 1, "norm": "forward"},
    {"norm": "backward"},
]
SEVERAL = [
    {},
    {"s": (2, 6)},
    {"s": (4, -1), "dim": (0, 2), "norm": "ortho"},
    {"dim": (1, 0), "norm": "forward"},
    {"dim": (-1,)},
]


@pytest.mark.parametrize("options", ONE, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_one_dimension_equals_pytorch(kind, options):
    agree(lambda t, x: parts(t, getattr(t.fft, kind)(as_input(t, kind, x), **options)), CUBE, name=False)


@pytest.mark.parametrize("options", SEVERAL, ids=str)
@pytest.mark.parametrize("suffix", ["2", "n"])
@pytest.mark.parametrize("kind", KINDS)
def test_several_dimensions_equal_pytorch(kind, suffix, options):
    agree(lambda t, x: parts(t, getattr(t.fft, kind + suffix)(as_input(t, kind, x), **options)), CUBE, name=False)


@pytest.mark.parametrize("kind", KINDS)
def test_single_precision_and_integers(kind):
    agree(lambda t, x: parts(t, getattr(t.fft, kind)(as_input(t, kind, x))), CUBE, dtype="float32", name=False)
    agree(lambda t, x: getattr(t.fft, kind)(x), np.array([3, 1, -2, 5]), dtype="float32", grad=False)


@pytest.mark.parametrize(
    ("kind", "name"), [("fft", "FftC2CBackward0"), ("rfft", "FftR2CBackward0"), ("irfft", "FftC2RBackward0")]
)
def test_nodes_are_named_as_pytorch_names_them(kind, name):
    x = pb.tensor(X, requires_grad=True)
    assert getattr(pb.fft, kind)(x).grad_fn.name() == name


def test_a_real_operand_of_a_complex_transform_gets_a_real_gradient():
    agree(lambda t, x: parts(t, t.fft.fftn(x, (4, 4), (0, 2))), CUBE, name=False)
    agree(lambda t, x: t.fft.irfft(x), X, name=False)


@pytest.mark.parametrize("t", [np.fft, pb.fft], ids=["numpy", "torch"])
def test_parseval(t):
    # Σ|X|² = n Σ x², so the gradient is 2 n x
    def energy(x):
        y = t.fft(x)
        return (y * y.conj()).real.sum() if t is pb.fft else np.sum(np.abs(y) ** 2)

    np.testing.assert_allclose(pb.grad(energy)(X), 2 * len(X) * X, rtol=1e-12)


def quartic(t, x):
    y = t.fft.rfft(x, norm="ortho")
    z = t.fft.irfft(y * y, n=5)
    return (z * z).sum() + (t.fft.fft(x).abs() ** 3).sum()


def test_second_order_equals_pytorch():
    wanted = torch.autograd.functional.hessian(lambda x: quartic(torch, x), torch.tensor(X)).numpy()
    np.testing.assert_allclose(
        pb.hessian(lambda x: quartic(pb, x))(pb.tensor(X)).numpy(), wanted, rtol=1e-10, atol=1e-10
    )
    assert np.abs(wanted).max() > 1


def test_forward_mode_and_vmap():
    t = data(3, 6)
    value, tangent = pb.jvp(lambda x: np.fft.irfft(np.fft.rfft(x) ** 2), (X,), (t,))
    np.testing.assert_allclose(value, np.fft.irfft(np.fft.rfft(X) ** 2), atol=1e-12)
    np.testing.assert_allclose(tangent, np.fft.irfft(2 * np.fft.rfft(X) * np.fft.rfft(t)), atol=1e-12)
    rows = data(4, 3, 6)
    f = pb.grad(lambda x: np.sum(np.abs(np.fft.fft(x, 8)) ** 3))
    np.testing.assert_allclose(pb.vmap(f)(rows), np.stack([f(row) for row in rows]), rtol=1e-12)


def test_a_convolution_by_transforms_has_the_gradient_of_the_convolution():
    a, b, w = data(5, 7), data(6, 4), data(7, 10)

    def by_transforms(a, b):
        return np.dot(w, np.fft.irfft(np.fft.rfft(a, 10) * np.fft.rfft(b, 10), 10))

    da, db = pb.grad(by_transforms, argnums=(0, 1))(a, b)
    np.testing.assert_allclose(da, np.correlate(w, b), atol=1e-12)
    np.testing.assert_allclose(db, np.correlate(w, a), atol=1e-12)


def test_numpy_keeps_single_precision():
    x = X.astype(np.float32)
    y, pull = pb.vjp(np.fft.fft, x)
    assert y.dtype == np.complex64
    (d,) = pull(np.ones(6, np.complex64))
    assert d.dtype == np.float32
    assert pb.numpy.fft.rfft(x.astype(np.float16)).dtype == pb.complex64
    assert pb.numpy.fft.irfft(y).dtype == pb.float32


def test_empty_batches():
    assert pb.fft.irfft(pb.zeros(0, 3)).shape == (0, 4)
    x = pb.zeros(0, 4, requires_grad=True)
    pb.fft.rfft(x).abs().sum().backward()
    assert x.grad.shape == (0, 4)


def test_shifts_and_frequencies():
    for dim in (None, 0, (0, 2), [-1]):
        agree(lambda t, x, dim=dim: (t.fft.fftshift(x, dim), t.fft.ifftshift(x, dim)), CUBE, name=False)
    for n in (1, 4, 5):
        agree(lambda t, n=n: (t.fft.fftfreq(n, 0.25), t.fft.rfftfreq(n, d=2.0, dtype=t.float64)))
    x = np.arange(5.0)
    np.testing.assert_array_equal(np.fft.ifftshift(np.fft.fftshift(x)), x)
    slope = pb.grad(lambda d: pb.numpy.sum(pb.numpy.fft.fftfreq(5, d) ** 2 * x))(0.5)
    np.testing.assert_allclose(slope, -2 / 0.5 * np.sum(np.fft.fftfreq(5, 0.5) ** 2 * x))


ERRORS = {
    "no points": (lambda t, x: t.fft.fft(x, n=0), X),
    "no points by default": (lambda t, x: t.fft.irfft(x[:1]), X),
    "norm": (lambda t, x: t.fft.fft(x, norm="unitary"), X),
    "dim": (lambda t, x: t.fft.fft(x, dim=3), X),
    "dims repeated": (lambda t, x: t.fft.fftn(x, dim=(0, 0)), CUBE),
    "s and dim": (lambda t, x: t.fft.fftn(x, s=(2,), dim=(0, 1)), CUBE),
    "s too long": (lambda t, x: t.fft.fftn(x, s=(2, 2, 2, 2)), CUBE),
    "rfft of complex": (lambda t, x: t.fft.rfft(t.complex(x, x)), X),
    "rfftn over nothing": (lambda t, x: t.fft.rfftn(x, dim=()), CUBE),
    "half": (lambda t, x: t.fft.fft(x.half()), X),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_are_pytorchs(case):
    same_error(*ERRORS[case], words=2)


@pytest.mark.parametrize(
    ("error", "f"),
    [
        (ValueError, lambda np, x: np.fft.fft(x, 0)),
        (ValueError, lambda np, x: np.fft.fft(x, norm="unitary")),
        (ValueError, lambda np, x: np.fft.fftn(x, (2, 2), (0,))),
        (ValueError, lambda np, x: np.fft.irfft(x[:1])),
        (TypeError, lambda np, x: np.fft.rfft(x * 1j)),
        (IndexError, lambda np, x: np.fft.fft(x, axis=1)),
        (IndexError, lambda np, x: np.fft.rfftn(x, axes=())),
    ],
)
def test_errors_are_numpys(error, f):
    with pytest.raises(error):
        f(np, X)
    with pytest.raises(error):
        f(pb.numpy, pb.tensor(X))


# SciPy's names

SCIPY = [
    *(
        (f"{name}{suffix}", {"type": kind, "norm": norm, **options})
        for name in ("dct", "idct", "dst", "idst")
        for kind in (1, 2, 3, 4)
        for norm in (None, "ortho", "forward")
        for suffix, options in (
            ("", {}),
            ("", {"n": 3, "axis": 1}),
            ("", {"n": 8, "orthogonalize": True}),
            ("", {"axis": 0, "orthogonalize": False}),
            ("n", {}),
            ("n", {"s": (4, 3), "axes": (2, 0)}),
            ("n", {"s": 6, "axes": 1}),
        )
    ),
    *((kind + suffix, {"norm": norm}) for kind in KINDS for suffix in ("", "2", "n") for norm in (None, "forward")),
    ("fft", {"n": 7, "axis": 1, "workers": 1}),
    ("irfftn", {"s": (4, 6), "axes": (0, 2)}),
]


@pytest.mark.parametrize(("name", "options"), SCIPY, ids=str)
def test_scipys_transforms(name, options):
    wanted = getattr(scipy.fft, name)
    x, t = CUBE, data(11, 3, 4, 5)
    f = functools.partial(getattr(pb.scipy.fft, name), **options)
    y, tangent = pb.jvp(f, (x,), (t,))
    np.testing.assert_allclose(y, wanted(x, **options), atol=1e-12)
    np.testing.assert_allclose(tangent, wanted(t, **options), atol=1e-12)
    g = data(12, *y.shape) + (1j * data(13, *y.shape) if y.dtype.kind == "c" else 0)
    (d,) = pb.vjp(f, x)[1](g)
    assert d.dtype == x.dtype
    np.testing.assert_allclose(np.sum(d * t), np.sum(np.conj(g) * tangent).real, rtol=1e-10)


def test_cosine_transforms_undo_each_other_and_keep_single_precision():
    for name, kind in itertools.product(("dct", "dst"), (1, 2, 3, 4)):
        x = pb.tensor(CUBE, dtype=pb.float32)
        y = getattr(pb.scipy.fft, name)(x, kind)
        assert y.dtype == pb.float32
        np.testing.assert_allclose(getattr(pb.scipy.fft, f"i{name}")(y, kind).numpy(), CUBE, atol=1e-5)
    for options in ({"type": 5}, {"norm": "unitary"}, {"type": 1, "n": 1}):
        with pytest.raises(ValueError, match="Invalid"):
            pb.scipy.fft.dct(X, **options)


# The short-time transform

LONG = data(8, 2, 50)
WINDOW = np.random.default_rng(9).random(8) + 0.5
SHORT_TIME = [
    {},
    {"hop_length": 3},
    {"normalized": True},
    {"onesided": False},
    {"center": False, "hop_length": 2},
    *({"pad_mode": mode} for mode in ("constant", "replicate", "circular")),
]


@pytest.mark.parametrize("options", SHORT_TIME, ids=str)
def test_short_time_transforms_equal_pytorch(options):
    def f(t, x, w):
        y = t.stft(x, 8, window=w, return_complex=True, **options)
        inverse = {key: value for key, value in options.items() if key != "pad_mode"}
        return t.view_as_real(y), t.istft(y * y, 8, window=w, length=40, **inverse)

    agree(f, LONG, WINDOW, name=False)


def test_a_short_window_is_centred_and_parts_are_returned():
    agree(lambda t, x, w: parts(t, t.stft(x, 12, 5, 8, window=w, return_complex=True)), LONG[0], WINDOW, name=False)
    x = pb.tensor(LONG[0])
    together, apart = (x.stft(7, window=pb.ones(7), return_complex=form) for form in (True, False))
    np.testing.assert_array_equal(apart.numpy(), pb.view_as_real(together).numpy())


def test_the_inverse_gives_the_signal_back():
    x = pb.tensor(LONG)
    w = pb.hann_window(8, dtype=pb.float64)
    y = pb.istft(pb.stft(x, 8, 2, window=w, return_complex=True), 8, 2, window=w, length=50)
    np.testing.assert_allclose(y.numpy(), LONG, atol=1e-12)
    z = pb.complex(x, -x)
    spectrum = pb.stft(z, 8, 2, window=w)
    back = pb.istft(spectrum, 8, 2, window=w, onesided=False, return_complex=True, length=50)
    np.testing.assert_allclose(back.numpy(), z.numpy(), atol=1e-12)


@pytest.mark.parametrize(
    "f",
    [
        lambda t, x: t.stft(x, 8),
        lambda t, x: t.stft(x, 80, center=False, return_complex=True),
        lambda t, x: t.stft(x, 8, hop_length=0, return_complex=True),
        lambda t, x: t.stft(x, 8, window=t.ones(7), return_complex=True),
        lambda t, x: t.istft(x, 8),
        lambda t, x: t.istft(t.stft(x, 8, window=t.ones(8), return_complex=True), 10, window=t.ones(10)),
        lambda t, x: t.istft(t.stft(x, 8, window=t.zeros(8), return_complex=True), 8, window=t.zeros(8)),
    ],
)
def test_short_time_errors_are_pytorchs(f):
    same_error(f, LONG[0], words=0)


@pytest.mark.parametrize("name", ["bartlett", "blackman", "hamming", "hann", "kaiser"])
def test_windows_equal_pytorch(name):
    for length in (0, 1, 2, 5, 6):
        for periodic in (True, False):
            made = [getattr(t, f"{name}_window")(length, periodic, dtype=t.float64) for t in (pb, torch)]
            np.testing.assert_allclose(made[0].numpy(), made[1].numpy(), atol=1e-6 if name == "kaiser" else 1e-12)
    assert getattr(pb, f"{name}_window")(4).dtype == pb.float32


def test_the_parameters_of_windows():
    for args, named in (((5, True, 0.6), {}), ((5, False, 0.6, 0.4), {}), ((5, False), {"alpha": 0.5})):
        made = [t.hamming_window(*args, **named, dtype=t.float64).numpy() for t in (pb, torch)]
        np.testing.assert_allclose(*made, atol=1e-12)
    np.testing.assert_allclose(pb.kaiser_window(7, False, 8.6, dtype=pb.float64).numpy(), np.kaiser(7, 8.6), atol=1e-12)
    assert math.isclose(pb.kaiser_window(6, beta=3.0, dtype=pb.float64)[3].item(), 1.0)
    with pytest.raises(TypeError):
        pb.hann_window(5, True, 0.5)
    with pytest.raises(RuntimeError):
        pb.hann_window(-1)
