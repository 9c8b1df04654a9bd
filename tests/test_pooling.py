"""Pooling against PyTorch: values, indices, ties, NaN, first and second derivatives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pullback as pb
from nn_tools import compare, same
from pullback.nn import functional as F

torch = pytest.importorskip("torch")

SIZES = {1: (11,), 2: (9, 7), 3: (5, 6, 7)}


def array(seed: int, *shape: int, dtype: str = "float64") -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def both(name: str, x: Any, *args: Any, **kwargs: Any) -> None:
    """Values, indices and derivatives agree with PyTorch's, with a batch and without."""
    compare(lambda lib, x: getattr(lib.nn.functional, name)(x, *args, **kwargs), x)
    compare(lambda lib, x: getattr(lib.nn.functional, name)(x, *args, **kwargs), x[0], second=False)


@pytest.mark.parametrize("rank", SIZES)
@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 2},
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": 3, "stride": 1, "padding": 1, "ceil_mode": True},
        {"kernel_size": 2, "stride": 3, "dilation": 2, "ceil_mode": True},
    ],
    ids=str,
)
def test_max_pool(rank: int, options: dict[str, Any]) -> None:
    x = array(0, 2, 3, *SIZES[rank])
    both(f"max_pool{rank}d", x, **options)
    for dtype in ("float64", "float32", "int64")[: 3 if rank == 2 else 2]:
        values = np.round(x * 2).astype(dtype)  # many ties
        found = [
            getattr(lib.nn.functional, f"max_pool{rank}d")(lib.tensor(values), **options, return_indices=True)
            for lib in (pb, torch)
        ]
        for a, b in zip(*found, strict=True):
            same(a, b)


def test_of_equal_elements_the_first_gets_the_gradient_in_both_modes() -> None:
    x = np.array([[[1.0, 1.0, 0.0, 2.0, 2.0, 2.0]]])
    np.testing.assert_array_equal(pb.grad(lambda x: F.max_pool1d(x, 3, 3).sum())(x), [[[1, 0, 0, 1, 0, 0]]])
    rows = np.eye(6).reshape(6, 1, 1, 6)
    tangents = [np.asarray(pb.jvp(lambda x: F.max_pool1d(x, 3, 3), (x,), (t,))[1]).ravel() for t in rows]
    np.testing.assert_array_equal(np.sum(tangents, 1), [1, 0, 0, 1, 0, 0])


def test_nan_and_infinities() -> None:
    x = array(0, 1, 1, 6, 6)
    x[0, 0, 1, 1], x[0, 0, 4, 4], x[0, 0, 3, 0] = np.nan, -np.inf, np.inf
    x[0, 0, 4:, :2] = -np.inf
    for options in ({"kernel_size": 2}, {"kernel_size": 3, "stride": 1, "padding": 1}):
        theirs = torch.nn.functional.max_pool2d(torch.tensor(x), **options, return_indices=True)
        for a, b in zip(F.max_pool2d(pb.tensor(x), **options, return_indices=True), theirs, strict=True):
            same(a, b)
    x[0, 0, 3, 0] = 0.0  # beside a -inf
    mean = torch.nn.functional.avg_pool2d(torch.tensor(x), 2, 1)
    same(F.avg_pool2d(pb.tensor(x), 2, 1), mean)  # a NaN stays in its own windows


def test_large_windows_and_memory_order() -> None:
    x = array(0, 2, 3, 30, 26)
    both("max_pool2d", x, (30, 26))
    both("max_pool2d", x, 13, 4)
    compare(lambda lib, x: lib.nn.functional.max_pool2d(x.transpose(2, 3), 3, 2), x)
    compare(lambda lib, x: lib.nn.functional.avg_pool2d(x.flip(2), 3, 2), x)


@pytest.mark.parametrize("rank", SIZES)
@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 2},
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": False, "ceil_mode": True},
        {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True},
        {"kernel_size": 2, "stride": 1, "divisor_override": 3},
    ],
    ids=str,
)
def test_avg_pool(rank: int, options: dict[str, Any]) -> None:
    if rank == 1:  # where PyTorch has no divisor
        options = {k: v for k, v in options.items() if k != "divisor_override"}
    both(f"avg_pool{rank}d", array(0, 2, 3, *SIZES[rank]), **options)


