"""`pb.scipy.linalg` against SciPy: values, derivatives of both modes and of second order, batches, complex numbers."""

import numpy as np
import pytest
import scipy.linalg

import pullback as pb
from pullback.scipy.table import FUNCTIONS

rng = np.random.default_rng(11)
A = rng.standard_normal((3, 3)) + 2.5 * np.eye(3)
B = 0.5 * rng.standard_normal((3, 3)) + 2 * np.eye(3)
TALL = rng.standard_normal((4, 2))
V = rng.standard_normal(3)
M = rng.standard_normal((3, 2))
AC = A + 0.4j * rng.standard_normal((3, 3))
TURN = np.array([[0.3, 2.0, 0.1], [-1.1, 0.4, 0.2], [0.5, -0.3, 1.9]])


def spd(a):
    return a @ a.swapaxes(-1, -2) + np.eye(a.shape[-1])


# name -> calls: a function of SciPy's module, and arrays. Functions give what does not depend on signs and phases.
CALLS = {
    "solve": [
        (lambda la, a, b: la.solve(a, b), A, V),
        (lambda la, a, b: la.solve(a, b, transposed=True), A, M),
        (lambda la, a, b: la.solve(spd(a), b, assume_a="pos"), A, M),
        (lambda la, a, b: la.solve(spd(a), b, assume_a="pos", lower=True, transposed=True), A, V),
        (lambda la, a, b: la.solve(a + a.T, b, assume_a="sym"), A, M),
        (lambda la, a, b: la.solve(a + a.T, b, assume_a="her", lower=True), A, M),
        (lambda la, a, b: la.solve(a, b, assume_a="upper triangular"), np.triu(A), M),
        (lambda la, a, b: la.solve(a, b, assume_a="lower triangular", transposed=True), np.tril(A), M),
        (lambda la, a, b: la.solve(a, b), AC, M),
    ],
    "solve_triangular": [
        (lambda la, a, b: la.solve_triangular(a, b), A, V),
        (lambda la, a, b: la.solve_triangular(a, b, lower=True, trans=1), A, M),
        (lambda la, a, b: la.solve_triangular(a, b, trans="T", unit_diagonal=True), A, M),
        (lambda la, a, b: la.solve_triangular(a, b, trans="C"), AC, M),
    ],
    "solve_banded": [(lambda la, ab, b: la.solve_banded((1, 1), ab, b), np.stack([V, V + 4, V / 2]), M)],
    "solveh_banded": [
        (lambda la, ab, b: la.solveh_banded(ab, b), np.stack([V / 2, V + 4]), M),
        (lambda la, ab, b: la.solveh_banded(ab, b, lower=True), np.stack([V + 4, V / 2]), M),
    ],
    "solve_toeplitz": [
        (lambda la, c, b: la.solve_toeplitz(c, b), V + np.array([4, 0, 0]), M),
        (lambda la, c, b: la.solve_toeplitz((c, b), b), V + np.array([4, 0, 0]), np.array([0.2, 0.3, -0.4])),
    ],
    "solve_sylvester": [(lambda la, a, b, q: la.solve_sylvester(a, b, q), A, B[:2, :2], M)],
    "solve_continuous_lyapunov": [(lambda la, a, q: la.solve_continuous_lyapunov(a, q), A, B)],
    "solve_lyapunov": [(lambda la, a, q: la.solve_lyapunov(a, q), AC, B)],
    "solve_discrete_lyapunov": [
        (lambda la, a, q: la.solve_discrete_lyapunov(a / 5, q), A, B),
        (lambda la, a, q: la.solve_discrete_lyapunov(a / 5, q, method="bilinear"), A, B),
    ],
    "inv": [
        (lambda la, a: la.inv(a), A),
        (lambda la, a: la.inv(spd(a), assume_a="pos"), A),
    ],
    "det": [(lambda la, a: la.det(a), A), (lambda la, a: la.det(a), AC)],
    "norm": [(lambda la, a: la.norm(a, "nuc"), A), (lambda la, a: la.norm(a, 2), TALL)],
    "pinv": [
        (lambda la, a: la.pinv(a), TALL),
        (lambda la, a: la.pinv(a.T, return_rank=True), TALL),
        (lambda la, a: la.pinv(a), AC[:, :2]),
    ],
    "pinvh": [(lambda la, a: la.pinvh(a + a.T), A)],
    "lstsq": [
        (lambda la, a, b: la.lstsq(a, b)[:2], TALL, rng.standard_normal(4)),
        (lambda la, a, b: la.lstsq(a.T, b)[0], TALL, TALL[:2]),
        (lambda la, a, b: la.lstsq(a, b)[3], TALL, TALL),
    ],
    "cholesky": [
        (lambda la, a: la.cholesky(spd(a)), A),
        (lambda la, a: la.cholesky(a @ a.conj().T, lower=True), AC),
    ],
    "cho_factor": [(lambda la, a: np.tril(la.cho_factor(spd(a), lower=True)[0]), A)],
    "cho_solve": [
        (lambda la, a, b: la.cho_solve(la.cho_factor(spd(a)), b), A, V),
        (lambda la, a, b: la.cho_solve(la.cho_factor(a @ a.conj().T, lower=True), b), AC, M),
    ],
    "lu": [
        (lambda la, a: la.lu(a), A),
        (lambda la, a: la.lu(a, permute_l=True), TALL),
        (lambda la, a: la.lu(a.T, p_indices=True), TALL),
    ],
    "lu_factor": [(lambda la, a: la.lu_factor(a)[0], A)],
    "lu_solve": [
        (lambda la, a, b: la.lu_solve(la.lu_factor(a), b), A, V),
        (lambda la, a, b: la.lu_solve(la.lu_factor(a), b, trans=1), A, M),
        (lambda la, a, b: la.lu_solve(la.lu_factor(a), b, trans=2), AC, M),
    ],
    "qr": [
        (lambda la, a: la.qr(a, mode="economic"), TALL),
        (lambda la, a: la.qr(a), A),
        (lambda la, a: la.qr(a, mode="r")[0], A),
        (lambda la, a: la.qr(a, mode="economic", pivoting=True)[:2], TALL),
    ],
    "svd": [
        (lambda la, a: la.svd(a, full_matrices=False)[1], TALL),
        (lambda la, a: (lambda u, s, vh: (u[:, :2] * np.sin(s)) @ vh)(*la.svd(a)), TALL),
        (lambda la, a: la.svd(a, compute_uv=False), AC),
    ],
    "svdvals": [(lambda la, a: la.svdvals(a), TALL)],
    "orth": [(lambda la, a: (lambda q: q @ q.T)(la.orth(a)), TALL)],
    "null_space": [(lambda la, a: (lambda q: q @ q.T)(la.null_space(a.T)), TALL)],
    "polar": [(lambda la, a: la.polar(a), A), (lambda la, a: la.polar(a, side="left"), AC)],
    "orthogonal_procrustes": [(lambda la, a, b: la.orthogonal_procrustes(a, b), A, B)],
    "eigh": [
        (lambda la, a: (lambda w, v: (v * np.sin(w)) @ v.T)(*la.eigh(a + a.T)), A),
        (lambda la, a: (lambda w, v: (v * np.sin(w)) @ v.conj().T)(*la.eigh(a + a.conj().T)), AC),
        *(
            (lambda la, a, b, kind=kind: (lambda w, v: (w, (v * w) @ v.T))(*la.eigh(a + a.T, spd(b), type=kind)), A, B)
            for kind in (1, 2, 3)
        ),
        (lambda la, a: la.eigh(a + a.T, eigvals_only=True, subset_by_index=[1, 2]), A),
    ],
    "eigvalsh": [
        (lambda la, a, b: la.eigvalsh(a + a.T, spd(b)), A, B),
        (lambda la, a: la.eigvalsh(a + a.T, subset_by_value=(-100.0, 6.0)), A),
    ],
    "eig": [
        (lambda la, a: (lambda w, v: (w.imag, abs(v)))(*la.eig(a)), TURN),
        (lambda la, a: (lambda w, vl, vr: (abs(vl), abs(vr)))(*la.eig(a, left=True)), TURN),
        (lambda la, a, b: abs(la.eig(a, b)[1]), TURN, B),
    ],
    "eigvals": [(lambda la, a: la.eigvals(a), TURN), (lambda la, a, b: la.eigvals(a, b), TURN, B)],
    "expm": [(lambda la, a: la.expm(a), A), (lambda la, a: la.expm(a), AC), (lambda la, a: la.expm(7 * a), TURN)],
    "expm_frechet": [
        (lambda la, a, e: la.expm_frechet(a, e), A, B),
        (lambda la, a, e: la.expm_frechet(a, e, compute_expm=False), A, B),
    ],
    "logm": [(lambda la, a: la.logm(a), spd(A)), (lambda la, a: la.logm(a), TURN)],
    "sqrtm": [(lambda la, a: la.sqrtm(a), spd(A)), (lambda la, a: la.sqrtm(-a), spd(A))],
    "fractional_matrix_power": [
        (lambda la, a: la.fractional_matrix_power(a, 0.3), spd(A)),
        (lambda la, a: la.fractional_matrix_power(a, -2), A),
    ],
    **{
        name: [
            (lambda la, a, name=name: getattr(la, name)(a / 3), TURN),
            (lambda la, a, name=name: getattr(la, name)(a / 4), AC),
        ]
        for name in ("cosm", "sinm", "tanm", "coshm", "sinhm", "tanhm")
    },
    "block_diag": [(lambda la, a, b, v: la.block_diag(a, v, b), A, TALL, V)],
    "toeplitz": [(lambda la, c: la.toeplitz(c), V), (lambda la, c, r: la.toeplitz(c, r), V, TALL[:, 0])],
    "circulant": [(lambda la, c: la.circulant(c), V)],
    "hankel": [(lambda la, c: la.hankel(c), V), (lambda la, c, r: la.hankel(c, r), V, TALL[:, 0])],
    "companion": [(lambda la, c: la.companion(c), V)],
    "khatri_rao": [(lambda la, a, b: la.khatri_rao(a, b), M, TALL)],
    "kron": [(lambda la, a, b: (np if la is scipy.linalg else la).kron(a, b), A, M)],
}
CASES = [pytest.param(f, xs, id=f"{name}-{i}") for name, calls in CALLS.items() for i, (f, *xs) in enumerate(calls)]
MINE = pb.scipy.linalg


