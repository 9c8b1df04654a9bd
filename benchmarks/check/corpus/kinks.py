"""At a kink or a tie, where every sane convention is right; and what is wrong there all the same."""

from __future__ import annotations

import numpy as np
from benchmarks.check.plant import (
    entry_off,
    gradient_of,
    ignores_upstream,
    nothing,
    of_seed,
    subject,
    times,
    vjp_of,
)


def with_zeros(x):
    x[::3] = 0.0
    return x


@subject(of_seed(with_zeros, (7,)), "kinks")
def absolute(x):
    return np.sum(np.abs(x) * np.arange(1, 8))


@gradient_of(
    absolute,
    ("kink", "np.sign(x)", "np.where(x >= 0, 1, -1)"),
    ("kink", "np.sign(x)", "np.where(x > 0, 1, -1)"),
    ("kink", "np.sign(x)", "np.where(x == 0, 0.5, np.sign(x))"),
    ("wrong_formula", "np.sign(x)", "np.where(x == 0, 2, np.sign(x))"),
    ("sign", "return np.sign(x)", "return -np.sign(x)"),
    ("wrong_formula", "np.sign(x)", "1"),
    times(1.003),
)
def absolute_grad(x):
    return np.sign(x) * np.arange(1, 8)


@subject(of_seed(lambda W, x, t: (W, np.zeros(4), with_zeros(x), t), (3, 4), (6, 3), (6, 4)), "kinks")
def relu_layer(W, b, x, t):
    h = np.maximum(x @ W + b, 0)
    return np.sum((h - t) ** 2)


@gradient_of(
    relu_layer,
    ("kink", "(z > 0)", "(z >= 0)"),
    ("kink", "(z > 0)", "0.5 * (np.sign(z) + 1)"),
    ("wrong_formula", "dz = dh * (z > 0)", "dz = dh"),
    ("wrong_formula", "(z > 0)", "(z < 0)"),
    ("factor", "dh = 2 *", "dh ="),
    ("broadcast", "dz.sum(axis=0)", "dz"),
    ("sum_for_mean", "dz.sum(axis=0)", "dz.mean(axis=0)"),
)
def relu_layer_grad(W, b, x, t):
    z = x @ W + b
    dh = 2 * (np.maximum(z, 0) - t)
    dz = dh * (z > 0)
    return x.T @ dz, dz.sum(axis=0)


def with_tie(x):
    x[[1, 4]] = np.max(x) + 1.0
    return x


@subject(of_seed(with_tie, (6,)), "kinks")
def maximum_with_tie(x):
    return np.max(x) ** 2 + 0.1 * np.sum(x)


@gradient_of(
    maximum_with_tie,
    ("kink", "share = (x == x.max()) / np.sum(x == x.max())", "share = np.arange(6) == np.argmax(x)"),
    ("kink", "share = (x == x.max()) / np.sum(x == x.max())", "share = np.arange(6) == 5 - np.argmax(x[::-1])"),
    ("wrong_formula", "share = (x == x.max()) / np.sum(x == x.max())", "share = x == x.max()"),
    ("factor", "2 * x.max() * share + 0.1", "x.max() * share + 0.05"),
    ("missing_term", " + 0.1", ""),
    ("index", "share = (x == x.max()) / np.sum(x == x.max())", "share = np.arange(6) == np.argmin(x)"),
    nothing(),
)
def maximum_with_tie_grad(x):
    share = (x == x.max()) / np.sum(x == x.max())
    return 2 * x.max() * share + 0.1


@subject(of_seed(lambda x, y: (x, np.where(y > 0.3, x, y)), (6,), (6,)), "kinks")
def larger_of_two(x, y):
    return np.sum(np.maximum(x, y) * np.arange(1, 7))


@gradient_of(
    larger_of_two,
    ("kink", "a = np.where(x == y, 0.5, x > y)", "a = x > y"),
    ("kink", "a = np.where(x == y, 0.5, x > y)", "a = x >= y"),
    ("wrong_formula", "(1 - a)", "(y >= x)", "np.where(x == y, 0.5, x > y)", "x >= y"),
    ("swapped_args", "return a * w, (1 - a) * w", "return (1 - a) * w, a * w"),
    ("sign", "return a * w, (1 - a) * w", "return a * w, -(1 - a) * w"),
    times(1.5),
)
def larger_of_two_grad(x, y):
    w = np.arange(1, 7)
    a = np.where(x == y, 0.5, x > y)
    return a * w, (1 - a) * w


@subject(of_seed(lambda x: np.concatenate([x, [-1.0, 1.0]]), (6,)), "kinks")
def clipped(x):
    return np.sum(np.clip(x, -1, 1) ** 3 + x)


@gradient_of(
    clipped,
    ("kink", "(np.abs(x) < 1)", "(np.abs(x) <= 1)"),
    ("kink", "(np.abs(x) < 1)", "np.where(np.abs(x) == 1, 0.5, np.abs(x) < 1)"),
    ("ste", "3 * x**2 * (np.abs(x) < 1)", "3 * np.clip(x, -1, 1) ** 2"),
    ("missing_term", " + 1", ""),
    ("factor", "return 3 * x**2 * (np.abs(x) < 1) + 1", "return 1.5 * x**2 * (np.abs(x) < 1) + 0.5"),
    ("wrong_formula", "(np.abs(x) < 1)", "np.where(np.abs(x) == 1, -1, np.abs(x) < 1)"),
)
def clipped_grad(x):
    return 3 * x**2 * (np.abs(x) < 1) + 1


def exact_residual(w, X, y):
    y[:3] = X[:3] @ w
    return w, X, y


