"""Gradients that widely used libraries once got wrong: ours, in both modes and to second order."""

import itertools

import numpy as np
import pytest

import pullback as pb
from pullback.ops import elementwise as e
from pullback.ops.cast import cast
from pullback.ops.linalg import cholesky, det, einsum, inv, slogdet, solve
from pullback.ops.reduce import amax, amin, logsumexp, norm, prod, std
from pullback.ops.scan import cummax, cumprod, logcumsumexp
from pullback.ops.shape import reshape, sum_
from pullback.ops.sort import sort, topk


def total(x):
    return sum_(x, axis=tuple(range(len(x.shape))), keepdims=False)


def whole(op):
    """A reduction over everything."""
    return lambda x: op(x, axis=tuple(range(len(x.shape))), keepdims=False)


def gradients(f, x):
    """The gradient of a scalar function by reverse mode and, entry by entry, by forward mode."""
    units = np.eye(x.size).reshape(x.size, *x.shape)
    forward = np.array([pb.jvp(f, (x,), (u,))[1] for u in units]).reshape(x.shape)
    return np.asarray(pb.grad(f)(x)), forward


def hessians(f, x):
    """The Hessian by each of the four ways to nest two modes."""
    n = x.size

    def by_jvp(h):
        return lambda z: np.array([pb.jvp(h, (z,), (u,))[1] for u in np.eye(n).reshape(n, *x.shape)])

    def along(u):
        return lambda z: pb.jvp(f, (z,), (u,))[1]

    units = np.eye(n).reshape(n, *x.shape)
    found = [
        by_jvp(pb.grad(f))(x),
        np.array([pb.vjp(pb.grad(f), x)[1](u)[0] for u in units]),
        np.array([pb.grad(along(u))(x) for u in units]),
        np.array([[pb.jvp(along(u), (x,), (v,))[1] for v in units] for u in units]),
    ]
    return [h.reshape(n, n) for h in found]


def check(f, x, gradient=None, hessian=None):
    if gradient is not None:
        for found in gradients(f, x):
            np.testing.assert_allclose(found, gradient, rtol=1e-12, atol=1e-12)
    if hessian is not None:
        for found in hessians(f, x):
            np.testing.assert_allclose(found, hessian, rtol=1e-11, atol=1e-11)


SWAP = np.array([[0.0, 0, 0, 1], [0, 0, -1, 0], [0, -1, 0, 0], [1, 0, 0, 0]])


@pytest.mark.parametrize("matrix", [[[1.0, 2], [3, 4]], [[1, 2], [2, 4]], [[0, 0], [0, 0]], [[2, 0], [0, 0]]])
def test_det_of_two_by_two_has_a_constant_hessian(matrix):
    (a, b), (c, d) = matrix
    check(det, np.array(matrix, float), [[d, -c], [-b, a]], SWAP)


def test_third_derivative_of_det():
    x = np.array([[2.0, 1.0, 0.5], [0.3, 3.0, 1.0], [0.2, 0.4, 1.5]])
    third = pb.jvp(lambda z: pb.jvp(lambda y: pb.grad(det)(y), (z,), (np.eye(3),))[1], (x,), (np.eye(3),))[1]
    # det(x + t I) = t³ + ...: its gradient moves along I with the derivative of cofactors, 2 I to second order
    np.testing.assert_allclose(third, 2 * np.eye(3), atol=1e-12)


def test_second_derivative_of_logdet():
    x = np.array([[2.0, 1.0], [0.5, 3.0]])
    y = np.linalg.inv(x)
    wanted = -np.einsum("li,jk->ijkl", y, y).reshape(4, 4)  # d(x⁻¹)ᵀ: -x⁻¹[l, i] x⁻¹[j, k]
    check(lambda z: slogdet(z)[1], x, y.T, wanted)


def test_second_derivative_of_solve():
    b = np.array([[1.0], [2.0]])
    x = np.array([[2.0, 1.0], [0.5, 3.0]])
    check(
        lambda z: total(solve(z, b)),
        x,
        pb.grad(lambda z: total(inv(z) @ b))(x),
        hessians(lambda z: total(inv(z) @ b), x)[0],
    )
    # along a = s·I the solution is b/s, whose second derivative is 2b/s³
    second = pb.grad(pb.grad(lambda s: total(solve(s * np.eye(2), b))))(2.0)
    np.testing.assert_allclose(second, 2 * 3.0 / 8)