def flat(result):
    return [x for part in result for x in flat(part)] if isinstance(result, tuple | list) else [result]


def raws(result):
    return [x.detach().numpy()[()] if isinstance(x, pb.Tensor) else np.asarray(x) for x in flat(result)]


def total(f, la):
    """The inexact results as one real number, each weighted."""

    def run(*xs):
        sum_ = 0.0
        for i, y in enumerate(flat(f(la, *xs))):
            if np.dtype(y.dtype).kind in "fc":
                w = np.random.default_rng(i).standard_normal((2, *y.shape))
                part = (y * w[0]).sum() if np.dtype(y.dtype).kind == "f" else (y * (w[0] + 1j * w[1])).sum().real
                sum_ = sum_ + part
        return sum_

    return run


def along(xs, seed=3):
    made = np.random.default_rng(seed)
    return [
        made.standard_normal(x.shape) + (1j * made.standard_normal(x.shape) if x.dtype.kind == "c" else 0) for x in xs
    ]


def test_every_function_is_called():
    assert {f"linalg.{name}" for name in CALLS} == {name for name in FUNCTIONS if name.startswith("linalg.")}


@pytest.mark.parametrize(("f", "xs"), CASES)
def test_values(f, xs):
    found, wanted = raws(f(MINE, *(pb.asarray(x) for x in xs))), raws(f(scipy.linalg, *xs))
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted, strict=True):
        assert a.shape == b.shape
        assert a.dtype.kind == b.dtype.kind
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(("f", "xs"), CASES)
def test_derivatives(f, xs):
    """Both modes against central differences of SciPy's own function."""
    ts = along(xs)
    theirs, mine = total(f, scipy.linalg), total(f, MINE)
    h = 1e-5
    ends = [theirs(*(x + k * h * t for x, t in zip(xs, ts, strict=True))) for k in (-2, -1, 1, 2)]
    wanted = (ends[0] - 8 * ends[1] + 8 * ends[2] - ends[3]) / (12 * h)
    _, forward = pb.jvp(mine, tuple(xs), tuple(ts))
    _, pull = pb.vjp(mine, *xs)
    reverse = sum(np.real(np.conj(g) * t).sum() for g, t in zip(pull(1.0), ts, strict=True))
    assert forward == pytest.approx(wanted, rel=1e-6, abs=1e-6)
    assert reverse == pytest.approx(forward, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(("f", "xs"), [case for case in CASES if not case.id.startswith(("orth-", "null_space"))])
def test_second_derivatives(f, xs):
    ts, us = along(xs), along(xs, 4)

    def slope(*ys):
        return pb.jvp(total(f, MINE), tuple(ys), tuple(ts))[1]

    h = 1e-5
    up, down = (slope(*(x + k * h * u for x, u in zip(xs, us, strict=True))) for k in (1, -1))
    _, forward = pb.jvp(slope, tuple(xs), tuple(us))
    _, pull = pb.vjp(slope, *xs)
    reverse = sum(np.real(np.conj(g) * u).sum() for g, u in zip(pull(1.0), us, strict=True))
    assert forward == pytest.approx((up - down) / (2 * h), rel=1e-5, abs=1e-5)
    assert reverse == pytest.approx(forward, rel=1e-8, abs=1e-8)


NEEDS_NUMBERS = ("qr-3", "orth", "null_space", "eigvalsh-1")


@pytest.mark.parametrize(("f", "xs"), [case for case in CASES if not case.id.startswith(NEEDS_NUMBERS)])
def test_batches(f, xs):
    stacks = [np.stack([x, x * 1.1]) for x in xs]
    found = raws(pb.vmap(lambda *ys: f(MINE, *ys))(*stacks))
    rows = [raws(f(MINE, *(pb.asarray(stack[i]) for stack in stacks))) for i in range(2)]
    for k, y in enumerate(found):
        np.testing.assert_allclose(y, np.stack([row[k] for row in rows]), rtol=1e-9, atol=1e-11)


def test_unchanged_code_in_a_differentiated_function():
    def f(t):
        return np.sum(scipy.linalg.expm(t * A) @ scipy.linalg.cho_solve(scipy.linalg.cho_factor(spd(A) * t), V))

    h = 1e-6
    assert pb.grad(f)(0.3) == pytest.approx((f(0.3 + h) - f(0.3 - h)) / (2 * h), rel=1e-7)


@pytest.mark.parametrize("name", ["expm", "inv", "svdvals", "sqrtm", "logm", "cosm"])
def test_single_precision_is_kept(name):
    x = spd(A).astype(np.float32)
    y, pull = pb.vjp(getattr(MINE, name), x)
    assert y.dtype == np.float32
    assert pull(np.ones_like(y))[0].dtype == np.float32


def test_one_triangle_is_read():
    lower = np.tril(spd(A))
    np.testing.assert_allclose(MINE.cholesky(lower, lower=True).numpy(), scipy.linalg.cholesky(lower, lower=True))
    np.testing.assert_allclose(MINE.eigvalsh(lower.T, lower=False).numpy(), scipy.linalg.eigvalsh(spd(A)))


def test_a_gradient_goes_to_the_triangle_that_is_read():
    """Of a matrix given whole the gradient is symmetric; one element of a triangle alone stands for two."""
    whole = spd(A)
    symmetric = pb.grad(lambda a: MINE.eigvalsh(a)[0])(whole)
    np.testing.assert_allclose(symmetric, symmetric.T, rtol=1e-12)
    triangular = pb.grad(lambda a: MINE.eigvalsh(a)[0])(np.tril(whole))
    np.testing.assert_allclose(triangular, np.tril(2 * symmetric) - np.diag(np.diag(symmetric)), atol=1e-13)
    upper = pb.grad(lambda a: np.linalg.eigvalsh(a, "U")[0])(np.triu(whole))
    np.testing.assert_allclose(upper, triangular.T, atol=1e-13)


def test_refusals():
    with pytest.raises(ValueError, match="infs or NaNs"):
        MINE.inv(np.full((2, 2), np.nan))
    with pytest.raises(ValueError, match="square"):
        MINE.det(TALL)
    with pytest.raises(np.linalg.LinAlgError):
        MINE.solve(np.zeros((2, 2)), np.ones(2))
    with pytest.raises(np.linalg.LinAlgError):
        MINE.solve_triangular(np.zeros((2, 2)), np.ones(2))
    with pytest.raises(ValueError, match="incompatible"):
        MINE.solve(A, np.ones(2))
    with pytest.raises(TypeError, match="raw"):
        MINE.qr(A, mode="raw")
