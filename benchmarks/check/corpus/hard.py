"""Well-defined, and hard on differences: scales far apart, kinks and edges nearby, float32, noise, cancellation."""

from __future__ import annotations

from typing import Any

import numpy as np
from benchmarks.check.plant import (
    entry_off,
    gradient_of,
    ignores_upstream,
    normals,
    nothing,
    of_seed,
    piles_up,
    subject,
    times,
    vjp_of,
)


def sigmoid(z: Any) -> Any:
    return 1 / (1 + np.exp(-z))


# Scales far apart


@subject(of_seed(lambda x: x * np.logspace(-8, 8, 9), (9,)), "hard")
def inputs_far_apart(x):
    return np.sum(np.log(1 + (x / np.logspace(-8, 8, 9)) ** 2))


@gradient_of(
    inputs_far_apart,
    ("factor", "2 * u", "u"),
    ("wrong_formula", "(1 + u**2)", "(1 + u)"),
    ("index", "(1 + u**2) / s", "(1 + u**2) / s[::-1]"),
    entry_off(0.0, 8),
    entry_off(1.01, 0),
    entry_off(-1.0, 4),
    nothing(),
    times(1.003),
)
def inputs_far_apart_grad(x):
    s = np.logspace(-8, 8, 9)
    u = x / s
    d = 2 * u / (1 + u**2) / s
    return d


@subject(normals((9,)), "hard")
def gradients_far_apart(x):
    return np.sum(np.logspace(-8, 8, 9) * np.sin(x))


@gradient_of(
    gradients_far_apart,
    ("wrong_formula", "np.cos(x)", "np.sin(x)"),
    ("sign", "c * np.cos(x)", "-c * np.cos(x)"),
    entry_off(0.0, 0),
    entry_off(2.0, 0),
    entry_off(1.02, 3),
    entry_off(-1.0, 1),
    entry_off(1.005, 8),
)
def gradients_far_apart_grad(x):
    c = np.logspace(-8, 8, 9)
    return c * np.cos(x)


@subject(normals((6,)), "hard")
def tiny_gradient(x):
    return 1e-8 * np.sum(np.tanh(x))


@gradient_of(
    tiny_gradient,
    nothing(),
    ("sign", "1e-8 * (1", "-1e-8 * (1"),
    ("wrong_formula", "np.tanh(x) ** 2", "np.tanh(x)"),
    ("wrong_point", "np.tanh(x) ** 2", "np.tanh(np.tanh(x)) ** 2"),
    times(1.005),
    entry_off(0.0, 2),
)
def tiny_gradient_grad(x):
    return 1e-8 * (1 - np.tanh(x) ** 2)


@subject(of_seed(lambda a, b: (1e-8 * a, 1e8 * b), (5,), (5,)), "hard")
def two_units(small, large):
    return np.sum(np.sin(1e8 * small)) + np.sum(np.cos(1e-8 * large))


@gradient_of(
    two_units,
    nothing(1),
    ("factor", "dsmall = 1e8", "dsmall = 2e8"),
    ("sign", "dlarge = -1e-8", "dlarge = 1e-8"),
    ("wrong_formula", "np.cos(1e8 * small)", "np.cos(small)"),
    ("wrong_formula", "np.sin(1e-8 * large)", "np.cos(1e-8 * large)"),
    entry_off(1.1, 3, which=1),
    times(1.002, which=1),
)
def two_units_grad(small, large):
    dsmall = 1e8 * np.cos(1e8 * small)
    dlarge = -1e-8 * np.sin(1e-8 * large)
    return dsmall, dlarge


@subject(of_seed(lambda q, r: (1e-8 * q, 1e8 * (1 + np.abs(r))), (4,), (4,)), "hard")
def coulomb(q, r):
    return 9e9 * np.sum(q[:-1] * q[1:] / r[:-1])