@subject(of_seed(exact_residual, (2,), (9, 2), (9,)), "kinks")
def least_absolute_deviations(w, X, y):
    return np.mean(np.abs(X @ w - y))


@gradient_of(
    least_absolute_deviations,
    ("kink", "s = np.sign(r)", "s = np.where(r >= 0, 1, -1)"),
    ("kink", "s = np.sign(r)", "s = np.where(r > 0, 1, -1)"),
    ("one_over_n", " / len(y)", ""),
    ("sign", "r = X @ w - y", "r = y - X @ w"),
    ("wrong_formula", "s = np.sign(r)", "s = np.where(r == 0, 25, np.sign(r))"),
    nothing(),
)
def least_absolute_deviations_grad(w, X, y):
    r = X @ w - y
    s = np.sign(r)
    return X.T @ s / len(y)


@subject(of_seed(lambda w, X, s: (w, X, np.sign(s), 1 / (X @ w)), (2,), (5, 2), (5,)), "kinks")
def hinge_at_margin(w, X, y, scale):
    return np.sum(np.maximum(0, 1 - scale * (X @ w)) + 0.25 * (X @ w - y) ** 2)


@gradient_of(
    hinge_at_margin,
    ("kink", "scale * (margin > 0)", "scale * (margin >= 0)"),
    ("kink", "scale * (margin > 0)", "0.5 * scale"),
    ("sign", "return X.T @ d", "return -X.T @ d"),
    ("factor", "return X.T @ d", "return 2 * X.T @ d"),
    ("wrong_formula", "0.5 * (X @ w - y)", "0.5 * (X @ w - y) ** 2 + 30"),
)
def hinge_at_margin_grad(w, X, y, scale):
    margin = 1 - scale * (X @ w)
    margin = np.where(np.abs(margin) < 1e-12, 0.0, margin)
    d = 0.5 * (X @ w - y) - scale * (margin > 0)
    return X.T @ d


@subject(lambda rng: (np.zeros(4), np.array([3.0, -4.0, 5.0, 2.0]) + rng.random(4)), "kinks")
def norm_at_zero(x, c):
    return 2 * np.sqrt(np.sum(x**2)) + c @ x


@gradient_of(
    norm_at_zero,
    ("kink", "0 * x", "x + 1.0"),
    ("kink", "0 * x", "c / np.sqrt(c @ c)"),
    ("wrong_formula", "0 * x", "x + 5.0"),
    ("missing_term", " + c", ""),
    ("sign", " + c", " - 4 * c / np.sqrt(c @ c)"),
)
def norm_at_zero_grad(x, c):
    return 0 * x + c


@subject(of_seed(lambda x: np.maximum(x, 0), (4, 6)), "kinks")
def pooled_zeros(x):
    return x.reshape(4, 3, 2).max(axis=2)


@vjp_of(
    pooled_zeros,
    (
        "kink",
        "mask = np.arange(2) == w.argmax(axis=2)[:, :, None]",
        "mask = (w == m) / (w == m).sum(axis=2, keepdims=True)",
    ),
    ("kink", "w.argmax(axis=2)", "(1 - w[:, :, ::-1].argmax(axis=2))"),
    ("wrong_formula", "mask = np.arange(2) == w.argmax(axis=2)[:, :, None]", "mask = w == m"),
    ("index", "w.argmax(axis=2)", "w.argmin(axis=2)"),
    ("sign", "mask * g", "-1 * mask * g"),
    ignores_upstream(),
)
def pooled_zeros_vjp(g, x):
    w = x.reshape(4, 3, 2)
    m = w.max(axis=2, keepdims=True)
    mask = np.arange(2) == w.argmax(axis=2)[:, :, None]
    return (mask * g[:, :, None]).reshape(m.shape[0], 6)


@subject(of_seed(lambda x: np.concatenate([x, [0.0, 1.0]]), (3,)), "kinks")
def interpolation_at_knot(x):
    return np.sum(np.interp(x, [-5.0, 0.0, 1.0, 5.0], [0.5, 2.0, -1.0, 0.0]))


@gradient_of(
    interpolation_at_knot,
    ("kink", "right", "left"),
    ("sign", "return slopes", "return -slopes"),
    ("wrong_formula", "np.diff(y) / np.diff(k)", "np.diff(y)"),
    entry_off(3.0, 3),
    entry_off(1.004, 0),
)
def interpolation_at_knot_grad(x):
    k, y = np.array([-5.0, 0.0, 1.0, 5.0]), np.array([0.5, 2.0, -1.0, 0.0])
    slopes = np.diff(y) / np.diff(k)
    return slopes[np.searchsorted(k, x, "right") - 1]


@subject(of_seed(lambda x: np.round(2 * x) / 2, (7,)), "kinks")
def pinball(x):
    return np.sum(np.maximum(0.3 * x, -0.7 * x) + np.sin(x))


@gradient_of(
    pinball,
    ("kink", "np.where(x > 0, 0.3, -0.7)", "np.where(x >= 0, 0.3, -0.7)"),
    ("kink", "np.where(x > 0, 0.3, -0.7)", "np.where(x == 0, 0.0, np.where(x > 0, 0.3, -0.7))"),
    ("wrong_formula", "np.where(x > 0, 0.3, -0.7)", "np.where(x > 0, 0.7, -0.3)"),
    ("missing_term", " + np.cos(x)", ""),
    ("wrong_formula", "np.cos(x)", "np.sin(x)"),
    times(0.996),
)
def pinball_grad(x):
    return np.where(x > 0, 0.3, -0.7) + np.cos(x)
