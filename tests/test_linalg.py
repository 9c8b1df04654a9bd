"""`pb.linalg` and its older names against PyTorch and JAX; repeated eigenvalues and singular values; complex ones."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import pullback as pb
from pullback.ops import spectral, triangular
from pullback.tensor.matrices import from_triangle

rng = np.random.default_rng(5)


@pytest.fixture(autouse=True)
def same_numbers_for_each_test():
    global rng
    rng = np.random.default_rng(5)


@pytest.fixture
def double_precision():
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


def regular(*shape, complex=False):
    x = rng.standard_normal(shape) + 2 * np.eye(shape[-2], shape[-1])
    return x + 0.5j * rng.standard_normal(shape) if complex else x


def numbers(x):
    return x.detach().resolve_conj().numpy() if isinstance(x, torch.Tensor) else x.detach().numpy()


def real_loss(y):
    """A number that reads every element, real and imaginary."""
    total = 0.0
    for i, part in enumerate(y if isinstance(y, tuple | list) else [y]):
        if part.dtype in (torch.int32, torch.int64, pb.int32, pb.int64):
            continue
        w = np.random.default_rng(i).standard_normal((2, *part.shape))
        make = torch.tensor if isinstance(part, torch.Tensor) else pb.asarray
        if part.is_complex():
            total = total + (part.real * make(w[0])).sum() + (part.imag * make(w[1])).sum()
        else:
            total = total + (part * make(w[0])).sum()
    return total


# Complex numbers: what does not depend on phases, against PyTorch

COMPLEX = {
    "eigh": lambda t, a: (lambda w, v: (v * w.sin()) @ v.mH)(*t.linalg.eigh(a @ a.mH)),
    "eigvalsh": lambda t, a: t.linalg.eigvalsh(a + a.mH),
    "eig": lambda t, a: (lambda w, v: (v * w.sin()) @ t.linalg.inv(v))(*t.linalg.eig(a)),
    "eig lengths": lambda t, a: t.linalg.eig(a)[1].abs(),
    "eigvals": lambda t, a: t.linalg.eigvals(a).prod(),
    "svd": lambda t, a: (lambda u, s, vh: (u * s.sin()) @ vh)(*t.linalg.svd(a[:, :2], full_matrices=False)),
    "svd wide": lambda t, a: (lambda u, s, vh: (u.abs(), s, vh.abs()))(*t.linalg.svd(a[:2], full_matrices=False)),
    "svdvals": lambda t, a: t.linalg.svdvals(a),
    "qr": lambda t, a: tuple(t.linalg.qr(a[:, :2])),
    "qr wide": lambda t, a: tuple(t.linalg.qr(a[:2])),
    "lu": lambda t, a: tuple(t.linalg.lu(a)),
    "lu_solve": lambda t, a: t.linalg.lu_solve(*t.linalg.lu_factor(a), a.mT, adjoint=True, left=False),
    "solve_triangular": lambda t, a: t.linalg.solve_triangular(a, a.mH, upper=True, left=False),
    "matrix_exp": lambda t, a: t.linalg.matrix_exp(a),
    "pinv": lambda t, a: t.linalg.pinv(a[:, :2]),
    "lstsq": lambda t, a: t.linalg.lstsq(a[:, :2], a, driver="gelsd")[0],
    "cholesky_solve": lambda t, a: t.cholesky_solve(a, t.linalg.cholesky(a @ a.mH)),
    "cholesky_inverse": lambda t, a: t.cholesky_inverse(t.linalg.cholesky(a @ a.mH, upper=True), upper=True),
    "nuclear norm": lambda t, a: t.linalg.matrix_norm(a, "nuc"),
    "cond": lambda t, a: t.linalg.cond(a, -2),
    "tensorsolve": lambda t, a: t.linalg.tensorsolve(a.reshape(3, 1, 3), a[:, :1]),
    "vecdot": lambda t, a: t.linalg.vecdot(a, a.mT),
    "cov": lambda t, a: t.cov(a),
    "corrcoef": lambda t, a: t.corrcoef(a),
    "matrix_power": lambda t, a: t.linalg.matrix_power(a, -3),
}


@pytest.mark.parametrize("name", COMPLEX)
@pytest.mark.parametrize("complex", [False, True])
def test_against_pytorch(name, complex):
    a = regular(3, 3, complex=complex)
    x, y = torch.tensor(a, requires_grad=True), pb.tensor(a, requires_grad=True)
    theirs, mine = COMPLEX[name](torch, x), COMPLEX[name](pb, y)
    for p, q in zip(*((z,) if not isinstance(z, tuple) else z for z in (mine, theirs)), strict=True):
        assert str(p.dtype) == str(q.dtype)
        np.testing.assert_allclose(numbers(p), numbers(q), rtol=1e-9, atol=1e-11)
    real_loss(theirs).backward()
    real_loss(mine).backward()
    np.testing.assert_allclose(numbers(y.grad), numbers(x.grad), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("name", ["eigh", "eig", "svd", "qr", "lu", "matrix_exp", "pinv", "svdvals", "nuclear norm"])
def test_second_derivatives_of_complex_functions(name):
    """Reverse over reverse against PyTorch, and the modes against each other."""
    a, t = regular(3, 3, complex=True), rng.standard_normal((3, 3)) + 1j * rng.standard_normal((3, 3))
    x, y = torch.tensor(a, requires_grad=True), pb.tensor(a, requires_grad=True)
    (g,) = torch.autograd.grad(real_loss(COMPLEX[name](torch, x)), x, create_graph=True)
    (h,) = pb.autograd.grad(real_loss(COMPLEX[name](pb, y)), y, create_graph=True)
    (g.conj() * torch.tensor(t)).sum().real.backward()
    (h.conj() * pb.tensor(t)).sum().real.backward()
    np.testing.assert_allclose(numbers(y.grad), numbers(x.grad), rtol=1e-7, atol=1e-8)

    def slope(z):
        return pb.jvp(lambda z: real_loss(COMPLEX[name](pb, z)), (z,), (pb.tensor(t),))[1]

    u = pb.tensor(a.T.copy())
    twice = pb.jvp(slope, (pb.tensor(a),), (u,))[1].item()
    assert twice == pytest.approx(float((numbers(y.grad).conj() * numbers(u)).sum().real), rel=1e-8)


# Repeated values: gradients of functions that do not depend on the choice of vectors

DEGENERATE = [np.eye(3), np.zeros((3, 3)), np.diag([2.0, 2.0, 1.0]), np.diag([1.0, -1.0, 1.0]), np.ones((3, 3))]
turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
DEGENERATE += [turn @ np.diag([2.0, 2.0, 1.0]) @ turn.T, turn @ np.diag([3.0, 3.0, 3.0]) @ turn.T]


@pytest.mark.parametrize("a", DEGENERATE)
@pytest.mark.parametrize("both", [True, False])
def test_functions_of_repeated_eigenvalues(a, both):
    """The gradient of tr f(A) is f'(A), whatever the eigenvalues: here cos A, from the exponential."""
    a = (a + a.T) / 2
    wanted = torch.linalg.matrix_exp(torch.tensor(1j * a)).real.numpy()

    def trace(x):
        w = pb.linalg.eigh(x)[0] if both else pb.linalg.eigvalsh(x)
        return w.sin().sum()

    np.testing.assert_allclose(pb.grad(trace)(pb.tensor(a)).numpy(), wanted, atol=1e-12)
    t = rng.standard_normal((3, 3))
    assert pb.jvp(trace, (pb.tensor(a),), (pb.tensor(t),))[1].item() == pytest.approx((wanted * t).sum(), abs=1e-12)
    assert np.isfinite(pb.hessian(trace)(pb.tensor(a)).numpy()).all()

    def projected(x):  # reads the vectors, and does not depend on their choice
        w, v = pb.linalg.eigh(x)
        return ((v * w.sin()) @ v.mT).diagonal().sum()

    np.testing.assert_allclose(pb.grad(projected)(pb.tensor(a)).numpy(), wanted, atol=1e-12)


