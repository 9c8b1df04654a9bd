"""Functions of pullback in PyTorch: values, gradients of both orders, shared memory, training."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import pullback as pb
from pullback.compile.export.torch import as_torch


def normal(*shape: int, dtype: Any = torch.float64, requires_grad: bool = True) -> Any:
    torch.manual_seed(sum(shape))
    return torch.randn(*shape, dtype=dtype, requires_grad=requires_grad)


FUNCTIONS: dict[str, tuple[Callable[..., Any], Callable[..., Any], tuple[Any, ...]]] = {
    "numpy": (
        lambda x, w: np.sum(np.tanh(x @ w) ** 2, axis=0),
        lambda x, w: ((x @ w).tanh() ** 2).sum(0),
        (normal(3, 4), normal(4, 2)),
    ),
    "torch-style": (lambda x: x.sigmoid().mean(dim=1), lambda x: x.sigmoid().mean(dim=1), (normal(3, 4),)),
    "scalar": (lambda x: np.exp(x), lambda x: x.exp(), (torch.tensor(0.5, dtype=torch.float64, requires_grad=True),)),
    "in-place": (lambda x: _written(x * 1.0, x), lambda x: _written(x * 1.0, x), (normal(3, 4),)),
    "several": (
        lambda x, y: {"a": x * y, "b": [x.sum(), (y - x) ** 3]},
        lambda x, y: {"a": x * y, "b": [x.sum(), (y - x) ** 3]},
        (normal(3), normal(2, 3)),
    ),
    "transposed": (lambda x: x.T, lambda x: x.T, (normal(3, 4),)),
    "itself": (lambda x: x, lambda x: x, (normal(3),)),
    "broadcast": (lambda x: pb.as_tensor(x).expand(2, 3), lambda x: x.expand(2, 3), (normal(3),)),
    "flipped": (lambda x: x[::-1], lambda x: x.flip(0), (normal(3),)),
    "complex": (lambda z: np.abs(z) ** 2 * z, lambda z: z.abs() ** 2 * z, (normal(3, dtype=torch.complex128),)),
}


def _written(y: Any, x: Any) -> Any:
    y[0] = x[1] * x[2]
    return y


def leaves(y: Any) -> list[Any]:
    return torch.utils._pytree.tree_leaves(y)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_and_gradients(name: str) -> None:
    f, expected, arguments = FUNCTIONS[name]
    exported = as_torch(f)
    before = [x.detach().clone() for x in arguments]
    found, wanted = leaves(exported(*arguments)), leaves(expected(*arguments))
    torch.testing.assert_close(found, wanted)
    weights = [torch.randn_like(y) for y in wanted]
    slopes = [torch.autograd.grad(ys, arguments, weights) for ys in (found, wanted)]
    torch.testing.assert_close(*slopes)
    with torch.no_grad():
        y = leaves(exported(*arguments))
    torch.testing.assert_close(y, [w.detach() for w in wanted])
    assert not any(v.requires_grad for v in y)
    torch.testing.assert_close([x.detach() for x in arguments], before)  # nothing was written to

    def flat(*xs: Any) -> Any:
        return tuple(leaves(exported(*xs)))

    assert torch.autograd.gradcheck(flat, arguments)
    assert torch.autograd.gradgradcheck(flat, arguments)


def test_some_arguments_require_gradients() -> None:
    f = as_torch(lambda x, i, scale, how="sum": getattr(np, how)(x[i] * scale))
    x, scale, index = normal(4), normal(2, requires_grad=False), torch.tensor([2, 0])
    y = f(x, index, scale, how="sum")
    y.backward()
    torch.testing.assert_close(x.grad, torch.zeros(4, dtype=torch.float64).index_put((index,), scale))
    assert scale.grad is None
    assert not f(x.detach(), index, scale).requires_grad
    torch.testing.assert_close(f({"x": x}["x"], index, 2.0), 2 * (x[2] + x[0]))


def test_integer_and_boolean_results_are_constants() -> None:
    f = as_torch(lambda x, mask: (np.argmax(x), x > 0, x * mask, 3))
    x, mask = normal(4), torch.tensor([True, False, True, True])
    index, positive, y, three = f(x, mask)
    assert (index.dtype, positive.dtype, y.dtype, three.item()) == (torch.int64, torch.bool, torch.float64, 3)
    assert [v.requires_grad for v in (index, positive, y)] == [False, False, True]
    y.sum().backward()
    torch.testing.assert_close(x.grad, mask.double())


def test_only_one_of_several_results_is_used() -> None:
    x, y = normal(3), normal(4)
    a, _ = as_torch(lambda x, y: (x**2, y**2))(x, y)
    gx, gy = torch.autograd.grad(a.sum(), (x, y), materialize_grads=True)
    torch.testing.assert_close((gx, gy), (2 * x.detach(), torch.zeros_like(y)))


def test_memory_is_shared() -> None:
    seen = []

    def f(x: Any) -> Any:
        y = x * 2
        seen.append((x, y))
        return y

    x = torch.ones(3)
    y = as_torch(f)(x)
    assert np.shares_memory(seen[0][0].numpy(), x.numpy())
    assert np.shares_memory(seen[0][1].numpy(), y.numpy())
    y += 1  # its memory is writable
    torch.testing.assert_close(x, torch.ones(3))
    strided = torch.arange(6.0).reshape(2, 3).T[::2]
    torch.testing.assert_close(as_torch(lambda x: x + 1)(strided), strided + 1)


def test_dtypes_stay() -> None:
    for dtype in (torch.float16, torch.float32, torch.float64, torch.int32, torch.uint8, torch.complex64):
        x = torch.ones(2, dtype=dtype)
        assert as_torch(lambda x: x * 2)(x).dtype is dtype
    conjugate = torch.view_as_complex(torch.ones(2, 2)).conj()
    torch.testing.assert_close(as_torch(lambda x: x * 1)(conjugate), conjugate.resolve_conj())


def test_what_numpy_cannot_see_is_refused() -> None:
    f = as_torch(lambda x: x)
    with pytest.raises(TypeError, match="expected tensors on the CPU, this one is on meta"):
        f(torch.ones(2, device="meta"))
    with pytest.raises(TypeError, match=r"NumPy has no torch.bfloat16"):
        f(torch.ones(2, dtype=torch.bfloat16))
    with pytest.raises(TypeError, match="expected dense tensors"):
        f(torch.eye(2).to_sparse())
    with pytest.raises(TypeError, match="not str"):
        as_torch(lambda x: "x")(torch.ones(2))


def test_a_changed_argument_is_noticed() -> None:
    x = normal(3)
    z = x * 1.0
    y = as_torch(lambda x: x**2)(z)
    with torch.no_grad():
        z += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


@pytest.mark.parametrize("requires_grad", [False, True])
def test_arguments_are_not_written_to(requires_grad: bool) -> None:
    x = torch.ones(3, requires_grad=requires_grad)
    with pytest.raises(ValueError, match="read-only"):
        as_torch(lambda x: _written(x, x))(x)
    torch.testing.assert_close(x.detach(), torch.ones(3))


def test_backward_runs_more_than_once() -> None:
    x = normal(3)
    y = as_torch(lambda x: np.sum(x**3))(x)
    first = torch.autograd.grad(y, x, retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(y, x), first)


def test_the_hook_compiles() -> None:
    compiled = []

    def compile(f: Any) -> Any:
        compiled.append(f)
        return lambda *args: f(*args)

    def f(x: Any) -> Any:
        return x * 3

    x = torch.ones(2, requires_grad=True)
    g = as_torch(f, compile)
    g(x).sum().backward()
    assert compiled == [f]
    assert g.__name__ == "f"
    torch.testing.assert_close(x.grad, torch.full((2,), 3.0))


class Layer(torch.nn.Module):
    """A linear layer whose arithmetic is pullback's."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(2, 1))
        self.bias = torch.nn.Parameter(torch.zeros(1))
        self.product = as_torch(lambda x, w, b: np.tanh(x @ w + b))

    def forward(self, x: Any) -> Any:
        return self.product(x, self.weight, self.bias)


def test_training_in_pytorch() -> None:
    torch.manual_seed(0)
    x = torch.randn(64, 2)
    target = torch.tanh(x @ torch.tensor([[1.0], [-2.0]]) + 0.5)
    model = torch.nn.Sequential(Layer())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(200):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(x), target)
        loss.backward()
        optimizer.step()
    assert loss.item() < 1e-4
    torch.testing.assert_close(model[0].weight.detach(), torch.tensor([[1.0], [-2.0]]), atol=0.05, rtol=0)
