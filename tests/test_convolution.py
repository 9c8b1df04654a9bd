"""Convolutions against PyTorch: values, first and second derivatives, every way of batching, and a small network."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import pullback as pb
from nn_tools import compare, same
from pullback.nn import functional as F

torch = pytest.importorskip("torch")


def array(seed: int, *shape: int, dtype: str = "float64") -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


SIZES = {1: (7,), 2: (6, 5), 3: (4, 3, 5)}
OPTIONS: list[dict[str, Any]] = [
    {},
    {"stride": 2, "padding": 1},
    {"dilation": 2, "padding": 2},
    {"groups": 2, "padding": 1},
    {"padding": "same"},
    {"padding": "valid", "stride": 2},
    {"stride": 3, "padding": 2, "dilation": 2, "groups": 4},
]


@pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")  # PyTorch's, of its own making
@pytest.mark.parametrize("rank", SIZES)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_convolution(rank: int, options: dict[str, Any]) -> None:
    groups = options.get("groups", 1)
    x, w, b = array(0, 2, 4, *SIZES[rank]), array(1, 4, 4 // groups, *(2,) * rank), array(2, 4)
    compare(lambda lib, *xs: getattr(lib.nn.functional, f"conv{rank}d")(*xs, **options), x, w, b)
    compare(lambda lib, *xs: getattr(lib.nn.functional, f"conv{rank}d")(*xs, **options), x[0], w, second=False)


@pytest.mark.parametrize("rank", SIZES)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": 2, "padding": 1, "output_padding": 1},
        {"dilation": 3, "output_padding": 2},
        {"groups": 2, "stride": 2},
        {"stride": 3, "padding": 1, "groups": 4, "dilation": 2, "output_padding": 2},
    ],
    ids=str,
)
def test_transposed_convolution(rank: int, options: dict[str, Any]) -> None:
    features = 2
    x, w = array(0, 2, 4, *SIZES[rank]), array(1, 4, features, *(3,) * rank)
    b = array(2, features * options.get("groups", 1))
    compare(lambda lib, *xs: getattr(lib.nn.functional, f"conv_transpose{rank}d")(*xs, **options), x, w, b)
    compare(
        lambda lib, *xs: getattr(lib.nn.functional, f"conv_transpose{rank}d")(*xs, **options), x[0], w, second=False
    )


def test_asymmetric_numbers_and_other_strides() -> None:
    x, w = array(0, 2, 3, 9, 8), array(1, 5, 3, 3, 2)
    options = {"stride": (2, 1), "padding": (1, 0), "dilation": (1, 3)}
    compare(lambda lib, x, w: lib.nn.functional.conv2d(x, w, **options), x, w)
    turned = np.ascontiguousarray(x.transpose(0, 1, 3, 2))
    compare(lambda lib, x, w: lib.nn.functional.conv2d(x.transpose(2, 3), w, **options), turned, w)


def test_float32_stays_float32_and_complex_is_holomorphic() -> None:
    x, w, b = array(0, 2, 3, 6, 6, dtype="float32"), array(1, 4, 3, 3, 3, dtype="float32"), array(2, 4, dtype="float32")
    compare(lambda lib, *xs: lib.nn.functional.conv2d(*xs, padding=1), x, w, b, rtol=1e-4, atol=1e-4)
    z, v = x[:, :, :, 0] + 1j * x[:, :, :, 1], w[:, :, :, 0] + 1j * w[:, :, :, 1]
    found = []
    for lib in (pb, torch):
        leaves = [lib.tensor(a.astype("complex128")).requires_grad_() for a in (z, v)]
        y = lib.nn.functional.conv1d(*leaves)
        (y.real**2 + 3 * y.imag).sum().backward()
        found.append([y, *(leaf.grad for leaf in leaves)])
    for mine, theirs in zip(*found, strict=True):
        same(mine, theirs, rtol=1e-10, atol=1e-10)


def test_large_batches_go_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    x, w = array(0, 5, 4, 6, 6), array(1, 6, 2, 3, 3)
    whole = [np.asarray(y) for y in pb.vjp(lambda x, w: F.conv2d(x, w, groups=2), x, w)[1](np.ones((5, 6, 4, 4)))]
    monkeypatch.setattr("pullback.ops.convolution._PART", 700)
    parts = [np.asarray(y) for y in pb.vjp(lambda x, w: F.conv2d(x, w, groups=2), x, w)[1](np.ones((5, 6, 4, 4)))]
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


@pytest.mark.parametrize("batched", [b for b in itertools.product((0, None), repeat=3) if 0 in b], ids=str)
def test_vmap_over_any_operands(batched: tuple[int | None, ...]) -> None:
    shapes = (2, 4, 5, 5), (6, 2, 3, 3), (6,)
    xs = [
        array(i, *([3] if at == 0 else []), *shape) for i, (at, shape) in enumerate(zip(batched, shapes, strict=True))
    ]

    def f(x: Any, w: Any, b: Any) -> Any:
        return F.conv2d(x, w, b, stride=2, padding=1, groups=2)

    mine = pb.vmap(f, in_axes=batched)(*xs)
    wanted = [f(*(x[i] if at == 0 else x for x, at in zip(xs, batched, strict=True))).numpy() for i in range(3)]
    np.testing.assert_allclose(np.asarray(mine), wanted, rtol=1e-12, atol=1e-12)


def test_per_sample_gradients() -> None:
    """The gradient of each sample's loss with respect to the weight, at once."""
    x, w = array(0, 4, 3, 6, 6), array(1, 2, 3, 3, 3)

    def loss(w: Any, x: Any) -> Any:
        return (F.conv2d(x, w, padding=1) ** 2).sum()

    mine = np.asarray(pb.vmap(pb.grad(loss), in_axes=(None, 0))(w, x))
    np.testing.assert_allclose(mine, [np.asarray(pb.grad(loss)(w, row)) for row in x], rtol=1e-11)


