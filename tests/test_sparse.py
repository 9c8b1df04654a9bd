"""Sparse Jacobians and Hessians: against the dense ones, with as few products as the pattern allows."""

from typing import Any

import numpy as np
import pytest

import pullback as pb
from pullback.transforms.coloring import star_colors
from pullback.transforms.forward import Dual
from pullback.transforms.pattern import dependence

sparse = pytest.importorskip("scipy.sparse")
RNG = np.random.default_rng(0)
BAND = np.diag(np.ones(8)) + np.diag(np.ones(7), 1)


def bratu(u: Any) -> Any:
    p = np.pad(u, 1)
    return p[2:, 1:-1] + p[:-2, 1:-1] + p[1:-1, 2:] + p[1:-1, :-2] - 4 * u + 0.1 * np.exp(u)


def rosenbrock(x: Any) -> Any:
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


# function, shape of the argument, entries of the pattern (None: not said), most products
JACOBIANS: dict[str, tuple[Any, tuple[int, ...], int | None, int]] = {
    "tridiagonal": (lambda x: x[1:-1] ** 2 * x[:-2] - np.sin(x[2:]), (30,), 84, 3),
    "arrowhead": (lambda x: np.concatenate([np.sum(x**2)[None], x[1:] * x[0]]), (12,), 34, 12),
    "one row": (lambda x: np.concatenate([np.sum(x**2)[None], x[1:]]), (12,), 23, 2),
    "bratu": (bratu, (6, 7), 184, 8),
    "constant band": (lambda x: BAND @ np.sin(x), (8,), 15, 2),
    "band times matrix": (lambda x: BAND @ x**2, (8, 3), 45, 2),
    "matrix times band": (lambda x: x**2 @ BAND, (3, 8), 45, 2),
    "product": (lambda x: x[:2] @ x[2:].T, (5, 3), None, 15),
    "sum along an axis": (lambda x: np.sum(x**2, axis=1), (4, 5), 20, 5),
    "softmax": (lambda x: np.exp(x - np.max(x, axis=1, keepdims=True)), (4, 3), 36, 3),
    "cumsum": (lambda x: np.cumsum(x**2, axis=1), (4, 3), None, 3),
    "cumulative product": (lambda x: np.cumprod(x, axis=0), (3, 4), None, 3),
    "gather": (lambda x: x[np.array([0, 0, 2])] * 2, (8,), 3, 1),
    "where": (lambda x: np.where(x > 0, x[::-1], x * x), (8,), 16, 2),
    "stack, flip, roll": (lambda x: np.stack([np.flip(x), np.roll(x, 1)]) ** 2, (6,), 12, 2),
    "sorted by value": (lambda x: x[np.argsort(x)] * 2, (6,), None, 6),
    "branch on value": (lambda x: x * x if x[0] > 0 else x[::-1] * 1.0, (6,), 36, 6),
    "constant": (lambda x: np.ones(3) + 0.0 * x[:3], (5,), 3, 1),
    "linear algebra": (lambda x: np.linalg.inv(x), (3, 3), 81, 9),
    "scalar argument broadcast": (lambda x: x[0] * np.arange(1.0, 4.0) + x[1:4], (4,), 6, 2),
}


@pytest.mark.parametrize("name", JACOBIANS)
def test_jacobian(name: str) -> None:
    f, shape, entries, most = JACOBIANS[name]
    x = RNG.normal(size=shape)
    jacobian = pb.sparse_jacobian(f)
    found = jacobian(x)
    assert isinstance(found, sparse.csr_array)
    np.testing.assert_allclose(found.toarray(), np.asarray(pb.jacobian(f)(x)).reshape(found.shape), atol=1e-12)
    plan = jacobian.plan(x)
    assert plan.products <= most
    if entries is not None:
        assert found.nnz == entries


HESSIANS: dict[str, tuple[Any, tuple[int, ...], int]] = {
    "rosenbrock": (rosenbrock, (12,), 3),
    "arrowhead": (lambda x: x[0] * np.sum(x[1:] ** 2) + np.sum(x**3), (12,), 2),
    "bratu": (lambda u: np.sum(bratu(u) ** 2), (5, 6), 13),
    "separable": (lambda x: np.sum(np.exp(x)), (9,), 1),
    "linear": (lambda x: np.sum(x), (9,), 1),
    "dense": (lambda x: np.prod(x), (5,), 5),
    "blocks": (lambda x: np.sum(np.prod(x, axis=1)), (4, 3), 3),
}


