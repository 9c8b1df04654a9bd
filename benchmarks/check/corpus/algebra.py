"""Matrix functions."""

from __future__ import annotations

import numpy as np
from benchmarks.check.plant import (
    entry_off,
    gradient_of,
    ignores_upstream,
    integers,
    normals,
    nothing,
    of_seed,
    piles_up,
    single,
    spoils,
    subject,
    times,
    vjp_of,
)


@subject(normals((4,), (4, 4), (4,)))
def quadratic_form(x, A, b):
    return 0.5 * x @ A @ x + b @ x


@gradient_of(
    quadratic_form,
    ("missing_term", "0.5 * (A + A.T) @ x", "0.5 * A @ x"),
    ("wrong_formula", "0.5 * (A + A.T) @ x", "A @ x"),
    ("missing_term", " @ x + b", " @ x"),
    ("sign", "0.5 * (A + A.T) @ x + b", "-0.5 * (A + A.T) @ x - b"),
    ("factor", "dA = 0.5 *", "dA ="),
    ("swapped_args", "return dx, dA, x", "return x, dA, dx"),
    nothing(1),
)
def quadratic_form_grad(x, A, b):
    dx = 0.5 * (A + A.T) @ x + b
    dA = 0.5 * np.outer(x, x)
    return dx, dA, x


@subject(normals((3, 5), (5, 4)))
def matrix_product(A, B):
    return A @ B


@vjp_of(
    matrix_product,
    ("transpose", "G @ B.T", "(B @ G.T)"),
    ("sign", "G @ B.T", "-G @ B.T"),
    ("factor", "A.T @ G", "2 * A.T @ G"),
    ("wrong_point", "A.T @ G", "(A - 0.01 * G @ B.T).T @ G"),
    ("index", "A.T @ G", "A.T[::-1] @ G"),
    ignores_upstream(),
    piles_up(),
    single(),
    nothing(0),
)
def matrix_product_vjp(G, A, B):
    return G @ B.T, A.T @ G


@subject(normals((4, 4), (4, 4)))
def square_product(A, B):
    return np.sum(A @ B * A)


@gradient_of(
    square_product,
    ("missing_term", "A @ B + A @ B.T", "A @ B"),
    ("missing_term", "A @ B + A @ B.T", "A @ B.T"),
    ("overwrite", "dA = A @ B + A @ B.T", "dA = A @ B\n    dA = A @ B.T"),
    ("transpose", "return dA, dB", "return dA.T, dB"),
    ("transpose", "A @ B.T", "A @ B"),
    ("swapped_args", "return dA, dB", "return dB, dA"),
    spoils(0),
)
def square_product_grad(A, B):
    dA = A @ B + A @ B.T
    dB = A.T @ A
    return dA, dB


@subject(of_seed(lambda A: A @ A.T + np.eye(4), (4, 4)))
def log_determinant(A):
    return np.linalg.slogdet(A)[1] + np.trace(A @ A)


@gradient_of(
    log_determinant,
    ("missing_term", "np.linalg.inv(A).T + 2 * A.T", "2 * A.T"),
    ("missing_term", "np.linalg.inv(A).T + 2 * A.T", "np.linalg.inv(A).T"),
    ("wrong_formula", "np.linalg.inv(A).T", "np.linalg.det(A) * np.linalg.inv(A).T"),
    ("factor", "return np.linalg.inv(A).T + 2 * A.T", "return (np.linalg.inv(A).T + 2 * A.T) / 2"),
    ("sign", "return np", "return -2 * A.T - np", "np.linalg.inv(A).T + 2 * A.T", "np.linalg.inv(A).T"),
    times(1.0015),
)
def log_determinant_grad(A):
    return np.linalg.inv(A).T + 2 * A.T


@subject(of_seed(lambda A, b: (A + 4 * np.eye(4), b), (4, 4), (4,)))
def linear_solve(A, b):
    return np.linalg.solve(A, b)


@vjp_of(
    linear_solve,
    ("transpose", "np.linalg.solve(A.T, g)", "np.linalg.solve(A, g)"),
    ("sign", "-np.outer(db, x)", "np.outer(db, x)"),
    ("transpose", "-np.outer(db, x)", "-np.outer(x, db)"),
    ("wrong_point", "-np.outer(db, x)", "-np.outer(db, b)"),
    ("zero", "return -np.outer(db, x), db", "return None, db"),
    ignores_upstream(),
    spoils(1),
)
def linear_solve_vjp(g, A, b):
    x = np.linalg.solve(A, b)
    db = np.linalg.solve(A.T, g)
    return -np.outer(db, x), db


@subject(of_seed(lambda A: A + 3 * np.eye(3), (3, 3)))
def inverse(A):
    return np.linalg.inv(A)


@vjp_of(
    inverse,
    ("transpose", "-V.T @ G @ V.T", "-V @ G @ V"),
    ("sign", "-V.T", "V.T"),
    ("transpose", "return -V.T @ G @ V.T", "return (-V.T @ G @ V.T).T"),
    ("wrong_formula", "-V.T @ G @ V.T", "-V.T @ G"),
    ignores_upstream(),
    entry_off(1.3, 4),
)
def inverse_vjp(G, A):
    V = np.linalg.inv(A)
    return -V.T @ G @ V.T


