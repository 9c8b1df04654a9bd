"""What stands on the ops: `contract`, sorting and selecting along an axis, running extrema, differences."""

import numpy as np
import pytest

import pullback as pb
from pullback.ops.elementwise import where
from pullback.ops.index import add_along, put_along, scatter_add, take_along
from pullback.ops.linalg import contract
from pullback.ops.scan import cummax, cummin, diff
from pullback.ops.sort import searchsorted, sort, topk

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("subscripts", "shapes"),
    [
        ("ij,jk", [(2, 3), (3, 4)]),
        ("ij,jk->ki", [(2, 3), (3, 4)]),
        ("ba,cb", [(2, 3), (4, 2)]),
        ("ii", [(3, 3)]),
        ("ii->i", [(3, 3)]),
        ("iij->ji", [(3, 3, 2)]),
        ("iii->i", [(3, 3, 3)]),
        ("ij->", [(2, 3)]),
        ("ij->ji", [(2, 3)]),
        ("ij->ij", [(2, 3)]),
        ("...ij,...jk->...ik", [(5, 2, 3), (3, 4)]),
        ("...ij,...jk", [(5, 1, 2, 3), (4, 3, 2)]),
        ("i...->...", [(3, 2, 2)]),
        ("...", [(2, 2)]),
        ("i,j->ij", [(3,), (2,)]),
        ("i,i", [(3,), (3,)]),
        ("i,i->i", [(3,), (3,)]),
        ("ij,kj->i", [(2, 3), (4, 3)]),
        ("ij,j,jk->ik", [(2, 3), (3,), (3, 4)]),
        ("ab,bc,cd,de->ae", [(2, 3), (3, 4), (4, 2), (2, 3)]),
        ("ij,ij->i", [(2, 3), (1, 3)]),
        ("ij,jk", [(2, 1), (3, 4)]),
        ("ii,i->i", [(3, 3), (3,)]),
        ("bij,bjk->bik", [(2, 3, 4), (2, 4, 5)]),
        (" i j , j k -> i k ", [(2, 3), (3, 4)]),
        ("ij,jk", [(2, 0), (0, 4)]),
        (",ij->ij", [(), (2, 3)]),
        (",", [(), ()]),
        ("aB,Bc->ac", [(2, 3), (3, 2)]),
    ],
)
def test_contract(subscripts, shapes):
    xs = [RNG.standard_normal(shape) for shape in shapes]
    wanted = np.einsum(subscripts, *xs)
    found = contract(subscripts, *xs)
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-13)
    assert np.shape(found) == np.shape(wanted)
    assert not any(np.shares_memory(found, x) for x in xs)
    ts = [RNG.standard_normal(shape) for shape in shapes]
    g = RNG.standard_normal(np.shape(wanted))
    moved = [np.einsum(subscripts, *xs[:i], ts[i], *xs[i + 1 :]) for i in range(len(xs))]
    pulled = pb.vjp(lambda *zs: contract(subscripts, *zs), *xs)[1](g)
    for x, t, d, m in zip(xs, ts, pulled, moved, strict=True):
        assert np.shape(d) == x.shape
        np.testing.assert_allclose(np.sum(d * t), np.sum(g * m), rtol=1e-11, atol=1e-12)
    tangent = pb.jvp(lambda *zs: contract(subscripts, *zs), tuple(xs), tuple(ts))[1]
    np.testing.assert_allclose(tangent, sum(moved), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(
    ("subscripts", "shapes"),
    [
        ("ij,jk", [(2, 3), (4, 5)]),
        ("ij", [(2,)]),
        ("ij,jk", [(2, 3)]),
        ("ij->iij", [(2, 3)]),
        ("ij->k", [(2, 3)]),
        ("ii", [(2, 3)]),
        ("i1->i", [(2, 3)]),
        ("...ij", [(2,)]),
    ],
)
def test_contract_refuses(subscripts, shapes):
    with pytest.raises(ValueError, match="einsum"):
        contract(subscripts, *(np.ones(shape) for shape in shapes))


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("axis", [0, 1])
def test_sort(axis, descending):
    x = RNG.integers(0, 4, (5, 6)).astype(float)
    x[0, 1] = np.nan
    y, index = sort(x, axis=axis, descending=descending)
    ordered = np.sort(x, axis)
    np.testing.assert_array_equal(y, np.flip(ordered, axis) if descending else ordered)
    np.testing.assert_array_equal(y, np.take_along_axis(x, index, axis))
    ties = (np.diff(y, axis=axis) == 0) & (np.diff(index, axis=axis) < 0)
    assert not ties.any(), "equal elements keep their order"


def test_topk():
    x = np.array([[3.0, 1.0, 3.0, 2.0], [0.0, 5.0, 4.0, 5.0]])
    y, index = topk(x, 2, axis=1)
    assert y.tolist() == [[3, 3], [5, 5]]
    assert index.tolist() == [[0, 2], [1, 3]]
    y, index = topk(x, 1, axis=0, largest=False)
    assert y.tolist() == [[0, 1, 3, 2]]
    assert index.tolist() == [[1, 0, 0, 0]]


@pytest.mark.parametrize("side", ["left", "right"])
def test_searchsorted(side):
    line = np.array([1.0, 2.0, 2.0, 5.0])
    values = np.array([[0.0, 2.0], [3.0, 9.0]])
    np.testing.assert_array_equal(searchsorted(line, values, side=side), np.searchsorted(line, values, side))
    lines = np.stack([line, line + 1])
    wanted = np.stack([np.searchsorted(a, b, side) for a, b in zip(lines, values, strict=True)])
    np.testing.assert_array_equal(searchsorted(lines, values, side=side), wanted)
    assert searchsorted(line, np.float64(2.0), side=side) == np.searchsorted(line, 2.0, side)


def test_running_extrema():
    x = np.array([[1.0, 3.0, 3.0, 2.0], [4.0, 0.0, np.nan, 5.0]])
    y, index = cummax(x, axis=1)
    np.testing.assert_array_equal(y, np.maximum.accumulate(x, 1))
    assert index.tolist() == [[0, 1, 2, 2], [0, 0, 2, 2]]
    y, index = cummin(x, axis=0)
    np.testing.assert_array_equal(y, np.minimum.accumulate(x, 0))
    assert index.tolist() == [[0, 0, 0, 0], [0, 1, 1, 0]]


@pytest.mark.parametrize("n", [0, 1, 2])
@pytest.mark.parametrize("axis", [0, 1])
def test_diff(axis, n):
    x = RNG.standard_normal((4, 5))
    np.testing.assert_array_equal(diff(x, axis=axis, n=n), np.diff(x, n, axis))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_along_an_axis(axis):
    x = RNG.standard_normal((3, 4, 5))
    shape = [3, 4, 5]
    shape[axis] = 2
    index = RNG.integers(0, x.shape[axis], shape)
    index = np.where(RNG.random(shape) < 0.5, index, index - x.shape[axis])  # negative ones count from the end
    np.testing.assert_array_equal(take_along(x, index, axis), np.take_along_axis(x, index, axis))
    v = RNG.standard_normal(shape)
    wanted = x.copy()
    np.put_along_axis(wanted, index, v, axis)
    np.testing.assert_array_equal(put_along(x, index, v, axis), wanted)
    total = x.copy()
    for at in np.ndindex(*shape):
        place = list(at)
        place[axis] = index[at]
        total[tuple(place)] += v[at]
    np.testing.assert_allclose(add_along(x, index, v, axis), total)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "complex64", "int64", "bool"])