def test_forward_mode_and_hessian() -> None:
    x, w, t = array(0, 1, 2, 4), array(1, 2, 2, 3), array(2, 2, 2, 3)
    _, tangent = pb.jvp(lambda w: F.conv1d(x, w).tanh(), (w,), (t,))
    step = 1e-6
    wanted = (F.conv1d(x, w + step * t).tanh() - F.conv1d(x, w - step * t).tanh()).numpy() / (2 * step)
    np.testing.assert_allclose(np.asarray(tangent), wanted, atol=1e-8)
    hessian = np.asarray(pb.hessian(lambda w: (F.conv1d(x, w) ** 3).sum())(w)).reshape(12, 12)
    theirs = torch.autograd.functional.hessian(
        lambda w: (torch.nn.functional.conv1d(torch.tensor(x), w) ** 3).sum(), torch.tensor(w)
    )
    np.testing.assert_allclose(hessian, theirs.numpy().reshape(12, 12), rtol=1e-10, atol=1e-10)


def test_empty_batch() -> None:
    x, w = pb.zeros(0, 3, 5, 5), pb.ones(4, 3, 3, 3).requires_grad_()
    y = F.conv2d(x, w, padding=1)
    assert tuple(y.shape) == (0, 4, 5, 5)
    y.sum().backward()
    assert not w.grad.numpy().any()
    assert tuple(F.conv_transpose2d(pb.zeros(0, 4, 2, 2), w.detach(), stride=2).shape) == (0, 3, 5, 5)


def test_windows_as_columns() -> None:
    options = {"kernel_size": (2, 3), "dilation": (2, 1), "padding": (1, 0), "stride": (1, 2)}
    x = array(0, 2, 3, 5, 6)
    compare(lambda lib, x: lib.nn.functional.unfold(x, **options), x)
    columns = torch.nn.functional.unfold(torch.tensor(x), **options).numpy()
    compare(lambda lib, y: lib.nn.functional.fold(y, (5, 6), **options), columns)
    compare(lambda lib, y: lib.nn.functional.fold(y, (5, 6), **options), columns[0])