@gradient_of(
    coulomb,
    ("overwrite", "dq[1:] += 9e9", "dq[1:] = 9e9"),
    ("missing_term", "    dq[1:] += 9e9 * q[:-1] / r[:-1]\n", ""),
    ("sign", "dr[:-1] = -9e9", "dr[:-1] = 9e9"),
    ("wrong_formula", "r[:-1] ** 2", "r[:-1]"),
    nothing(1),
    entry_off(1.008, 1),
)
def coulomb_grad(q, r):
    dq, dr = np.zeros(4), np.zeros(4)
    dq[:-1] += 9e9 * q[1:] / r[:-1]
    dq[1:] += 9e9 * q[:-1] / r[:-1]
    dr[:-1] = -9e9 * q[:-1] * q[1:] / r[:-1] ** 2
    return dq, dr


@subject(normals((5,)), "hard")
def large_offset(x):
    return 1e8 + np.sum(np.sin(x) * np.arange(1, 6))


@gradient_of(
    large_offset,
    ("wrong_formula", "np.cos(x)", "np.sin(x)"),
    ("sign", "np.cos(x)", "-np.cos(x)"),
    ("index", "np.arange(1, 6)", "np.arange(5)"),
    nothing(),
    times(1.01),
    entry_off(0.0, 0),
)
def large_offset_grad(x):
    return np.cos(x) * np.arange(1, 6)


@subject(normals((4,)), "hard")
def fast_oscillation(x):
    return np.sum(np.sin(1e6 * x)) / 1e6


@gradient_of(
    fast_oscillation,
    ("wrong_formula", "np.cos(1e6 * x)", "np.cos(x)"),
    ("wrong_formula", "return np.cos(1e6 * x)", "return np.cos(1e6 * x) / 1e6"),
    ("sign", "return np", "return -np"),
    nothing(),
    entry_off(1.007, 0),
)
def fast_oscillation_grad(x):
    return np.cos(1e6 * x)


@subject(of_seed(lambda x: 20 * x, (6,)), "hard")
def steep_exponentials(x):
    return np.sum(np.exp(x) + np.exp(-x))


@gradient_of(
    steep_exponentials,
    ("sign", "return d", "return -d"),
    ("wrong_formula", "np.exp(x) - np.exp(-x)", "np.exp(x) + np.exp(-x)"),
    ("missing_term", " - np.exp(-x)", ""),
    times(0.999),
    entry_off(1.5, 0),
)
def steep_exponentials_grad(x):
    d = np.exp(x) - np.exp(-x)
    return d


# Next to the edge of a domain


@subject(of_seed(lambda x: 1e-9 * (1 + x**2), (5,)), "hard")
def near_sqrt_edge(x):
    return np.sum(np.sqrt(x))


@gradient_of(
    near_sqrt_edge,
    ("factor", "0.5 / np.sqrt(x)", "1 / np.sqrt(x)"),
    ("sign", "0.5 /", "-0.5 /"),
    ("wrong_formula", "0.5 / np.sqrt(x)", "0.5 / x"),
    entry_off(1.004, 2),
    nothing(),
)
def near_sqrt_edge_grad(x):
    return 0.5 / np.sqrt(x)


@subject(of_seed(lambda x, t: (1e-7 * (0.1 + np.abs(x)), t), (5,), (5,)), "hard")
def near_log_edge(x, t):
    return np.sum((np.log(x) - t) ** 2)


@gradient_of(
    near_log_edge,
    ("wrong_formula", "2 * (np.log(x) - t) / x", "2 * (np.log(x) - t)"),
    ("factor", "2 * (np.log(x) - t) / x", "(np.log(x) - t) / x"),
    ("wrong_point", "(np.log(x) - t) / x", "np.log(x) / x"),
    ("wrong_point", "/ x", "/ np.log(x)"),
    times(0.9965),
)
def near_log_edge_grad(x, t):
    return 2 * (np.log(x) - t) / x


@subject(of_seed(lambda x: 1 - 1e-8 * (0.1 + np.abs(x)), (4,)), "hard")
def near_arcsin_edge(x):
    return np.sum(np.arcsin(x) * np.array([1.0, -2.0, 3.0, 0.5]))