def test_logdensity_of_a_gaussian_in_its_covariance():
    x = np.array([[1.0], [-2.0]])
    cov = np.array([[2.0, 0.3], [0.3, 1.0]])

    def density(s):
        return -0.5 * (slogdet(s)[1] + total(x * solve(s, x)))

    p = np.linalg.inv(cov)
    check(density, cov, -0.5 * (p - p @ x @ x.T @ p))

    def by_cholesky(s):
        low = cholesky(s)
        z = solve(low, x)
        return -(total(e.log(einsum(low * np.eye(2), spec="ij->i"))) + 0.5 * total(z * z))

    check(by_cholesky, cov, -0.5 * (p - p @ x @ x.T @ p))


@pytest.mark.parametrize("zeros", [(), (1,), (1, 3), (0, 1, 3)])
def test_prod_with_zeros(zeros):
    x = np.array([2.0, 3.0, 5.0, 7.0])
    x[list(zeros)] = 0
    n = len(x)
    others = [np.prod(np.delete(x, i)) for i in range(n)]
    pairs = [[0.0 if i == j else np.prod(np.delete(x, [i, j])) for j in range(n)] for i in range(n)]
    check(whole(prod), x, others, pairs)


def test_prod_with_three_zeros_has_a_third_derivative():
    def d(f, i):
        return lambda x: pb.jvp(f, (x,), (np.eye(4)[i],))[1]

    x = np.array([0.0, 0.0, 0.0, 7.0])
    assert d(d(d(whole(prod), 0), 1), 2)(x) == 7.0


def test_cumprod_with_zeros():
    check(
        lambda x: total(cumprod(x, axis=0)),
        np.array([0.0, 2.0, 3.0]),
        [9.0, 0.0, 0.0],
        [[0, 4, 2], [4, 0, 0], [2, 0, 0]],
    )
    check(lambda x: total(cumprod(x, axis=0)), np.array([0.0, 0.0, 3.0]), [1, 0, 0], [[0, 4, 0], [4, 0, 0], [0, 0, 0]])


def test_power_gives_the_exponent_its_gradient():
    x, p = np.array([2.0, 3.0]), np.array([3.0, 0.5])
    check(lambda q: total(e.pow_(x, q)), p, x**p * np.log(x), np.diag(x**p * np.log(x) ** 2))
    check(lambda q: e.pow_(2.0, q), np.array(3.0), 8 * np.log(2))
    assert np.array_equal(pb.grad(lambda q: total(e.pow_(np.array([0.0, 0.0]), q)))(np.array([2.0, 0.0])), [0, 0])


def test_power_at_zero():
    x = np.array([0.0, 0.0, 0.0, 2.0])
    p = np.array([0.0, 1.0, 2.0, 0.0])
    check(lambda z: total(e.pow_(z, p)), x, [0, 1, 0, 0], np.diag([0.0, 0, 2, 0]))
    check(lambda z: total(e.pow_(z, 2)), x, 2 * x, 2 * np.eye(4))
    check(lambda z: total(e.pow_(z, 0)), x, 0 * x, np.zeros((4, 4)))
    with np.errstate(divide="ignore"):
        assert [pb.grad(lambda q: 0.0**q)(b) for b in (0.0, 2.0, -1.0)] == [0.0, 0.0, -np.inf]
    assert pb.hessian(lambda q: 0.0**q)(2.0) == pb.jacfwd(lambda q: 0.0**q)(2.0) == 0.0
    # the mixed derivative of a**b at b = 0 is 1/a: the slope there is 0, its slope in b is not
    mixed = pb.grad(lambda b: pb.grad(lambda a: e.pow_(a, b))(2.0))(0.0)
    np.testing.assert_allclose(mixed, 0.5)


def test_where_with_a_branch_that_is_not_finite():
    x = np.array([0.0, 4.0])
    with np.errstate(all="ignore"):  # of the forward pass, which does compute both branches
        check(lambda z: total(e.where(z > 0, e.sqrt(z), 0.0)), x, [0.0, 0.25], np.diag([0, -1 / 32]))
        check(lambda z: total(e.where(z > 0, e.log(z), z)), x, [1.0, 0.25], np.diag([0, -1 / 16]))
        check(lambda z: total(e.where(z > 0, z * e.log(z), 0.0)), x, [0.0, 1 + np.log(4)], np.diag([0, 1 / 4]))
        check(lambda z: total(e.where(z < 1, z, e.sqrt(1 - z) * z)), np.array([0.5, 0.9]), [1, 1], np.zeros((2, 2)))
        check(lambda z: total(e.where(z < 1, e.sqrt(1 - z), 0.0)), np.array([0.75, 2.0]), [-1, 0], np.diag([-2.0, 0]))
        check(lambda z: total(e.where(z < 9, z, e.log(e.exp(e.exp(e.exp(z)))))), x, [1, 1], np.zeros((2, 2)))
        check(lambda z: total(e.maximum(e.log(z), -100.0)), x, [0, 0.25], np.diag([0, -1 / 16]))