@pytest.mark.parametrize("rank", SIZES)
def test_adaptive(rank: int) -> None:
    x = array(0, 2, 3, *SIZES[rank])
    for out in (1, 3, SIZES[rank], tuple(n + 1 for n in SIZES[rank])):
        both(f"adaptive_avg_pool{rank}d", x, out)
        both(f"adaptive_max_pool{rank}d", x, out)
        name = f"adaptive_max_pool{rank}d_with_indices"
        ours, theirs = getattr(F, name)(pb.tensor(x), out), getattr(torch.nn.functional, name)(torch.tensor(x), out)
        for a, b in zip(ours, theirs, strict=True):
            same(a, b)
    long = array(1, 2, 1, 1000)
    both("adaptive_avg_pool1d", long, 3)
    if rank == 2:
        both("adaptive_avg_pool2d", x, (None, 2))


@pytest.mark.parametrize("rank", SIZES)
def test_lp_pool(rank: int) -> None:
    x = array(0, 2, 3, *SIZES[rank])
    for norm in (2.0, 3.0, float("inf")):
        both(f"lp_pool{rank}d", np.abs(x) + 0.1, norm, 2, 3)
    zero = pb.zeros(1, 1, *(4,) * rank).requires_grad_()
    getattr(F, f"lp_pool{rank}d")(zero, 2.0, 2).sum().backward()
    assert not zero.grad.numpy().any()


