"""Losses of models that are linear in their parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
from benchmarks.check.plant import (
    entry_off,
    gradient_of,
    integers,
    normals,
    nothing,
    of_seed,
    piles_up,
    single,
    spoils,
    subject,
    times,
)


def sigmoid(z: Any) -> Any:
    return 1 / (1 + np.exp(-z))


@subject(normals((3,), (20, 3), (20,)))
def least_squares(w, X, y):
    return np.mean((X @ w - y) ** 2)


@gradient_of(
    least_squares,
    ("sign", "r = X @ w - y", "r = y - X @ w"),
    ("factor", "2 * X.T", "X.T"),
    ("one_over_n", " / len(y)", ""),
    ("one_over_n", "len(y)", "len(y) ** 2"),
    ("wrong_point", "X @ w - y", "X @ (0.9 * w) - y"),
    ("index", "X.T @ r", "X.T[::-1] @ r"),
    times(1.002),
    entry_off(1.004, 1),
    single(),
    integers(),
    piles_up(),
    spoils(0),
    nothing(),
)
def least_squares_grad(w, X, y):
    r = X @ w - y
    return 2 * X.T @ r / len(y)


@subject(normals((4,), (), (15, 4), (15,)))
def ridge(w, b, X, y):
    r = X @ w + b - y
    return np.mean(r**2) + 0.1 * np.sum(w**2)


@gradient_of(
    ridge,
    ("missing_term", " + 2 * 0.1 * w", ""),
    ("sum_for_mean", "db = 2 * np.mean(r)", "db = 2 * np.sum(r)"),
    ("sign", "r = X @ w + b - y", "r = y - X @ w - b", "0.1 * w", "-0.1 * w"),
    ("factor", "db = 2 *", "db = "),
    ("wrong_point", "X @ w + b - y", "X @ w - y"),
    ("sum_for_mean", "X.T @ r / n", "X.T @ r", "np.mean(r)", "np.sum(r)"),
    nothing(1),
    times(0.995, which=1),
)
def ridge_grad(w, b, X, y):
    n = len(y)
    r = X @ w + b - y
    dw = 2 * X.T @ r / n + 2 * 0.1 * w
    db = 2 * np.mean(r)
    return dw, db


def labelled(w, b, X, s):
    return w, b, X, (s > 0).astype(float)


@subject(of_seed(labelled, (3,), (), (25, 3), (25,)))
def logistic(w, b, X, y):
    p = sigmoid(X @ w + b)
    return -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))


@gradient_of(
    logistic,
    ("sign", "d = p - y", "d = y - p"),
    ("one_over_n", "d = p - y", "d = len(y) * (p - y)"),
    ("wrong_formula", "d = p - y", "d = (p - y) * p * (1 - p)"),
    ("wrong_point", "d = p - y", "d = p - y * sigmoid(p) * 2"),
    ("sum_for_mean", "np.mean(d)", "np.sum(d)"),
    ("index", "X.T @ d", "X.T[:, ::-1] @ d"),
    ("dtype", "X.T @ d", "X.T.astype(np.float32) @ d.astype(np.float32)"),
    ("wrong_point", "X @ w + b", "X @ w"),
    piles_up(),
    nothing(0),
)
def logistic_grad(w, b, X, y):
    p = sigmoid(X @ w + b)
    d = p - y
    return X.T @ d / len(y), np.mean(d)


def counts(w, X, s):
    return 0.3 * w, X, np.floor(3 * np.abs(s))


@subject(of_seed(counts, (3,), (12, 3), (12,)))
def poisson(w, X, k):
    rate = np.exp(X @ w)
    return np.sum(rate - k * (X @ w))


@gradient_of(
    poisson,
    ("missing_term", "rate - k", "rate"),
    ("missing_term", "(rate - k)", "(-k)"),
    ("sign", "rate - k", "k - rate"),
    ("wrong_formula", "np.exp(X @ w)", "X @ w"),
    ("one_over_n", "return X.T @ (rate - k)", "return X.T @ (rate - k) / len(k)"),
    ("index", "(rate - k)", "np.roll(rate - k, 1)"),
    entry_off(0.0, 2),
    entry_off(0.992, 0),
)
def poisson_grad(w, X, k):
    rate = np.exp(X @ w)
    return X.T @ (rate - k)


def classes(W, b, X, s):
    return W, b, X, np.argmax(s, axis=1)


@subject(of_seed(classes, (4, 3), (3,), (10, 4), (10, 3)))
def softmax_regression(W, b, X, labels):
    z = X @ W + b
    z = z - z.max(axis=1, keepdims=True)
    logp = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    return -np.mean(logp[np.arange(len(labels)), labels])


@gradient_of(
    softmax_regression,
    ("axis", "p = e / e.sum(axis=1, keepdims=True)", "p = e / e.sum(axis=0, keepdims=True)"),
    ("missing_term", "    p[np.arange(n), labels] -= 1\n", ""),
    ("factor", "labels] -= 1\n", "labels] -= 1\n    p = 2 * p\n"),
    ("one_over_n", "p = p / n", "p = p / 1"),
    ("sum_for_mean", "db = p.sum(axis=0)", "db = p.mean(axis=0)"),
    ("index", "labels] -= 1", "(labels + 1) % 3] -= 1"),
    ("wrong_formula", "e = np.exp(z)", "e = np.exp(z) ** 2"),
    ("broadcast", "db = p.sum(axis=0)", "db = p"),
    ("sign", "labels] -= 1\n", "labels] -= 1\n    p = -p\n"),
    entry_off(-1.0, 5),
    nothing(1),
)
def softmax_regression_grad(W, b, X, labels):
    n = len(labels)
    z = X @ W + b
    z = z - z.max(axis=1, keepdims=True)
    e = np.exp(z)
    p = e / e.sum(axis=1, keepdims=True)
    p[np.arange(n), labels] -= 1
    p = p / n
    dW = X.T @ p
    db = p.sum(axis=0)
    return dW, db


@subject(of_seed(lambda w, X, y, c: (w, X, y, np.abs(c) + 0.1), (3,), (14, 3), (14,), (14,)))
def weighted_least_squares(w, X, y, c):
    r = X @ w - y
    return 0.5 * np.sum(c * r * r)


@gradient_of(
    weighted_least_squares,
    ("wrong_formula", "c * r", "r"),
    ("factor", "return r @ X", "return 2 * r @ X"),
    ("wrong_formula", "c * r", "np.sqrt(c) * r"),
    ("index", "c * r", "c[::-1] * r"),
    ("one_over_n", "return r @ X", "return r @ X / len(y)"),
    times(-1.0, "sign"),
    entry_off(1.006, 2),
)
def weighted_least_squares_grad(w, X, y, c):
    r = X @ w - y
    r = c * r
    return r @ X


@subject(normals((5, 2), (2, 6), (5, 6)))
def factorization(U, V, R):
    E = U @ V - R
    return 0.5 * np.sum(E**2) + 0.05 * (np.sum(U**2) + np.sum(V**2))


@gradient_of(
    factorization,
    ("missing_term", "E @ V.T + 0.1 * U", "E @ V.T"),
    ("missing_term", "U.T @ E + 0.1 * V", "U.T @ E"),
    ("factor", "return dU, dV", "return dU / 2, dV / 2"),
    ("sign", "dV = U.T @ E + 0.1 * V", "dV = -U.T @ E - 0.1 * V"),
    ("wrong_point", "dV = U.T @ E", "dV = (U - 0.1 * dU).T @ E"),
    ("zero", "return dU, dV", "return dU, np.zeros_like(V)"),
    piles_up(),
    spoils(1),
    single(),
)
def factorization_grad(U, V, R):
    E = U @ V - R
    dU = E @ V.T + 0.1 * U
    dV = U.T @ E + 0.1 * V
    return dU, dV


@subject(normals((3,), (20, 3), (20,)))
def log_cosh(w, X, y):
    r = X @ w - y
    return np.mean(np.log(np.cosh(r)))


@gradient_of(
    log_cosh,
    ("wrong_formula", "np.tanh(r)", "np.sinh(r)"),
    ("wrong_formula", "np.tanh(r)", "(1 - np.tanh(r) ** 2)"),
    ("one_over_n", " / len(y)", ""),
    ("sign", "np.tanh(r)", "np.tanh(-r)"),
    ("wrong_point", "np.tanh(r)", "np.tanh(X @ w)"),
    ("wrong_formula", "np.tanh(r)", "np.sign(r)"),
    ("index", "return X.T @", "return X.T[[1, 2, 0]] @"),
)
def log_cosh_grad(w, X, y):
    r = X @ w - y
    return X.T @ np.tanh(r) / len(y)


@subject(normals((3,), (20, 3), (20,)))
def huber(w, X, y):
    r = X @ w - y
    a = np.abs(r)
    return np.sum(np.where(a <= 1.0, 0.5 * r**2, a - 0.5))


@gradient_of(
    huber,
    ("wrong_formula", "np.where(np.abs(r) <= 1.0, r, np.sign(r))", "r"),
    ("wrong_formula", "np.sign(r)", "1.0"),
    ("missing_term", "r, np.sign(r))", "r, 0.0)"),
    ("factor", "1.0, r, np.sign(r))", "1.0, 2 * r, 2 * np.sign(r))"),
    ("one_over_n", "return X.T @ d", "return X.T @ d / len(r)"),
    ("zero", "return X.T @ d", "return np.zeros(3)"),
    times(0.9985),
)
def huber_grad(w, X, y):
    r = X @ w - y
    d = np.where(np.abs(r) <= 1.0, r, np.sign(r))
    return X.T @ d


@subject(of_seed(lambda w, X, s: (w, X, np.sign(s)), (3,), (16, 3), (16,)))
def squared_hinge(w, X, y):
    slack = np.maximum(0.0, 1 - y * (X @ w))
    return np.mean(slack**2) + 0.5 * w @ w


@gradient_of(
    squared_hinge,
    ("sign", "-2 * X.T @ (y * slack) / len(y) + w", "2 * X.T @ (y * slack) / len(y) - w"),
    ("missing_term", " + w\n", "\n"),
    ("wrong_formula", "np.maximum(0.0, 1 - y * (X @ w))", "1 - y * (X @ w)"),
    ("wrong_formula", "(y * slack)", "slack"),
    ("wrong_formula", "(y * slack)", "(y * (slack > 0))"),
    ("factor", "+ w\n", "+ w\n    d = d / 2\n"),
    entry_off(2.0, 1),
)
def squared_hinge_grad(w, X, y):
    slack = np.maximum(0.0, 1 - y * (X @ w))
    d = -2 * X.T @ (y * slack) / len(y) + w
    return d