def test_backward_through_where_gives_no_warnings():
    with np.errstate(all="ignore"):
        _, pull = pb.vjp(lambda z: e.where(z > 0, e.sqrt(z) / z, 0.0), np.array([0.0, 4.0]))
    with np.errstate(all="raise"):
        assert np.array_equal(pull(np.ones(2))[0], [0, -1 / 16])


def test_a_cotangent_that_happens_to_be_zero_still_has_a_derivative():
    # (√z - 1)² has slope 0 at 1, and there a cotangent of 0 reaches the square root; its second derivative is 1/2
    with np.errstate(all="ignore"):
        f = lambda z: total(e.where(z > 0, e.square(e.sqrt(z) - 1), 0.0))  # noqa: E731
        check(f, np.array([0.0, 1.0]), [0, 0], np.diag([0, 0.5]))


def test_norm_at_zero():
    check(whole(norm), np.zeros(3), np.zeros(3))
    check(whole(norm), np.array([3.0, 4.0]), [0.6, 0.8], np.array([[16, -12], [-12, 9]]) / 125)


def test_std_of_equal_elements():
    check(lambda x: std(x, axis=(0,), correction=1, keepdims=False), np.ones(3), np.zeros(3))


@pytest.mark.parametrize("op", [amax, amin])
def test_ties_of_extrema(op):
    check(whole(op), np.array([1.0, 1.0, 1.0]), np.full(3, 1 / 3), np.zeros((3, 3)))
    other = e.maximum if op is amax else e.minimum
    check(lambda x: total(other(x, np.ones(2))), np.ones(2), [0.5, 0.5])
    far = np.array([5.0, 1.0, 5.0]) * (1 if op is amax else -1)
    check(whole(op), far, [0.5, 0.0, 0.5])


def test_ties_of_order():
    x = np.array([2.0, 1.0, 2.0])
    w = np.array([1.0, 10.0, 100.0])
    check(lambda z: total(sort(z, axis=0)[0] * w), x, [10, 1, 100])
    check(lambda z: total(sort(z, axis=0, descending=True)[0] * w), x, [1, 100, 10])
    check(lambda z: total(topk(z, 1, axis=0)[0]), x, [1, 0, 0])
    check(lambda z: total(cummax(z, axis=0)[0] * w), x, [11, 0, 100])


def test_clipped_by_a_bound():
    check(lambda z: total(e.maximum(z, 10.0)), np.array([1.0, 2.0]), [0, 0])
    check(lambda z: total(e.clamp(z, min=0.0, max=1.0)), np.array([0.0, 1.0, 2.0, -1.0]), [1, 1, 0, 0])


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_cast_between_floats_passes_the_gradient_on(shape):
    x = np.ones(shape)
    found = pb.grad(lambda z: total(cast(cast(z, dtype=np.dtype("float32")) * 3.0, dtype=np.dtype("float64"))))(x)
    assert np.array_equal(found, 3 * x)
    assert np.asarray(found).dtype == np.float64


def test_real_operand_of_a_complex_product():
    w = np.array([1 + 2j, 3 - 1j])

    def f(x):
        y = cast(x, dtype=np.dtype("complex128")) * w
        return total(e.square(e.abs_(y)))

    x = np.array([1.0, 2.0])
    check(f, x, 2 * x * np.abs(w) ** 2, np.diag(2 * np.abs(w) ** 2))


@pytest.mark.filterwarnings("error")
def test_logsumexp_of_minus_infinity():
    x = np.array([-np.inf, -np.inf])
    assert whole(logsumexp)(x) == -np.inf
    assert np.array_equal(pb.grad(whole(logsumexp))(x), [0, 0])
    y = np.array([-np.inf, 0.0, 0.0, 1000.0])
    assert np.array_equal(pb.grad(whole(logsumexp))(y), [0, 0, 0, 1])
    pull = pb.vjp(lambda z: logcumsumexp(z, axis=0), y)[1]
    np.testing.assert_allclose(pull(np.ones(4))[0], [0, 1.5, 0.5, 1])
    assert pb.grad(lambda a: e.logaddexp(a, -np.inf))(-np.inf) == 0


