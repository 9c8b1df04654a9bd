"""Layers, activations as modules and initialisers against PyTorch: text, options, values, gradients, training."""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np
import pytest

import pullback as pb
from pullback import nn

torch = pytest.importorskip("torch")

from nn_tools import numbers, same  # noqa: E402

DTYPES = ["float32", "float64"]

# expression in both libraries, shapes of the inputs ("int" for indices)
LAYERS: list[tuple[str, list[Any]]] = [
    ("Identity(3, x=1)", [(4, 3)]),
    ("Linear(3, 2)", [(4, 3)]),
    ("Linear(3, 2, bias=False)", [(2, 4, 3)]),
    ("Bilinear(3, 2, 4)", [(5, 3), (5, 2)]),
    ("Bilinear(3, 2, 4, bias=False)", [(5, 3), (5, 2)]),
    ("Embedding(7, 3)", ["int"]),
    ("Embedding(7, 3, padding_idx=-1)", ["int"]),
    ("Flatten()", [(2, 3, 4)]),
    ("Flatten(0, 1)", [(2, 3, 4)]),
    ("Unflatten(1, (2, 3))", [(4, 6)]),
    ("Dropout(0.0)", [(4, 3)]),
    ("Dropout(inplace=True).eval()", [(4, 3)]),
    ("AlphaDropout(0.2).eval()", [(4, 3)]),
    ("LayerNorm(3)", [(4, 3)]),
    ("LayerNorm((2, 3), eps=0.1)", [(4, 2, 3)]),
    ("LayerNorm(3, bias=False)", [(4, 3)]),
    ("LayerNorm([3], elementwise_affine=False)", [(4, 3)]),
    ("RMSNorm(3)", [(4, 3)]),
    ("GroupNorm(2, 4)", [(3, 4, 5)]),
    ("GroupNorm(2, 4, bias=False)", [(3, 4, 5)]),
    ("BatchNorm1d(3)", [(4, 3)]),
    ("BatchNorm1d(3)", [(4, 3, 5)]),
    ("BatchNorm1d(3, bias=False)", [(4, 3)]),
    ("BatchNorm1d(3, momentum=None, eps=1e-3)", [(4, 3)]),
    ("BatchNorm1d(3, affine=False)", [(4, 3)]),
    ("BatchNorm1d(3, track_running_stats=False)", [(4, 3)]),
    ("BatchNorm1d(3, track_running_stats=False).eval()", [(4, 3)]),
    ("BatchNorm1d(3).eval()", [(4, 3)]),
    ("PairwiseDistance(p=1.0)", [(4, 3), (4, 3)]),
    ("CosineSimilarity(dim=0)", [(4, 3), (4, 3)]),
    ("ReLU()", [(4, 3)]),
    ("ReLU(inplace=True)", [(4, 3)]),
    ("ReLU6()", [(4, 3)]),
    ("LeakyReLU(0.2)", [(4, 3)]),
    ("LeakyReLU(0.2, inplace=True)", [(4, 3)]),
    ("PReLU()", [(4, 3)]),
    ("PReLU(3, init=0.1)", [(4, 3)]),
    ("RReLU().eval()", [(4, 3)]),
    ("ELU(0.5)", [(4, 3)]),
    ("CELU(0.5, inplace=True)", [(4, 3)]),
    ("SELU()", [(4, 3)]),
    ("GELU()", [(4, 3)]),
    ("GELU(approximate='tanh')", [(4, 3)]),
    ("SiLU()", [(4, 3)]),
    ("Mish()", [(4, 3)]),
    ("Sigmoid()", [(4, 3)]),
    ("LogSigmoid()", [(4, 3)]),
    ("Tanh()", [(4, 3)]),
    ("Tanhshrink()", [(4, 3)]),
    ("Softsign()", [(4, 3)]),
    ("Softplus(2, 1)", [(4, 3)]),
    ("Softmax(dim=1)", [(4, 3)]),
    ("LogSoftmax(dim=0)", [(4, 3)]),
    ("Softmin(dim=1)", [(4, 3)]),
    ("Hardtanh(-0.5, 0.7)", [(4, 3)]),
    ("Hardsigmoid()", [(4, 3)]),
    ("Hardswish()", [(4, 3)]),
    ("Hardshrink(0.3)", [(4, 3)]),
    ("Softshrink(0.3)", [(4, 3)]),
    ("Threshold(0.1, 20)", [(4, 3)]),
    ("GLU(0)", [(4, 3)]),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("source", "shapes"), LAYERS)
