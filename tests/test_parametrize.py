"""Weights computed from others, against PyTorch: normalised, of spectral norm 1, orthogonal, or by the user."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import pullback as pb

torch = pytest.importorskip("torch")

from nn_tools import numbers, same  # noqa: E402
from test_rnn import normal  # noqa: E402


def take(mine: Any, theirs: Any) -> None:
    mine.load_state_dict({key: pb.tensor(value.numpy()) for key, value in theirs.state_dict().items()})


def layers(*sizes: int, name: str = "Linear") -> tuple[Any, Any]:
    theirs = getattr(torch.nn, name)(*sizes, dtype=torch.float64)
    mine = getattr(pb.nn, name)(*sizes, dtype=pb.float64)
    take(mine, theirs)
    return mine, theirs


def agree(mine: Any, theirs: Any, x: Any) -> None:
    """Result and gradients."""
    results = []
    for lib, module in ((pb, mine), (torch, theirs)):
        module.zero_grad()
        y = module(lib.tensor(x))
        y = y[0] if isinstance(y, tuple) else y
        (y * y).sum().backward()
        results.append((y, {name: p.grad for name, p in module.named_parameters()}))
    same(results[0][0], results[1][0])
    assert results[0][1].keys() == results[1][1].keys()
    for name, gradient in results[1][1].items():
        same(results[0][1][name], gradient, name, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("dim", [0, 1, None])
def test_weight_norm(dim: int | None) -> None:
    mine, theirs = layers(3, 4)
    for lib, layer in ((pb, mine), (torch, theirs)):
        lib.nn.utils.parametrizations.weight_norm(layer, dim=dim)
    assert list(mine.state_dict()) == list(theirs.state_dict())
    assert repr(mine) == repr(theirs)
    agree(mine, theirs, normal(5, 3))
    with pb.no_grad():
        mine.parametrizations.weight.original0.mul_(2)
        theirs.parametrizations.weight.original0.data.mul_(2)
    agree(mine, theirs, normal(5, 3))


def test_weight_norm_by_hook() -> None:
    mine, theirs = layers(3, 4)
    for lib, layer in ((pb, mine), (torch, theirs)):
        with pytest.warns(FutureWarning, match="deprecated"):
            lib.nn.utils.weight_norm(layer)
    agree(mine, theirs, normal(5, 3))
    with pytest.warns(FutureWarning), pytest.raises(RuntimeError, match="Cannot register two weight_norm hooks"):
        pb.nn.utils.weight_norm(mine)
    before = numbers(mine.weight)
    pb.nn.utils.remove_weight_norm(mine)
    assert sorted(mine.state_dict()) == ["bias", "weight"]
    np.testing.assert_array_equal(numbers(mine.weight), before)
    with pytest.raises(ValueError, match="weight_norm of 'weight' not found"):
        pb.nn.utils.remove_weight_norm(mine)


def test_a_recurrent_weight() -> None:
    mine, theirs = layers(3, 4, name="LSTM")
    for lib, layer in ((pb, mine), (torch, theirs)):
        lib.nn.utils.parametrizations.weight_norm(layer, "weight_hh_l0")
    x = normal(5, 2, 3)
    net = torch.nn.LSTM(3, 4, dtype=torch.float64)  # PyTorch's fused LSTM does not see a parametrized weight's gradient
    net.load_state_dict(
        {**{k: v for k, v in theirs.state_dict().items() if "." not in k}, "weight_hh_l0": theirs.weight_hh_l0}
    )
    same(mine(pb.tensor(x))[0], net(torch.tensor(x))[0])
    mine(pb.tensor(x))[0].sum().backward()
    assert all(np.abs(numbers(p.grad)).max() > 0 for p in mine.parameters())


@pytest.mark.parametrize("by_hook", [False, True])
def test_spectral_norm(by_hook: bool) -> None:
    mine, theirs = layers(3, 4)
    for lib, layer in ((pb, mine), (torch, theirs)):
        (lib.nn.utils if by_hook else lib.nn.utils.parametrizations).spectral_norm(layer, n_power_iterations=2)
    assert sorted(mine.state_dict()) == sorted(theirs.state_dict())
    take(mine, theirs)
    x = normal(5, 3)
    for _ in range(3):
        agree(mine, theirs, x)  # each use turns the singular vectors further
    mine.eval(), theirs.eval()
    agree(mine, theirs, x)
    for _ in range(60):
        mine.train()(pb.tensor(x))
    np.testing.assert_allclose(np.linalg.norm(numbers(mine.weight), 2), 1, rtol=1e-9)
    if by_hook:
        pb.nn.utils.remove_spectral_norm(mine.eval())
        assert sorted(mine.state_dict()) == ["bias", "weight"]


@pytest.mark.parametrize("how", ["matrix_exp", "cayley", "householder"])
@pytest.mark.parametrize("sizes", [(3, 3), (3, 5), (5, 3)])
def test_orthogonal(how: str, sizes: tuple[int, int]) -> None:
    mine, theirs = layers(*sizes)
    start = numbers(mine.weight).copy()
    for lib, layer in ((pb, mine), (torch, theirs)):
        lib.nn.utils.parametrizations.orthogonal(layer, orthogonal_map=how)
    small = min(sizes)
    q = numbers(mine.weight)
    np.testing.assert_allclose(q @ q.T if q.shape[0] == small else q.T @ q, np.eye(small), atol=1e-12)
    if how != "householder" or sizes[0] == sizes[1]:
        same(mine.weight, theirs.weight, rtol=1e-8, atol=1e-10)
    take(mine, theirs)
    for module, lib in ((mine, pb), (theirs, torch)):
        with lib.no_grad():
            change = lib.tensor(np.tril(0.3 * start, -1))
            module.parametrizations.weight.original.add_(change)
    agree(mine, theirs, normal(4, sizes[0]))
    q = numbers(mine.weight)
    np.testing.assert_allclose(q @ q.T if q.shape[0] == small else q.T @ q, np.eye(small), atol=1e-12)


def test_orthogonal_without_a_base() -> None:
    mine, theirs = layers(3, 5)
    for lib, layer in ((pb, mine), (torch, theirs)):
        lib.nn.utils.parametrizations.orthogonal(layer, use_trivialization=False)
    take(mine, theirs)
    agree(mine, theirs, normal(4, 3))
    wanted = np.linalg.qr(normal(5, 3))[0]
    mine.weight = pb.tensor(wanted)
    np.testing.assert_allclose(numbers(mine.weight), wanted, atol=1e-12)
    mine, _ = layers(3, 3)
    pb.nn.utils.parametrizations.orthogonal(mine, orthogonal_map="cayley", use_trivialization=False)
    with pytest.raises(NotImplementedError, match="not possible to assign"):
        mine.weight = pb.eye(3, dtype=pb.float64)


# By the user


class Doubled(pb.nn.Module):
    def forward(self, x: Any) -> Any:
        return 2 * x

    def right_inverse(self, x: Any) -> Any:
        return x / 2


class Shifted(pb.nn.Module):
    def forward(self, x: Any) -> Any:
        return x + 1


def test_several_and_back() -> None:
    register = pb.nn.utils.parametrize.register_parametrization
    layer = pb.nn.Linear(2, 2, bias=False)
    start = numbers(layer.weight).copy()
    parameter = layer.weight
    register(layer, "weight", Doubled())
    assert layer.parametrizations.weight.original is parameter
    np.testing.assert_allclose(numbers(layer.weight), start)
    register(layer, "weight", Shifted())
    np.testing.assert_allclose(numbers(layer.weight), start + 1)
    np.testing.assert_allclose(numbers(layer(pb.eye(2))), (start + 1).T)
    assert type(layer).__name__ == "ParametrizedLinear"
    twin = copy.deepcopy(layer)
    assert twin.parametrizations.weight.original is not parameter
    with pytest.raises(RuntimeError, match="does not implement right_inverse"):
        layer.weight = pb.ones(2, 2)
    with pb.nn.utils.parametrize.cached():
        assert layer.weight is layer.weight
    assert layer.weight is not layer.weight
    pb.nn.utils.parametrize.remove_parametrizations(layer, "weight")
    assert layer.weight is parameter
    assert type(layer) is pb.nn.Linear
    np.testing.assert_allclose(numbers(layer.weight), start + 1)
    pb.nn.utils.parametrize.remove_parametrizations(twin, "weight", leave_parametrized=False)
    np.testing.assert_allclose(numbers(twin.weight), start / 2)


def test_transforms_and_functional_call() -> None:
    layer = pb.nn.utils.parametrizations.weight_norm(pb.nn.Linear(3, 2))
    x = pb.tensor(normal(4, 3, dtype="float32"))
    gradients = pb.grad(lambda net: (net(x) ** 2).sum())(layer)
    (layer(x) ** 2).sum().backward()
    for name, p in layer.named_parameters():
        same(gradients.get_parameter(name), p.grad, name)
    twice = {name: 2 * p for name, p in layer.named_parameters()}
    y = pb.func.functional_call(layer, twice, x)
    np.testing.assert_allclose(numbers(y), 2 * numbers(layer(x)), rtol=1e-5)


@pytest.mark.parametrize(
    "call",
    [
        lambda lib: lib.nn.utils.parametrizations.weight_norm(lib.nn.Linear(2, 2), "other"),
        lambda lib: lib.nn.utils.parametrizations.spectral_norm(lib.nn.Linear(2, 2), dim=2),
        lambda lib: lib.nn.utils.parametrizations.spectral_norm(lib.nn.Linear(2, 2), n_power_iterations=0),
        lambda lib: lib.nn.utils.parametrizations.orthogonal(lib.nn.Linear(2, 2), "bias"),
        lambda lib: lib.nn.utils.parametrizations.orthogonal(lib.nn.Linear(2, 2), orthogonal_map="other"),
        lambda lib: lib.nn.utils.parametrize.register_parametrization(lib.nn.Linear(2, 2), "weight", lib.nn.Flatten(0)),
        lambda lib: lib.nn.utils.parametrize.remove_parametrizations(lib.nn.Linear(2, 2), "weight"),
    ],
)
def test_errors(call: Any) -> None:
    with pytest.raises(Exception) as theirs:  # noqa: PT011 (whatever PyTorch raises)
        call(torch)
    with pytest.raises(type(theirs.value)) as mine:
        call(pb)
    words = [str(error.value).split()[:3] for error in (mine, theirs)]
    assert words[0] == words[1], (str(mine.value), str(theirs.value))