@pytest.mark.filterwarnings("error")
def test_sigmoid_never_overflows():
    x = np.array([-1e4, -700.0, -30.0, 0.0, 30.0, 1e4])
    small = np.exp(-30.0)
    wanted = [0, np.exp(-700.0), small / (1 + small), 0.5, 1 / (1 + small), 1]
    np.testing.assert_allclose(e.sigmoid(x), wanted, rtol=1e-14)
    assert np.isfinite(pb.grad(lambda z: total(e.sigmoid(z)))(x)).all()


@pytest.mark.filterwarnings("error")
def test_xlogy_at_zero():
    assert e.xlogy(np.array(0.0), np.array(0.0)) == 0
    check(lambda x: total(e.xlogy(x, np.array([0.0, 2.0]))), np.array([0.0, 3.0]), [0, np.log(2)])
    check(lambda y: total(e.xlogy(np.array([0.0, 3.0]), y)), np.array([0.0, 2.0]), [0, 1.5], np.diag([0, -0.75]))


def test_sinc_at_zero():
    check(e.sinc, np.array(0.0), 0.0, [[-(np.pi**2) / 3]])
    fourth = e.sinc(np.array(0.0), order=4)
    np.testing.assert_allclose(fourth, np.pi**4 / 5)
    x = np.array([1e-8, 1e-3, 0.2, 0.32, 1.0, 7.3])
    exact = (np.pi * x * np.cos(np.pi * x) - np.sin(np.pi * x)) / (np.pi * x * x)
    np.testing.assert_allclose(e.sinc(x, order=1)[2:], exact[2:], rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(e.sinc(x, order=1)[:2], -(np.pi**2) * x[:2] / 3, rtol=1e-5)


@pytest.mark.parametrize("op", [e.hypot, e.atan2], ids=lambda op: op.name)
def test_origin(op):
    with np.errstate(all="raise"):
        for found in gradients(lambda z: op(z, np.array(0.0)), np.array(0.0)):
            assert found == 0


def test_complex_gradients_are_pytorchs():
    torch = pytest.importorskip("torch")
    z = np.array([1 + 2j, -0.5 + 1j, 2 - 1j])
    cases = {
        "exp": lambda f, x: f.exp(x),
        "log": lambda f, x: f.log(x),
        "abs": lambda f, x: f.abs(x),
        "angle": lambda f, x: f.angle(x),
        "sgn": lambda f, x: f.sgn(x),
        "square": lambda f, x: x * x,
        "ratio": lambda f, x: (x + 1) / x,
    }
    ours = {"exp": e.exp, "log": e.log, "abs": e.abs_, "angle": e.angle, "sgn": e.sgn}
    g = np.array([0.3 - 1j, 1 + 0.5j, -2 + 1j])
    for name, f in cases.items():
        x = torch.tensor(z, requires_grad=True)
        y = f(torch, x)
        seed = torch.tensor(g if y.is_complex() else g.real.copy())
        (wanted,) = torch.autograd.grad(y, x, seed)
        op = ours.get(name, lambda x, name=name: x * x if name == "square" else (x + 1) / x)
        (found,) = pb.vjp(op, z)[1](seed.numpy())
        np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-12, atol=1e-15, err_msg=name)


def test_every_order_of_nesting():
    """Third derivatives of a product with zeros by all eight ways to nest two modes thrice."""
    x = np.array([0.0, 2.0, 0.0, 3.0])

    def forward(f):
        return lambda z: pb.jvp(f, (z,), (np.ones(4),))[1]

    def reverse(f):
        return lambda z: pb.grad(f)(z) @ np.ones(4)

    # along (1, 1, 1, 1): p(t) = t² (2 + t)(3 + t), third derivative 30 at 0
    for ways in itertools.product((forward, reverse), repeat=3):
        f = whole(prod)
        for way in ways:
            f = way(f)
        np.testing.assert_allclose(f(x), 30.0)


def test_reshape_of_a_gradient():
    check(lambda z: total(reshape(z, shape=(6,)) * np.arange(6.0)), np.ones((2, 3)), np.arange(6.0).reshape(2, 3))
