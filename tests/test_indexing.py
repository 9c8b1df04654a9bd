"""Brackets, and reading and writing by index tensors and masks, against NumPy and PyTorch."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pullback as pb
from pullback.tape.state import modes
from torch_peer import agree, data, same_error

torch = pytest.importorskip("torch")

A = data(0, 3, 4)
B = data(1, 2, 3, 4)
V = data(2, 5)


# Random shapes, random indices


@st.composite
def indexed(draw, arrays=True, negative_steps=True):
    """A shape and an index for it, as NumPy takes it."""
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))
    parts = []
    axis = 0
    while axis < len(shape):
        n = shape[axis]
        kinds = ["int", "slice", "slice", "none", "stop"] + (["array", "list", "mask", "scalar"] if arrays else [])
        kind = draw(st.sampled_from(kinds))
        if kind == "stop":
            break
        if kind == "none":
            parts.append(None)
            if len(parts) > 6:
                break
            continue
        if kind == "int":
            parts.append(draw(st.integers(-n, n - 1)))
        elif kind == "scalar":
            parts.append(np.int64(draw(st.integers(-n, n - 1))))
        elif kind == "slice":
            bound = st.none() | st.integers(-n - 1, n + 1)
            steps = [None, 1, 2, 3] + ([-1, -2] if negative_steps else [])
            parts.append(slice(draw(bound), draw(bound), draw(st.sampled_from(steps))))
        elif kind == "mask":
            rank = draw(st.integers(1, len(shape) - axis))
            size = math.prod(shape[axis : axis + rank])
            bits = draw(st.lists(st.booleans(), min_size=size, max_size=size))
            parts.append(np.array(bits).reshape(shape[axis : axis + rank]))
            axis += rank
            continue
        else:
            like = draw(st.sampled_from([(2,), (1,), (3, 1), (1, 2), (3, 2)] if kind == "array" else [(2,), (1,)]))
            size = math.prod(like)
            numbers = draw(st.lists(st.integers(-n, n - 1), min_size=size, max_size=size))
            parts.append(np.array(numbers).reshape(like) if kind == "array" else numbers)
        axis += 1
    if axis < len(shape) and draw(st.booleans()):
        parts.append(Ellipsis)
    elif draw(st.booleans()):
        cut = draw(st.integers(0, len(parts)))
        if not any(p is Ellipsis for p in parts):
            parts.insert(cut, Ellipsis)
            axis_after = sum(_width(p) for p in parts[cut:])
            axis_before = sum(_width(p) for p in parts[:cut])
            if axis_after and axis_before + axis_after < len(shape):
                del parts[cut]  # the parts behind it were drawn for other axes
    index = tuple(parts)
    if len(index) == 1 and draw(st.booleans()):
        index = index[0]
    return shape, index


def _width(part):
    if part is None or part is Ellipsis:
        return 0
    return part.ndim if isinstance(part, np.ndarray) and part.dtype == bool else 1


def _numbers(shape):
    return np.arange(1.0, math.prod(shape) + 1).reshape(shape)


def _expected(x, index):
    """What NumPy gives, or None where it can't be indexed so (index arrays that don't broadcast)."""
    try:
        return x[index]
    except IndexError:
        return None


def _to_torch(index):
    def part(p):
        if isinstance(p, np.ndarray):
            return torch.tensor(p)
        return int(p) if isinstance(p, np.integer) else p

    return tuple(map(part, index)) if isinstance(index, tuple) else part(index)


def _to_pullback(index):
    def part(p):
        return pb.tensor(p) if isinstance(p, np.ndarray) else p

    return tuple(map(part, index)) if isinstance(index, tuple) else part(index)


@pytest.fixture(autouse=True)
def _numpy_mode_is_off():
    assert not modes.numpy


@settings(max_examples=300, deadline=None)
@given(indexed())
def test_numpy_functions_index_as_numpy_does(case):
    """Reading, its gradient, its forward derivative and batches of it, in functions of NumPy arrays."""
    shape, index = case
    x = _numbers(shape)
    expected = _expected(x, index)
    if expected is None:
        return
    w = data(0, *expected.shape)
    f = lambda a: (a[index] * w).sum()  # noqa: E731
    value, gradient = pb.value_and_grad(f)(x)
    np.testing.assert_allclose(value, (expected * w).sum())
    counted = np.zeros(shape)
    np.add.at(counted, index, w)
    np.testing.assert_allclose(gradient, counted, atol=1e-12)
    t = data(1, *shape)
    np.testing.assert_allclose(pb.jvp(lambda a: a[index], (x,), (t,))[1], t[index])
    xs = np.stack([x, 2 * x])
    np.testing.assert_allclose(pb.vmap(lambda a: a[index])(xs), np.stack([row[index] for row in xs]))
    np.testing.assert_allclose(pb.vmap(pb.grad(f))(xs), np.stack([counted] * 2), atol=1e-12)


@settings(max_examples=300, deadline=None)
@given(indexed(negative_steps=False))
def test_tensors_index_as_torch_does(case):
    shape, index = case
    x, y = pb.tensor(_numbers(shape), requires_grad=True), torch.tensor(_numbers(shape), requires_grad=True)
    if _expected(_numbers(shape), index) is None:
        return
    a, b = x[_to_pullback(index)], y[_to_torch(index)]
    assert tuple(a.shape) == tuple(b.shape)
    np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())
    w = data(0, *b.shape)
    (a * pb.tensor(w)).sum().backward()
    (b * torch.tensor(w)).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy())


@settings(max_examples=200, deadline=None)
@given(indexed(arrays=False), st.booleans())
def test_basic_indices_give_views(case, tracked):
    shape, index = case
    array = _numbers(shape)
    x = pb.tensor(array, requires_grad=tracked)
    view = x[index]
    np.testing.assert_array_equal(view.detach().numpy(), array[index])
    with pb.no_grad():
        view.fill_(-1.0)
        array[index] = -1.0
        np.testing.assert_array_equal(x.detach().numpy(), array)
        x.fill_(3.0)
    assert (view.detach().numpy() == 3.0).all()


@settings(max_examples=300, deadline=None)
@given(indexed(), st.sampled_from(["same", "number", "row"]))
def test_numpy_functions_write_as_numpy_does(case, kind):
    """Writing, and its gradients with respect to the target and the value: the last of repeated writes counts."""
    shape, index = case
    x = _numbers(shape)
    target = _expected(x, index)
    if target is None:
        return
    like = {"same": target.shape, "number": (), "row": target.shape[-1:]}[kind]
    v, w = data(1, *like), data(2, *shape)

    def f(a, b):
        y = a * 1.0
        y[index] = b * 2.0
        return (y * w).sum()

    written = x.copy()
    written[index] = v * 2.0
    value, (ga, gb) = pb.value_and_grad(f, argnums=(0, 1))(x, v)
    np.testing.assert_allclose(value, (written * w).sum())
    kept = np.ones(shape)
    kept[index] = 0.0
    np.testing.assert_allclose(ga, kept * w)
    # Which element of the value stands in each place at the end, if any.
    owner = np.full(shape, -1)
    owner[index] = np.broadcast_to(np.arange(v.size).reshape(like), target.shape)
    expected = np.array([2.0 * w[owner == i].sum() for i in range(v.size)]).reshape(like)
    np.testing.assert_allclose(gb, expected, atol=1e-12)
    ta, tb = data(3, *shape), data(4, *like)
    t = pb.jvp(f, (x, v), (ta, tb))[1]
    np.testing.assert_allclose(t, (ga * ta).sum() + (gb * tb).sum(), atol=1e-9)
    batch = pb.vmap(pb.grad(f, argnums=(0, 1)), in_axes=(0, None))(np.stack([x, 2 * x]), v)
    np.testing.assert_allclose(batch[0][1], ga)
    np.testing.assert_allclose(batch[1][0], gb, atol=1e-12)


@settings(max_examples=150, deadline=None)
@given(indexed(negative_steps=False), st.booleans())
def test_tensors_write_as_torch_does(case, number):
    shape, index = case
    if _expected(_numbers(shape), index) is None:
        return
    x, y = pb.tensor(_numbers(shape), requires_grad=True), torch.tensor(_numbers(shape), requires_grad=True)
    a, b = x * 1.0, y * 1.0
    like = () if number else tuple(b[_to_torch(index)].shape)
    parts = index if isinstance(index, tuple) else (index,)
    repeated = any(isinstance(p, np.ndarray | list) for p in parts)  # then PyTorch does not define which write wins
    v = np.full(like, 2.5) if repeated else data(1, *like)
    p, q = pb.tensor(v, requires_grad=True), torch.tensor(v, requires_grad=True)
    a[_to_pullback(index)] = p * 2.0
    b[_to_torch(index)] = q * 2.0
    np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())
    (a * a).sum().backward()
    (b * b).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy())


# By hand


def test_integers_apart_from_arrays_follow_the_arguments():
    """x[0, :, index]: PyTorch takes the integer out first, NumPy counts it among the arrays."""
    index = np.s_[0, :, [0, 2]]
    assert tuple(pb.tensor(B)[index].shape) == tuple(torch.tensor(B)[index].shape) == (3, 2)
    assert pb.vmap(lambda x: x[index])(B[None]).shape[1:] == B[index].shape == (2, 3)


READS = {
    "int": (lambda t, x: x[1], A),
    "negative int": (lambda t, x: x[-1], A),
    "ints": (lambda t, x: x[1, 2], A),
    "slice": (lambda t, x: x[1:3], A),
    "slices": (lambda t, x: x[:2, 1::2], A),
    "int and slice": (lambda t, x: x[1:, 2], A),
    "dots": (lambda t, x: x[..., 1], B),
    "None": (lambda t, x: x[:, None], A),
    "everything": (lambda t, x: x[...], A),
    "tensor as int": (lambda t, x: x[t.tensor(1)], A),
    "tensors as bounds": (lambda t, x: x[t.tensor(1) :], A),
    "list": (lambda t, x: x[[2, 0, 2]], A),
    "index tensors": (lambda t, x: x[t.tensor([0, 2]), t.tensor([1, 1])], A),
    "index tensor and slice": (lambda t, x: x[:, t.tensor([3, 0])], A),
    "index tensor and int": (lambda t, x: x[1, [0, 0, 3]], A),
    "mask": (lambda t, x: x[x > 0], A),
    "row mask": (lambda t, x: x[t.tensor([True, False, True])], A),
    "column mask": (lambda t, x: x[:, t.tensor([True, False, True, False])], A),
    "True": (lambda t, x: x[True], A),
    "False": (lambda t, x: x[False], A),
    "empty list": (lambda t, x: x[[]], A),
    "empty tuple": (lambda t, x: x[()], A),
    "range": (lambda t, x: x[range(2)], A),
    "int32 indices": (lambda t, x: x[t.tensor([0, 1], dtype=t.int32)], A),
}
TABLE = {
    "index_select": (lambda t, x: t.index_select(x, 1, t.tensor([3, 0, 0])), A),
    "index_select 0-dim index": (lambda t, x: x.index_select(0, t.tensor(1)), A),
    "gather": (lambda t, x: t.gather(x, 1, t.tensor([[0, 0], [3, 1]])), A),
    "gather dim 0": (lambda t, x: x.gather(0, t.tensor([[2, 0, 1, 1]])), A),
    "gather 3-dim": (lambda t, x: x.gather(1, t.zeros(2, 5, 4, dtype=t.int64)), B),
    "take": (lambda t, x: x.take(t.tensor([[0, 5], [-1, 5]])), A),
    "take_along_dim": (lambda t, x: t.take_along_dim(x, t.tensor([[1], [0], [3]]), dim=1), A),
    "take_along_dim broadcast": (lambda t, x: x.take_along_dim(t.tensor([[1, 0]]), 1), A),
    "take_along_dim flat": (lambda t, x: t.take_along_dim(x, t.tensor([1, 7])), A),
    "masked_select": (lambda t, x: t.masked_select(x, x > 0.2), A),
    "masked_select broadcast": (lambda t, x: x.masked_select(t.tensor([True, False, True, True])), A),
    "masked_fill": (lambda t, x: x.masked_fill(x > 0, -1.5), A),
    "masked_fill tensor": (lambda t, x, v: x.masked_fill(x > 0, v), A, data(1)),
    "masked_fill broadcast": (lambda t, x: x.masked_fill(t.tensor([[True], [False], [True]]), 0.0), A),
    "scatter": (lambda t, x, v: x.scatter(1, t.tensor([[0, 3], [1, 2], [2, 0]]), v), A, data(1, 3, 2)),
    "scatter number": (lambda t, x: x.scatter(1, t.tensor([[0], [3], [1]]), 2.0), A),
    "scatter_add": (lambda t, x, v: x.scatter_add(0, t.tensor([[0, 0, 1], [0, 2, 1]]), v), A, data(1, 2, 3)),
    "index_add": (lambda t, x, v: x.index_add(1, t.tensor([1, 1, 0]), v), A, data(1, 3, 3)),
    "index_copy": (lambda t, x, v: x.index_copy(0, t.tensor([2, 0]), v), A, data(1, 2, 4)),
    "index_fill": (lambda t, x: x.index_fill(1, t.tensor([0, 2]), -1.0), A),
    "index_put": (lambda t, x, v: x.index_put((t.tensor([0, 2]), t.tensor([1, 1])), v), A, data(1, 2)),
    "index_put accumulate": (
        lambda t, x, v: x.index_put((t.tensor([0, 0]), t.tensor([1, 1])), v, accumulate=True),
        A,
        data(1, 2),
    ),
    "where": (lambda t, x, y: t.where(x > 0, x, y), A, data(1, 4)),
    "where number": (lambda t, x: t.where(x > 0, x, 0.0), A),
    "where method": (lambda t, x, y: x.where(x > 0, y), A, data(1, 3, 1)),
}
UNNAMED = {
    "masked_scatter": (lambda t, x, v: x.masked_scatter(x > 0, v), A, data(1, 12)),
    "tril_indices": (lambda t, x: x[:, :3][tuple(t.tril_indices(3, 3, -1))], A),
    "triu_indices": (lambda t, x: x[tuple(t.triu_indices(3, 4))], A),
    "diagonal by index": (lambda t, x: x[t.arange(3), t.arange(3)], A),
    "negative int of several": (lambda t, x: x[:, -1, None, ::2], B),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", [*READS, *TABLE])
def test_agrees_with_torch(case, dtype):
    f, *arrays = (READS | TABLE)[case]
    agree(f, *arrays, dtype=dtype)


@pytest.mark.parametrize("case", UNNAMED)
def test_agrees_with_torch_by_other_steps(case):
    f, *arrays = UNNAMED[case]
    agree(f, *arrays, name=False)


INPLACE = {
    "int": lambda t, y, v: y.__setitem__(1, v[0]),
    "slice": lambda t, y, v: y.__setitem__((slice(None), slice(0, 2)), v[:, :2]),
    "mask": lambda t, y, v: y.__setitem__(y > 0, v.sum()),
    "list": lambda t, y, v: y.__setitem__([2, 0], v[:2]),
    "column list": lambda t, y, v: y.__setitem__((slice(None), [3, 1]), v[:, :2]),
    "number": lambda t, y, v: y.__setitem__((0, 0), 3.0),
    "from itself": lambda t, y, v: y.__setitem__(slice(1, None), y[:-1].clone()),
    "masked_fill_": lambda t, y, v: y.masked_fill_(y > 0, 1.5),
    "scatter_": lambda t, y, v: y.scatter_(1, t.tensor([[0], [1], [2]]), v[:, :1]),
    "scatter_add_": lambda t, y, v: y.scatter_add_(1, t.tensor([[0, 0], [1, 0], [2, 1]]), v[:, :2]),
    "index_add_": lambda t, y, v: y.index_add_(0, t.tensor([1, 1, 0]), v),
    "index_copy_": lambda t, y, v: y.index_copy_(0, t.tensor([1, 2, 0]), v),
    "index_fill_": lambda t, y, v: y.index_fill_(0, t.tensor([1]), 2.0),
    "index_put_": lambda t, y, v: y.index_put_((t.tensor([0, 1]), t.tensor([1, 3])), v[0, :2]),
    "index_put_ accumulate": lambda t, y, v: y.index_put_((t.tensor([1, 1]),), v[:2], accumulate=True),
    "put_": lambda t, y, v: y.put_(t.tensor([0, 7]), v[0, :2]),
}


@pytest.mark.parametrize("case", INPLACE)
@pytest.mark.parametrize("through", ["tensor", "view"])
def test_writes_agree_with_torch(case, through):
    def f(t, x, v):
        base = x * 1.0
        y = base if through == "tensor" else base.view(12).view(3, 4)
        INPLACE[case](t, y, v * 2.0)
        return base * base, y.sum()

    agree(f, A, data(3, 3, 4), name=False)


def test_augmented_assignment_writes_once():
    def f(t, x):
        y = x * 1.0
        y[0] += y[1] * 2.0
        y[:, 1] *= 3.0
        y[[0, 2]] -= 1.0
        y[0, 0] **= 2.0
        return y

    agree(f, A, name=False)
    y = pb.tensor(A, requires_grad=True) * 1.0
    y[0] += 1.0
    assert y.grad_fn.name() == "CopySlices"
    assert y.grad_fn.next_functions[0][0].name() == "MulBackward0"


def test_the_last_of_repeated_writes_counts():
    x, v = pb.tensor(V, requires_grad=True), pb.tensor([1.0, 2.0, 3.0], dtype=pb.float64, requires_grad=True)
    y = x * 1.0
    y[[1, 4, 1]] = v
    np.testing.assert_array_equal(y.detach().numpy()[[1, 4]], [3.0, 2.0])
    y.sum().backward()
    np.testing.assert_array_equal(v.grad.numpy(), [0.0, 1.0, 1.0])
    np.testing.assert_array_equal(x.grad.numpy(), [1.0, 0.0, 1.0, 1.0, 0.0])


@pytest.mark.parametrize(
    ("f", "arrays", "words"),
    [
        (lambda t, x: x[3], [A], 8),
        (lambda t, x: x[0, -5], [A], 8),
        (lambda t, x: x[0, 0, 0], [A], 4),
        (lambda t, x: x[0], [data(0)], 5),
        (lambda t, x: x[1.0], [A], 3),
        (lambda t, x: x[t.tensor([0.5])], [A], 6),
        (lambda t, x: x[[0, 9]], [A], 3),
        (lambda t, x: x[t.tensor([True, False])], [A], 8),
        (lambda t, x: x.__setitem__(5, 1.0), [A], 8),
        (lambda t, x: x.__setitem__([0, 1], t.zeros(3)), [A], 2),
        (lambda t, x: x.__setitem__(0, t.zeros(3)), [A], 0),
        (lambda t, x: x.requires_grad_().__setitem__(0, 1.0), [A], 0),
        (lambda t, x: t.index_select(x, 0, t.tensor([3])), [A], 0),
        (lambda t, x: t.index_select(x, 0, t.zeros(1, 1, dtype=t.int64)), [A], 3),
        (lambda t, x: t.gather(x, 1, t.tensor([0])), [A], 6),
        (lambda t, x: t.gather(x, 1, t.tensor([[4]])), [A], 8),
        (lambda t, x: t.gather(x, 1, t.zeros(5, 1, dtype=t.int64)), [A], 6),
        (lambda t, x: t.gather(x, 1, t.tensor([[0.0]])), [A], 0),
        (lambda t, x: x.scatter(1, t.tensor([[0]]), t.zeros(1, 1, dtype=t.float64)), [A], 3),
        (lambda t, x: x.take(t.tensor([12])), [A], 0),
        (lambda t, x: x.masked_fill(x, 0.0), [A], 0),
        (lambda t, x: x.masked_fill(x > 0, t.zeros(2)), [A], 4),
        (lambda t, x: t.masked_select(x, x), [A], 3),
        (lambda t, x: t.where(x, x, x), [A], 5),
    ],
)
def test_errors_are_torchs(f, arrays, words):
    same_error(f, *arrays, words=words)


def test_indices_are_read_when_they_are_used():
    """What an index array held when it was used counts for the gradient, not what it holds later."""
    index, numbers = pb.tensor([0, 1]), np.array([0, 1])
    x = pb.tensor(V, requires_grad=True)
    y = x[index].sum() + x.gather(0, index).sum() + x[numbers].sum()
    index[0] = 3
    numbers[0] = 3
    y.backward()
    np.testing.assert_array_equal(x.grad.numpy(), [3.0, 3.0, 0.0, 0.0, 0.0])


def test_batched_and_traced_indices():
    x = data(0, 5, 3)
    index = np.array([[0, 4], [2, 2], [1, 0]])
    np.testing.assert_array_equal(pb.vmap(lambda i: pb.tensor(x)[i])(index), x[index])
    np.testing.assert_array_equal(pb.vmap(lambda i: pb.tensor(x)[1:, i[0] % 3])(index), x[1:, index[:, 0] % 3].T)
    rows = pb.vmap(lambda a, i: a[i])(x[:3], index % 3)
    np.testing.assert_array_equal(rows, np.take_along_axis(x[:3], index % 3, 1))

    def write(i):
        y = pb.tensor(x) * 1.0
        y[i] = 0.0
        return y

    expected = np.stack([x] * 3)
    for k, i in enumerate(index):
        expected[k, i] = 0.0
    np.testing.assert_array_equal(pb.vmap(write)(index), expected)
    np.testing.assert_array_equal(
        pb.vmap(lambda a, i: pb.gather(a, 0, i))(x[:3], index % 3), np.take_along_axis(x[:3], index % 3, 1)
    )


def test_where_reads_only_the_branch_taken():
    x = pb.tensor([4.0, 0.0], requires_grad=True)
    with np.errstate(divide="ignore"):
        pb.where(x > 0, x.sqrt(), x * 2).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [0.25, 2.0])


def test_lists_of_tensors_index():
    x = pb.tensor(A)
    np.testing.assert_array_equal(x[[pb.tensor(2), pb.tensor(0)]].numpy(), A[[2, 0]])
    np.testing.assert_array_equal(x[(pb.tensor(2), pb.tensor(0))].numpy(), A[2, 0])


def test_scatter_takes_the_part_of_src_under_the_index():
    """PyTorch has no gradient for a larger src; here what is not written gets zero."""
    x, v = pb.tensor(A, requires_grad=True), pb.tensor(data(1, 3, 4), requires_grad=True)
    x.scatter(0, pb.tensor([[2, 0]]), v).sum().backward()
    expected = np.zeros((3, 4))
    expected[0, :2] = 1.0
    np.testing.assert_array_equal(v.grad.numpy(), expected)


@pytest.mark.parametrize(
    "f",
    [
        lambda t, x: t.where(x > 0, x.int(), x.float()),
        lambda t, x: t.where(x > 0, x.float(), x.double().sum()),
        lambda t, x: t.where(x > 0, 1, 2),
        lambda t, x: t.where(x > 0, 1.5, 2),
        lambda t, x: t.where(x > 0, x.int(), 2.5),
        lambda t, x: list(t.where(x > 0)),
        lambda t, x: x.int()[x.int().abs() % 3],
    ],
)
def test_dtypes_are_torchs(f):
    agree(f, V, grad=False)


def test_higher_derivatives_through_indices():
    index = np.array([0, 2, 0])

    def f(x):
        y = x * x
        y[1] = x[index].prod()
        return (y[::-1] * x).sum() + (x[1:, None] * x[None, :-1]).sum() if x.ndim == 1 else None

    x = data(0, 4)
    eye = np.eye(4)
    step = 1e-5
    numeric = np.stack([(pb.grad(f)(x + step * e) - pb.grad(f)(x - step * e)) / (2 * step) for e in eye])
    np.testing.assert_allclose(pb.hessian(f)(x), numeric, atol=1e-8)