@gradient_of(
    near_arcsin_edge,
    ("wrong_formula", "np.sqrt(1 - x**2)", "np.sqrt(1 + x**2)"),
    ("wrong_formula", "np.sqrt(1 - x**2)", "(1 - x**2)"),
    ("sign", "return w", "return -w"),
    ("index", "w / np", "w[::-1] / np"),
    times(1.01),
)
def near_arcsin_edge_grad(x):
    w = np.array([1.0, -2.0, 3.0, 0.5])
    return w / np.sqrt(1 - x**2)


@subject(of_seed(lambda p: 1e-6 * (0.1 + np.abs(p)), (4,)), "hard")
def binary_entropy(p):
    q = np.concatenate([p, 1 - p])
    return -np.sum(q * np.log(q) + (1 - q) * np.log(1 - q))


@gradient_of(
    binary_entropy,
    ("sign", "np.log((1 - p) / p)", "np.log(p / (1 - p))"),
    ("factor", "return 2 *", "return 1 *"),
    times(1.006),
    nothing(),
)
def binary_entropy_grad(p):
    return 2 * np.log((1 - p) / p)


@subject(of_seed(lambda x: 1 + 1e-5 * (0.2 + np.abs(x)), (4,)), "hard")
def near_pole(x):
    return np.sum(1 / (x - 1))


@gradient_of(
    near_pole,
    ("sign", "return -1", "return 1"),
    ("wrong_formula", "(x - 1) ** 2", "(x - 1)"),
    ("wrong_point", "(x - 1) ** 2", "x ** 2"),
    entry_off(0.99, 3),
)
def near_pole_grad(x):
    return -1 / (x - 1) ** 2


@subject(of_seed(lambda x: 1e-9 * x, (4,)), "hard")
def norm_near_zero(x):
    return np.sqrt(np.sum(x**2))


@gradient_of(
    norm_near_zero,
    ("wrong_formula", "x / np.sqrt(np.sum(x**2))", "x"),
    ("sign", "return x", "return -x"),
    ("wrong_formula", "return x", "return 2 * x / x"),
    nothing(),
    entry_off(1.2, 1),
)
def norm_near_zero_grad(x):
    return x / np.sqrt(np.sum(x**2))


# Next to a kink


@subject(of_seed(lambda x: 1e-6 * x, (8,)), "hard")
def relu_near_kink(x):
    return np.sum(np.maximum(x, 0) * np.arange(1, 9))


@gradient_of(
    relu_near_kink,
    ("wrong_formula", "(x > 0) * w", "1.0 * w"),
    ("wrong_formula", "(x > 0)", "(x < 0)"),
    ("factor", "(x > 0) * w", "0.5 * (x > 0) * w"),
    ("index", "(x > 0) * w", "(x > 0) * w[::-1]"),
    nothing(),
)
def relu_near_kink_grad(x):
    w = np.arange(1, 9)
    return (x > 0) * w


@subject(of_seed(lambda x, y: (x, x + 1e-7 * y), (5,), (5,)), "hard")
def near_tie(x, y):
    return np.sum(np.maximum(x, y) ** 2)


@gradient_of(
    near_tie,
    ("swapped_args", "return dx, dy", "return dy, dx"),
    ("wrong_formula", "dx = 2 * x * (x > y)", "dx = x"),
    ("zero", "return dx, dy", "return dx, 0 * dy"),
    ("sign", "return dx, dy", "return -dx, -dy"),
    times(0.9942),
)
def near_tie_grad(x, y):
    dx = 2 * x * (x > y)
    dy = 2 * y * (y > x)
    return dx, dy


@subject(of_seed(lambda w, s: (np.where(s > 0, w, 1e-7 * w), 3.0 * s), (8,), (8,)), "hard")
def lasso_near_zero(w, t):
    return 0.5 * np.sum((w - t) ** 2) + 0.7 * np.sum(np.abs(w))