@pytest.mark.parametrize("a", DEGENERATE)
def test_eigenvalues_of_general_matrices_that_repeat(a):
    gradient = pb.grad(lambda x: pb.linalg.eigvals(x).sum().real)(pb.tensor(a)).numpy()
    np.testing.assert_allclose(gradient, np.eye(3), atol=1e-12)
    assert np.isfinite(pb.hessian(lambda x: pb.linalg.eig(x)[1].abs().sum())(pb.tensor(a)).numpy()).all()


@pytest.mark.parametrize("a", [a for a in DEGENERATE if abs(np.linalg.det(a)) > 0.1])
def test_the_polar_factor_of_repeated_singular_values(a):
    """UVᴴ, the gradient of the nuclear norm, is smooth at regular matrices: its derivative too, to second order."""
    t = rng.standard_normal((3, 3))

    def polar(x):
        u, _, vh = pb.linalg.svd(x, full_matrices=False)
        return u @ vh

    def smooth(x):  # the same factor, as x (xᵀx)^(-1/2)
        return x @ pb.linalg.inv(pb.scipy.linalg.sqrtm(x.mT @ x))

    x, d = pb.tensor(a), pb.tensor(t)
    np.testing.assert_allclose(pb.linalg.svdvals(x).sum().item(), np.linalg.norm(a, "nuc"), rtol=1e-12)
    np.testing.assert_allclose(
        pb.grad(lambda x: pb.linalg.matrix_norm(x, "nuc"))(x).numpy(), smooth(x).numpy(), atol=1e-12
    )
    for f in (polar, lambda x: pb.grad(lambda x: pb.linalg.svdvals(x).sum())(x)):
        found, wanted = pb.jvp(f, (x,), (d,))[1], pb.jvp(smooth, (x,), (d,))[1]
        np.testing.assert_allclose(found.numpy(), wanted.numpy(), atol=1e-10)
    weights = pb.tensor(rng.standard_normal((3, 3)))
    np.testing.assert_allclose(
        pb.grad(lambda x: (polar(x) * weights).sum())(x).numpy(),
        pb.grad(lambda x: (smooth(x) * weights).sum())(x).numpy(),
        atol=1e-10,
    )


