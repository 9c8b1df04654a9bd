"""Recurrent networks and packed sequences against PyTorch: values, gradients, options, errors, modes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pullback as pb
from pullback.ops import recurrent

torch = pytest.importorskip("torch")

from nn_tools import numbers, same  # noqa: E402

NAMES = ("RNN", "LSTM", "GRU")


def normal(*shape: int, seed: int = 0, dtype: str = "float64") -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def twins(name: str, *args: Any, dtype: str = "float64", **options: Any) -> tuple[Any, Any]:
    """A module of ours and PyTorch's, with PyTorch's parameters."""
    theirs = getattr(torch.nn, name)(*args, dtype=getattr(torch, dtype), **options)
    mine = getattr(pb.nn, name)(*args, dtype=getattr(pb, dtype), **options)
    assert list(mine.state_dict()) == list(theirs.state_dict())
    mine.load_state_dict({key: pb.tensor(value.numpy()) for key, value in theirs.state_dict().items()})
    assert repr(mine) == repr(theirs).replace("NonDynamicallyQuantizableLinear", "Linear")
    return mine, theirs


def flat(result: Any) -> list[Any]:
    if isinstance(result, list | tuple) and not hasattr(result, "batch_sizes"):
        return [x for part in result for x in flat(part)]
    return [result.data if hasattr(result, "batch_sizes") else result]


def compare(mine: Any, theirs: Any, call: Any, *arrays: Any, double: bool = False) -> None:
    """`call(library, module, *tensors)` agrees: results, gradients of operands and parameters, (`double`) those of a
    function of the gradients."""
    found = []
    for lib, module in ((pb, mine), (torch, theirs)):
        xs = [lib.tensor(a).requires_grad_() for a in arrays]
        parts = flat(call(lib, module, *xs))
        rng = np.random.default_rng(3)
        weights = [lib.tensor(rng.standard_normal(tuple(y.shape)).astype(numbers(y).dtype)) for y in parts]
        leaves = [*xs, *module.parameters()]
        loss = sum((y * w).sum() for y, w in zip(parts, weights, strict=True))
        grad = pb.autograd.grad if lib is pb else torch.autograd.grad
        first = grad(loss, leaves, create_graph=double, allow_unused=True)
        values = [*parts, *first]
        if double:
            total = sum((g * g).sum() for g in first if g is not None and g.requires_grad)
            values += grad(total, leaves, allow_unused=True)
        found.append(values)
    assert len(found[0]) == len(found[1])
    for i, (a, b) in enumerate(zip(*found, strict=True)):
        if b is None:
            assert a is None or not numbers(a).any()
        else:
            tight = numbers(b).dtype == np.float64
            same(a, b, f"part {i}", rtol=1e-9 if tight else 2e-4, atol=1e-10 if tight else 2e-5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bias": False, "batch_first": True},
        {"num_layers": 2, "bidirectional": True},
        {"num_layers": 3, "dropout": 0.0, "batch_first": True, "bidirectional": True, "bias": False},
    ],
)
def test_layers(name: str, options: Any) -> None:
    mine, theirs = twins(name, 3, 4, **options)
    compare(mine, theirs, lambda lib, m, x: m(x), normal(5, 2, 3), double=True)


def test_options_of_one_kind() -> None:
    compare(*twins("RNN", 3, 4, nonlinearity="relu"), lambda lib, m, x: m(x), normal(5, 2, 3), double=True)
    mine, theirs = twins("LSTM", 3, 4, proj_size=2, num_layers=2, bidirectional=True)
    compare(mine, theirs, lambda lib, m, x: m(x), normal(5, 2, 3), double=True)


@pytest.mark.parametrize("name", NAMES)
def test_states_and_single_sequences(name: str) -> None:
    mine, theirs = twins(name, 3, 4, num_layers=2, batch_first=True)
    states = [normal(2, 2, 4, seed=i) for i in range(1 + (name == "LSTM"))]

    def call(lib: Any, module: Any, x: Any, *h: Any) -> Any:
        return module(x, h if len(h) > 1 else h[0])

    compare(mine, theirs, call, normal(2, 5, 3), *states)
    compare(mine, theirs, call, normal(5, 3), *[h[:, 0] for h in states])
    compare(mine, theirs, lambda lib, m, x: m(x), normal(1, 3))


@pytest.mark.parametrize("name", NAMES)
def test_float32(name: str) -> None:
    compare(*twins(name, 3, 4, dtype="float32"), lambda lib, m, x: m(x), normal(5, 2, 3, dtype="float32"))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("lengths", [[5, 3, 3, 1], [2, 5, 4, 5]])
def test_packed(name: str, lengths: list[int]) -> None:
    mine, theirs = twins(name, 3, 4, num_layers=2, bidirectional=True)
    states = [normal(4, 4, 4, seed=i) for i in range(1 + (name == "LSTM"))]
    ordered = lengths == sorted(lengths, reverse=True)

    def call(lib: Any, module: Any, x: Any, *h: Any) -> Any:
        rnn = lib.nn.utils.rnn
        packed = rnn.pack_padded_sequence(x, lengths, enforce_sorted=ordered)
        y, last = module(packed, h if len(h) > 1 else h[0])
        padded, counts = rnn.pad_packed_sequence(y, padding_value=-1.0)
        assert counts.tolist() == lengths
        return padded, last

    compare(mine, theirs, call, normal(6, 4, 3), *states, double=name == "RNN")


@pytest.mark.parametrize("name", ["RNNCell", "LSTMCell", "GRUCell"])
@pytest.mark.parametrize("bias", [True, False])
def test_cells(name: str, bias: bool) -> None:
    mine, theirs = twins(name, 3, 4, bias=bias)
    states = [normal(2, 4, seed=i) for i in range(1 + (name == "LSTMCell"))]

    def call(lib: Any, module: Any, x: Any, *h: Any) -> Any:
        return module(x, h if len(h) > 1 else h[0]) if h else module(x)

    compare(mine, theirs, call, normal(2, 3), *states, double=True)
    compare(mine, theirs, call, normal(3), *[h[0] for h in states])
    compare(mine, theirs, call, normal(2, 3))


def test_relu_cell_and_functions() -> None:
    compare(*twins("RNNCell", 3, 4, nonlinearity="relu"), lambda lib, m, x: m(x), normal(2, 3))
    arrays = [normal(*shape, seed=i) for i, shape in enumerate([(2, 3), (2, 4), (12, 3), (12, 4), (12,), (12,)])]
    same(pb.gru_cell(*map(pb.tensor, arrays)), torch.gru_cell(*map(torch.tensor, arrays)))


def test_dropout_between_layers() -> None:
    net = pb.nn.GRU(3, 4, num_layers=2, dropout=1.0)
    x = pb.tensor(normal(5, 2, 3, dtype="float32"))
    same(net(x)[0], net(pb.zeros(5, 2, 3))[0])  # the second layer sees zeros, whatever came in
    net.eval()
    assert not np.allclose(numbers(net(x)[0]), numbers(net(pb.zeros(5, 2, 3))[0]))
    with pytest.warns(UserWarning, match="dropout option adds dropout"):
        pb.nn.GRU(3, 4, dropout=0.5)


def test_initial_parameters() -> None:
    weights = np.concatenate([numbers(p).ravel() for p in pb.nn.LSTM(20, 25).parameters()])
    assert np.abs(weights).max() < 0.2
    assert abs(np.std(weights) - 0.2 / np.sqrt(3)) < 0.01


def test_parameters_by_layer() -> None:
    net = pb.nn.LSTM(2, 3, num_layers=2, proj_size=1)
    assert [[tuple(w.shape) for w in layer] for layer in net.all_weights] == [
        [tuple(w.shape) for w in layer] for layer in torch.nn.LSTM(2, 3, num_layers=2, proj_size=1).all_weights
    ]
    assert net.flatten_parameters() is None


@pytest.mark.parametrize(
    "call",
    [
        lambda lib: lib.nn.LSTM(3, 4)(lib.zeros(2, 3, 4, 3)),
        lambda lib: lib.nn.GRU(3, 4)(lib.zeros(5, 2, 2)),
        lambda lib: lib.nn.GRU(3, 4)(lib.zeros(5, 2, 3, dtype=lib.float64)),
        lambda lib: lib.nn.RNN(3, 4)(lib.zeros(5, 2, 3), lib.zeros(1, 2, 3)),
        lambda lib: lib.nn.LSTM(3, 4)(lib.zeros(5, 2, 3), (lib.zeros(1, 2, 4), lib.zeros(1, 3, 4))),
        lambda lib: lib.nn.LSTM(3, 4)(lib.zeros(5, 2, 3), (lib.zeros(2, 4), lib.zeros(2, 4))),
        lambda lib: lib.nn.RNN(3, 4)(lib.zeros(5, 3), lib.zeros(1, 2, 4)),
        lambda lib: lib.nn.RNN(3, 4, nonlinearity="sin"),
        lambda lib: lib.nn.GRU(3, 4, proj_size=2),
        lambda lib: lib.nn.LSTM(3, 4, proj_size=4),
        lambda lib: lib.nn.LSTM(0, 4),
        lambda lib: lib.nn.LSTM(3, 4, dropout=2.0),
        lambda lib: lib.nn.GRUCell(3, 4)(lib.zeros(2, 2)),
        lambda lib: lib.nn.GRUCell(3, 4)(lib.zeros(2, 3), lib.zeros(1, 4)),
        lambda lib: lib.nn.GRUCell(3, 4)(lib.zeros(2, 2, 3)),
        lambda lib: lib.nn.utils.rnn.pack_padded_sequence(lib.zeros(5, 2, 3), [1, 2]),
        lambda lib: lib.nn.utils.rnn.pack_padded_sequence(lib.zeros(5, 2, 3), [1, 0]),
        lambda lib: lib.nn.utils.rnn.pack_padded_sequence(lib.zeros(5, 2, 3), [1]),
        lambda lib: lib.nn.utils.rnn.pad_packed_sequence(
            lib.nn.utils.rnn.pack_sequence([lib.zeros(3)]), total_length=2
        ),
    ],
)
def test_errors(call: Any) -> None:
    with pytest.raises(Exception) as theirs:  # noqa: PT011 (whatever PyTorch raises)
        call(torch)
    with pytest.raises(type(theirs.value)) as mine:
        call(pb)
    words = [str(error.value).split()[:3] for error in (mine, theirs)]
    assert words[0] == words[1], (str(mine.value), str(theirs.value))


# Sequences of unequal length


def test_padding_and_packing() -> None:
    parts = [normal(n, 2, seed=n) for n in (2, 4, 1)]
    results = []
    for lib in (pb, torch):
        rnn = lib.nn.utils.rnn
        tensors = [lib.tensor(a) for a in parts]
        packed = rnn.pack_sequence(tensors, enforce_sorted=False)
        padded = rnn.pad_sequence(tensors, batch_first=True, padding_value=7.0)
        results.append(
            [
                *packed,
                padded,
                rnn.pad_sequence(tensors, padding_side="left"),
                *rnn.unpad_sequence(padded, lib.tensor([2, 4, 1]), batch_first=True),
                *rnn.unpack_sequence(packed),
                *rnn.pad_packed_sequence(packed, batch_first=True, total_length=6),
                rnn.invert_permutation(lib.tensor([2, 0, 1])),
            ]
        )
    for a, b in zip(*results, strict=True):
        same(a, b)


def test_packed_sequence_converts() -> None:
    packed = pb.nn.utils.rnn.pack_sequence([pb.ones(3, 2), pb.ones(1, 2)])
    assert packed.double().data.dtype == pb.float64
    assert packed.to(pb.float64).float().data.dtype == pb.float32
    assert packed.batch_sizes.tolist() == [2, 1, 1]
    assert packed.sorted_indices is None
    assert not packed.is_cuda


# Modes


@pytest.mark.parametrize("name", NAMES)
def test_transforms(name: str) -> None:
    net = getattr(pb.nn, name)(3, 4, bidirectional=True, dtype=pb.float64)
    x, t = pb.tensor(normal(5, 2, 3)), pb.tensor(normal(5, 2, 3, seed=1))

    def f(x: Any) -> Any:
        return (net(x)[0] ** 2).sum()

    _, slope = pb.jvp(f, (x,), (t,))
    np.testing.assert_allclose(numbers(slope), numbers((pb.grad(f)(x) * t).sum()), rtol=1e-10)
    h = 1e-6
    product = pb.jvp(pb.grad(f), (x,), (t,))[1]
    np.testing.assert_allclose(
        numbers(product), numbers((pb.grad(f)(x + h * t) - pb.grad(f)(x - h * t)) / (2 * h)), atol=1e-7
    )
    many = pb.tensor(normal(4, 5, 2, 3))
    each = pb.vmap(pb.grad(f))(many)
    for i in range(4):
        same(each[i], pb.grad(f)(many[i]))
    gradients = pb.grad(lambda net: (net(x)[0] ** 2).sum())(net)
    f(x).backward()
    for name, gradient in gradients.named_parameters(remove_duplicate=False):
        same(gradient, net.get_parameter(name).grad, name)


def test_a_write_to_the_output_is_counted() -> None:
    x = pb.tensor(normal(3, 2, 3), requires_grad=True)
    y, _ = pb.nn.RNN(3, 4, dtype=pb.float64)(x)
    y[0] = 0.0  # tanh's rule reads it
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_shape_rule() -> None:
    with pytest.raises(ValueError, match="do not fit"), pb.no_grad():
        pb.make_graph(lambda pre, h, w: recurrent.rnn_scan(pre, h, w, sizes=(2, 2), reverse=False, relu=False))(
            pb.zeros(3, 2), pb.zeros(2, 2), pb.zeros(2, 2)
        )