@gradient_of(
    lasso_near_zero,
    ("missing_term", " + 0.7 * np.sign(w)", ""),
    ("sign", "w - t + 0.7 * np.sign(w)", "t - w - 0.7 * np.sign(w)"),
    ("wrong_formula", "0.7 * np.sign(w)", "0.7"),
    ("wrong_formula", "0.7 * np.sign(w)", "0.7 * w"),
    times(1.0045),
)
def lasso_near_zero_grad(w, t):
    return w - t + 0.7 * np.sign(w)


KNOTS = np.array([-1.0, 0.0, 1.0, 2.0])
HEIGHTS = np.array([0.5, 2.0, -1.0, 0.0])


@subject(of_seed(lambda x: KNOTS[1:3] + 1e-6 * (1 + np.abs(x)), (2,)), "hard")
def interpolation_near_knot(x):
    return np.sum(np.interp(x, KNOTS, HEIGHTS))


@gradient_of(
    interpolation_near_knot,
    ("index", "slopes[np.searchsorted(KNOTS, x) - 1]", "slopes[np.searchsorted(KNOTS, x) - 2]"),
    ("sign", "return slopes", "return -slopes"),
    ("wrong_point", "return slopes[np.searchsorted(KNOTS, x) - 1]", "return HEIGHTS[np.searchsorted(KNOTS, x) - 1]"),
    times(2.0),
)
def interpolation_near_knot_grad(x):
    slopes = np.diff(HEIGHTS) / np.diff(KNOTS)
    return slopes[np.searchsorted(KNOTS, x) - 1]


# float32


def halves(*arrays):
    return tuple(x.astype(np.float32) for x in arrays)


@subject(of_seed(halves, (4, 3), (3,), (10, 4), (10, 3)), "hard")
def float32_network(W, b, X, t):
    h = np.tanh(X @ W + b)
    return np.mean((h - t) ** 2)


@gradient_of(
    float32_network,
    ("wrong_formula", "(1 - h**2)", "(1 - h)"),
    ("one_over_n", "dh = 2 * (h - t) / t.size", "dh = 2 * (h - t)"),
    ("sum_for_mean", "db = dz.sum(axis=0)", "db = dz.mean(axis=0)"),
    ("sign", "h - t", "t - h"),
    ("factor", "2 * (h - t)", "(h - t)"),
    ("wrong_point", "(1 - h**2)", "(1 - np.tanh(h) ** 2)"),
    nothing(1),
    entry_off(1.05, 4),
)
def float32_network_grad(W, b, X, t):
    h = np.tanh(X @ W + b)
    dh = 2 * (h - t) / t.size
    dz = dh * (1 - h**2)
    dW = X.T @ dz
    db = dz.sum(axis=0)
    return dW, db


@subject(of_seed(lambda z: (z.astype(np.float32), np.array([0, 2, 1, 1, 2])), (5, 3)), "hard")
def float32_cross_entropy(z, labels):
    m = z.max(axis=1, keepdims=True)
    logp = z - m - np.log(np.exp(z - m).sum(axis=1, keepdims=True))
    return -logp[np.arange(5), labels].mean()


@gradient_of(
    float32_cross_entropy,
    ("one_over_n", "return p / 5", "return p"),
    ("axis", "e.sum(axis=1, keepdims=True)", "e.sum(axis=0, keepdims=True)"),
    ("missing_term", "    p[np.arange(5), labels] -= 1\n", ""),
    ("sign", "return p / 5", "return -p / 5"),
    ("index", "labels] -= 1", "labels[::-1]] -= 1"),
)
def float32_cross_entropy_grad(z, labels):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    p[np.arange(5), labels] -= 1
    return p / 5


@subject(of_seed(halves, (6, 5), (5,)), "hard")
def float32_layer(A, x):
    return np.exp(-((A @ x) ** 2)).astype(np.float32)


