"""Order, search and counting, against PyTorch."""

from __future__ import annotations

import numpy as np
import pytest

import pullback as pb
from torch_peer import agree, data, same_error

torch = pytest.importorskip("torch")

A = data(0, 3, 5)
S = data(1)
TIES = np.array([3, 1, 3, 2, 1, 1, 0])
EDGES = np.array([-1.0, 0.0, 0.5, 2.0])

NAMED = {
    "sort": (lambda t, x: tuple(x.sort())[:1], A),
    "sort dim": (lambda t, x: t.sort(x, dim=0, descending=True).values, A),
    "msort": (lambda t, x: t.msort(x), A),
    "topk": (lambda t, x: x.topk(2).values, A),
}
UNNAMED = {
    "sort both": (lambda t, x: tuple(x.sort(1)), A),
    "sort stable": (lambda t, x: tuple(t.sort(x, stable=True, descending=True)), TIES * 1.0),
    "sort nan": (lambda t, x: tuple(t.sort(x)), np.array([2.0, np.nan, 1.0])),
    "sort 0-dim": (lambda t, x: tuple(x.sort()), S),
    "argsort": (lambda t, x: t.argsort(x, dim=0), A),
    "argsort descending": (lambda t, x: x.argsort(descending=True), A),
    "topk smallest": (lambda t, x: tuple(t.topk(x, 3, largest=False)), A),
    "topk dim": (lambda t, x: tuple(x.topk(1, dim=0)), A),
    "kthvalue": (lambda t, x: tuple(x.kthvalue(2)), A),
    "kthvalue keepdim": (lambda t, x: tuple(t.kthvalue(x, 3, 0, keepdim=True)), A),
}
PLAIN = {
    "unique": (lambda t, x: x.unique(), TIES),
    "unique all": (lambda t, x: t.unique(x, return_inverse=True, return_counts=True), TIES),
    "unique counts": (lambda t, x: t.unique(x, return_counts=True), TIES),
    "unique 2-dim": (lambda t, x: t.unique(x, return_inverse=True), TIES[:6].reshape(2, 3)),
    "unique rows": (
        lambda t, x: t.unique(x, dim=0, return_inverse=True, return_counts=True),
        np.array([[1, 2], [0, 1], [1, 2]]),
    ),
    "unique bool": (lambda t, x: t.unique(x > 1), TIES),
    "unique_consecutive": (lambda t, x: t.unique_consecutive(x, return_inverse=True, return_counts=True), TIES),
    "unique_consecutive rows": (lambda t, x: x.unique_consecutive(dim=0), np.array([[1, 2], [1, 2], [0, 1]])),
    "searchsorted": (lambda t, x: t.searchsorted(t.tensor(EDGES), x), A),
    "searchsorted right": (lambda t, x: t.searchsorted(t.tensor(EDGES), x, right=True), EDGES),
    "searchsorted rows": (lambda t, x: t.searchsorted(x.sort(1).values, x), A),
    "searchsorted int32": (lambda t, x: t.searchsorted(t.tensor(EDGES), x, out_int32=True, side="right"), A),
    "searchsorted number": (lambda t, x: t.searchsorted(x, 0.3), EDGES),
    "bucketize": (lambda t, x: t.bucketize(x, t.tensor(EDGES)), A),
    "bucketize right": (lambda t, x: t.bucketize(x, t.tensor(EDGES), right=True), EDGES),
    "bucketize ints": (lambda t, x: t.bucketize(x, t.tensor([1, 3])), TIES),
    "histc": (lambda t, x: x.histc(4), A),
    "histc range": (lambda t, x: t.histc(x, bins=5, min=-1, max=1), A),
    "histc of one value": (lambda t, x: t.histc(x * 0, 3), A),
    "bincount": (lambda t, x: x.bincount(), TIES),
    "bincount minlength": (lambda t, x: t.bincount(x, minlength=6), TIES),
    "bincount weights": (lambda t, x: t.bincount(x, weights=x * 0.5), TIES),
    "bincount integer weights": (lambda t, x: t.bincount(x, weights=x), TIES),
    "isin": (lambda t, x: t.isin(x, t.tensor([1, 2])), TIES),
    "isin invert": (lambda t, x: t.isin(x, 3, invert=True), TIES),
    "nonzero": (lambda t, x: x.nonzero(), TIES),
    "nonzero 2-dim": (lambda t, x: t.nonzero(x > 0), A),
    "nonzero tuple": (lambda t, x: t.nonzero(x > 0, as_tuple=True), A),
    "nonzero 0-dim": (lambda t, x: t.nonzero(x), S),
    "argwhere": (lambda t, x: t.argwhere(x > 0), A),
    "sort ints": (lambda t, x: tuple(t.sort(x.int(), stable=True)), TIES),
    "sort uint8 descending": (lambda t, x: x.to(t.uint8).sort(descending=True).values, TIES),
    "sort bool": (lambda t, x: (x > 1).sort().values, TIES),
    "topk ints": (lambda t, x: x.topk(2).values, TIES),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", NAMED)
def test_agrees_with_torch(case, dtype):
    f, *arrays = NAMED[case]
    agree(f, *arrays, dtype=dtype)


@pytest.mark.parametrize("case", UNNAMED)
def test_agrees_with_torch_by_other_steps(case):
    f, *arrays = UNNAMED[case]
    agree(f, *arrays, name=False)


@pytest.mark.parametrize("case", PLAIN)
def test_counts_agree_with_torch(case):
    f, *arrays = PLAIN[case]
    agree(f, *arrays, grad=False)


@pytest.mark.parametrize(
    ("f", "words"),
    [
        (lambda t, x: x.topk(6), 6),
        (lambda t, x: x.kthvalue(0), 6),
        (lambda t, x: x.sort(2), 4),
        (lambda t, x: t.bincount(x), 5),
        (lambda t, x: t.bincount(t.tensor([-1])), 5),
        (lambda t, x: t.bucketize(x, x), 0),
        (lambda t, x: t.searchsorted(x, x[:2]), 3),
        (lambda t, x: x.long().histc(3), 0),
        (lambda t, x: x.histc(0), 4),
    ],
)
def test_errors_are_torchs(f, words):
    same_error(f, A, words=words)


def test_equal_elements_keep_their_order():
    x = np.repeat([2.0, 1.0, 2.0, 1.0], 8)
    for descending in (False, True):
        found = pb.sort(pb.tensor(x), descending=descending)
        expected = np.argsort(-x if descending else x, kind="stable")
        np.testing.assert_array_equal(found.indices.numpy(), expected)
    assert repr(pb.topk(pb.tensor([1.0, 2.0]), 1)).startswith("torch.return_types.topk(\nvalues=")


def test_order_of_batches_and_derivatives():
    x, t = data(2, 4, 5), data(3, 4, 5)
    order = np.argsort(x, 1)
    np.testing.assert_array_equal(
        pb.vmap(lambda r: pb.sort(pb.sort(r).values, descending=True).values)(x), np.sort(x)[:, ::-1]
    )
    value, tangent = pb.jvp(lambda r: pb.topk(r, 2, dim=1, largest=False).values, (x,), (t,))
    np.testing.assert_array_equal(value, np.sort(x)[:, :2])
    np.testing.assert_array_equal(tangent, np.take_along_axis(t, order, 1)[:, :2])
    edges = np.sort(x[0])
    np.testing.assert_array_equal(pb.vmap(lambda r: pb.searchsorted(edges, r))(x), np.searchsorted(edges, x))
