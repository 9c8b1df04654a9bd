"""Shapes, views, joins and parts, against PyTorch."""

from __future__ import annotations

import numpy as np
import pytest

import pullback as pb
from torch_peer import agree, data, same_error

A = data(0, 2, 3)
B = data(1, 4, 2, 3)
V = data(2, 3)
S = data(3)
Z = np.zeros((2, 0, 3))

CASES = {
    "view": (lambda t, x: x.view(3, 2), A),
    "view -1": (lambda t, x: x.view(-1), A),
    "view tuple": (lambda t, x: x.view((3, -1)), A),
    "view of empty": (lambda t, x: x.view(0, 5), Z),
    "view_as": (lambda t, x: x.view_as(t.zeros(6)), A),
    "reshape": (lambda t, x: t.reshape(x, (3, 2)), A),
    "reshape copies": (lambda t, x: x.t().reshape(6), A),
    "reshape of a transpose that is a view": (lambda t, x: x.transpose(0, 1).reshape(2, 4, 3, 1), B),
    "reshape to a scalar": (lambda t, x: x[:1, :1].reshape(()), A),
    "reshape_as": (lambda t, x: x.reshape_as(t.zeros(3, 2)), A),
    "flatten": (lambda t, x: x.flatten(), B),
    "flatten some": (lambda t, x: t.flatten(x, 1, 2), B),
    "flatten 0-dim": (lambda t, x: x.flatten(), S),
    "ravel": (lambda t, x: x.ravel(), A),
    "unflatten": (lambda t, x: x.unflatten(0, (2, -1)), B),
    "permute": (lambda t, x: x.permute(2, 0, 1), B),
    "permute tuple": (lambda t, x: t.permute(x, (-1, 0, 1)), B),
    "transpose": (lambda t, x: x.transpose(0, -1), B),
    "swapaxes": (lambda t, x: t.swapaxes(x, 0, 1), B),
    "t": (lambda t, x: x.t(), A),
    "T": (lambda t, x: x.T, A),
    "mT": (lambda t, x: x.mT, B),
    "H": (lambda t, x: x.H, A),
    "mH": (lambda t, x: x.mH, B),
    "adjoint": (lambda t, x: t.adjoint(x), B),
    "movedim": (lambda t, x: t.movedim(x, 0, -1), B),
    "movedim two": (lambda t, x: x.moveaxis((0, 1), (2, 0)), B),
    "unsqueeze": (lambda t, x: x.unsqueeze(-1), A),
    "unsqueeze dim=": (lambda t, x: t.unsqueeze(x, dim=1), A),
    "squeeze": (lambda t, x: x[:1].squeeze(), A),
    "squeeze one": (lambda t, x: x[:1].squeeze(0), A),
    "squeeze nothing": (lambda t, x: x.squeeze(1), A),
    "squeeze several": (lambda t, x: x[:1, :, :1].squeeze((0, -1)), B),
    "expand": (lambda t, x: x.expand(4, -1, 3), A),
    "expand ones": (lambda t, x: x[:, :1].expand(2, 5), A),
    "expand 0-dim": (lambda t, x: x.expand(2, 2), S),
    "expand_as": (lambda t, x, y: x.expand_as(y), A, B),
    "broadcast_to": (lambda t, x: t.broadcast_to(x, (2, 3)), V),
    "broadcast_tensors": (lambda t, x, y: t.broadcast_tensors(x[:, :1], y), A, V),
    "repeat": (lambda t, x: x.repeat(2, 3), A),
    "repeat new": (lambda t, x: x.repeat(2, 1, 2), A),
    "repeat ones": (lambda t, x: x.repeat(1, 1), A),
    "repeat a single element": (lambda t, x: x[:1, :1].repeat(3, 1), A),
    "tile": (lambda t, x: t.tile(x, (2,)), A),
    "repeat_interleave dim": (lambda t, x: x.repeat_interleave(t.tensor([1, 0, 2]), dim=1), A),
    "cat": (lambda t, x, y: t.cat([x, y]), A, A[:1]),
    "cat dim": (lambda t, x, y: t.cat((x, y), dim=-1), A, A[:, :2]),
    "cat axis": (lambda t, x: t.concatenate([x, x], axis=1), A),
    "cat skips empty vectors": (lambda t, x: t.cat([x, t.tensor([], dtype=x.dtype)]), A),
    "concat": (lambda t, x: t.concat([x, x, x]), A),
    "stack": (lambda t, x, y: t.stack([x, y], dim=1), A, 2 * A),
    "stack last": (lambda t, x: t.stack((x, x), -1), V),
    "stack 0-dim": (lambda t, x, y: t.stack([x, y]), S, 2 * S),
    "hstack": (lambda t, x, y: t.hstack([x, y]), A, A[:, :1]),
    "hstack vectors": (lambda t, x: t.hstack([x, x]), V),
    "vstack": (lambda t, x, y: t.vstack([x, y]), A, V),
    "dstack": (lambda t, x: t.dstack([x, x]), A),
    "column_stack": (lambda t, x, y: t.column_stack([x, y]), V, A.T),
    "chunk": (lambda t, x: x.chunk(2, dim=-1), A),
    "chunk 3 of 4": (lambda t, x: t.chunk(x, 3), B),
    "split": (lambda t, x: x.split(3), B),
    "split sizes": (lambda t, x: t.split(x, [1, 2], dim=1), A),
    "tensor_split": (lambda t, x: x.tensor_split(3), B),
    "tensor_split indices": (lambda t, x: x.tensor_split((1, 3)), B),
    "hsplit": (lambda t, x: t.hsplit(x, 3), A),
    "vsplit": (lambda t, x: t.vsplit(x, [1]), A),
    "dsplit": (lambda t, x: t.dsplit(x, 3), B),
    "unbind": (lambda t, x: x.unbind(1), A),
    "unbind one used": (lambda t, x: x.unbind()[1] * 2, A),
    "iteration": (lambda t, x: list(x), A),
    "iteration of a vector": (lambda t, x: [v * i for i, v in enumerate(x)], V),
    "diagonal": (lambda t, x: x.diagonal(1), A),
    "diagonal planes": (lambda t, x: t.diagonal(x, -1, 0, 2), B),
    "diag of a matrix": (lambda t, x: t.diag(x, -1), A),
    "diag of a vector": (lambda t, x: x.diag(2), V),
    "diag_embed": (lambda t, x: t.diag_embed(x, -1, 0, 2), A),
    "diagflat": (lambda t, x: t.diagflat(x, 1), A),
    "flip": (lambda t, x: x.flip(0, 2), B),
    "flip tuple": (lambda t, x: t.flip(x, (1,)), B),
    "fliplr": (lambda t, x: x.fliplr(), A),
    "flipud": (lambda t, x: t.flipud(x), V),
    "roll": (lambda t, x: x.roll(2), A),
    "roll dims": (lambda t, x: t.roll(x, (1, -2), (0, 2)), B),
    **{f"rot90 {k}": (lambda t, x, k=k: t.rot90(x, k), A) for k in range(1, 4)},
    "rot90 plane": (lambda t, x: x.rot90(1, (2, 0)), B),
    "tril": (lambda t, x: x.tril(), B),
    "tril 1": (lambda t, x: t.tril(x, diagonal=1), A),
    "triu -1": (lambda t, x: x.triu(-1), A),
    "meshgrid": (lambda t, x, y: t.meshgrid(x, y, indexing="ij"), V, V[:2]),
    "meshgrid xy": (lambda t, x, y: t.meshgrid([x, y], indexing="xy"), V, V[:2]),
    "narrow": (lambda t, x: x.narrow(1, 1, 2), A),
    "select": (lambda t, x: t.select(x, 1, -1), A),
}
UNNAMED = {  # the same numbers by fewer or other steps
    "atleast": (lambda t, x, y, z: t.atleast_1d(x, y, z), S, V, A),
    "atleast_2d": (lambda t, x, y, z: t.atleast_2d(x, y, z), S, V, A),
    "atleast_3d": (lambda t, x, y, z: t.atleast_3d(x, y, z), S, V, A),
    "rot90 0": (lambda t, x: t.rot90(x, 4), A),
    "repeat_interleave": (lambda t, x: x.repeat_interleave(2), A),
    "repeat_interleave 2": (lambda t, x: t.repeat_interleave(x, 2, dim=0), A),
    "cartesian_prod": (lambda t, x, y: t.cartesian_prod(x, y), V, V[:2]),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_agrees_with_torch(case, dtype):
    f, *arrays = CASES[case]
    agree(f, *arrays, dtype=dtype)


@pytest.mark.parametrize("case", UNNAMED)
def test_agrees_with_torch_by_other_steps(case):
    f, *arrays = UNNAMED[case]
    agree(f, *arrays, name=False)


@pytest.mark.parametrize("case", [*CASES, *UNNAMED])
def test_without_gradient(case):
    f, *arrays = (CASES | UNNAMED)[case]
    agree(f, *arrays, grad=False)


@pytest.mark.parametrize(
    "f",
    [
        lambda t, x: t.cat([x.int(), x.double()]),
        lambda t, x: t.cat([x.int(), x > 0]),
        lambda t, x: t.cat([x.to(t.uint8), x.to(t.int8)]),
        lambda t, x: t.stack([x.half(), x.float()]),
        lambda t, x: t.stack([x.sum(), (x > 0).sum()]),
        lambda t, x: t.cat([x.float(), x.to(t.complex64)]),
        lambda t, x: t.column_stack([x.long(), x.float()]),
    ],
)
def test_joining_promotes(f):
    agree(f, A, grad=False)


@pytest.mark.parametrize(
    ("f", "arrays", "words"),
    [
        (lambda t, x: x.t().view(6), [A], 8),
        (lambda t, x: x.view(4), [A], 6),
        (lambda t, x: x.reshape(4, -1), [A], 5),
        (lambda t, x: x.reshape(-1, -1), [A], 5),
        (lambda t, x: x.permute(0, 0), [A], 2),
        (lambda t, x: x.permute(0), [A], 4),
        (lambda t, x: x.transpose(0, 5), [A], 4),
        (lambda t, x: x.t(), [B], 5),
        (lambda t, x: x.mT, [V], 2),
        (lambda t, x: x.unsqueeze(5), [A], 4),
        (lambda t, x: x.expand(4, 5), [A], 8),
        (lambda t, x: x.expand(3), [A], 0),
        (lambda t, x: x.repeat(2), [A], 6),
        (lambda t, x, y: t.cat([x, y]), [A, V], 6),
        (lambda t, x, y: t.cat([x, y]), [A, A[:, :2]], 8),
        (lambda t, x: t.cat([x, x]), [S], 4),
        (lambda t, x, y: t.stack([x, y]), [A, V], 8),
        (lambda t: t.stack([]), [], 5),
        (lambda t, x: x.split([1, 2]), [A], 6),
        (lambda t, x: x.chunk(0), [A], 4),
        (lambda t, x: x.unbind(), [S], 4),
        (lambda t, x: x.narrow(0, 1, 3), [A], 3),
        (lambda t, x: list(x), [S], 5),
        (lambda t, x: len(x), [S], 5),
        (lambda t, x: x.tril(), [V], 1),
        (lambda t, x: x.diagonal(0, 1, 1), [A], 4),
        (lambda t, x: t.diag(x), [B], 2),
        (lambda t, x: x.flip(0, 0), [A], 1),
        (lambda t, x: x.unflatten(1, (2, 2)), [A], 5),
        (lambda t, x: x.flatten(1, 0), [A], 4),
        (lambda t, x: x.squeeze(7), [A], 4),
    ],
)
def test_errors_are_torchs(f, arrays, words):
    same_error(f, *arrays, words=words)


# Views: what shares memory in PyTorch does here, in both directions, and nothing else does.

VIEWS = {
    "view": lambda x: x.view(6),
    "reshape": lambda x: x.reshape(3, 2),
    "flatten": lambda x: x.flatten(),
    "unflatten": lambda x: x.unflatten(1, (3, 1)),
    "t": lambda x: x.t(),
    "T": lambda x: x.T,
    "mT": lambda x: x.mT,
    "permute": lambda x: x.permute(1, 0),
    "transpose": lambda x: x.transpose(0, 1),
    "movedim": lambda x: x.movedim(0, 1),
    "unsqueeze": lambda x: x.unsqueeze(0),
    "squeeze": lambda x: x.squeeze(),
    "narrow": lambda x: x.narrow(1, 0, 2),
    "select": lambda x: x.select(1, 0),
    "diagonal": lambda x: x.diagonal(),
    "unbind": lambda x: x.unbind(1)[0],
    "unbind of a row": lambda x: x[0].unbind()[0],
    "chunk": lambda x: x.chunk(2)[0],
    "split": lambda x: x.split([1, 2], 1)[0],
    "tensor_split": lambda x: x.tensor_split(2)[0],
    "int": lambda x: x[0],
    "element": lambda x: x[0, 0],
    "slice": lambda x: x[:, :2],
    "None": lambda x: x[None],
    "dots": lambda x: x[...],
    "int tensor": lambda x: x[x.argmin() * 0],
    "chain": lambda x: x.t()[0].unsqueeze(1)[0],
    "detach": lambda x: x.detach()[0],
}
COPIES = {
    "reshape of a transpose": lambda x: x.t().reshape(6),
    "flip": lambda x: x.flip(1, 0),
    "flip of one": lambda x: x[:1, :1].flip(0),
    "rot90": lambda x: x.rot90(2),
    "rot90 once": lambda x: x.rot90(1),
    "repeat": lambda x: x.repeat(1, 1),
    "diag": lambda x: x.diag(),
    "index": lambda x: x[[0, 1]],
    "mask": lambda x: x[x == x],
    "tril": lambda x: x.tril(5),
    "roll": lambda x: x.roll(0),
    "cat of one": lambda x: __import__("torch").cat([x]) if not isinstance(x, pb.Tensor) else pb.cat([x]),
}


@pytest.mark.parametrize("name", VIEWS)
def test_views_share_memory_both_ways(name):
    x = pb.tensor(A)
    v = VIEWS[name](x)
    v.fill_(5.0)
    expected = A.copy()
    import torch

    y = torch.tensor(A)
    w = VIEWS[name](y)
    w.fill_(5.0)
    np.testing.assert_array_equal(x.numpy(), y.numpy())
    assert not np.array_equal(x.numpy(), expected)
    x.fill_(7.0)
    assert (v == 7.0).all()


@pytest.mark.parametrize("name", COPIES)
def test_copies_do_not_share_memory(name):
    x = pb.tensor(A)
    v = COPIES[name](x)
    assert not np.shares_memory(v.numpy(), x.numpy())
    v.fill_(5.0)
    np.testing.assert_array_equal(x.numpy(), A)


@pytest.mark.parametrize(
    "name", [n for n in VIEWS if n not in ("detach", "unbind", "unbind of a row", "chunk", "split")]
)
def test_gradient_of_a_write_through_a_view(name):
    def f(t, x, w):
        y = x * 1.0
        v = VIEWS[name](y)
        v.mul_(w[0, 0])
        return (y * y * w).sum() + (v * 3.0).sum()

    agree(f, A, A * 2, name=False)


@pytest.mark.parametrize("name", ["unbind", "chunk", "split"])
def test_gradient_of_a_write_through_one_of_several_views(name):
    """PyTorch refuses these; the gradient is that of the same write through a slice."""
    part = {"unbind": np.s_[:, 0], "chunk": np.s_[:1], "split": np.s_[:, :1]}[name]

    def f(x, view):
        y = x * 1.0
        v = view(y)
        v *= 3.0
        return (y * y).sum() + v.sum()

    x, z = (pb.tensor(A, requires_grad=True) for _ in range(2))
    f(x, VIEWS[name]).backward()
    f(z, lambda y: y[part]).backward()
    np.testing.assert_array_equal(x.grad.numpy(), z.grad.numpy())


def test_a_write_to_the_base_moves_its_views():
    def f(t, x):
        y = x * 1.0
        rows = [y[0], y.t(), y.view(-1)[2:], y[1, 2]]
        y[0] = x[1] ** 2
        y.mul_(x)
        return t.stack([(r * r).sum() for r in rows]).sum()

    agree(f, A, name=False)


@pytest.mark.parametrize("view", [lambda x: x.expand(4, 2, 3), lambda x: x[:, :1].expand(2, 4)])
def test_an_expanded_tensor_shares_memory_and_refuses_writes(view):
    same_error(lambda t, x: view(x).add_(1.0), A, words=12)
    x = pb.tensor(A)
    v = view(x)
    assert np.shares_memory(v.numpy(), x.numpy())
    x.fill_(2.0)
    assert (v == 2.0).all()
    with pytest.raises(RuntimeError, match="single memory location"):
        v[0] = 1.0


def test_views_of_transformed_values():
    def f(x):
        y = x * 2.0
        a, b = y.t().unsqueeze(0).squeeze(0).chunk(2, dim=1)
        a[0] = b[1] * 2.0 + y[0, 0]
        return (y.diagonal() * y.view(-1)[1:3]).sum() + y.flatten()[3]

    x = data(5, 3, 2, 2)
    one = np.stack([pb.grad(lambda a: f(a))(row) for row in x])
    np.testing.assert_allclose(pb.vmap(pb.grad(f))(x), one)
    t = data(6, 2, 2)
    np.testing.assert_allclose(pb.jvp(f, (x[0],), (t,))[1], (one[0] * t).sum())
    step = 1e-6
    np.testing.assert_allclose(
        pb.jvp(f, (x[0],), (t,))[1],
        (f(pb.tensor(x[0] + step * t)) - f(pb.tensor(x[0] - step * t))).item() / (2 * step),
        rtol=1e-6,
    )


def test_len_and_unpacking():
    _, b = pb.tensor(A)
    assert len(pb.tensor(B)) == 4
    np.testing.assert_array_equal(b.numpy(), A[1])


def test_iterating_over_many_rows_costs_linear_time():
    """Each row's cotangent is stacked once, not embedded in a zero matrix."""
    x = pb.tensor(data(0, 20_000), requires_grad=True)
    sum(v * 2 for v in x).backward()
    assert (x.grad == 2.0).all()