@pytest.mark.parametrize("shape", [(3, 3), (4, 2), (2, 4)])
@pytest.mark.parametrize("full", [False, True])
def test_singular_matrices_have_finite_gradients(shape, full):
    a = np.outer(rng.standard_normal(shape[0]), rng.standard_normal(shape[1]))
    for x in (pb.tensor(a), pb.zeros(shape, dtype=pb.float64)):
        gradient = pb.grad(lambda x: sum(y.abs().sum() for y in pb.linalg.svd(x, full_matrices=full)))(x)
        assert np.isfinite(gradient.numpy()).all()


def test_further_columns_of_full_factors():
    """With square U and Q the projection on what A does not reach is a function of A: its derivative against that of
    1 - A A⁺."""
    a, t = regular(5, 2), rng.standard_normal((5, 2))

    def by(factor):
        def projection(x):
            rest = factor(x)[:, 2:]
            return rest @ rest.mT

        return projection

    one = pb.eye(5, dtype=pb.float64)
    wanted = pb.jvp(lambda x: one - x @ pb.linalg.pinv(x), (pb.tensor(a),), (pb.tensor(t),))[1].numpy()
    for factor in (lambda x: pb.linalg.svd(x)[0], lambda x: pb.linalg.qr(x, "complete")[0]):
        f = by(factor)
        np.testing.assert_allclose(pb.jvp(f, (pb.tensor(a),), (pb.tensor(t),))[1].numpy(), wanted, atol=1e-12)
        weights = pb.tensor(rng.standard_normal((5, 5)))
        g = pb.grad(lambda x, f=f, w=weights: (f(x) * w).sum())(pb.tensor(a)).numpy()
        assert (g * t).sum() == pytest.approx((wanted * weights.numpy()).sum(), rel=1e-10)


def test_a_change_that_keeps_the_rank_of_a_pseudoinverse():
    u, v = rng.standard_normal((2, 4, 2))

    def f(module, u, v):
        return module.linalg.pinv(u @ v.T)

    mine = pb.jvp(lambda u: f(pb, u, pb.tensor(v)), (pb.tensor(u),), (pb.tensor(v),))[1].numpy()
    h = 1e-6
    wanted = (np.linalg.pinv((u + h * v) @ v.T, 1e-9) - np.linalg.pinv((u - h * v) @ v.T, 1e-9)) / (2 * h)
    np.testing.assert_allclose(mine, wanted, rtol=1e-6, atol=1e-7)