@subject(normals((5,), (5, 5)))
def rayleigh_quotient(x, A):
    return x @ A @ x / (x @ x)


@gradient_of(
    rayleigh_quotient,
    ("missing_term", "((A + A.T) @ x - 2 * q * x)", "(A + A.T) @ x"),
    ("factor", "return dx, dA", "return dx / 2, dA / 2"),
    ("missing_term", "((A + A.T) @ x - 2 * q * x)", "(2 * A @ x - 2 * q * x)"),
    ("wrong_formula", "np.outer(x, x) / n", "np.outer(x, x)"),
    ("sign", "return dx, dA", "return dx, -dA"),
    integers(),
)
def rayleigh_quotient_grad(x, A):
    n = x @ x
    q = x @ A @ x / n
    dx = ((A + A.T) @ x - 2 * q * x) / n
    dA = np.outer(x, x) / n
    return dx, dA


@subject(normals((4, 3), (5, 3)))
def pairwise_distances(a, b):
    return np.sqrt(np.sum((a[:, None, :] - b[None, :, :]) ** 2, axis=2))


@vjp_of(
    pairwise_distances,
    ("broadcast", "w.sum(axis=1)", "w[:, 0]"),
    ("sign", "-w.sum(axis=0)", "w.sum(axis=0)"),
    ("wrong_formula", " / d)", ")"),
    ("sum_for_mean", "w.sum(axis=1)", "w.mean(axis=1)"),
    ignores_upstream(),
    times(2.0),
)
def pairwise_distances_vjp(g, a, b):
    diff = a[:, None, :] - b[None, :, :]
    d = np.sqrt(np.sum(diff**2, axis=2))
    w = (g / d)[:, :, None] * diff
    return w.sum(axis=1), -w.sum(axis=0)


@subject(normals((5, 2), (), (5,)))
def kernel_ridge(X, logl, alpha):
    D = np.sum((X[:, None] - X[None]) ** 2, axis=2)
    K = np.exp(-0.5 * D * np.exp(-2 * logl))
    return alpha @ K @ alpha


@gradient_of(
    kernel_ridge,
    ("factor", "dalpha = 2 * K @ alpha", "dalpha = K @ alpha"),
    ("missing_term", "2 * (diff * w[:, :, None]).sum(axis=1)", "(diff * w[:, :, None]).sum(axis=1)"),
    ("sign", "dlogl = np.sum(dK * K * D) * s", "dlogl = -np.sum(dK * K * D) * s"),
    ("wrong_formula", "np.sum(dK * K * D) * s", "np.sum(dK * D) * s"),
    ("wrong_formula", "s = np.exp(-2 * logl)", "s = np.exp(-logl)"),
    ("sum_for_mean", "np.sum(dK * K * D)", "np.mean(dK * K * D)"),
)
def kernel_ridge_grad(X, logl, alpha):
    s = np.exp(-2 * logl)
    diff = X[:, None] - X[None]
    D = np.sum(diff**2, axis=2)
    K = np.exp(-0.5 * D * s)
    dK = np.outer(alpha, alpha)
    w = -dK * K * s
    dX = 2 * (diff * w[:, :, None]).sum(axis=1)
    dlogl = np.sum(dK * K * D) * s
    dalpha = 2 * K @ alpha
    return dX, dlogl, dalpha


@subject(normals((4, 6)))
def spectral_penalty(W):
    G = W @ W.T - np.eye(4)
    return np.sum(G**2)


@gradient_of(
    spectral_penalty,
    ("factor", "return 4 * G @ W", "return 2 * G @ W"),
    ("wrong_point", "G = W @ W.T - np.eye(4)", "G = W @ W.T"),
    ("sign", "return 4", "return -4"),
    ("wrong_formula", "return 4 * G @ W", "return 4 * G @ G @ W"),
    entry_off(1.001, 0),
    piles_up(),
    nothing(),
)
def spectral_penalty_grad(W):
    G = W @ W.T - np.eye(4)
    return 4 * G @ W


@subject(normals((3, 4), (4, 4), (4, 2)))
def chained_products(A, B, C):
    return np.sum(np.tanh(A @ B @ C))


@gradient_of(
    chained_products,
    ("transpose", "dB = A.T @ D @ C.T", "dB = C @ D.T @ A"),
    ("wrong_formula", "1 - np.tanh(A @ B @ C) ** 2", "1 - np.tanh(A @ B @ C)"),
    ("sign", "return dA, dB, dC", "return dA, dB, -dC"),
    ("zero", "return dA, dB, dC", "return dA, None, dC"),
    ("wrong_formula", "dA = D @ C.T @ B.T", "dA = D @ C.T"),
    ("transpose", "dA = D @ C.T @ B.T", "dA = D @ C.T @ B"),
)
def chained_products_grad(A, B, C):
    D = 1 - np.tanh(A @ B @ C) ** 2
    dA = D @ C.T @ B.T
    dB = A.T @ D @ C.T
    dC = (A @ B).T @ D
    return dA, dB, dC