def test_layers(source: str, shapes: list[Any], dtype: str) -> None:
    """The same numbers, gradients of inputs and parameters, state afterwards, and text, three steps in a row."""
    mine, theirs = (eval(f"lib.nn.{source}", {"lib": lib}).to(getattr(lib, dtype)) for lib in (pb, torch))
    assert repr(mine) == repr(theirs)
    assert list(mine.state_dict()) == list(theirs.state_dict())
    rng = np.random.default_rng(0)
    theirs.load_state_dict({name: torch.tensor(numbers(t)) for name, t in mine.state_dict().items()})
    tolerance = {"rtol": 2e-4, "atol": 2e-5} if dtype == "float32" else {"rtol": 1e-7, "atol": 1e-9}
    for _ in range(3):
        arrays = [
            rng.integers(0, 7, (4, 2)) if shape == "int" else rng.standard_normal(shape).astype(dtype)
            for shape in shapes
        ]
        results = []
        seed = None
        for lib, module in ((pb, mine), (torch, theirs)):
            module.zero_grad()
            xs = [lib.tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
            y = module(*[x * 1 if x.requires_grad else x for x in xs])  # a copy: some write in place
            seed = rng.standard_normal(tuple(y.shape)).astype(dtype) if seed is None else seed
            (y * lib.tensor(seed)).sum().backward()
            gradients = [x.grad for x in xs if x.requires_grad] + [p.grad for p in module.parameters()]
            results.append([y, *gradients, *module.state_dict().values()])
        assert len(results[0]) == len(results[1])
        for a, b in zip(*results, strict=True):
            same(a, b, source, **tolerance)


def test_signatures_are_pytorchs() -> None:
    """Every module takes PyTorch's arguments, in its order (what is deprecated or concerns devices aside)."""
    for name in nn.__dict__:
        kind = getattr(nn, name)
        theirs = getattr(torch.nn, name, None)
        if not isinstance(kind, type) or not issubclass(kind, nn.Module) or theirs is None or kind is nn.Module:
            continue
        mine_names = list(inspect.signature(kind.__init__).parameters)
        their_names = [p for p in inspect.signature(theirs.__init__).parameters if p not in ("min_value", "max_value")]
        if {"args", "kwargs"} & set(their_names):
            continue
        assert mine_names == their_names, name


def test_functional_signatures_are_pytorchs() -> None:
    checked = 0
    for name in dir(nn.functional):
        mine, theirs = getattr(nn.functional, name), getattr(torch.nn.functional, name, None)
        if not inspect.isfunction(mine) or theirs is None:
            continue
        try:
            expected = [p for p in inspect.signature(theirs).parameters if p != "out"]
        except ValueError:
            continue
        found = list(inspect.signature(mine).parameters)
        assert found == expected or set(expected) == {"args", "kwargs"}, name
        checked += 1
    assert checked > 30


def test_the_modules_of_a_lesson_are_there() -> None:
    wanted = """Module Parameter Sequential ModuleList ModuleDict ParameterList ParameterDict Linear Dropout LayerNorm
    BatchNorm1d Embedding Flatten MSELoss L1Loss SmoothL1Loss HuberLoss BCELoss BCEWithLogitsLoss CrossEntropyLoss
    NLLLoss KLDivLoss functional init utils""".split()
    assert all(hasattr(nn, name) for name in wanted)


def test_default_initialisation() -> None:
    pb.manual_seed(0)
    layer = nn.Linear(400, 300)
    bound = 1 / math.sqrt(400)
    for parameter in (layer.weight, layer.bias):
        values = numbers(parameter)
        assert np.abs(values).max() <= bound
        assert np.abs(values).max() > 0.95 * bound
        assert abs(values.mean()) < 0.1 * bound
    assert abs(numbers(nn.Embedding(100, 50).weight).std() - 1) < 0.05
    assert not numbers(nn.Embedding(5, 3, padding_idx=2).weight)[2].any()
    pb.manual_seed(3)
    first = numbers(nn.Linear(4, 4).weight).copy()
    pb.manual_seed(3)
    np.testing.assert_array_equal(first, numbers(nn.Linear(4, 4).weight))
    assert nn.Linear(2, 2, dtype=pb.float64).weight.dtype == pb.float64


def test_errors() -> None:
    for lib in (pb, torch):
        with pytest.raises(ValueError, match=r"expected 2D or 3D input \(got 1D input\)"):
            lib.nn.BatchNorm1d(3)(lib.zeros(3))
        with pytest.raises(ValueError, match="Expected more than 1 value per channel when training"):
            lib.nn.BatchNorm1d(3)(lib.zeros(1, 3))
        with pytest.raises(RuntimeError, match="running_mean should contain 4 elements not 3"):
            lib.nn.BatchNorm1d(3)(lib.zeros(2, 4))
        with pytest.raises(ValueError, match=r"dropout probability has to be between 0 and 1, but got 1\.5"):
            lib.nn.Dropout(1.5)
        with pytest.raises(AssertionError, match="Padding_idx must be within num_embeddings"):
            lib.nn.Embedding(3, 2, padding_idx=3)
        with pytest.raises(RuntimeError, match="Given normalized_shape="):
            lib.nn.LayerNorm(3)(lib.zeros(2, 4))
        with pytest.raises(RuntimeError, match="mat1 and mat2 shapes cannot be multiplied"):
            lib.nn.Linear(3, 2)(lib.zeros(2, 4))
        with pytest.raises(ValueError, match="must be divisible by num_groups"):
            lib.nn.GroupNorm(3, 4)


def test_dropout_module_follows_the_mode() -> None:
    pb.manual_seed(0)
    layer = nn.Dropout(0.5)
    x = pb.ones(100)
    assert (numbers(layer(x)) == 0).any()
    assert layer.eval()(x) is x


def test_embedding_from_pretrained() -> None:
    table = np.arange(6.0).reshape(3, 2)
    for lib in (pb, torch):
        layer = lib.nn.Embedding.from_pretrained(lib.tensor(table))
        assert not layer.weight.requires_grad
        np.testing.assert_array_equal(numbers(layer(lib.tensor([2, 0]))), [[4, 5], [0, 1]])


def train(lib: Any, net: Any, x: Any, t: Any, steps: int) -> list[float]:
    """Plain gradient descent, written out."""
    loss_of = lib.nn.CrossEntropyLoss()
    losses = []
    for _ in range(steps):
        loss = loss_of(net(x), t)
        net.zero_grad()
        loss.backward()
        with lib.no_grad():
            for p in net.parameters():
                p -= 0.5 * p.grad
        losses.append(loss.item())
    return losses


def test_a_network_learns_as_in_pytorch() -> None:
    pb.manual_seed(0)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 4))
    t = (x[:, 0] * x[:, 1] > 0).astype(np.int64)
    nets = [
        lib.nn.Sequential(lib.nn.Linear(4, 16), lib.nn.BatchNorm1d(16), lib.nn.Tanh(), lib.nn.Linear(16, 2)).double()
        for lib in (pb, torch)
    ]
    nets[1].load_state_dict({name: torch.tensor(numbers(v)) for name, v in nets[0].state_dict().items()})
    mine = train(pb, nets[0], pb.tensor(x), pb.tensor(t), 50)
    theirs = train(torch, nets[1], torch.tensor(x), torch.tensor(t), 50)
    np.testing.assert_allclose(mine, theirs, rtol=1e-7)
    assert mine[-1] < 0.7 * mine[0]