@pytest.mark.parametrize("name", HESSIANS)
def test_hessian(name: str) -> None:
    f, shape, most = HESSIANS[name]
    x = RNG.normal(size=shape)
    hessian = pb.sparse_hessian(f)
    found = hessian(x)
    np.testing.assert_allclose(found.toarray(), np.asarray(pb.hessian(f)(x)).reshape(found.shape), atol=1e-10)
    assert hessian.plan(x).products <= most


def test_ten_thousand_unknowns_cost_three_sweeps() -> None:
    sizes = []

    def f(x: Any) -> Any:
        if isinstance(x._value, Dual):
            sizes.append(x._value.tangent._value.value.shape[0])
        return x[1:-1] ** 2 * x[:-2] - np.sin(x[2:])

    x = RNG.normal(size=10_000)
    found = pb.sparse_jacobian(f)(x)
    assert sizes == [3]
    np.testing.assert_allclose(found[17, 17:20].toarray().ravel(), [x[18] ** 2, 2 * x[17] * x[18], -np.cos(x[19])])
    assert pb.sparse_hessian(rosenbrock).plan(x).products == 3
    assert pb.sparse_hessian(lambda x: x[0] * np.sum(x[1:] ** 2)).plan(x).products == 2


def test_a_given_pattern_is_taken() -> None:
    x = RNG.normal(size=6)
    f = lambda x: np.linalg.inv(np.diag(x) + 0.0) @ np.ones(6)  # noqa: E731
    jacobian = pb.sparse_jacobian(f, pattern=np.eye(6))
    assert jacobian.plan(x).products == 1
    np.testing.assert_allclose(jacobian(x).toarray(), np.diag(-(x**-2.0)), rtol=1e-10)
    reused = pb.sparse_jacobian(lambda x: x**2, pattern=pb.sparse_jacobian(lambda x: x**2).plan(x).pattern)
    np.testing.assert_allclose(reused(x).diagonal(), 2 * x)


def test_a_pattern_holds_for_all_values() -> None:
    """An entry that is zero here and not there belongs to the pattern."""

    def f(x: Any) -> Any:
        return np.where(x > 0, np.roll(x, 1) ** 2, np.maximum(x, np.roll(x, 2)))

    pattern = pb.sparse_jacobian(f).plan(np.ones(7)).pattern.toarray()
    for _ in range(20):
        dense = pb.jacobian(f)(RNG.normal(size=7))
        assert not np.any((dense != 0) & ~pattern)


def test_float32_and_other_arguments() -> None:
    found = pb.sparse_jacobian(lambda x, a, k=1: a * x**k)(np.ones(4, np.float32), np.float32(3.0), k=2)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found.diagonal(), 6.0)
    empty = pb.sparse_jacobian(lambda x: x * 2)(np.zeros(0))
    assert empty.shape == (0, 0)


def test_integers_are_refused() -> None:
    with pytest.raises(TypeError, match="integer"):
        pb.sparse_jacobian(lambda x: x * x)(np.arange(3))


def test_star_colouring_of_random_graphs() -> None:
    """Neighbours differ, and every path of four nodes has three colours."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        upper = np.triu(rng.random((14, 14)) < 0.25, 1)
        graph = upper | upper.T | np.eye(14, dtype=bool)
        colors = star_colors(sparse.csr_array(graph))
        near = graph & ~np.eye(14, dtype=bool)
        for a, b in np.argwhere(near):
            assert colors[a] != colors[b]
            for c in np.flatnonzero(near[b]):
                for d in np.flatnonzero(near[c]):
                    if len({a, b, c, d}) == 4:
                        assert len({colors[a], colors[b], colors[c], colors[d]}) > 2


def test_dependence_of_a_graph_in_two_arguments() -> None:
    graph = pb.make_graph(lambda x, y: (x[:2] * y, x[2:]))(np.ones(3), np.ones(2)).graph
    expected = [[1, 0, 0, 1, 0], [0, 1, 0, 0, 1], [0, 0, 1, 0, 0]]
    np.testing.assert_array_equal(dependence(graph).toarray().astype(int), expected)


def test_numpy_code_that_writes() -> None:
    def f(x: Any) -> Any:
        out = np.zeros(4)
        out[0] = x[0] ** 2
        out[1:] = np.sin(x[:3])
        return out

    found = pb.sparse_jacobian(f)(np.ones(4))
    np.testing.assert_allclose(found.toarray(), pb.jacobian(f)(np.ones(4)))
    assert found.nnz == 4
