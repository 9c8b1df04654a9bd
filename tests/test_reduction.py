"""Sums, means, extrema, norms, scans and softmax, against PyTorch."""

from __future__ import annotations

import math

import numpy as np
import pytest

import pullback as pb
from torch_peer import agree, data, same_error

A = data(0, 3, 4)
B = data(1, 2, 3, 4)
S = data(2)
ZEROS = np.array([[2.0, 0.0, 3.0], [0.0, 5.0, 0.0], [1.0, 4.0, 2.0]])
NANS = np.array([[1.0, np.nan, 3.0], [4.0, 5.0, 6.0]])
TIES = np.array([[1.0, 3.0, 3.0, 2.0], [2.0, 2.0, 0.0, 1.0]])

NAMED = {
    "sum": (lambda t, x: x.sum(), B),
    "sum dim": (lambda t, x: x.sum(1), B),
    "sum dims keepdim": (lambda t, x: t.sum(x, (0, -1), keepdim=True), B),
    "sum axis": (lambda t, x: x.sum(axis=0), B),
    "sum keepdims": (lambda t, x: x.sum(dim=1, keepdims=True), B),
    "sum no dims": (lambda t, x: x.sum(dim=()), B),
    "sum 0-dim": (lambda t, x: x.sum(0), S),
    "mean": (lambda t, x: x.mean(), B),
    "mean dim": (lambda t, x: t.mean(x, dim=-1), B),
    "mean keepdim": (lambda t, x: x.mean((0, 2), True), B),
    "prod": (lambda t, x: x.prod(), A),
    "prod dim": (lambda t, x: x.prod(1), A),
    "prod zeros": (lambda t, x: t.prod(x, 1, keepdim=True), ZEROS),
    "var": (lambda t, x: x.var(), A),
    "var dim": (lambda t, x: t.var(x, 1, keepdim=True), A),
    "var biased": (lambda t, x: x.var(unbiased=False), A),
    "var False": (lambda t, x: x.var(False), A),
    "var dim False": (lambda t, x: x.var(0, False), A),
    "var correction": (lambda t, x: x.var(dim=(0, 1), correction=2), B),
    "std": (lambda t, x: x.std(), A),
    "std dim": (lambda t, x: x.std(0, keepdim=True), A),
    "std correction": (lambda t, x: t.std(x, dim=1, correction=0), A),
    "max": (lambda t, x: x.max(), A),
    "max ties": (lambda t, x: x.max(), TIES),
    "min": (lambda t, x: t.min(x), A),
    "amax": (lambda t, x: x.amax((0, 1)), A),
    "amax ties": (lambda t, x: x.amax(1, keepdim=True), TIES),
    "amin": (lambda t, x: t.amin(x, dim=0), A),
    "norm": (lambda t, x: x.norm(), A),
    "norm fro": (lambda t, x: t.norm(x, p="fro"), A),
    "norm dim": (lambda t, x: x.norm(dim=1, keepdim=True), A),
    "norm 0-dim": (lambda t, x: x.norm(), S),
    "logsumexp": (lambda t, x: x.logsumexp(1), A),
    "logsumexp large": (lambda t, x: t.logsumexp(x * 300, (0, 1), keepdim=True), A),
    "cumsum": (lambda t, x: x.cumsum(0), A),
    "cumprod": (lambda t, x: t.cumprod(x, dim=1), A),
    "cumprod zeros": (lambda t, x: x.cumprod(-1), ZEROS),
    "logcumsumexp": (lambda t, x: t.logcumsumexp(x, 1), A),
    "softmax": (lambda t, x: x.softmax(-1), A),
    "softmax 0": (lambda t, x: t.softmax(x, dim=0), B),
    "log_softmax": (lambda t, x: t.log_softmax(x, 1), A),
    "log_softmax large": (lambda t, x: (x * 400).log_softmax(dim=1), A),
}
UNNAMED = {
    "nansum": (lambda t, x: x.nansum(1), NANS),
    "nansum all": (lambda t, x: t.nansum(x), NANS),
    "nanmean": (lambda t, x: t.nanmean(x, dim=1, keepdim=True), NANS),
    "std_mean": (lambda t, x: t.std_mean(x, dim=1), A),
    "var_mean": (lambda t, x: t.var_mean(x, correction=0), A),
    "max dim": (lambda t, x: tuple(x.max(1)), A),
    "max dim ties": (lambda t, x: tuple(t.max(x, 1, keepdim=True)), TIES),
    "max fields": (lambda t, x: (x.max(dim=0).indices, x.max(dim=0).values), A),
    "min dim": (lambda t, x: tuple(x.min(-1)), A),
    "max of two": (lambda t, x, y: t.max(x, y), A, A[::-1].copy()),
    "min of two": (lambda t, x, y: x.min(y), A, A[0] * 2),
    "aminmax": (lambda t, x: tuple(t.aminmax(x, dim=1)), A),
    "norm 1": (lambda t, x: x.norm(1), A),
    "norm 1 dim": (lambda t, x: x.norm(p=1, dim=1), A),
    "norm inf": (lambda t, x: x.norm(math.inf, 1), A),
    "norm -inf": (lambda t, x: x.norm(-math.inf), A),
    "norm 0": (lambda t, x: x.norm(0, 1), ZEROS),
    "norm 3": (lambda t, x: x.norm(3), A),
    "norm 2.5 dim": (lambda t, x: x.norm(2.5, (0, 1), True), B),
    "norm 0.5": (lambda t, x: x.norm(0.5, 1), A),
    "norm of zeros": (lambda t, x: x.norm(dim=1), A * 0),
    "norm 3 of zeros": (lambda t, x: x.norm(3, 1), A * 0),
    "dist": (lambda t, x, y: t.dist(x, y), A, B[0]),
    "dist 1": (lambda t, x, y: x.dist(y, 1), A, B[0]),
    "cummax": (lambda t, x: tuple(x.cummax(1)), TIES),
    "cummin": (lambda t, x: tuple(t.cummin(x, dim=0)), TIES),
    "cumsum 0-dim": (lambda t, x: x.cumsum(0), S),
    "diff": (lambda t, x: t.diff(x), A),
    "diff twice": (lambda t, x: x.diff(n=2, dim=0), A),
    "diff ends": (lambda t, x: t.diff(x, prepend=x[:, :1] * 2, append=x[:, 1:3]), A),
    "median": (lambda t, x: x.median(), A),
    "median odd": (lambda t, x: t.median(x[:, :3]), A),
    "median dim": (lambda t, x: tuple(x.median(1)), A),
    "median of ties": (lambda t, x: x.median(), TIES),
    "nanmedian of ties": (lambda t, x: t.nanmedian(x), np.array([2.0, np.nan, 2.0, 1.0, 2.0, 3.0])),
    "median keepdim": (lambda t, x: tuple(t.median(x, dim=0, keepdim=True)), A),
    "median nan": (lambda t, x: tuple(x.median(1)), NANS),
    "nanmedian": (lambda t, x: tuple(x.nanmedian(1)), NANS),
    "mode": (lambda t, x: tuple(t.mode(x, 1)), TIES[:, :3] * np.array([[1.0], [2.0]])),
    "quantile": (lambda t, x: x.quantile(0.3), A),
    "quantile dim": (lambda t, x: t.quantile(x, 0.7, dim=1, keepdim=True), A),
    "quantiles": (lambda t, x: x.quantile(t.tensor([0.1, 0.5, 1.0], dtype=x.dtype), dim=0), A),
    **{
        f"quantile {how}": (lambda t, x, how=how: x.quantile(0.4, dim=1, interpolation=how), A)
        for how in ("lower", "higher", "midpoint", "nearest")
    },
    "softmax 0-dim": (lambda t, x: x.softmax(0), S),
    "nanquantile": (lambda t, x: x.nanquantile(0.5, dim=1), NANS),
    "quantile nan": (lambda t, x: x.quantile(0.5, dim=1), NANS),
}
COUNTS = {
    "argmax": lambda t, x: x.argmax(),
    "argmax dim": lambda t, x: t.argmax(x, dim=1, keepdim=True),
    "argmin": lambda t, x: x.argmin(0),
    "argmin keepdim": lambda t, x: x.argmin(keepdim=True),
    "all": lambda t, x: (x > -5).all(),
    "all dim": lambda t, x: t.all(x > 0, dim=1),
    "any": lambda t, x: (x > 0).any(0, keepdim=True),
    "any float": lambda t, x: t.any(x),
    "count_nonzero": lambda t, x: t.count_nonzero(x > 0, dim=1),
    "count_nonzero all": lambda t, x: x.count_nonzero(),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", NAMED)
def test_agrees_with_torch(case, dtype):
    f, *arrays = NAMED[case]
    agree(f, *arrays, dtype=dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", UNNAMED)
def test_agrees_with_torch_by_other_steps(case, dtype):
    f, *arrays = UNNAMED[case]
    agree(f, *arrays, dtype=dtype, name=False)


@pytest.mark.parametrize("case", COUNTS)
def test_counts_agree_with_torch(case):
    agree(COUNTS[case], A, grad=False)


INTEGERS = np.array([[3, 1, 2], [4, 1, 6]])


@pytest.mark.parametrize(
    "f",
    [
        lambda t, x: x.sum(),
        lambda t, x: x.int().sum(0),
        lambda t, x: (x > 1).sum(),
        lambda t, x: x.to(t.uint8).prod(),
        lambda t, x: (x > 1).prod(1),
        lambda t, x: x.int().cumsum(0),
        lambda t, x: (x > 1).cumsum(1),
        lambda t, x: x.to(t.int8).cumprod(1),
        lambda t, x: x.sum(dtype=t.float32),
        lambda t, x: x.mean(dtype=t.float64),
        lambda t, x: x.float().sum(dtype=t.float64),
        lambda t, x: x.int().max(),
        lambda t, x: tuple(x.int().min(1)),
        lambda t, x: x.int().amax(0),
        lambda t, x: (x > 1).max(),
        lambda t, x: x.float().half().sum(),
        lambda t, x: x.float().half().mean(0),
        lambda t, x: x.diff(),
        lambda t, x: (x > 2).diff(),
        lambda t, x: x.median(),
        lambda t, x: tuple(x.int().median(1)),
        lambda t, x: x.softmax(1, dtype=t.float64),
        lambda t, x: x.nansum(),
        lambda t, x: x.logsumexp(0),
        lambda t, x: x.any(1),
        lambda t, x: x.to(t.complex64).sum(0),
        lambda t, x: x.to(t.complex128).mean(),
        lambda t, x: (x * (1 + 2j)).norm(),
        lambda t, x: (x * (1 + 2j)).norm(1),
        lambda t, x: (x * (1 + 2j)).var(),
        lambda t, x: tuple(x.cummax(1)),
    ],
)
def test_dtypes_are_torchs(f):
    agree(f, INTEGERS, dtype="float32", grad=False)


@pytest.mark.parametrize(
    ("f", "arrays", "words"),
    [
        (lambda t, x: x.long().mean(), [A], 7),
        (lambda t, x: (x > 0).var(), [A], 0),
        (lambda t, x: x.sum(2), [A], 4),
        (lambda t, x: x.sum((0, 0)), [A], 0),
        (lambda t, x: x.sum((1, -1)), [A], 0),
        (lambda t, x: x[:0].max(), [A], 3),
        (lambda t, x: x[:0].max(0), [A], 5),
        (lambda t, x: x[:0].argmax(), [A], 3),
        (lambda t, x: x[:0].amax(0), [A], 3),
        (lambda t, x: x.long().softmax(0), [A], 0),
        (lambda t, x: x.long().norm(), [A], 5),
        (lambda t, x: x.quantile(1.5), [A], 6),
        (lambda t, x: x.half().quantile(0.5), [A], 6),
        (lambda t, x: x.cumsum(3), [A], 4),
        (lambda t, x: t.diff(x), [S], 3),
    ],
)
def test_errors_are_torchs(f, arrays, words):
    same_error(f, *arrays, words=words)


def test_empty_sums_and_means():
    agree(lambda t, x: (x[:0].sum(), x[:0].sum(0), x[:0].prod(1), x[:0].logsumexp(0), x[:0].all()), A, grad=False)


def test_results_look_like_torchs():
    found = pb.max(pb.tensor([[1.0, 5.0]]), 1)
    values, indices = found
    assert found.values is values
    assert found[1] is indices
    assert repr(found) == "torch.return_types.max(\nvalues=tensor([5.]),\nindices=tensor([1]))"


def test_numpy_functions_keep_numpys_meaning():
    """Methods called in a function of NumPy arrays mean what NumPy's methods mean."""
    x = data(3, 4, 3)
    for f in (
        lambda a: a.std(),
        lambda a: a.var(axis=0),
        lambda a: a.std(axis=1, ddof=1),
        lambda a: a.max(axis=0),
        lambda a: a.min(),
        lambda a: a.cumsum(),
        lambda a: a.mean(axis=(0, 1), keepdims=True),
        lambda a: a.sum(axis=-1),
    ):
        value, _ = pb.vjp(f, x)
        np.testing.assert_allclose(value, f(x))
        assert value.shape == f(x).shape


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x.max(1).values.sum() + pb.logsumexp(x, 0).prod(),
        lambda x: (x.std(0) * x.norm(3, 0)).sum() + x.median(1).values.prod(),
        lambda x: (x.softmax(1) * x.cumprod(0)).sum() + x.cummax(1).values.prod(),
        lambda x: x.quantile(0.3, dim=1).prod() + x.prod() + x.norm(),
    ],
)
def test_second_derivatives_and_batches(f):
    x, t = data(4, 3, 2), data(5, 3, 2)
    g = pb.grad(lambda a: f(pb.stack([a[0], a[1], a[2]])))
    step = 1e-5
    numeric = (g(pb.tensor(x + step * t)) - g(pb.tensor(x - step * t))) / (2 * step)
    forward = pb.jvp(g, (pb.tensor(x),), (pb.tensor(t),))[1]
    np.testing.assert_allclose(forward.numpy(), numeric.numpy(), rtol=1e-6, atol=1e-8)
    rows = pb.vmap(g)(pb.tensor(np.stack([x, t])))
    np.testing.assert_allclose(rows[1].numpy(), g(pb.tensor(t)).numpy(), atol=1e-12)
