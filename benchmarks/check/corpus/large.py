"""A hundred thousand inputs, of which a few entries of the gradient are wrong."""

from __future__ import annotations

import numpy as np
from benchmarks.check.plant import (
    entry_off,
    gradient_of,
    ignores_upstream,
    normals,
    nothing,
    of_seed,
    subject,
    times,
    vjp_of,
)

N = 100_000


@subject(normals((N,)))
def long_sum(x):
    return np.sum(np.log1p(x**2))


@gradient_of(
    long_sum,
    entry_off(0.0, 71_234),
    entry_off(1.5, 17, 50_000, 99_999),
    entry_off(-1.0, 3, 1_003, 20_003, 60_003, 90_003),
    entry_off(1.005, 44_444),
    ("factor", "2 * x", "x"),
)
def long_sum_grad(x):
    return 2 * x / (1 + x**2)


@subject(normals((N,)))
def long_log_sum_exp(x):
    m = x.max()
    return m + np.log(np.sum(np.exp(x - m)))


@gradient_of(
    long_log_sum_exp,
    entry_off(3.0, 12_345),
    entry_off(0.0, 5, 99_000),
    ("one_over_n", "e / e.sum()", "e / e.mean()"),
    nothing(),
)
def long_log_sum_exp_grad(x):
    e = np.exp(x - x.max())
    return e / e.sum()


@subject(normals((N,)))
def long_rosenbrock(x):
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


@gradient_of(
    long_rosenbrock,
    entry_off(1.01, 77),
    entry_off(0.0, 0, 50_000),
    ("overwrite", "d[:-1] += -400", "d[:-1] = -400"),
    ("missing_term", " - 2 * (1 - x[:-1])", ""),
    times(1.001),
)
def long_rosenbrock_grad(x):
    d = np.zeros_like(x)
    r = x[1:] - x[:-1] ** 2
    d[1:] += 200 * r
    d[:-1] += -400 * x[:-1] * r - 2 * (1 - x[:-1])
    return d


@subject(normals((N,), (3,)))
def long_convolution(x, k):
    return k[0] * x[:-2] + k[1] * x[1:-1] + k[2] * x[2:]


@vjp_of(
    long_convolution,
    entry_off(1.2, 31_415),
    entry_off(0.0, 1, 10, 100, 1_000),
    ("wrong_formula", "dx[:-2] += k[0] * g", "dx[:-2] += k[2] * g"),
    ("zero", "return dx, dk", "return dx, 0 * dk"),
    ignores_upstream(),
)
def long_convolution_vjp(g, x, k):
    dx = np.zeros_like(x)
    dx[:-2] += k[0] * g
    dx[1:-1] += k[1] * g
    dx[2:] += k[2] * g
    dk = np.array([g @ x[:-2], g @ x[1:-1], g @ x[2:]])
    return dx, dk


@subject(of_seed(lambda w, s: (w, 3 + np.arange(N) % 7, s), (N,), (N,)))
def long_prior(w, count, t):
    return 0.5 * np.sum((w - t) ** 2 * count)


@gradient_of(
    long_prior,
    ("wrong_formula", "(w - t) * count", "(w - t)"),
    ("factor", "(w - t) * count", "(w - t) * count / 2"),
    entry_off(1.004, 8, 88, 888, 8_888, 88_888),
    ("wrong_point", "(w - t)", "w"),
)
def long_prior_grad(w, count, t):
    return (w - t) * count