@pytest.mark.parametrize("rows", [5, 300])
@pytest.mark.parametrize(("shape", "rest"), [((7,), ()), ((7,), (3,)), ((4, 3), ()), ((4, 3), (2,)), ((7,), (0,))])
def test_scatter_add(dtype, shape, rest, rows):
    indices = [RNG.integers(-n, n, (rows, 2)) for n in shape]
    v = (RNG.standard_normal((rows, 2, *rest)) * 4).astype(dtype)
    wanted = np.zeros((*shape, *rest), dtype)
    np.add.at(wanted, tuple(indices), v)
    found = scatter_add(v, *indices, shape=(*shape, *rest))
    assert found.dtype == wanted.dtype
    tol = 1e-2 if dtype == "float16" else 1e-5
    np.testing.assert_allclose(found, wanted, rtol=tol, atol=tol)


def test_scatter_add_out_of_range():
    with pytest.raises(IndexError):
        scatter_add(np.ones(2), np.array([0, 4]), shape=(4,))
    with pytest.raises(IndexError):
        scatter_add(np.ones((300, 3)), np.array([0, -5] * 150), shape=(4, 3))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64", "complex128"])
@pytest.mark.parametrize("size", [7, 5000])
def test_where(dtype, size):
    """Long arrays are selected by masking bits: the same bits as NumPy's, signed zeros, infinities and NaN included."""
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.5, -2.5])
    with np.errstate(invalid="ignore"):
        a, b = (np.resize(RNG.permutation(special), size).astype(dtype) for _ in range(2))
    c = RNG.random(size) < 0.5
    wide = np.broadcast_to(a, (2, size))
    cases = [
        (c, a, b),
        (c, a, 0.0),
        (c, 0.0, a),
        (c, a, -0.0),
        (c, a, 3),
        (c, -np.inf, b),
        (c[::-1], a[::-1], b),
        (c, a, b.real.astype("float64")),
        (c[:, None], wide.T, 0.0),
        (np.broadcast_to(c, (2, size)), wide, 1.0),
        (np.stack([c, ~c]), wide, 0.0),
        (c.astype(int), a, b),
        (c[0], a, b),
    ]
    for case in cases:
        with np.errstate(invalid="ignore"):
            found, wanted = where(*case), np.where(*case)
        assert found.dtype == wanted.dtype
        assert found.tobytes() == wanted.tobytes()