@vjp_of(
    float32_layer,
    ("wrong_formula", "-2 * z * np.exp(-(z**2)) * g", "np.exp(-(z**2)) * g"),
    ("factor", "-2 * z", "-z"),
    ("transpose", "A.T @ dz", "dz[:5] @ A[:5].T"),
    ("sign", "-2 * z", "2 * z"),
    ignores_upstream(),
    nothing(0),
)
def float32_layer_vjp(g, A, x):
    z = A @ x
    dz = -2 * z * np.exp(-(z**2)) * g
    return np.outer(dz, x), A.T @ dz


# Noise of a solver inside


@subject(of_seed(lambda x: 1 + np.abs(x), (4,)), "hard")
def bisection(x):
    total = 0.0
    for value in x:
        low, high = 0.0, 2.0**20
        for _ in range(45):
            middle = 0.5 * (low + high)
            if middle**3 + middle < value:
                low = middle
            else:
                high = middle
        total = total + 0.5 * (low + high)
    return total


@gradient_of(
    bisection,
    ("wrong_formula", "return 1 / (3 * y**2 + 1)", "return 1 / (3 * y**2)"),
    ("sign", "return 1", "return -1"),
    ("factor", "return 1", "return 2"),
    ("wrong_point", "return 1 / (3 * y**2 + 1)", "return 1 / (3 * x**2 + 1)"),
    nothing(),
    entry_off(0.5, 1),
)
def bisection_grad(x):
    y = np.cbrt(x)
    for _ in range(60):
        y = y - (y**3 + y - x) / (3 * y**2 + 1)
    return 1 / (3 * y**2 + 1)


@subject(of_seed(lambda A, b: (A + 8 * np.eye(5), b), (5, 5), (5,)), "hard")
def jacobi_iteration(A, b):
    d = np.diag(A)
    x = b / d
    for _ in range(100):
        r = b - A @ x
        if np.sqrt(r @ r) < 1e-11:
            break
        x = x + r / d
    return np.sum(x**2)


@gradient_of(
    jacobi_iteration,
    ("sign", "return -np.outer(w, x), w", "return np.outer(w, x), w"),
    ("factor", "2 * x", "x"),
    ("transpose", "return -np.outer(w, x), w", "return -np.outer(x, w), w"),
    ("wrong_point", "-np.outer(w, x)", "-np.outer(w, b)"),
    ("zero", "-np.outer(w, x)", "0 * np.outer(w, x)"),
)
def jacobi_iteration_grad(A, b):
    x = np.linalg.solve(A, b)
    w = np.linalg.solve(A.T, 2 * x)
    return -np.outer(w, x), w


@subject(of_seed(lambda k, y: (1 + np.abs(k), y), (), ()), "hard")
def adaptive_steps(k, y0):
    t, h, y = 0.0, 0.1, y0
    for _ in range(500):
        if t >= 1.0:
            break
        h = min(h, 1.0 - t)
        full = y - h * k * np.sin(y)
        half = y - 0.5 * h * k * np.sin(y)
        twice = half - 0.5 * h * k * np.sin(half)
        if abs(full - twice) > 1e-5:
            h = 0.5 * h
            continue
        t, y = t + h, 2 * twice - full
        h = 1.5 * h if abs(full - twice) < 1e-6 else h
    return y


@gradient_of(
    adaptive_steps,
    ("factor", "return s, u", "return s / 2, u / 2"),
    ("sign", "return s, u", "return -s, u"),
    ("swapped_args", "return s, u", "return u, s"),
    ("zero", "return s, u", "return s, 0.0"),
)
def adaptive_steps_grad(k, y0):
    t, h, y, s, u = 0.0, 0.1, y0, 0.0, 1.0
    while t < 1.0:
        h = min(h, 1.0 - t)
        full = y - h * k * np.sin(y)
        half = y - 0.5 * h * k * np.sin(y)
        twice = half - 0.5 * h * k * np.sin(half)
        if abs(full - twice) > 1e-5:
            h = 0.5 * h
            continue
        sf, uf = s - h * (np.sin(y) + k * np.cos(y) * s), u - h * k * np.cos(y) * u
        sh, uh = s - 0.5 * h * (np.sin(y) + k * np.cos(y) * s), u - 0.5 * h * k * np.cos(y) * u
        st, ut = sh - 0.5 * h * (np.sin(half) + k * np.cos(half) * sh), uh - 0.5 * h * k * np.cos(half) * uh
        t, y, s, u = t + h, 2 * twice - full, 2 * st - sf, 2 * ut - uf
        h = 1.5 * h if abs(full - twice) < 1e-6 else h
    return s, u


