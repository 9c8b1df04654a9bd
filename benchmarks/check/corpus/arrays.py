"""Broadcasting, reductions, indexing, rearranging."""

from __future__ import annotations

import numpy as np
from benchmarks.check.plant import (
    entry_off,
    gradient_of,
    ignores_upstream,
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


@subject(normals((4, 3), (3,), (4, 1)))
def broadcast_sum(a, b, c):
    return a + b * c


@vjp_of(
    broadcast_sum,
    ("broadcast", "(g * c).sum(axis=0)", "g * c"),
    ("broadcast", "(g * b).sum(axis=1, keepdims=True)", "g * b"),
    ("broadcast", "(g * c).sum(axis=0)", "(g * c)[0]"),
    ("sum_for_mean", "(g * b).sum(axis=1", "(g * b).mean(axis=1"),
    ("wrong_formula", "(g * c)", "(g * b)"),
    ignores_upstream(),
    nothing(2),
)
def broadcast_sum_vjp(g, a, b, c):
    return g, (g * c).sum(axis=0), (g * b).sum(axis=1, keepdims=True)


@subject(normals((5, 4)))
def column_means(x):
    return x.mean(axis=0)


@vjp_of(
    column_means,
    ("sum_for_mean", "g / len(x)", "g"),
    ("sum_for_mean", "g / len(x)", "g / x.size"),
    ("axis", "g / len(x)", "g / x.shape[1]"),
    ("broadcast", "np.broadcast_to(g / len(x), x.shape)", "g / len(x)"),
    ("sign", "np.broadcast_to(g", "-np.broadcast_to(g"),
    ignores_upstream(),
)
def column_means_vjp(g, x):
    return np.broadcast_to(g / len(x), x.shape)


@subject(normals((5, 4)))
def row_variances(x):
    return x.var(axis=1)


@vjp_of(
    row_variances,
    ("axis", "x.mean(axis=1, keepdims=True)", "x.mean(axis=0, keepdims=True)"),
    ("sum_for_mean", "2 / x.shape[1]", "2"),
    ("factor", "2 / x.shape[1]", "1 / x.shape[1]"),
    ("wrong_formula", "2 / x.shape[1]", "2 / (x.shape[1] - 1)"),
    ("wrong_formula", "(x - x.mean(axis=1, keepdims=True))", "x"),
    ignores_upstream(),
    entry_off(1.005, 11),
)
def row_variances_vjp(g, x):
    return g[:, None] * 2 / x.shape[1] * (x - x.mean(axis=1, keepdims=True))


@subject(normals((9,)))
def running_sums(x):
    return np.cumsum(x**2)


@vjp_of(
    running_sums,
    ("index", "np.cumsum(g[::-1])[::-1]", "np.cumsum(g)"),
    ("index", "np.cumsum(g[::-1])[::-1]", "np.cumsum(g[::-1])"),
    ("wrong_formula", "2 * x * ", "2 * "),
    ignores_upstream(),
    spoils(1),
)
def running_sums_vjp(g, x):
    return 2 * x * np.cumsum(g[::-1])[::-1]


PICK = np.array([3, 1, 1, 4, 0])


@subject(normals((6,)))
def gather(x):
    return np.sin(x)[PICK]


@vjp_of(
    gather,
    ("overwrite", "np.add.at(d, PICK, g)", "d[PICK] = g"),
    ("index", "np.add.at(d, PICK, g)", "np.add.at(d, PICK[::-1], g)"),
    ("index", "np.add.at(d, PICK, g)", "np.add.at(d, PICK + 1, g)"),
    ("index", "np.add.at(d, PICK, g)", "d[:5] = g[PICK]"),
    ("wrong_point", "np.cos(x)", "np.cos(np.sin(x))"),
    ("wrong_formula", "np.cos(x)", "-np.cos(x) ** 2"),
    ignores_upstream(),
)
def gather_vjp(g, x):
    d = np.zeros(len(x))
    np.add.at(d, PICK, g)
    return d * np.cos(x)


@subject(normals((4,), (9,)))
def scatter_add(values, base):
    out = base.copy()
    np.add.at(out, np.array([1, 7, 1, 3]), values)
    return out**2


@vjp_of(
    scatter_add,
    ("index", "dout[[1, 7, 1, 3]]", "dout[[7, 1, 3, 1]]"),
    ("index", "dout[[1, 7, 1, 3]]", "dout[:4]"),
    ("wrong_point", "2 * out * g", "2 * base * g"),
    ("factor", "2 * out * g", "out * g"),
    ("zero", "dout[[1, 7, 1, 3]], dout", "dout[[1, 7, 1, 3]], None"),
    ignores_upstream(),
)
def scatter_add_vjp(g, values, base):
    out = base.copy()
    np.add.at(out, [1, 7, 1, 3], values)
    dout = 2 * out * g
    return dout[[1, 7, 1, 3]], dout


@subject(normals((3, 4), (2, 4)))
def stacked(a, b):
    return np.concatenate([a, 2 * b])[::-1]


@vjp_of(
    stacked,
    ("index", "g = g[::-1]", "g = g[:, ::-1]"),
    ("index", "    g = g[::-1]\n", ""),
    ("index", "g[:3], 2 * g[3:]", "g[2:], 2 * g[:2]"),
    ("wrong_formula", "2 * g[3:]", "g[3:]"),
    ("zero", ", 2 * g[3:]", ", 0 * g[3:]"),
    ignores_upstream(),
)
def stacked_vjp(g, a, b):
    g = g[::-1]
    return g[:3], 2 * g[3:]


@subject(normals((5, 5), (5,)))
def transposed_product(a, v):
    return (a.T * v).T @ v


@vjp_of(
    transposed_product,
    ("transpose", "(v * g)[:, None] * np.outer(np.ones(5), v)", "v[:, None] * np.outer(np.ones(5), v * g)"),
    ("wrong_formula", "(v * g)[:, None] * np.outer(np.ones(5), v)", "np.outer(g, v)"),
    ("missing_term", "g * (a @ v) + a.T @ (v * g)", "g * (a @ v)"),
    ("overwrite", "dv = g * (a @ v) + a.T @ (v * g)", "dv = g * (a @ v)\n    dv = a.T @ (v * g)"),
    ignores_upstream(),
    piles_up(),
)
def transposed_product_vjp(g, a, v):
    da = (v * g)[:, None] * np.outer(np.ones(5), v)
    dv = g * (a @ v) + a.T @ (v * g)
    return da, dv


@subject(normals((4, 5)))
def log_sum_exp_rows(x):
    m = x.max(axis=1)
    return m + np.log(np.sum(np.exp(x - m[:, None]), axis=1))


@vjp_of(
    log_sum_exp_rows,
    ("axis", "e / e.sum(axis=1, keepdims=True)", "e / e.sum(axis=0, keepdims=True)"),
    ("wrong_formula", "e / e.sum(axis=1, keepdims=True)", "e"),
    ("index", "g[:, None]", "g[::-1, None]"),
    ("sum_for_mean", "e.sum(axis=1, keepdims=True)", "e.mean(axis=1, keepdims=True)"),
    ignores_upstream(),
    single(),
    times(0.997),
)
def log_sum_exp_rows_vjp(g, x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return g[:, None] * (e / e.sum(axis=1, keepdims=True))


@subject(normals((6, 3)))
def normalized_rows(x):
    return x / np.sqrt(np.sum(x**2, axis=1, keepdims=True))


@vjp_of(
    normalized_rows,
    ("missing_term", "(g - y * np.sum(g * y, axis=1, keepdims=True))", "g"),
    ("axis", "np.sum(g * y, axis=1, keepdims=True)", "np.sum(g * y, axis=0, keepdims=True)"),
    ("axis", "np.sqrt(np.sum(x**2, axis=1, keepdims=True))", "np.sqrt(np.sum(x**2, axis=0, keepdims=True))"),
    ("wrong_formula", " / n\n    return d", "\n    return d"),
    ("sum_for_mean", "np.sum(g * y, axis=1", "np.mean(g * y, axis=1"),
    ignores_upstream(),
)
def normalized_rows_vjp(g, x):
    n = np.sqrt(np.sum(x**2, axis=1, keepdims=True))
    y = x / n
    d = (g - y * np.sum(g * y, axis=1, keepdims=True)) / n
    return d


@subject(normals((12, 2)))
def standardized(x):
    return np.sum(((x - x.mean(axis=0)) / x.std(axis=0)) ** 3)


@gradient_of(
    standardized,
    ("missing_term", " - g.mean(axis=0)", ""),
    ("missing_term", " - z * (g * z).mean(axis=0)", ""),
    ("axis", "g.mean(axis=0)", "g.mean(axis=1, keepdims=True)"),
    ("wrong_formula", "3 * z**2", "3 * z"),
    ("factor", "3 * z**2", "z**2"),
    ("broadcast", " / s\n    return d", " / s\n    return d[0]"),
)
def standardized_grad(x):
    s = x.std(axis=0)
    z = (x - x.mean(axis=0)) / s
    g = 3 * z**2
    d = (g - g.mean(axis=0) - z * (g * z).mean(axis=0)) / s
    return d


@subject(normals((10,)))
def total_variation(x):
    return np.sum(np.sqrt(np.diff(x) ** 2 + 1e-2))


@gradient_of(
    total_variation,
    ("missing_term", "    d[:-1] -= w\n", ""),
    ("sign", "d[1:] += w", "d[1:] -= w", "d[:-1] -= w", "d[:-1] += w"),
    ("index", "d[1:] += w", "d[:-1] += w", "d[:-1] -= w", "d[1:] -= 0.5 * w"),
    ("overwrite", "d[:-1] -= w", "d[:-1] = -w"),
    ("wrong_formula", "w = e / np.sqrt(e**2 + 1e-2)", "w = np.sign(e)"),
    nothing(),
)
def total_variation_grad(x):
    d = np.zeros_like(x)
    e = np.diff(x)
    w = e / np.sqrt(e**2 + 1e-2)
    d[1:] += w
    d[:-1] -= w
    return d


@subject(of_seed(lambda x: x.reshape(3, 4), (12,)))
def row_products(x):
    return np.prod(x, axis=1)


@vjp_of(
    row_products,
    ("wrong_formula", " / x", ""),
    ("index", "(g * np.prod(x, axis=1))[:, None]", "(g * np.prod(x, axis=1))[::-1, None]"),
    ignores_upstream(),
    entry_off(0.994, 4),
)
def row_products_vjp(g, x):
    return (g * np.prod(x, axis=1))[:, None] / x


@subject(normals((8,), (8,)))
def masked_difference(x, y):
    return np.sum(np.where(x > y, np.exp(x - y), x * y))


@gradient_of(
    masked_difference,
    ("sign", "dy = np.where(x > y, -np.exp(x - y), x)", "dy = -np.where(x > y, -np.exp(x - y), x)"),
    ("wrong_formula", "dx = np.where(x > y, np.exp(x - y), y)", "dx = np.exp(x - y)"),
    ("wrong_formula", "dx = np.where(x > y, np.exp(x - y), y)", "dx = np.where(x < y, np.exp(x - y), y)"),
    ("swapped_args", "return dx, dy", "return dy, dx"),
    ("missing_term", "-np.exp(x - y), x)", "-np.exp(x - y), 0.0)"),
    ("wrong_formula", "np.exp(x - y), y)", "np.exp(x - y), x)"),
)
def masked_difference_grad(x, y):
    dx = np.where(x > y, np.exp(x - y), y)
    dy = np.where(x > y, -np.exp(x - y), x)
    return dx, dy


@subject(normals((4, 4)))
def lower_triangle(a):
    return np.tril(a) @ np.array([1.0, -2.0, 0.5, 3.0])


@vjp_of(
    lower_triangle,
    ("index", "np.tril(np", "np.triu(np"),
    ("transpose", "np.outer(g, w)", "np.outer(w, g)"),
    ("wrong_formula", "np.tril(np.outer(g, w))", "np.outer(g, w)"),
    ignores_upstream(),
)
def lower_triangle_vjp(g, a):
    w = np.array([1.0, -2.0, 0.5, 3.0])
    return np.tril(np.outer(g, w))


@subject(normals((7,), (7,)))
def rolled(x, y):
    return np.sum(np.roll(x, 2) * np.cos(y))


@gradient_of(
    rolled,
    ("index", "np.roll(np.cos(y), -2)", "np.roll(np.cos(y), 2)"),
    ("index", "np.roll(np.cos(y), -2)", "np.cos(y)"),
    ("wrong_formula", "-np.sin(y)", "np.cos(y)"),
    ("sign", "-np.sin(y)", "np.sin(y)"),
    ("swapped_args", "return dx, dy", "return dy, dx"),
    ("index", "np.roll(np.cos(y), -2)", "np.cos(y)[::-1]"),
)
def rolled_grad(x, y):
    dx = np.roll(np.cos(y), -2)
    dy = -np.sin(y) * np.roll(x, 2)
    return dx, dy


@subject(normals((3, 4, 2)))
def axis_shuffle(x):
    return np.transpose(np.exp(x), (2, 0, 1)).reshape(6, 4)


@vjp_of(
    axis_shuffle,
    ("index", "g.reshape(2, 3, 4)", "g.reshape(2, 4, 3).transpose(0, 2, 1)"),
    ("index", "np.transpose(g.reshape(2, 3, 4), (1, 2, 0))", "g.reshape(3, 4, 2)"),
    ("wrong_formula", "np.exp(x) *", "x *"),
    ("wrong_point", "np.exp(x)", "np.exp(np.exp(x))"),
    ignores_upstream(),
)
def axis_shuffle_vjp(g, x):
    return np.exp(x) * np.transpose(g.reshape(2, 3, 4), (1, 2, 0))


@subject(normals((4, 4), (4, 4)))
def column_softmax_loss(z, t):
    e = np.exp(z)
    return -np.sum(t * np.log(e / e.sum(axis=0)))


@gradient_of(
    column_softmax_loss,
    ("axis", "e / e.sum(axis=0)", "e / e.sum(axis=1)"),
    ("axis", "e / e.sum(axis=0)", "e / e.sum(axis=1, keepdims=True)"),
    ("axis", "t.sum(axis=0)", "t.sum(axis=1)"),
    ("axis", "e.sum(axis=0)", "e.sum()", "t.sum(axis=0)", "t.sum()"),
    ("missing_term", " - t", ""),
    ("sum_for_mean", "t.sum(axis=0)", "t.mean(axis=0)"),
)
def column_softmax_loss_grad(z, t):
    e = np.exp(z)
    p = e / e.sum(axis=0)
    return p * t.sum(axis=0) - t


@subject(normals((4, 4), (4,), (4, 1)))
def centred_and_scaled(x, scale, shift):
    return (x - x.mean(axis=1, keepdims=True)) * scale + shift


@vjp_of(
    centred_and_scaled,
    ("axis", "d.mean(axis=1, keepdims=True)", "d.mean(axis=0, keepdims=True)"),
    ("axis", "(g * c).sum(axis=0)", "(g * c).sum(axis=1)"),
    ("broadcast", "g.sum(axis=1, keepdims=True)", "g"),
    ("broadcast", "(g * c).sum(axis=0)", "g * c"),
    ("broadcast", "g.sum(axis=1, keepdims=True)", "g[:, :1]"),
    ("missing_term", " - d.mean(axis=1, keepdims=True)", ""),
    ("sum_for_mean", "d.mean(axis=1, keepdims=True)", "d.sum(axis=1, keepdims=True)"),
    ignores_upstream(),
)
def centred_and_scaled_vjp(g, x, scale, shift):
    c = x - x.mean(axis=1, keepdims=True)
    d = g * scale
    return d - d.mean(axis=1, keepdims=True), (g * c).sum(axis=0), g.sum(axis=1, keepdims=True)