# The Hessians that other libraries got wrong, against JAX


@pytest.mark.parametrize("name", ["eigh", "svd", "qr"])
@pytest.mark.usefixtures("double_precision")
def test_hessians_against_jax(name):
    a = regular(3, 3)
    w = rng.standard_normal((3, 3))
    functions = {
        "eigh": lambda m, x: (lambda e, v: ((v * m.sin(e)) @ v.T * w).sum())(*m.linalg.eigh((x + x.T) / 2)),
        "svd": lambda m, x: (lambda u, s, v: ((u * m.sin(s)) @ v * w).sum())(*m.linalg.svd(x, full_matrices=False)),
        "qr": lambda m, x: (lambda q, r: (q * w).sum() + (m.sin(r) * w).sum())(*m.linalg.qr(x)),
    }
    f = functions[name]
    mine, theirs = pb.hessian(lambda x: f(np, x))(a), jax.hessian(lambda x: f(jnp, x))(a)
    np.testing.assert_allclose(mine, theirs, rtol=1e-7, atol=1e-7)


def test_eigenvectors_move_as_lapack_fixes_them():
    """Of a general matrix, whose eigenvectors have a largest component that is real."""
    a, t, h = 3 * np.roll(np.eye(4), 1, 0), rng.standard_normal((4, 4)), 1e-6
    a = a + 0.5 * rng.standard_normal((4, 4))
    assert np.iscomplexobj(np.linalg.eigvals(a))
    found = pb.jvp(lambda x: pb.linalg.eig(x)[1], (pb.tensor(a),), (pb.tensor(t),))[1].numpy()

    def vectors(x):  # with the signs they have at a
        v, w = np.linalg.eig(a)[1], np.linalg.eig(x)[1]
        return w * np.sign((v.conj() * w).sum(0).real)

    wanted = (vectors(a + h * t) - vectors(a - h * t)) / (2 * h)
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-7)


# Options, shapes, errors


def test_info_of_matrices_that_fail():
    bad = pb.tensor([[1.0, 2.0], [2.0, 1.0]])
    assert pb.linalg.cholesky_ex(bad).info.item() == 2
    assert pb.linalg.cholesky_ex(pb.stack([bad, pb.eye(2)])).info.tolist() == [2, 0]
    np.testing.assert_array_equal(pb.linalg.cholesky_ex(pb.stack([bad, pb.eye(2)])).L[1].numpy(), np.eye(2))
    assert pb.linalg.inv_ex(pb.ones(2, 2)).info.item() > 0
    assert pb.linalg.solve_ex(pb.ones(2, 2), pb.ones(2)).info.item() > 0
    assert pb.linalg.lu_factor_ex(pb.tensor([[1.0, 2.0], [2.0, 4.0]])).info.item() == 2
    for call in (
        lambda: pb.linalg.cholesky_ex(bad, check_errors=True),
        lambda: pb.linalg.inv_ex(pb.ones(2, 2), check_errors=True),
        lambda: pb.linalg.lu_factor(pb.ones(2, 2)),
        lambda: pb.linalg.solve_triangular(pb.zeros(2, 2), pb.ones(2, 1), upper=True),
    ):
        with pytest.raises(pb.linalg.LinAlgError):
            call()