@subject(normals((5,)), "hard")
def rounded_output(x):
    return np.round(np.sum(np.exp(-(x**2)) * np.arange(1, 6)), 9)


@gradient_of(
    rounded_output,
    ("sign", "return -2", "return 2"),
    ("wrong_formula", "-2 * x * np.exp(-(x**2))", "np.exp(-(x**2))"),
    ("factor", "return -2", "return -1"),
    ("index", "np.arange(1, 6)", "np.arange(1, 6)[::-1]"),
    nothing(),
    times(1.008),
)
def rounded_output_grad(x):
    return -2 * x * np.exp(-(x**2)) * np.arange(1, 6)


# Cancellation


@subject(of_seed(lambda x: 1e-3 * (1 + np.abs(x)), (4,)), "hard")
def cancelling_cosine(x):
    return np.sum((1 - np.cos(x)) / x**2 * np.arange(1, 5))


@gradient_of(
    cancelling_cosine,
    ("sign", "-x / 12", "x / 12"),
    ("factor", "-x / 12", "-x / 24"),
    nothing(),
    ("index", "np.arange(1, 5)", "np.arange(1, 5)[::-1]"),
)
def cancelling_cosine_grad(x):
    return (-x / 12 + x**3 / 180) * np.arange(1, 5)


@subject(of_seed(lambda x: 1e6 + x, (8,)), "hard")
def one_pass_variance(x):
    return np.mean(x**2) - np.mean(x) ** 2


@gradient_of(
    one_pass_variance,
    ("missing_term", "(x - x.mean())", "x"),
    ("factor", "2 * (x", "(x"),
    ("one_over_n", " / len(x)", ""),
    ("sign", "2 * (x - x.mean())", "2 * (x.mean() - x)"),
    nothing(),
)
def one_pass_variance_grad(x):
    return 2 * (x - x.mean()) / len(x)


@subject(of_seed(lambda w, X: (12 * w, X), (3,), (10, 3)), "hard")
def saturated_sigmoids(w, X):
    return np.sum(sigmoid(X @ w) ** 2)


@gradient_of(
    saturated_sigmoids,
    ("wrong_formula", "s * (1 - s)", "s"),
    ("wrong_formula", "s * (1 - s)", "(1 - s)"),
    ("factor", "2 * s *", "s *"),
    ("wrong_point", "s * (1 - s)", "sigmoid(s) * (1 - sigmoid(s))"),
    times(-1.0, "sign"),
    piles_up(),
)
def saturated_sigmoids_grad(w, X):
    s = sigmoid(X @ w)
    return X.T @ (2 * s * (s * (1 - s)))


@subject(of_seed(lambda V: np.linalg.qr(V)[0] * np.array([1, 1e-3, 1e-6, 1e-8]) @ np.linalg.qr(V)[0].T, (4, 4)), "hard")
def nearly_singular(A):
    return np.linalg.slogdet(A)[1]


@gradient_of(
    nearly_singular,
    ("sign", "return np", "return -np"),
    ("factor", "np.linalg.inv(A).T", "np.linalg.det(A) * np.linalg.inv(A).T"),
    ("factor", "return np", "return 2 * np"),
    ("wrong_formula", "np.linalg.inv(A).T", "A"),
    nothing(),
)
def nearly_singular_grad(A):
    return np.linalg.inv(A).T
