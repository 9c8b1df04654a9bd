"""Gradients through writes in place, to tensors and to views of them, are PyTorch's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pullback as pb
from expressions import agree, outcome, same_program
from test_inplace import METHODS

torch = pytest.importorskip("torch")

Program = Callable[[Any], Any]
UNTRACKED = {"floor_divide_", "eq_", "lt_", "ge_", "logical_not_"}  # no derivative in PyTorch


@pytest.mark.parametrize(
    ("name", "arguments"), [m for m in METHODS if m[0] not in UNTRACKED], ids=lambda x: x if isinstance(x, str) else ""
)
@pytest.mark.parametrize("through_view", [False, True])
def test_gradients(name: str, arguments: Any, through_view: bool) -> None:
    def program(t: Any) -> Any:
        x = t.tensor([[0.3, 0.55, 0.8], [0.2, 0.4, 0.7]], requires_grad=True)
        y = x * 1.0
        written = y[1] if through_view else y
        getattr(written, name)(*arguments(t))
        (y * t.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])).sum().backward()
        return x.grad, y, written

    same_program(program)


# Recorded writes

PROGRAMS: dict[str, Program] = {}


def program(function: Program) -> Program:
    PROGRAMS[function.__name__] = function
    return function


def _leaf(t: Any, *shape: int) -> Any:
    n = int(np.prod(shape))
    return (t.arange(float(n)).reshape(shape) / n + 0.25).requires_grad_()


def _loss(y: Any, t: Any) -> Any:
    return (y * y * (t.arange(float(y.numel())).reshape(y.shape) + 1)).sum()


@program
def _chain(t: Any) -> Any:
    x = _leaf(t, 4)
    y = x * 2
    y += x
    y *= y.detach() + 1
    y.sub_(x, alpha=0.5)
    y.exp_()
    _loss(y, t).backward()
    return x.grad, y


@program
def _untracked_gets_tracked(t: Any) -> Any:
    x = _leaf(t, 3)
    y = t.zeros(3)
    y[1] = x[0] * 3
    y[2:] += x[1:2] * x[2]
    _loss(y, t).backward()
    return x.grad, y


@program
def _base_written_after_view(t: Any) -> Any:
    x = _leaf(t, 2, 3)
    y = x * 1
    v = y[0]
    y.mul_(3)
    (_loss(v, t) + y.sum()).backward()
    return x.grad, v


@program
def _sibling_views(t: Any) -> Any:
    x = _leaf(t, 4)
    y = x * 1
    a, b = y[:3], y[1:]
    a.mul_(2)
    b.add_(x[:3])
    a.sub_(1)
    (_loss(a, t) + _loss(b, t) * 2 + _loss(y, t)).backward()
    return x.grad, a, b, y


@program
def _view_of_view(t: Any) -> Any:
    x = _leaf(t, 3, 4)
    y = x * 1
    v = y.t()[1:3].reshape(2, 3)[:, 0]
    v.mul_(x[0, :2])
    _loss(y, t).backward()
    return x.grad, y, v


@program
def _transposed(t: Any) -> Any:
    x = _leaf(t, 2, 3)
    y = x * 1
    z = y.t()
    z.mul_(t.arange(6.0).reshape(3, 2))
    z[0] = 7.0
    (_loss(y, t) + _loss(z, t)).backward()
    return x.grad, y, z


@program
def _permuted_and_reshaped(t: Any) -> Any:
    x = _leaf(t, 2, 3, 2)
    y = x * 1
    y.permute(2, 0, 1)[1].mul_(2)
    y.view(4, 3)[1:3, ::2].add_(1)
    y.unsqueeze(0)[0, 1].exp_()
    _loss(y, t).backward()
    return x.grad, y


@program
def _diagonal(t: Any) -> Any:
    x = _leaf(t, 3, 3)
    y = x * 1
    y.diagonal().mul_(x[0])
    y.diagonal(1).zero_()
    _loss(y, t).backward()
    return x.grad, y


@program
def _narrowed(t: Any) -> Any:
    x = _leaf(t, 5)
    y = x * 1
    y.narrow(0, 1, 3).pow_(2)
    _loss(y, t).backward()
    return x.grad, y


@program
def _zeroed(t: Any) -> Any:
    x = _leaf(t, 3)
    y = x * 2
    y.zero_()
    y += x
    y[0].fill_(2.0)
    _loss(y, t).backward()
    return x.grad, y


@program
def _zeroed_whole(t: Any) -> Any:
    x = _leaf(t, 3)
    y = x * 2
    y.zero_()
    y.sum().backward()
    return x.grad, y


@program
def _filled_with_a_tracked_number(t: Any) -> Any:
    x = _leaf(t, 3)
    y = t.zeros(2, 2)
    y.fill_(x[1])
    y[0].copy_(x[:2])
    _loss(y, t).backward()
    return x.grad, y


@program
def _copied_across_dtypes(t: Any) -> Any:
    x = _leaf(t, 3)
    y = t.zeros(2, 3, dtype=t.float64)
    y.copy_(x)
    _loss(y, t).backward()
    return x.grad, y


@program
def _mixed_precision(t: Any) -> Any:
    x = _leaf(t, 3)
    y = x * 1
    y += x.double() * 2
    y.mul_(t.tensor([1, 2, 3]))
    _loss(y, t).backward()
    return x.grad, y


@program
def _masked(t: Any) -> Any:
    x = _leaf(t, 4)
    y = x * 1
    y.masked_fill_(y > 0.5, -1.0)
    y[y < 0] += x[2:]
    _loss(y, t).backward()
    return x.grad, y


@program
def _second_order(t: Any) -> Any:
    x = _leaf(t, 3)
    y = x * x
    y[0].mul_(x[1])
    y.sin_()
    (g,) = t.autograd.grad(_loss(y, t), x, create_graph=True)
    (g * x).sum().backward()
    return x.grad


@program
def _indexed_writes(t: Any) -> Any:
    x = _leaf(t, 4)
    y = x * 1
    y[[0, 2]] = x[1:3] * 3
    y[t.tensor([True, False, False, True])] *= 2
    _loss(y, t).backward()
    return x.grad, y


@program
def _loop(t: Any) -> Any:
    x = _leaf(t, 5)
    out = t.zeros(5)
    out[0] = x[0]
    for i in range(1, 5):
        out[i] = out[i - 1].clone() * x[i] + x[i - 1]
    _loss(out, t).backward()
    return x.grad, out


@program
def _under_no_grad(t: Any) -> Any:
    w = _leaf(t, 3)
    for _ in range(3):
        _loss(w, t).backward()
        with t.no_grad():
            w -= 0.1 * w.grad
            w.sub_(w.grad, alpha=0.01)
        w.grad.zero_()
    return w, w.grad, w.is_leaf


@program
def _data_idioms(t: Any) -> Any:
    w = t.tensor(3.0, requires_grad=True)
    for _ in range(3):
        (w * w + 4 * w).backward()
        w.data -= 0.1 * w.grad.data
        w.grad.data.zero_()
    w.data = w.data * 2
    first = w._version
    (w**2).backward()
    w.grad = None
    return w, w.grad, first


@program
def _grad_after_zero(t: Any) -> Any:
    w = t.tensor([1.0, 2.0], requires_grad=True)
    w.pow(2).sum().backward()
    kept = w.grad
    kept.zero_()
    w.pow(3).sum().backward()
    return w.grad, kept, kept is w.grad


@program
def _random_after_history(t: Any) -> Any:
    x = _leaf(t, 3)
    y = x * 2
    y.uniform_(0, 0)
    y.sum().backward()
    return x.grad, y


@program
def _detached(t: Any) -> Any:
    x = _leaf(t, 2)
    y = x * 2
    y.detach_()
    return y, x.detach().zero_(), x, x._version


@pytest.mark.parametrize("name", PROGRAMS)
def test_recorded_writes(name: str) -> None:
    theirs = outcome(torch, PROGRAMS[name])
    assert not isinstance(theirs, Exception), "the program itself is wrong"
    agree(outcome(pb, PROGRAMS[name]), theirs, scale=20)


def test_a_tensor_may_be_its_own_operand() -> None:  # PyTorch multiplies, and then can't go back
    x = pb.tensor([2.0, 3.0], requires_grad=True)
    y = x * 1
    y *= y
    y += y
    y.sum().backward()
    assert y.tolist() == [8.0, 18.0]
    assert x.grad.tolist() == [8.0, 12.0]


def test_in_place_inside_transforms() -> None:
    def f(x: Any) -> Any:
        y = x * 2
        y += x
        y[1:].mul_(x[:2])
        y.sub_(1.0).exp_()
        z = y.clone().zero_()
        z += y
        z.clamp_(max=2.0)
        return (z * y).sum()

    x = np.array([0.3, 0.1, 0.2])
    tx = torch.tensor(x, requires_grad=True)
    f(tx).backward()
    want = tx.grad.numpy()
    np.testing.assert_allclose(pb.grad(f)(x), want, rtol=1e-12)
    np.testing.assert_allclose(pb.vmap(pb.grad(f))(np.stack([x, x]))[1], want, rtol=1e-12)
    np.testing.assert_allclose([pb.jvp(f, (x,), (e,))[1] for e in np.eye(3)], want, rtol=1e-12)


@pytest.mark.parametrize("quiet", [False, True])
@pytest.mark.parametrize("part", [..., slice(0, 1)])
def test_a_write_is_known_after_the_tensor_is_gone(quiet: bool, part: Any) -> None:
    x = pb.tensor([0.5, -1.5], requires_grad=True)

    def f() -> Any:
        y = (x * 1).exp()  # keeps its result
        z = y * 3
        if quiet:
            with pb.no_grad():
                y[part].add_(2.0)
        else:
            y[part] += 2.0
        return z

    z = f()
    with pytest.raises(RuntimeError, match=r"modified by an inplace operation: its own result of ExpBackward0"):
        z.sum().backward()