@pytest.mark.parametrize(
    "call",
    [
        lambda t: t.linalg.qr(t.ones(2, 2), mode="some"),
        lambda t: t.linalg.eigh(t.ones(2, 3)),
        lambda t: t.linalg.eigh(t.eye(2), UPLO="X"),
        lambda t: t.linalg.svd(t.ones(3)),
        lambda t: t.linalg.svd(t.ones(2, 2, dtype=t.int64)),
        lambda t: t.linalg.matrix_norm(t.eye(2), 3),
        lambda t: t.linalg.tensorinv(t.ones(2, 3), ind=1),
        lambda t: t.linalg.lstsq(t.ones(3, 2), t.ones(3, 1), driver="best"),
        lambda t: t.cdist(t.ones(2, 3), t.ones(2, 2)),
        lambda t: t.cov(t.ones(2, 2, 2)),
    ],
)
def test_errors_are_of_pytorchs_kind(call):
    for module in (torch, pb):
        with pytest.raises(RuntimeError):
            call(module)


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0), (2, 0, 0)])
@pytest.mark.parametrize("name", ["svd", "svdvals", "qr", "pinv", "matrix_rank", "eigh", "eig", "matrix_exp", "lu"])
def test_empty_matrices(name, shape):
    if name in ("eigh", "eig", "matrix_exp") and shape[-1] != shape[-2]:
        with pytest.raises(RuntimeError, match="square"):
            getattr(pb.linalg, name)(pb.ones(shape))
        return
    mine, theirs = (getattr(t.linalg, name)(t.ones(shape)) for t in (pb, torch))
    for p, q in zip(*((z,) if not isinstance(z, tuple) else z for z in (mine, theirs)), strict=True):
        assert tuple(p.shape) == tuple(q.shape)
        assert str(p.dtype) == str(q.dtype)


@pytest.mark.parametrize("hermitian", [False, True])
@pytest.mark.parametrize("tolerances", [{}, {"atol": 1.5}, {"rtol": 0.4}, {"atol": 0.1, "rtol": 0.6}])
def test_rank_and_tolerances(hermitian, tolerances):
    a = np.diag([3.0, 1.2, 1e-9])
    for name in ("matrix_rank", "pinv"):
        mine = getattr(pb.linalg, name)(pb.tensor(a), hermitian=hermitian, **tolerances)
        theirs = getattr(torch.linalg, name)(torch.tensor(a), hermitian=hermitian, **tolerances)
        np.testing.assert_allclose(mine.numpy(), theirs.numpy(), rtol=1e-12)


@pytest.mark.parametrize("driver", ["gels", "gelsy", "gelsd", "gelss"])
@pytest.mark.parametrize("shape", [((5, 3), (5, 2)), ((2, 5, 3), (2, 5)), ((3, 5), (3, 1))])
def test_least_squares(driver, shape):
    a, b = rng.standard_normal(shape[0]), rng.standard_normal(shape[1])
    mine = pb.linalg.lstsq(pb.tensor(a), pb.tensor(b), driver=driver)
    theirs = torch.linalg.lstsq(torch.tensor(a), torch.tensor(b), driver=driver)
    for p, q in zip(mine, theirs, strict=True):
        assert tuple(p.shape) == tuple(q.shape)
        np.testing.assert_allclose(p.numpy(), q.numpy(), rtol=1e-9, atol=1e-12)


def test_householder_products_undo_geqrf():
    a = pb.tensor(regular(4, 3))
    h, tau = pb.geqrf(a)
    q = pb.linalg.qr(a)[0]
    np.testing.assert_allclose(pb.linalg.householder_product(h, tau).numpy(), q.numpy(), atol=1e-12)
    b = pb.tensor(regular(4, 4))
    whole = pb.linalg.qr(a, "complete")[0]
    np.testing.assert_allclose(pb.ormqr(h, tau, b, transpose=True).numpy(), (whole.mT @ b).numpy(), atol=1e-12)
    np.testing.assert_allclose(pb.ormqr(h, tau, b, left=False).numpy(), (b @ whole).numpy(), atol=1e-12)


def test_low_rank_factors_are_exact_at_their_rank():
    a = pb.tensor(rng.standard_normal((6, 2)) @ rng.standard_normal((2, 5)), requires_grad=True)
    u, s, v = pb.svd_lowrank(a, q=2)
    np.testing.assert_allclose(((u * s) @ v.mT).detach().numpy(), a.detach().numpy(), atol=1e-12)
    s.sum().backward()
    wanted = pb.grad(lambda x: pb.linalg.svdvals(x)[:2].sum())(a.detach())
    np.testing.assert_allclose(a.grad.numpy(), wanted.numpy(), atol=1e-10)
    u, s, v = pb.pca_lowrank(a.detach(), q=2)
    centred = a.detach() - a.detach().mean(0)
    np.testing.assert_allclose(s.numpy(), pb.linalg.svdvals(centred)[:2].numpy(), atol=1e-10)


