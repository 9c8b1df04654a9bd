"""Attention and transformers against PyTorch: values, gradients, masks, options, errors, modes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pullback as pb

torch = pytest.importorskip("torch")

from nn_tools import compare as compare_functions  # noqa: E402
from nn_tools import numbers, same  # noqa: E402
from test_rnn import compare, normal, twins  # noqa: E402

HIDDEN = np.triu(np.ones((4, 5), bool), 2)


def functional(lib: Any) -> Any:
    return lib.nn.functional


@pytest.mark.parametrize(
    ("options", "mask"),
    [
        ({}, None),
        ({"is_causal": True}, None),
        ({"scale": 0.3}, ~HIDDEN),
        ({}, np.where(HIDDEN, -np.inf, 0.5)),
        ({}, normal(2, 1, 4, 5)),
    ],
)
def test_scaled_dot_product(options: Any, mask: Any) -> None:
    def call(lib: Any, q: Any, k: Any, v: Any, *mask: Any) -> Any:
        return functional(lib).scaled_dot_product_attention(q, k, v, *mask, **options)

    operands = normal(2, 3, 4, 6), normal(2, 3, 5, 6, seed=1), normal(2, 3, 5, 2, seed=2)
    compare_functions(call, *operands, *([] if mask is None else [mask]), rtol=1e-9, atol=1e-10)


def test_grouped_queries() -> None:
    compare_functions(
        lambda lib, q, k, v: functional(lib).scaled_dot_product_attention(q, k, v, enable_gqa=True),
        normal(2, 6, 4, 3), normal(2, 2, 5, 3, seed=1), normal(2, 3, 5, 3, seed=2),
    )  # fmt: skip


def test_a_query_that_sees_nothing_gets_zero() -> None:
    mask = np.ones((4, 5), bool)
    mask[1] = False

    def call(lib: Any, q: Any, k: Any, v: Any) -> Any:
        return functional(lib).scaled_dot_product_attention(q, k, v, lib.tensor(mask))

    operands = normal(4, 3), normal(5, 3), normal(5, 3)
    assert not numbers(call(pb, *map(pb.tensor, operands)))[1].any()
    compare_functions(call, *operands, second=False)
    q = pb.tensor(operands[0])
    slope = pb.jvp(lambda q: call(pb, q, *map(pb.tensor, operands[1:])), (q,), (pb.ones_like(q),))[1]
    assert np.isfinite(numbers(slope)).all()


def test_dropped_weights() -> None:
    x = pb.ones(3, 4)
    assert not numbers(pb.nn.functional.scaled_dot_product_attention(x, x, x, dropout_p=1.0)).any()


def test_float32_stays() -> None:
    x = pb.tensor(normal(3, 4, dtype="float32"), requires_grad=True)
    for mask in (None, pb.ones(3, 3, dtype=pb.bool)):
        y = pb.nn.functional.scaled_dot_product_attention(x, x, x, mask)
        y.sum().backward()
        assert y.dtype == x.grad.dtype == pb.float32


# Several heads


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bias": False, "batch_first": True},
        {"add_bias_kv": True, "add_zero_attn": True},
        {"kdim": 3, "vdim": 5},
        {"kdim": 3, "vdim": 5, "add_bias_kv": True, "batch_first": True},
    ],
)
@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("masks", ["none", "bool", "float", "by head"])
def test_heads(options: Any, need_weights: bool, masks: str) -> None:
    mine, theirs = twins("MultiheadAttention", 6, 2, **options)
    kdim, vdim = options.get("kdim", 6), options.get("vdim", 6)
    padding = np.zeros((3, 5), bool)
    padding[1, 3:] = True
    hidden = HIDDEN.copy()
    if masks == "by head":
        hidden = np.broadcast_to(hidden, (6, 4, 5))
    if masks in ("float", "by head"):
        padding, hidden = (np.where(m, -np.inf, 0.25) for m in (padding, hidden))

    def call(lib: Any, module: Any, q: Any, k: Any, v: Any) -> Any:
        given = (
            {} if masks == "none" else {"key_padding_mask": lib.tensor(padding), "attn_mask": lib.tensor(hidden.copy())}
        )
        y, weights = module(q, k, v, need_weights=need_weights, **given)
        assert (weights is None) is not need_weights
        return (y, weights) if need_weights else y

    shapes = (4, 3, 6), (5, 3, kdim), (5, 3, vdim)
    if options.get("batch_first"):
        shapes = tuple((b, a, c) for a, b, c in shapes)
    compare(mine, theirs, call, *(normal(*shape, seed=i) for i, shape in enumerate(shapes)))


def test_one_sequence_and_all_weights() -> None:
    mine, theirs = twins("MultiheadAttention", 6, 3, batch_first=True)

    def call(lib: Any, module: Any, x: Any) -> Any:
        hidden = lib.tensor([False, False, False, True])
        return module(x, x, x, key_padding_mask=hidden, average_attn_weights=False)

    compare(mine, theirs, call, normal(4, 6), double=True)
    compare(mine, theirs, lambda lib, m, x: m(x, x, x, average_attn_weights=False), normal(2, 4, 6))


def test_causal_hint() -> None:
    mine, theirs = twins("MultiheadAttention", 6, 2)

    def call(lib: Any, module: Any, x: Any) -> Any:
        mask = lib.nn.Transformer.generate_square_subsequent_mask(4, dtype=lib.float64)
        return module(x, x, x, attn_mask=mask, is_causal=True, need_weights=False)[0]

    compare(mine, theirs, call, normal(4, 2, 6))


def test_static_keys() -> None:
    arrays = [
        normal(*shape, seed=i)
        for i, shape in enumerate([(4, 2, 6), (18, 6), (18,), (6, 6), (6,), (4, 5, 3), (4, 5, 3)])
    ]

    def call(lib: Any, x: Any, w: Any, b: Any, wo: Any, bo: Any, k: Any, v: Any) -> Any:
        return functional(lib).multi_head_attention_forward(
            x, x, x, 6, 2, w, b, None, None, False, 0.0, wo, bo, static_k=k, static_v=v
        )[0]

    compare_functions(call, *arrays, second=False)


@pytest.mark.parametrize(
    "call",
    [
        lambda lib: functional(lib).scaled_dot_product_attention(lib.ones(2), lib.ones(2), lib.ones(2)),
        lambda lib: functional(lib).scaled_dot_product_attention(
            lib.ones(2, 2), lib.ones(2, 2), lib.ones(2, 2, dtype=lib.float64)
        ),
        lambda lib: functional(lib).scaled_dot_product_attention(
            *[lib.ones(2, 2)] * 3, lib.ones(2, 2, dtype=lib.bool), is_causal=True
        ),
        lambda lib: lib.nn.MultiheadAttention(5, 2),
        lambda lib: lib.nn.MultiheadAttention(0, 2),
        lambda lib: lib.nn.MultiheadAttention(4, 2)(lib.ones(3), lib.ones(3), lib.ones(3)),
        lambda lib: lib.nn.MultiheadAttention(4, 2)(lib.ones(3, 4), lib.ones(3, 1, 4), lib.ones(3, 4)),
        lambda lib: lib.nn.MultiheadAttention(4, 2)(lib.ones(3, 2, 4), lib.ones(3, 2, 4), lib.ones(2, 2, 4)),
        lambda lib: lib.nn.MultiheadAttention(4, 2)(*[lib.ones(3, 2, 4)] * 3, attn_mask=lib.ones(2, 3)),
        lambda lib: lib.nn.MultiheadAttention(4, 2)(
            *[lib.ones(3, 2, 4)] * 3, attn_mask=lib.ones(3, 3, dtype=lib.int64)
        ),
        lambda lib: lib.nn.MultiheadAttention(4, 2)(*[lib.ones(3, 2, 4)] * 3, is_causal=True),
        lambda lib: lib.nn.MultiheadAttention(4, 2)(*[lib.ones(3, 2, 4)] * 3, key_padding_mask=lib.ones(3)),
        lambda lib: lib.nn.MultiheadAttention(4, 2)(*[lib.ones(3, 2, 4)] * 3, key_padding_mask=lib.ones(2, 2)),
        lambda lib: lib.nn.MultiheadAttention(4, 2)(*[lib.ones(3, 2, 5)] * 3),
        lambda lib: lib.nn.TransformerEncoderLayer(4, 2, activation="sin"),
        lambda lib: lib.nn.Transformer(4, 2, 1, 1, 4)(lib.ones(3, 2, 4), lib.ones(3, 1, 4)),
        lambda lib: lib.nn.Transformer(4, 2, 1, 1, 4)(lib.ones(3, 2, 4), lib.ones(3, 2, 5)),
    ],
)
@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
def test_errors(call: Any) -> None:
    with pytest.raises(Exception) as theirs:  # noqa: PT011 (whatever PyTorch raises)
        call(torch)
    with pytest.raises(type(theirs.value)) as mine:
        call(pb)
    words = [str(error.value).split()[:3] for error in (mine, theirs)]
    assert words[0] == words[1], (str(mine.value), str(theirs.value))


# Transformers

OPTIONS: list[dict[str, Any]] = [
    {},
    {"norm_first": True, "batch_first": True, "activation": "gelu"},
    {"bias": False, "layer_norm_eps": 0.1},
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
def test_layers(options: Any) -> None:
    options = {"dropout": 0.0, "dim_feedforward": 8, **options}
    padding = np.array([[False] * 5, [False, False, False, True, True], [False] * 5])
    shape = (3, 5, 6) if options.get("batch_first") else (5, 3, 6)

    def encode(lib: Any, module: Any, x: Any) -> Any:
        mask = lib.tensor(np.triu(np.ones((5, 5), bool), 2))
        return module(x, mask, lib.tensor(padding))

    def decode(lib: Any, module: Any, x: Any, memory: Any) -> Any:
        mask = lib.nn.Transformer.generate_square_subsequent_mask(5, dtype=lib.float64)
        return module(x, memory, tgt_mask=mask, memory_key_padding_mask=lib.tensor(padding))

    compare(*twins("TransformerEncoderLayer", 6, 2, **options), encode, normal(*shape))
    compare(*twins("TransformerDecoderLayer", 6, 2, **options), decode, normal(*shape), normal(*shape, seed=1))


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
def test_whole(options: Any) -> None:
    mine, theirs = twins("Transformer", 6, 2, 2, 2, 8, 0.0, **options)
    shape = (3, 4, 6) if options.get("batch_first") else (4, 3, 6)

    def call(lib: Any, module: Any, src: Any, tgt: Any) -> Any:
        mask = module.generate_square_subsequent_mask(4, dtype=lib.float64)
        return module(src, tgt, src_mask=mask, tgt_mask=mask)

    compare(mine, theirs, call, normal(*shape), normal(*shape, seed=1))


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
def test_stacks_are_deep_copies() -> None:
    layer = pb.nn.TransformerEncoderLayer(4, 2, 8)
    stack = pb.nn.TransformerEncoder(layer, 2, pb.nn.LayerNorm(4))
    assert stack.layers[0].linear1.weight is not stack.layers[1].linear1.weight
    same(stack.layers[0].linear1.weight, layer.linear1.weight)
    keys = torch.nn.TransformerEncoder(torch.nn.TransformerEncoderLayer(4, 2, 8), 2, torch.nn.LayerNorm(4)).state_dict()
    assert list(stack.state_dict()) == list(keys)


def test_dropout_only_in_training() -> None:
    layer = pb.nn.TransformerEncoderLayer(4, 2, 8, dropout=0.5)
    x = pb.tensor(normal(5, 3, 4, dtype="float32"))
    assert not np.array_equal(numbers(layer(x)), numbers(layer(x)))
    layer.eval()
    same(layer(x), layer(x))


def test_transforms() -> None:
    layer = pb.nn.TransformerEncoderLayer(4, 2, 5, dropout=0.0, dtype=pb.float64, activation="gelu")
    x, t = pb.tensor(normal(5, 2, 4)), pb.tensor(normal(5, 2, 4, seed=1))

    def f(x: Any) -> Any:
        mask = pb.nn.Transformer.generate_square_subsequent_mask(5, dtype=pb.float64)
        return (layer(x, mask) ** 3).sum()

    np.testing.assert_allclose(numbers(pb.jvp(f, (x,), (t,))[1]), numbers((pb.grad(f)(x) * t).sum()), rtol=1e-10)
    h = 1e-5
    product = numbers(pb.jvp(pb.grad(f), (x,), (t,))[1])
    difference = numbers((pb.grad(f)(x + h * t) - pb.grad(f)(x - h * t)) / (2 * h))
    np.testing.assert_allclose(product, difference, atol=1e-6)
    many = pb.tensor(normal(3, 5, 2, 4))
    each = pb.vmap(pb.grad(f))(many)
    for i in range(3):
        same(each[i], pb.grad(f)(many[i]))