# Initialisers


def test_constant_initialisers() -> None:
    for name, args in [("zeros_", ()), ("ones_", ()), ("constant_", (2.5,)), ("eye_", ())]:
        results = [getattr(lib.nn.init, name)(lib.empty(3, 4), *args) for lib in (pb, torch)]
        same(*results, name)
    for groups in (1, 2):
        results = [lib.nn.init.dirac_(lib.empty(4, 2, 3), groups) for lib in (pb, torch)]
        same(*results, "dirac_")
    p = nn.Parameter(pb.empty(2, 2))
    assert nn.init.ones_(p) is p
    assert p.requires_grad
    assert p.is_leaf


@pytest.mark.parametrize("a", [0.0, math.sqrt(5)])
@pytest.mark.parametrize("mode", ["fan_in", "fan_out"])
def test_random_initialisers_have_pytorchs_moments(a: float, mode: str) -> None:
    pb.manual_seed(0)
    shape = (200, 150)
    for name, options in [
        ("uniform_", {"a": -2.0, "b": 5.0}),
        ("normal_", {"mean": 1.0, "std": 0.5}),
        ("trunc_normal_", {"mean": 0.5, "std": 2.0, "a": -1.0, "b": 2.0}),
        ("xavier_uniform_", {"gain": 1.5}),
        ("xavier_normal_", {"gain": 1.5}),
        ("kaiming_uniform_", {"a": a, "mode": mode}),
        ("kaiming_normal_", {"a": a, "mode": mode, "nonlinearity": "relu"}),
        ("sparse_", {"sparsity": 0.3, "std": 2.0}),
    ]:
        mine, theirs = (numbers(getattr(lib.nn.init, name)(lib.empty(*shape), **options)) for lib in (pb, torch))
        assert mine.std() == pytest.approx(theirs.std(), rel=0.03), name
        assert mine.mean() == pytest.approx(theirs.mean(), abs=0.03 * float(theirs.std())), name
        if "normal" not in name and name != "sparse_":
            assert np.abs(mine).max() == pytest.approx(np.abs(theirs).max(), rel=0.01), name
        if name == "sparse_":
            np.testing.assert_array_equal((mine == 0).sum(0), (theirs == 0).sum(0))
        if name == "trunc_normal_":
            assert mine.min() >= -1
            assert mine.max() <= 2