BAD = {
    "rank": lambda F, r: F.conv2d(r(5), r(2, 3, 3, 3)),
    "channels": lambda F, r: F.conv2d(r(1, 4, 5, 5), r(2, 3, 3, 3)),
    "kernel": lambda F, r: F.conv2d(r(1, 3, 2, 2), r(2, 3, 3, 3)),
    "bias": lambda F, r: F.conv2d(r(1, 3, 5, 5), r(2, 3, 3, 3), r(3)),
    "stride": lambda F, r: F.conv2d(r(1, 3, 5, 5), r(2, 3, 3, 3), stride=0),
    "padding": lambda F, r: F.conv2d(r(1, 3, 5, 5), r(2, 3, 3, 3), padding=-1),
    "dilation": lambda F, r: F.conv2d(r(1, 3, 5, 5), r(2, 3, 3, 3), dilation=0),
    "strided same": lambda F, r: F.conv2d(r(1, 3, 5, 5), r(2, 3, 3, 3), padding="same", stride=2),
    "word": lambda F, r: F.conv2d(r(1, 3, 5, 5), r(2, 3, 3, 3), padding="x"),
    "three strides": lambda F, r: F.conv2d(r(1, 3, 5, 5), r(2, 3, 3, 3), stride=(1, 1, 1)),
    "groups": lambda F, r: F.conv2d(r(1, 4, 5, 5), r(3, 2, 3, 3), groups=2),
    "transposed": lambda F, r: F.conv_transpose2d(r(1, 4, 5, 5), r(3, 2, 3, 3)),
    "output padding": lambda F, r: F.conv_transpose2d(r(1, 3, 5, 5), r(3, 2, 3, 3), output_padding=1),
    "transposed bias": lambda F, r: F.conv_transpose2d(r(1, 3, 5, 5), r(3, 2, 3, 3), r(3)),
    "unfold": lambda F, r: F.unfold(r(2, 2, 2, 2), 3),
    "fold": lambda F, r: F.fold(r(2, 5, 2), (4, 4), 2),
    "blocks": lambda F, r: F.fold(r(2, 4, 2), (4, 4), 2),
}


@pytest.mark.parametrize("case", BAD)
def test_errors_begin_with_pytorchs_words(case: str) -> None:
    with pytest.raises(RuntimeError) as theirs:
        BAD[case](torch.nn.functional, torch.ones)
    with pytest.raises(RuntimeError) as mine:
        BAD[case](F, pb.ones)
    assert str(mine.value)[:40] == str(theirs.value)[:40]


def test_operands_of_two_dtypes_are_refused() -> None:
    with pytest.raises(RuntimeError, match=r"Input type \(float\) and bias type \(double\) should be the same"):
        F.conv2d(pb.ones(1, 3, 5, 5), pb.ones(2, 3, 3, 3), pb.ones(2, dtype=pb.float64))
    with pytest.raises(RuntimeError, match="should be the same"):
        F.conv2d(pb.ones(1, 3, 5, 5), pb.ones(2, 3, 3, 3, dtype=pb.float64))


def test_names_at_the_root() -> None:
    x, w, b = array(0, 2, 4, 7), array(1, 4, 2, 3), array(2, 4)
    compare(lambda lib, *xs: lib.convolution(*xs, [2], [1], [1], False, [0], 2), x, w, b)
    compare(lambda lib, *xs: lib.convolution(*xs, [2], [1], [1], True, [1], 1), x, w, array(2, 2))
    compare(lambda lib, *xs: lib.conv_tbc(*xs, 1), array(0, 5, 2, 3), array(1, 2, 3, 4), array(2, 4))
    y = pb.conv2d(pb.ones(1, 3, 5, 5), pb.ones(2, 3, 3, 3).requires_grad_(), pb.ones(2))
    assert y.grad_fn.name() == "ConvolutionBackward0"
