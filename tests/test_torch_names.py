"""PyTorch's names for strided views, copies of views, reductions by index and in-place forms, against PyTorch."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import pullback as pb
from pullback.tensor.inplace_names import FUNCTIONS, METHODS
from torch_peer import agree, data, same_error, torch

pytestmark = pytest.mark.filterwarnings("ignore:index_reduce:UserWarning", "ignore:torch.range:UserWarning")

A = data(0, 4, 5)
B = data(1, 2, 3, 4)
V = data(2, 6)
S = data(3)
EACH = np.array([[0, 1, 2, 0, 0], [3, 3, 3, 3, 1], [0, 0, 2, 1, 0]])  # with repetitions, some rows never
ROWS = data(4, 3, 5)
PICK = np.array([2, 0, 2])

CASES = {
    "as_strided": (lambda t, x: t.as_strided(x * 1, (3, 2), (2, 5), 1), A),
    "as_strided overlapping": (lambda t, x: (x * 1).as_strided((4, 3), (1, 1)), V),
    "as_strided 0-dim": (lambda t, x: (x * 1).as_strided((), (), 3), V),
    "as_strided of a view": (lambda t, x: (x * 1)[1:].as_strided((2, 2), (1, 5), 6), A),
    "as_strided of a transpose": (lambda t, x: (x * 1).t().as_strided((2, 2), (1, 5)), A),
    "as_strided_copy": (lambda t, x: t.as_strided_copy(x * 1, (2, 2), (1, 2)), V),
    "alias_copy": (lambda t, x: t.alias_copy(x), A),
    "diagonal_copy": (lambda t, x: t.diagonal_copy(x, 1), A),
    "expand_copy": (lambda t, x: t.expand_copy(x, (3, -1)), V),
    "narrow_copy": (lambda t, x: t.narrow_copy(x, 1, 1, 2), A),
    "permute_copy": (lambda t, x: t.permute_copy(x, (2, 0, 1)), B),
    "select_copy": (lambda t, x: t.select_copy(x, 1, -1), A),
    "slice_copy": (lambda t, x: t.slice_copy(x, 1, 0, 4, 2), A),
    "split_copy": (lambda t, x: t.split_copy(x, 2), A),
    "split_with_sizes": (lambda t, x: t.split_with_sizes(x, [1, 4], 1), A),
    "split_with_sizes_copy": (lambda t, x: t.split_with_sizes_copy(x, [1, 3]), A),
    "squeeze_copy": (lambda t, x: t.squeeze_copy(x[:1]), A),
    "t_copy": (lambda t, x: t.t_copy(x), A),
    "transpose_copy": (lambda t, x: t.transpose_copy(x, 0, 2), B),
    "unbind_copy": (lambda t, x: t.unbind_copy(x, 1), A),
    "unfold_copy": (lambda t, x: t.unfold_copy(x, 1, 2, 2), A),
    "unsqueeze_copy": (lambda t, x: t.unsqueeze_copy(x, 1), A),
    "view_copy": (lambda t, x: t.view_copy(x, (5, 4)), A),
    "unsafe_chunk": (lambda t, x: t.unsafe_chunk(x, 2, 1), A),
    "unsafe_split": (lambda t, x: t.unsafe_split(x, 3), A),
    "unsafe_split_with_sizes": (lambda t, x: t.unsafe_split_with_sizes(x, (3, 1)), A),
    "diagonal_scatter": (lambda t, x, v: t.diagonal_scatter(x, v[:4], 1), A, V),
    "select_scatter": (lambda t, x, v: x.select_scatter(v[:4], 1, -2), A, V),
    "slice_scatter": (lambda t, x, v: x.slice_scatter(v, 0, 0, -1), A, ROWS),
    "slice_scatter step": (lambda t, x, v: x.slice_scatter(v[:2], 0, 1, None, 2), A, ROWS),
    "unfold": (lambda t, x: x.unfold(0, 3, 1), A),
    "unfold step": (lambda t, x: x.unfold(1, 2, 3), A),
    "unfold middle": (lambda t, x: x.unfold(1, 2, 1), B),
    "unfold of a transpose": (lambda t, x: x.t().unfold(0, 2, 2), A),
    "unfold nothing": (lambda t, x: x.unfold(0, 0, 2), A),
    "unfold 0-dim": (lambda t, x: x.unfold(0, 1, 1), S),
    "view_as_complex": (lambda t, x: t.view_as_real(t.view_as_complex(x.reshape(3, 2)) ** 2), V),
    "view_as_complex strided": (lambda t, x: t.view_as_complex(x[:, ::2, :2].contiguous()).abs(), B),
    "combinations": (lambda t, x: t.combinations(x, 3), V),
    "combinations with repetition": (lambda t, x: t.combinations(x, 2, True), V),
    "combinations of one": (lambda t, x: t.combinations(x, 1), V),
    "combinations of none": (lambda t, x: t.combinations(x[:2], 3), V),
    "block_diag": (lambda t, x, v, s: t.block_diag(x, v, s), A, V, S),
    "addbmm": (lambda t, x, b: t.addbmm(x[:3, :3], b, b.mT, beta=0.5, alpha=2), A, B),
    "tensordot, a length of 1": (lambda t, x, y: t.tensordot(x[:, :1], y, dims=([1], [0])), A, V.reshape(3, 2)),
    "flip": (lambda t, x: t.flip(x, dims=(0,)), A),
    "tensor_split": (lambda t, x: t.tensor_split(x, t.tensor([1, 3]), 1), A),
    "tensor_split by a number": (lambda t, x: t.tensor_split(x, t.tensor(3)), A),
    "fill": (lambda t, x, s: (t.fill(x, 2.5), t.fill(x, s)), A, S),
    "zero_": (lambda t, x: t.zero_(x * 1), A),
    "gather nothing": (lambda t, x: x.gather(0, t.zeros((2, 0), dtype=t.int64)), V),
    "index_add 0-dim": (lambda t, x, v: x.index_add(0, t.tensor([0]), v[0], alpha=2), S, V),
    "index_copy 0-dim": (lambda t, x, v: x.index_copy(0, t.tensor([0]), v[0]), S, V),
    "index_fill 0-dim": (lambda t, x, v: x.index_fill(0, t.tensor([0]), v[0]), S, V),
    "put": (lambda t, x, v, i: t.put(x, i, v[:3]), A, V, np.array([-1, 0, 7])),
    "put accumulate": (lambda t, x, v, i: x.put(i, v[:3], True), A, V, np.array([3, 0, 3])),
    "unravel_index": (lambda t, i: t.unravel_index(i, (4, 5)), np.array([0, 7, 19])),
    "broadcast_shapes": (lambda t: tuple(t.broadcast_shapes((2, 1), (3,), 3))),
    "range": (lambda t: (t.range(1, 4), t.range(0, 1, 0.25, dtype=t.float64))),
    "segment_reduce of parts": (
        lambda t, x: [
            t.segment_reduce(x, kind, lengths=t.tensor([1, 0, 3]), initial=1.0)
            for kind in ("sum", "mean", "prod", "max", "min")
        ],
        A,
    ),
    "segment_reduce without initial": (
        lambda t, x: [t.segment_reduce(x, kind, offsets=t.tensor([0, 3, 4])) for kind in ("sum", "mean", "max")],
        A,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_equals_pytorch(name):
    case = CASES[name]
    f, arrays = (case[0], case[1:]) if isinstance(case, tuple) else (case, ())
    agree(f, *arrays, name=False)


@pytest.mark.parametrize("name", ["as_strided", "select_scatter", "slice_scatter", "unfold", "view_as_complex"])
def test_single_precision_is_kept(name):
    f, *arrays = CASES[name]
    agree(f, *arrays, dtype="float32", name=False)


def test_nodes_are_named_as_pytorch_names_them():
    for name in ("as_strided overlapping", "unfold", "diagonal_scatter", "select_scatter", "slice_scatter", "put"):
        f, *arrays = CASES[name]
        agree(f, *arrays, name=True)


# Views: writes are seen through them


def test_writes_go_through_strided_views():
    def f(t, x, v):
        y = x * 1
        z = y.as_strided((2, 2), (5, 1), 1)
        z[0] = v[:2]
        w = z.as_strided((2,), (1,), 6)  # relative to the memory of y
        w *= 3
        return y, z, w, y.t()[1:].as_strided((3,), (1,))

    agree(f, A, V, name=False)


def test_writes_go_through_complex_views():
    def f(t, x):
        y = x * 1
        z = t.view_as_complex(y)
        z *= 3
        return y, t.view_as_real(z)

    agree(f, V.reshape(3, 2), name=False)


def test_a_write_is_seen_in_windows_which_cannot_be_written():
    def f(t, x):
        y = x * 1
        windows = y.unfold(0, 3, 2)
        y[1] = 0
        return windows

    agree(f, V, name=False)
    with pytest.raises(RuntimeError, match="single memory location"):
        (pb.tensor(V) * 1).unfold(0, 3, 1)[0] = 0


def test_the_gradient_of_a_layout_beyond_a_leaf_is_for_the_leaf_alone():
    grads = []
    for t in (pb, torch):
        x = t.tensor(V)[2:5].detach().requires_grad_()
        y = x.as_strided((2, 2), (1, 2), 1)
        (y * t.tensor([[1.0, 2.0], [3.0, 4.0]])).sum().backward()
        grads.append((y.detach().numpy(), x.grad.numpy()))
    np.testing.assert_array_equal(*(g[0] for g in grads))
    np.testing.assert_array_equal(*(g[1] for g in grads))


def test_of_overlapping_writes_the_last_counts():
    x, v = pb.tensor(V, requires_grad=True), pb.tensor(data(5, 2, 2), requires_grad=True)
    y = pb.as_strided_scatter(x, v, (2, 2), (1, 1), 1)
    np.testing.assert_array_equal(y.detach().numpy()[1:4], v.detach().numpy()[[0, 1, 1], [0, 0, 1]])
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [1, 0, 0, 0, 1, 1])
    np.testing.assert_array_equal(v.grad.numpy(), [[1, 0], [1, 1]])


@pytest.mark.parametrize(
    "f",
    [
        lambda t, x: (x * 1).unsqueeze_(1),
        lambda t, x: (x * 1).unsqueeze_(0).squeeze_(),
        lambda t, x: (x * 1).t_() @ x,
        lambda t, x: (x * 1).transpose_(0, 1).swapaxes_(0, 1),
    ],
)
def test_a_tensor_takes_a_shape_in_place(f):
    agree(f, A, name=False)


def test_a_shape_in_place_is_refused_where_a_view_would_not_follow():
    x = pb.tensor(A)
    y = x[0]
    with pytest.raises(RuntimeError, match=r"Use the result of \.unsqueeze\(\)"):
        x.unsqueeze_(0)
    with pytest.raises(RuntimeError, match="shares its memory"):
        y.unsqueeze_(0)
    with pytest.raises(RuntimeError, match="leaf Variable"):
        pb.tensor(A, requires_grad=True).t_()


def test_a_shape_in_place_counts_as_a_write():
    x = pb.tensor(A, requires_grad=True)
    y = x * 1
    z = y * y
    y.unsqueeze_(0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()


def test_other_numbers_in_the_same_memory():
    for dtype, width in (("int64", 6), ("float32", 12), ("uint8", 48), ("complex128", 3)):
        views = [t.tensor(V).view(getattr(t, dtype)) for t in (pb, torch)]
        assert views[0].shape == (width,)
        np.testing.assert_array_equal(views[0].numpy(), views[1].numpy())
    x = pb.tensor(V)
    x.view(pb.int64)[0] = 0
    assert x[0] == 0
    with pytest.raises(RuntimeError, match="divisible"):
        pb.tensor(V[:3]).view(pb.complex128)


# Reductions by index

KINDS = ("sum", "prod", "mean", "amax", "amin")
INDEXED = list(itertools.product(KINDS, (True, False)))


@pytest.mark.parametrize(("kind", "own"), INDEXED)
def test_scatter_reduce_equals_pytorch(kind, own):
    agree(lambda t, x, v, i: t.scatter_reduce(x, 0, i, v, kind, include_self=own), A, ROWS, EACH, name=False)
    agree(
        lambda t, x, v, i: (x * 1).scatter_reduce_(1, i[:, :2], v[:, :2], kind, include_self=own),
        A,
        ROWS,
        EACH,
        name=False,
    )
    whole = np.arange(20).reshape(4, 5)
    agree(lambda t, x, v, i: x.scatter_reduce(0, i, v, kind, include_self=own), whole, whole[:3] - 7, EACH, grad=False)


def test_scatter_with_a_reduction():
    def f(t, x, i):
        return x.scatter(0, i, 2.0, reduce="add"), x.scatter(1, i[:, :3], 2.0, reduce="multiply")

    agree(f, A, EACH, grad=False)
    x, index = pb.tensor(A, requires_grad=True), pb.tensor(EACH)
    x.scatter(0, index, pb.tensor(ROWS), reduce="multiply").sum().backward()
    y = pb.tensor(A, requires_grad=True)
    y.scatter_reduce(0, index, pb.tensor(ROWS), "prod").sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), y.grad.numpy())
    with pytest.raises(RuntimeError, match="either add or multiply"):
        x.scatter(0, index, 2.0, reduce="prod")


def test_positions_out_of_range():
    with pytest.raises(ValueError, match="out of range"):
        pb.unravel_index(pb.tensor([9]), (2, 3))


@pytest.mark.parametrize(("kind", "own"), [(k, own) for k, own in INDEXED if k != "sum"])
def test_index_reduce_equals_pytorch(kind, own):
    agree(lambda t, x, v, i: x.index_reduce(0, i, v, kind, include_self=own), A, ROWS, PICK, name=False)
    agree(lambda t, x, v, i: x.index_reduce(1, i, v[:, :3], kind, include_self=own), A, A * 2, PICK, name=False)
    agree(lambda t, x, v, i: (x * 1).index_reduce_(0, i, v, kind, include_self=own), A, ROWS, PICK, name=False)


def test_ties_share_the_gradient():
    for kind in ("amax", "amin"):
        agree(
            lambda t, x, v, i, kind=kind: x.scatter_reduce(0, i, v, kind),
            np.array([1.0, 2.0, 3.0]),
            np.array([1.0, 1.0, 2.0, 5.0]),
            np.array([0, 0, 1, 1]),
            name=False,
        )


def test_products_with_zeros_to_second_order():
    v = np.array([0.0, 0.0, 3.0, 0.0, 2.0, 5.0])
    where = np.array([0, 0, 0, 1, 1, 1])

    def scattered(v):
        return (
            pb.ones(2, dtype=pb.float64).scatter_reduce(0, pb.tensor(where), v, "prod") * pb.tensor([1.0, 2.0])
        ).sum()

    def written_out(v):
        return v[0] * v[1] * v[2] + 2 * v[3] * v[4] * v[5]

    x = pb.tensor(v)
    np.testing.assert_array_equal(pb.grad(scattered)(x).numpy(), [0, 0, 0, 20, 0, 0])
    np.testing.assert_array_equal(pb.hessian(scattered)(x).numpy(), pb.hessian(written_out)(x).numpy())
    assert pb.hessian(scattered)(x)[0, 1] == 3


def test_many_in_one_place_and_few_in_many():
    rng = np.random.default_rng(6)
    n = 20_000
    where = np.concatenate([np.zeros(n, np.int64), rng.integers(0, 5000, n)])
    values = 1 + rng.standard_normal(2 * n) * 1e-3
    for kind, ufunc in (("prod", np.multiply), ("amax", np.maximum), ("amin", np.minimum)):
        wanted = np.ones(5000)
        ufunc.at(wanted, where, values)
        got = pb.ones(5000, dtype=pb.float64).scatter_reduce(0, pb.tensor(where), pb.tensor(values), kind)
        np.testing.assert_allclose(got.numpy(), wanted, rtol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_reductions_by_index_in_every_mode(kind):
    index = pb.tensor(EACH)

    def f(x, v):
        return pb.scatter_reduce(x, 0, index, v, kind, include_self=True) ** 2

    x, v, tx, tv = (pb.tensor(a) for a in (A, ROWS, data(7, 4, 5), data(8, 3, 5)))
    _, pull = pb.vjp(f, x, v)
    _, tangent = pb.jvp(f, (x, v), (tx, tv))
    g = pb.tensor(data(9, 4, 5))
    dx, dv = pull(g)
    np.testing.assert_allclose((g * tangent).sum().item(), (dx * tx).sum().item() + (dv * tv).sum().item(), rtol=1e-10)
    rows = pb.stack([v, v * 2, v.flip(0)])
    batched = pb.vmap(lambda v: pb.grad(lambda v: f(x, v).sum())(v))(rows)
    looped = pb.stack([pb.grad(lambda v: f(x, v).sum())(row) for row in rows])
    np.testing.assert_allclose(batched.numpy(), looped.numpy(), rtol=1e-12)


def test_batched_indices():
    x, v = pb.tensor(V), pb.tensor(data(10, 3))
    many = pb.tensor([[0, 0, 5], [1, 2, 3]])
    for kind in ("sum", "mean"):
        got = pb.vmap(lambda i, kind=kind: x.scatter_reduce(0, i, v, kind))(many)
        wanted = pb.stack([x.scatter_reduce(0, i, v, kind) for i in many])
        np.testing.assert_allclose(got.numpy(), wanted.numpy())
    with pytest.raises(TypeError, match="index of a reduction by 'amax' needs plain numbers"):
        pb.vmap(lambda i: x.scatter_reduce(0, i, v, "amax"))(many)


def test_nothing_to_reduce():
    none = np.zeros((0, 5), np.int64)
    for kind in KINDS:
        agree(lambda t, x, v, i, kind=kind: x.scatter_reduce(0, i, v, kind), A, ROWS[:0], none, name=False)


ERRORS = {
    "as_strided beyond": (lambda t, x: t.as_strided(x, (3, 3), (5, 5)), A),
    "as_strided lengths": (lambda t, x: t.as_strided(x, (3, 3), (5,)), A),
    "as_strided negative": (lambda t, x: t.as_strided(x, (3,), (-1,)), A),
    "unfold too long": (lambda t, x: x.unfold(0, 7, 1), V),
    "unfold step": (lambda t, x: x.unfold(0, 2, 0), V),
    "view_as_complex": (lambda t, x: t.view_as_complex(x), V),
    "view_as_complex of integers": (lambda t, x: t.view_as_complex(x), EACH),
    "view_as_real": (lambda t, x: t.view_as_real(x), V),
    "slice_scatter": (lambda t, x: x.slice_scatter(x, 0, 1), V),
    "select_scatter": (lambda t, x: x.select_scatter(x[0], 0, 9), A),
    "diagonal_scatter": (lambda t, x: x.diagonal_scatter(x, 0, 1, 1), A),
    "scatter_reduce kind": (lambda t, x: x.scatter_reduce(0, t.tensor([0]), x, "mad"), V),
    "scatter_reduce out of range": (lambda t, x: x.scatter_reduce(0, t.tensor([9]), x, "sum"), V),
    "put sizes": (lambda t, x: t.put(x, t.tensor([0, 1]), x), V),
    "put out of range": (lambda t, x: t.put(x, t.tensor([9]), x[:1]), V),
    "combinations": (lambda t, x: t.combinations(x), A),
    "segment_reduce": (lambda t, x: t.segment_reduce(x, "sum"), V),
    "block_diag": (lambda t, x: t.block_diag(x), B),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_pytorchs(name):
    case = ERRORS[name]
    f, arrays = (case[0], case[1:]) if isinstance(case, tuple) else (case, ())
    same_error(f, *arrays, words=1)


# In-place forms

_ARGUMENTS = {
    **dict.fromkeys(("arctan2", "atan2", "copysign", "float_power", "hypot", "ldexp", "nextafter", "xlogy"), 1),
    **dict.fromkeys(("greater", "greater_equal", "heaviside", "less", "less_equal", "not_equal"), 1),
}
_ELSEWHERE = {"addbmm", "addmm", "addmv", "addr", "baddbmm", "renorm", "mvlgamma", "polygamma", "igamma", "igammac"}


@pytest.mark.parametrize("name", [n for n in METHODS if n not in _ELSEWHERE])
def test_an_inplace_form_writes_what_the_method_gives(name):
    whole = name in ("bitwise_left_shift", "bitwise_right_shift", "gcd", "lcm")
    x = np.array([3, 6, 1]) if whole else np.array([0.3, 0.6, 0.2]) + (1 if name in ("acosh", "arccosh") else 0)
    y = np.array([1, 2, 3]) if whole else np.array([0.5, 2.0, 1.5])
    others = (y,) if whole or name in _ARGUMENTS else ()
    options = (0,) if name in ("cumprod", "cumsum") else ()
    agree(lambda t, x, *y: getattr(x.clone(), f"{name}_")(*y, *options), x, *others, grad=False)
    if whole or name in ("greater", "greater_equal", "heaviside", "less", "less_equal", "nextafter", "not_equal"):
        return
    leaves = [pb.tensor(a, requires_grad=True) for a in (x, *others)]
    grads = []
    for form in (name, f"{name}_"):
        y = getattr(leaves[0] * 1, form)(*leaves[1:], *options)
        grads.append(pb.autograd.grad((y * y).sum(), leaves, materialize_grads=True))
    for mine, wanted in zip(*grads, strict=True):
        np.testing.assert_array_equal(mine.numpy(), wanted.numpy())


def test_inplace_products():
    agree(lambda t, x, y: (x * 1).addmm_(y, x), A[:, :4], A[:4, :4], name=False)
    agree(lambda t, x, y: (x * 1).addmv_(y, x, beta=0.5), A[0, :4], A[:, :4], name=False)
    agree(lambda t, x, y: (x * 1).addr_(y, y), A[:, :4], A[0, :4], name=False)
    agree(lambda t, x, y: (x * 1).addbmm_(y, y, alpha=2), A[:, :4], data(11, 2, 4, 4), name=False)


def test_inplace_forms_are_functions_too():
    for name in FUNCTIONS:
        assert callable(getattr(pb, f"{name}_"))
        assert hasattr(pb.Tensor, f"{name}_"), name
        assert hasattr(torch, f"{name}_"), name
    agree(lambda t, x: t.relu_(t.sin_(x * 1)), V, name=False)
    with pytest.raises(TypeError, match="must be Tensor, not float"):
        pb.exp_(1.0)


# Layouts


def test_layouts_are_names():
    x = pb.tensor(A, requires_grad=True)
    assert repr(pb.channels_last) == "torch.channels_last"
    assert x.layout is pb.strided
    assert x.double(memory_format=pb.preserve_format) is x
    assert x.clone(memory_format=pb.contiguous_format).is_contiguous()
    assert pb.zeros_like(x, memory_format=pb.preserve_format).shape == x.shape
    assert (x.is_cpu, x.is_sparse, x.get_device(), x.is_signed()) == (True, False, -1, True)
    assert x.to_dense() is x
    with pytest.raises(NotImplementedError, match="no sparse tensors"):
        x.to_sparse()


def test_settings_that_change_nothing():
    pb.use_deterministic_algorithms(True)
    assert pb.are_deterministic_algorithms_enabled()
    pb.set_default_device("cpu")
    assert pb.get_default_device() == pb.device("cpu")
    with pytest.raises(RuntimeError):
        pb.set_default_device("cuda")
    pb.set_float32_matmul_precision("high")
    assert pb.get_float32_matmul_precision() == "highest"
    with pytest.raises(RuntimeError, match="not one of"):
        pb.set_float32_matmul_precision("low")
    x = pb.tensor(A)
    assert x.share_memory_() is x.pin_memory() is x
    for name in ("conj", "neg", "shared", "pinned", "inference"):
        assert not getattr(x, f"is_{name}")()


def test_memory_by_strides():
    for made in (lambda t: t.empty_strided((2, 3), (1, 2)), lambda t: t.empty_permuted((2, 3, 4), (2, 0, 1))):
        mine, theirs = made(pb), made(torch)
        assert (tuple(mine.shape), mine.stride()) == (tuple(theirs.shape), theirs.stride())
    memory = bytearray(b"abcdef")
    x = pb.frombuffer(memory, dtype=pb.uint8, count=3, offset=1)
    x[0] = 0
    assert memory == b"a\0cdef"
    with pytest.raises(RuntimeError, match="physical_layout"):
        pb.empty_permuted((2, 3), (0, 0))


# Every mode

MODES = {
    "as_strided": lambda x: pb.as_strided(x, (3, 2), (2, 1), 1),
    "as_strided_scatter": lambda x: pb.as_strided_scatter(x, x[:4].reshape(2, 2) * x[0], (2, 2), (1, 2), 1),
    "unfold": lambda x: x.unfold(0, 3, 2),
    "unfold, empty": lambda x: x.unfold(0, 0, 2),
    "view_as_complex": lambda x: pb.view_as_complex(x.reshape(4, 2)).abs(),
    "slice_scatter": lambda x: x.slice_scatter(x[:4] * x[4:], 0, 1, None, 2),
    "select_scatter": lambda x: x.select_scatter(x[0] * x[1], 0, 3),
    "diagonal_scatter": lambda x: pb.outer(x, x).diagonal_scatter(x),
    "put": lambda x: x.put(pb.tensor([1, 5]), x[:2]),
    "put accumulate": lambda x: x.put(pb.tensor([1, 1]), x[:2], True),
    "segment_reduce": lambda x: pb.segment_reduce(x, "prod", lengths=pb.tensor([3, 0, 5]), initial=1.0),
    "segment_reduce max": lambda x: pb.segment_reduce(x, "max", lengths=pb.tensor([3, 5])),
    "combinations": lambda x: pb.combinations(x, 2).prod(1),
    "index_reduce": lambda x: x.index_reduce(0, pb.tensor([1, 1, 0]), x[2:5], "prod"),
    "index_reduce mean": lambda x: x.index_reduce(0, pb.tensor([1, 1, 0]), x[2:5], "mean", include_self=False),
    "scatter_reduce_": lambda x: (x * 1).scatter_reduce_(0, pb.tensor([1, 1, 0]), x[2:5], "amax"),
    "unsqueeze_": lambda x: (x * 2).unsqueeze_(0),
    "erf_": lambda x: (x * 2).erf_(),
    "block_diag": lambda x: pb.block_diag(x, x[:2]),
    "stft": lambda x: pb.stft(x, 4, window=x[:4], return_complex=True).abs(),
    "istft": lambda x: pb.istft(pb.stft(x, 4, return_complex=True), 4, window=pb.ones(4, dtype=pb.float64)),
    "fft": lambda x: pb.fft.ifftn(pb.fft.fft(x, 6) ** 2).abs(),
    "hfft": lambda x: pb.fft.hfft(pb.fft.ihfft(x) ** 2),
}


@pytest.mark.parametrize("name", MODES)
def test_every_mode(name):
    f = MODES[name]

    def loss(x):
        y = f(x)
        return (y**3).sum()

    rows = pb.tensor(data(12, 3, 8) + 2)
    batched, looped = pb.vmap(f)(rows), pb.stack([f(row.clone()) for row in rows])  # layouts count in a row's memory
    np.testing.assert_allclose(batched.numpy(), looped.numpy(), rtol=1e-12, atol=1e-12)
    gradients = pb.vmap(pb.grad(loss))(rows)
    np.testing.assert_allclose(
        gradients.numpy(), pb.stack([pb.grad(loss)(row.clone()) for row in rows]).numpy(), rtol=1e-9
    )
    x, t = rows[0].clone(), pb.tensor(data(13, 8))
    step = 1e-5
    slope = (loss(x + t * step) - loss(x - t * step)) / (2 * step)
    np.testing.assert_allclose(pb.jvp(loss, (x,), (t,))[1].item(), slope.item(), rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose((pb.grad(loss)(x) * t).sum().item(), slope.item(), rtol=1e-5, atol=1e-8)
    bend = (pb.grad(loss)(x + t * step) - pb.grad(loss)(x - t * step)) / (2 * step)
    np.testing.assert_allclose((pb.hessian(loss)(x) @ t).numpy(), bend.numpy(), rtol=1e-4, atol=1e-5)