@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (5, 3), (4, 2, 3)])
def test_orthogonal(shape: tuple[int, ...]) -> None:
    w = numbers(nn.init.orthogonal_(pb.empty(*shape, dtype=pb.float64), gain=2.0)).reshape(shape[0], -1)
    gram = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    np.testing.assert_allclose(gram, 4 * np.eye(min(w.shape)), atol=1e-12)


def test_calculate_gain_and_errors() -> None:
    for name in ("linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu", "conv2d"):
        assert nn.init.calculate_gain(name) == torch.nn.init.calculate_gain(name)
    assert nn.init.calculate_gain("leaky_relu", 0.3) == torch.nn.init.calculate_gain("leaky_relu", 0.3)
    for lib in (pb, torch):
        init = lib.nn.init
        with pytest.raises(ValueError, match="Unsupported nonlinearity cube"):
            init.calculate_gain("cube")
        with pytest.raises(ValueError, match="not a valid number"):
            init.calculate_gain("leaky_relu", "x")
        with pytest.raises(ValueError, match="Fan in and fan out can not be computed"):
            init.xavier_uniform_(lib.empty(3))
        with pytest.raises(ValueError, match="Mode fan_all not supported"):
            init.kaiming_normal_(lib.empty(3, 3), mode="fan_all")
        with pytest.raises(ValueError, match="Only tensors with 2 dimensions are supported"):
            init.eye_(lib.empty(3))
        with pytest.warns(UserWarning, match="zero-element tensors is a no-op"):
            init.kaiming_uniform_(lib.empty(0, 3))
        with pytest.warns(UserWarning, match="mean is more than 2 std from"):
            init.trunc_normal_(lib.empty(3), mean=10.0)


def test_initialisers_count_as_writes() -> None:
    layer = nn.Linear(2, 2)
    y = layer(pb.ones(1, 2, requires_grad=True)).sum()
    nn.init.ones_(layer.weight)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


@pytest.mark.parametrize(("widths", "value"), [((1, 2), None), ((1, -1, 0, 1), 2.5), ((0, 0, 2, 0), -1)])
def test_pad_agrees_with_torch(widths, value) -> None:
    results = []
    for lib in (pb, torch):
        x = lib.arange(6.0).reshape(2, 3).requires_grad_()
        y = lib.nn.functional.pad(x, widths, value=value)
        (y * y).sum().backward()
        results.append((y.tolist(), x.grad.tolist(), type(y.grad_fn).__name__ if lib is torch else y.grad_fn.name()))
        for wrong in ((1,), (1, 1) * 3):
            with pytest.raises(RuntimeError, match="Padding length"):
                lib.nn.functional.pad(x, wrong)
    assert results[0] == results[1]