@pytest.mark.parametrize("p", [0.0, 0.5, 1.0, 2.0, 3.0, math.inf])
def test_distances(p):
    a, b = rng.standard_normal((2, 4, 3)), rng.standard_normal((2, 2, 3))
    b[0, 0] = a[0, 0]
    x, y = torch.tensor(a, requires_grad=True), pb.tensor(a, requires_grad=True)
    theirs, mine = torch.cdist(x, torch.tensor(b), p), pb.cdist(y, pb.tensor(b), p)
    np.testing.assert_allclose(numbers(mine), numbers(theirs), rtol=1e-9, atol=1e-12)
    real_loss(theirs).backward()
    real_loss(mine).backward()
    if p != 0.5:  # PyTorch's is infinite beside an element that is equal
        np.testing.assert_allclose(numbers(y.grad), numbers(x.grad), rtol=1e-9, atol=1e-12)


def test_exponentials_of_any_size():
    for scale in (1e-12, 1e-3, 1.0, 30.0):
        a = scale * rng.standard_normal((2, 3, 3)) * np.array([1.0, 0.01])[:, None, None]
        np.testing.assert_allclose(
            pb.linalg.matrix_exp(pb.tensor(a)).numpy(), torch.linalg.matrix_exp(torch.tensor(a)).numpy(), rtol=1e-10
        )
    big = np.array([[0.0, 1e8], [0.0, 0.0]])  # the direction may be of any size beside the matrix
    e = pb.jvp(pb.linalg.matrix_exp, (pb.tensor([[1.0, 0.0], [0.0, 2.0]]).double(),), (pb.tensor(big),))[1].numpy()
    np.testing.assert_allclose(e, [[0, 1e8 * (math.e**2 - math.e)], [0, 0]], rtol=1e-12, atol=1e-6)


def test_one_triangle_is_read():
    whole = regular(3, 3)
    whole = whole @ whole.T
    for lower in (True, False):
        half = np.tril(whole) if lower else np.triu(whole)
        np.testing.assert_allclose(
            pb.linalg.eigvalsh(pb.tensor(half), "L" if lower else "U").numpy(), np.linalg.eigvalsh(whole), rtol=1e-12
        )
        np.testing.assert_allclose(
            pb.linalg.cholesky(pb.tensor(half), upper=not lower).numpy(),
            torch.linalg.cholesky(torch.tensor(half), upper=not lower).numpy(),
            rtol=1e-12,
        )
    assert from_triangle(x := pb.tensor(whole), True) is x


def test_results_that_are_written_to_do_not_spoil_gradients():
    x = pb.tensor(regular(3, 3), requires_grad=True)
    s = pb.linalg.svd(x)[1]
    with pb.no_grad():
        s.mul_(0.0)
    s.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), pb.grad(lambda a: pb.linalg.svdvals(a).sum())(x.detach()).numpy())


def test_methods():
    x = pb.tensor(regular(3, 3))
    assert x.qr()[1].shape == (3, 3)
    assert x.svd()[2].shape == (3, 3)
    assert (x @ x.mT).cholesky().shape == (3, 3)
    np.testing.assert_allclose(x.pinverse().numpy(), x.inverse().numpy(), rtol=1e-9)
    np.testing.assert_allclose(x.lu_solve(*pb.lu(x)).numpy(), np.eye(3), atol=1e-12)


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("unit", [True, False])
def test_triangular_systems_without_scipy(monkeypatch, lower, unit):
    a, b = regular(3, 3), regular(3, 2)
    wanted = triangular.solve_triangular(a, b, lower=lower, unit=unit)
    monkeypatch.setattr(triangular, "_has_scipy", lambda: False)
    np.testing.assert_allclose(triangular.solve_triangular(a, b, lower=lower, unit=unit), wanted, rtol=1e-12)


def test_gaps_count_as_none_within_rounding():
    w = np.array([1.0, 1.0 + 2e-16, 2.0])
    gaps = spectral._gaps(w)
    assert gaps[0, 1] == 0.0
    assert gaps[0, 2] == 1.0
