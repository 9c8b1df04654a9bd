"""Products and factorisations of matrices, against PyTorch."""

from __future__ import annotations

import math

import numpy as np
import pytest

import pullback as pb
from torch_peer import agree, data, same_error

M = data(0, 2, 3)
N = data(1, 3, 4)
V = data(2, 3)
B = data(3, 5, 2, 3)
C = data(4, 5, 3, 2)
Q = data(5, 3, 3) + 3 * np.eye(3)
P = Q @ Q.T
QS = np.stack([Q, P])

NAMED = {
    "vector @ vector": (lambda t, a, b: a @ b, V, V * 2),
    "matrix @ vector": (lambda t, a, b: a @ b, M, V),
    "vector @ matrix": (lambda t, a, b: a @ b, V, N),
    "matrix @ matrix": (lambda t, a, b: a @ b, M, N),
    "matrix @ its transpose": (lambda t, a: a @ a.T, M),
    "views": (lambda t, a, b: a.t()[:, :1] @ b[1:2, ::2], M, N),
    "batch @ matrix": (lambda t, a, b: a @ b, B, N),
    "batch @ vector": (lambda t, a, b: t.matmul(a, b), B, V),
    "vector @ batch": (lambda t, a, b: a @ b, V, C),
    "mm": (lambda t, a, b: t.mm(a, b), M, N),
    "mv": (lambda t, a, b: a.mv(b), M, V),
    "dot": (lambda t, a, b: t.dot(a, b), V, V[::-1].copy()),
    "vdot": (lambda t, a, b: t.vdot(a, b), V, V[::-1].copy()),
    "bmm": (lambda t, a, b: a.bmm(b), B, C),
    "outer": (lambda t, a, b: t.outer(a, b), V, M[0, :2]),
    "ger": (lambda t, a, b: a.ger(b), V, M[0, :2]),
    "addmm": (lambda t, c, a, b: t.addmm(c, a, b), data(6, 4), M, N),
    "addmm weighted": (lambda t, c, a, b: c.addmm(a, b, beta=0.5, alpha=2.0), data(6, 2, 4), M, N),
    "addmv": (lambda t, c, a, b: t.addmv(c, a, b), data(6, 2), M, V),
    "baddbmm": (lambda t, c, a, b: t.baddbmm(c, a, b, alpha=3.0), data(6, 5, 2, 2), B, C),
    "kron": (lambda t, a, b: t.kron(a, b), M, N),
    "cross": (lambda t, a, b: t.cross(a, b, dim=-1), M, M[::-1] * 2),
    "trace": (lambda t, a: a[:, :2].trace(), M),
    "det": (lambda t, a: t.linalg.det(a), Q),
    "vector_norm": (lambda t, a: t.linalg.vector_norm(a), M),
    "norm": (lambda t, a: t.linalg.norm(a), M),
    "matrix_norm": (lambda t, a: t.linalg.matrix_norm(a), B),
}
UNNAMED = {
    "batch @ batch": (lambda t, a, b: a @ b, B, C),
    "broadcast batches": (lambda t, a, b: a @ b, B[:, None], C[:3]),
    "matrix @ batch": (lambda t, a, b: a @ b, M, C),
    "4-dim @ vector": (lambda t, a, b: a @ b, B[None], V),
    "inner": (lambda t, a, b: t.inner(a, b), M, B),
    "inner of vectors": (lambda t, a, b: a.inner(b), V, V * 2),
    "inner with a number": (lambda t, a, b: t.inner(a, b), M, V[0]),
    "tensordot": (lambda t, a, b: t.tensordot(a, b, 1), M, N),
    "tensordot lists": (lambda t, a, b: t.tensordot(a, b, ([0, 2], [0, 1])), B, C[:, :, :1]),
    "tensordot 0": (lambda t, a, b: t.tensordot(a, b, dims=0), V, M),
    "chain_matmul": (lambda t, a, b, c: t.linalg.multi_dot([a, b, c]), M, N, data(6, 4, 5)),
    "multi_dot": (lambda t, a, b, c: t.linalg.multi_dot([a, b, c]), V, N, data(6, 4)),
    "einsum product": (lambda t, a, b: t.einsum("ij,jk->ik", a, b), M, N),
    "einsum implicit": (lambda t, a, b: t.einsum("ij,jk", a, b), M, N),
    "einsum sum": (lambda t, a: t.einsum("ij->", a), M),
    "einsum transpose": (lambda t, a: t.einsum("ji", a), M),
    "einsum diagonal": (lambda t, a: t.einsum("ii->i", a), Q),
    "einsum trace": (lambda t, a: t.einsum("ii", a), Q),
    "einsum ellipsis": (lambda t, a, b: t.einsum("...ij,...jk->...ik", a, b), B, C),
    "einsum ellipsis implicit": (lambda t, a: t.einsum("...ij->...i", a), B),
    "einsum outer": (lambda t, a, b: t.einsum("i,j->ij", a, b), V, V),
    "einsum batch": (lambda t, a, b: t.einsum("bij,bjk->b", a, b), B, C),
    "einsum three": (lambda t, a, b, c: t.einsum("i,ij,j->", a, b, c), V, N, data(6, 4)),
    "einsum list": (lambda t, a, b: t.einsum("ij,kj->ik", [a, b]), M, M),
    "einsum spaces": (lambda t, a, b: t.einsum("i j , j -> i", a, b), M, V),
    "einsum repeated operand": (lambda t, a: t.einsum("ij,kj->ik", a, a), M),
    "inv": (lambda t, a: t.linalg.inv(a), Q),
    "inverse": (lambda t, a: t.inverse(a), QS),
    "solve": (lambda t, a, b: t.linalg.solve(a, b), Q, N),
    "solve vector": (lambda t, a, b: t.linalg.solve(a, b), Q, V),
    "solve batch": (lambda t, a, b: t.linalg.solve(a, b), QS, np.stack([N, N * 2])),
    "solve right": (lambda t, a, b: t.linalg.solve(a, b, left=False), Q, M),
    "slogdet": (lambda t, a: t.linalg.slogdet(a).logabsdet, Q),
    "logdet": (lambda t, a: a.logdet(), P),
    "det batch": (lambda t, a: a.det(), QS),
    "cholesky": (lambda t, a: t.linalg.cholesky(a @ a.mT), Q),
    "cholesky upper": (lambda t, a: t.linalg.cholesky(a @ a.mT, upper=True), Q),
    "matrix_power": (lambda t, a: t.linalg.matrix_power(a, 5), Q / 3),
    "matrix_power 0": (lambda t, a: t.linalg.matrix_power(a, 0) * a, Q),
    "matrix_power 1": (lambda t, a: t.matrix_power(a, 1), Q),
    "matrix_power -2": (lambda t, a: t.linalg.matrix_power(a, -2), Q),
    **{
        f"matrix_norm {p}": (lambda t, a, p=p: t.linalg.matrix_norm(a, p, keepdim=True), B)
        for p in (1, -1, math.inf, -math.inf)
    },
    "matrix_norm dims": (lambda t, a: t.linalg.matrix_norm(a, 1, dim=(0, 1)), B),
    **{
        f"vector_norm {p}": (lambda t, a, p=p: t.linalg.vector_norm(a, p, dim=1), M)
        for p in (0, 1, 2, 3, -1, 0.5, math.inf, -math.inf)
    },
    "norm of a vector": (lambda t, a: t.linalg.norm(a, 1), V),
    "norm of a matrix": (lambda t, a: t.linalg.norm(a, "fro"), M),
    "norm inf of a matrix": (lambda t, a: t.linalg.norm(a, math.inf), M),
    "norm dims": (lambda t, a: t.linalg.norm(a, 1, dim=(1, 2)), B),
    "linalg.diagonal": (lambda t, a: t.linalg.diagonal(a), B),
    "linalg.cross": (lambda t, a: t.linalg.cross(a, a.flip(0)), M),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", NAMED)
def test_agrees_with_torch(case, dtype):
    f, *arrays = NAMED[case]
    agree(f, *arrays, dtype=dtype)


@pytest.mark.parametrize("case", UNNAMED)
def test_agrees_with_torch_by_other_steps(case):
    f, *arrays = UNNAMED[case]
    agree(f, *arrays, name=False)


@pytest.mark.parametrize(
    "f",
    [
        lambda t, a, b: a @ b,
        lambda t, a, b: t.mv(a, b[:, 0]),
        lambda t, a, b: a[0] @ b[:, 0],
        lambda t, a, b: t.vdot(a[0], b[:, 0]),
        lambda t, a, b: t.einsum("ij,jk->ki", a, b),
        lambda t, a, b: t.linalg.inv(a[:, :2]),
        lambda t, a, b: t.linalg.det(b[:2, :2]),
    ],
)
def test_complex_values_and_gradients(f):
    def run(t, a, b, c, d):
        z = f(t, t.complex(a, b) if t is not pb else a + b * 1j, t.complex(c, d) if t is not pb else c + d * 1j)
        return z.real * 2.0 + z.imag

    agree(run, M, data(8, 2, 3), N, data(9, 3, 4), name=False)


@pytest.mark.parametrize(
    "f",
    [
        lambda t, a: a.long() @ a.long().T,
        lambda t, a: a.int() @ a.int()[0],
        lambda t, a: t.dot(a.long()[0], a.long()[1]),
        lambda t, a: t.outer(a[0].int(), a[1].float()),
        lambda t, a: a.long()[:, :2].trace(),
        lambda t, a: a.int()[:, :2].trace(),
        lambda t, a: t.kron(a.int(), a.float()),
        lambda t, a: (a * 2).half() @ a.half().T,
    ],
)
def test_dtypes_are_torchs(f):
    agree(f, np.array([[1, 2, 3], [4, 5, 6]]), grad=False, dtype="float32")


@pytest.mark.parametrize(
    ("f", "words"),
    [
        (lambda t, a, b: a @ a, 99),
        (lambda t, a, b: t.mm(a, a), 99),
        (lambda t, a, b: a @ b[0], 99),
        (lambda t, a, b: a @ b[:, 0].double(), 0),
        (lambda t, a, b: a @ b.double(), 10),
        (lambda t, a, b: t.dot(a[0], a[0].double()), 99),
        (lambda t, a, b: t.dot(a[0], b[0]), 99),
        (lambda t, a, b: t.dot(a, b), 99),
        (lambda t, a, b: t.mm(a[0], b), 99),
        (lambda t, a, b: t.mm(a, b[0]), 99),
        (lambda t, a, b: t.bmm(a, b), 99),
        (lambda t, a, b: t.bmm(a[None], a[None]), 99),
        (lambda t, a, b: a.sum() @ b, 99),
        (lambda t, a, b: b[:, 0] @ a, 99),
        (lambda t, a, b: a[None] @ a[None], 0),
        (lambda t, a, b: t.outer(a, b), 0),
        (lambda t, a, b: t.inner(a, b), 8),
        (lambda t, a, b: t.tensordot(a, a, 1), 5),
        (lambda t, a, b: t.einsum("ij,jk->ik", a, a), 0),
        (lambda t, a, b: t.einsum("ij->ik", a), 0),
        (lambda t, a, b: t.einsum("ij,jk->ik", a), 0),
        (lambda t, a, b: t.linalg.inv(a), 8),
        (lambda t, a, b: t.linalg.inv(a[:, :2] * 0), 0),
        (lambda t, a, b: t.linalg.det(a), 8),
        (lambda t, a, b: t.linalg.cholesky(-t.eye(2)), 4),
        (lambda t, a, b: t.linalg.solve(t.eye(2), b), 0),
        (lambda t, a, b: a[0].trace(), 0),
        (lambda t, a, b: t.cross(a[:, :2], a[:, :2], dim=1), 4),
        (lambda t, a, b: a @ 2.0, 0),
    ],
)
def test_errors_are_torchs(f, words):
    same_error(f, M, N, words=words)


def test_arrays_multiply_tensors():
    """Beside an array NumPy's promotion holds, on either side."""
    a = pb.tensor(M, dtype=pb.float32, requires_grad=True)
    for product in (a @ N, (N.T @ a.T).T):
        np.testing.assert_allclose(product.detach().numpy(), M @ N, rtol=1e-6)
        product.sum().backward()
        np.testing.assert_allclose(a.grad.numpy(), np.broadcast_to(N.sum(1), (2, 3)), rtol=1e-6)
        a.grad = None


def test_an_operand_changed_after_the_product_is_noticed():
    a, b = pb.tensor(M, requires_grad=True), pb.tensor(N)
    y = a @ b
    b[0, 0] = 1.0
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_einsum_gives_memory_of_its_own():
    x = pb.tensor(M)
    y = pb.einsum("ij->ji", x)
    y.fill_(0.0)
    np.testing.assert_array_equal(x.numpy(), M)


@pytest.mark.parametrize(
    "f",
    [
        lambda a, v: ((a @ v) * v).sum() + v @ v,
        lambda a, v: pb.einsum("ij,jk,k->i", a, a, v).prod(),
        lambda a, v: pb.linalg.solve(a, v).prod() + pb.linalg.det(a),
        lambda a, v: pb.linalg.slogdet(a).logabsdet * pb.linalg.inv(a)[0] @ v,
        lambda a, v: pb.linalg.cholesky(a @ a.T).sum() * v.norm(),
        lambda a, v: pb.linalg.matrix_power(a, 3).trace() * pb.linalg.vector_norm(v, 3),
    ],
)
def test_transforms_of_products(f):
    ts = [pb.tensor(data(7, 3, 3)), pb.tensor(data(8, 3))]
    xs = [pb.tensor(Q), pb.tensor(V)]
    g = pb.grad(f, argnums=(0, 1))
    step = 1e-5
    plus, minus = (g(*(x + s * t for x, t in zip(xs, ts, strict=True))) for s in (step, -step))
    forward = pb.jvp(g, tuple(xs), tuple(ts))[1]
    for exact, p, m in zip(forward, plus, minus, strict=True):
        np.testing.assert_allclose(exact.numpy(), ((p - m) / (2 * step)).numpy(), rtol=1e-5, atol=1e-7)
    batch = pb.vmap(g, in_axes=(0, None))(pb.tensor(QS), xs[1])
    single = [g(pb.tensor(q), xs[1]) for q in QS]
    for i in range(2):
        for k in range(2):
            np.testing.assert_allclose(batch[k][i].numpy(), single[i][k].numpy(), rtol=1e-9, atol=1e-9)