@pytest.mark.parametrize("rank", [2, 3])
def test_fractional_max_pool(rank: int) -> None:
    x = array(0, 2, 3, *SIZES[rank])
    samples = np.random.default_rng(1).random((2, 3, rank))
    name = f"fractional_max_pool{rank}d"
    for kernel, out in ((2, 3), ((2, 3, 2)[:rank], (3, 2, 4)[:rank])):
        compare(
            lambda lib, x, kernel=kernel, out=out: getattr(lib.nn.functional, name)(
                x, kernel, out, _random_samples=lib.tensor(samples)
            ),
            x,
        )
        found = [
            getattr(lib.nn.functional, name)(
                lib.tensor(x), kernel, out, return_indices=True, _random_samples=lib.tensor(samples)
            )[1]
            for lib in (pb, torch)
        ]
        same(*found)
    y = getattr(F, name)(pb.tensor(x), 2, output_ratio=0.5)
    assert tuple(y.shape[2:]) == tuple(n // 2 for n in SIZES[rank])
    with pytest.raises(ValueError, match="requires specifying either an output_size or an output_ratio"):
        getattr(F, name)(pb.tensor(x), 2)
    with pytest.raises(RuntimeError, match="too large relative to input"):
        getattr(F, name)(pb.tensor(x), 5, 5)


@pytest.mark.parametrize("rank", SIZES)
def test_unpool_undoes_max_pool(rank: int) -> None:
    x = array(0, 2, 3, *SIZES[rank])
    pooled, index = getattr(F, f"max_pool{rank}d")(pb.tensor(x), 2, return_indices=True)
    where = torch.tensor(index.numpy())
    size = SIZES[rank]
    for options in ({"output_size": size}, {"output_size": (2, 3, *size)}):
        compare(
            lambda lib, y, options=options: getattr(lib.nn.functional, f"max_unpool{rank}d")(
                y, index if lib is pb else where, 2, **options
            ),
            pooled.numpy(),
        )
    back = getattr(F, f"max_unpool{rank}d")(pooled, index, 2, output_size=size).numpy()
    assert (back[back != 0] == x[back != 0]).all()
    assert np.count_nonzero(back) == pooled.numpy().size


def test_of_elements_put_in_one_place_the_last_counts() -> None:
    """And so it alone has a gradient; PyTorch gives one to those that were overwritten too."""
    index = pb.tensor([[[1, 1]]])

    def f(x: Any) -> Any:
        return F.max_unpool1d(x, index, 2)

    x, t = np.array([[[3.0, 5.0]]]), np.array([[[1.0, 10.0]]])
    np.testing.assert_array_equal(np.asarray(f(x)), [[[0, 5, 0, 0]]])
    np.testing.assert_array_equal(np.asarray(pb.grad(lambda x: f(x).sum())(x)), [[[0, 1]]])
    np.testing.assert_array_equal(np.asarray(pb.jvp(f, (x,), (t,))[1]), [[[0, 10, 0, 0]]])


def test_second_order_forward_mode_and_vmap() -> None:
    x, t = array(0, 2, 2, 6, 6), array(1, 2, 2, 6, 6)
    for f in (
        lambda x: F.max_pool2d(x, 3, 2, 1),
        lambda x: F.avg_pool2d(x, 3, 2, 1),
        lambda x: F.adaptive_avg_pool2d(x, 4),
        lambda x: F.adaptive_max_pool2d(x, 4),
        lambda x: F.lp_pool2d(x * x + 0.1, 3.0, 2),
    ):
        slope = (np.asarray(f(x + 1e-6 * t)) - np.asarray(f(x - 1e-6 * t))) / 2e-6
        np.testing.assert_allclose(np.asarray(pb.jvp(f, (x,), (t,))[1]), slope, atol=1e-7)
        both_modes = pb.hessian(lambda row, f=f: (f(row.reshape(1, 1, 6, 6)) ** 2).sum())(x[0, 0].ravel())
        assert np.abs(np.asarray(both_modes) - np.asarray(both_modes).T).max() < 1e-12
        stacked = np.asarray(pb.vmap(f)(np.stack([x, t])))
        np.testing.assert_allclose(stacked, [np.asarray(f(x)), np.asarray(f(t))], rtol=1e-13)
    _, index = pb.vmap(lambda x: F.max_pool2d(x, 2, return_indices=True))(np.stack([x, t]))
    np.testing.assert_array_equal(np.asarray(index)[1], F.max_pool2d(t, 2, return_indices=True)[1].numpy())


def test_empty_batches() -> None:
    for f in (F.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d, F.adaptive_max_pool2d):
        assert tuple(f(pb.zeros(0, 3, 6, 6), 2).shape) == (
            0,
            3,
            *((3, 3) if f in (F.max_pool2d, F.avg_pool2d) else (2, 2)),
        )


BAD: dict[str, Any] = {
    "rank": lambda F, r: F.adaptive_avg_pool2d(r(2, 2), 2),
    "small": lambda F, r: F.max_pool2d(r(1, 1, 1, 1), 2),
    "padding": lambda F, r: F.max_pool2d(r(1, 1, 5, 5), 2, padding=2),
    "mean padding": lambda F, r: F.avg_pool2d(r(1, 1, 5, 5), 2, padding=2),
    "stride": lambda F, r: F.max_pool2d(r(1, 1, 5, 5), 2, stride=0),
    "divisor": lambda F, r: F.avg_pool2d(r(1, 1, 5, 5), 2, divisor_override=0),
    "output": lambda F, r: F.adaptive_avg_pool2d(r(2, 2, 3, 3), (2, 2, 2)),
    "unpool shape": lambda F, r: F.max_unpool2d(r(2, 2, 2), r(2, 2, 3).long(), 2),
    "unpool dtype": lambda F, r: F.max_unpool2d(r(2, 2, 2), r(2, 2, 2), 2),
    "unpool index": lambda F, r: F.max_unpool2d(r(2, 2, 2), r(2, 2, 2).long() * 99, 2),
    "unpool size": lambda F, r: F.max_unpool2d(r(2, 2, 2), r(2, 2, 2).long(), 2, output_size=(20, 20)),
}


@pytest.mark.parametrize("case", BAD)
def test_errors_are_pytorchs(case: str) -> None:
    with pytest.raises((RuntimeError, ValueError)) as theirs:
        BAD[case](torch.nn.functional, torch.ones)
    with pytest.raises(type(theirs.value)) as mine:
        BAD[case](F, pb.ones)
    if case not in ("rank", "small"):
        assert str(mine.value)[:25] == str(theirs.value)[:25]
