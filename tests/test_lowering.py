"""The lowerings of ops against their NumPy evaluation, in a NumPy builder (`lowering_reference`)."""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pullback as pb
from lowering_reference import ARRAY, as_dtype, assert_same, evaluated, is_real, run
from op_checks import all_samples, as_tuple, like, point, restricted
from pullback.ops.lowering import Expansion, Product, Scalar
from pullback.ops.samples import Sample
from pullback.ops.table import TABLE, Op, Unsupported
from pullback.ops.windows import Window
from pullback.transforms.trace import trace
from pullback.values.shape import spec_of

DTYPES = ("float64", "float32", "int64", "int32", "uint8", "bool")
LOWERED = [(op, sample) for op, sample in all_samples() if not isinstance(op.lower, Unsupported)]


@pytest.mark.parametrize(("op", "sample"), LOWERED, ids=lambda v: v.name if isinstance(v, Op) else repr(v))
def test_samples(op: Op, sample: Sample) -> None:
    made = sample.make()
    if not all(map(is_real, made)):
        return
    checked = 0
    for name in DTYPES:
        dtype = np.dtype(name)
        if dtype.kind != "f" and op.name == "lerp":
            continue  # of floats alone: the difference of small integers would wrap around
        if dtype.kind != "f" and not any(isinstance(x, ARRAY) and x.dtype.kind == "f" for x in made):
            continue
        args = [as_dtype(x, dtype) for x in made]
        wanted = evaluated(op, args, sample.params)
        if wanted is None:
            assert name not in ("float64", "float32"), "floats are refused"
            continue
        mine = run(op, args, sample.params)
        if mine is NotImplemented:
            assert (op.name, dtype.kind) in UNCOVERED or _is_large(sample), f"{op.name} of {name} is not lowered"
            continue
        checked += 1
        assert_same(mine, wanted, f"{op.name} of {name}", zeros=False)
    assert checked or (op.name, "f") in UNCOVERED or _is_large(sample), "nothing was compared"


def _is_large(sample: Sample) -> bool:
    """Whether windows have so many elements that code for each would be too long."""
    return "window" in sample.params and math.prod(sample.params["window"].kernel) > 64


UNCOVERED = {
    *itertools.product(("pow",), "iub"),  # they raise errors for negative exponents
    *itertools.product(("threshold", "hardshrink", "hardtanh", "softshrink"), "iub"),  # parameters need not be whole
    *itertools.product(("reshape",), "fiub"),  # known to the scheduler by name
}


# Infinities, NaN, zeros of both signs and the edges of a dtype, in every combination

FLOATS = [math.nan, math.inf, -math.inf, 0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, -3.7, 2.0, 3.0, -5.0, 40.0, -40.0]
FLOATS += [1e-30, -1e-30, 1e30, -1e30, 1e-4, 0.1, 100.0, -800.0, 800.0]
INTEGERS = [0, 1, 2, 3, 5, 7, 8, 31, 63, 64, 100, -1, -2, -3, -7, -100]
SCALARS = [op for op in TABLE.values() if isinstance(op.lower, Scalar)]
# The order of a zero and its negative is the processor's choice in NumPy's extrema, and what follows from them.
EITHER_ZERO = {"maximum", "minimum", "clamp", "relu", "hardtanh", "softshrink", "log_sigmoid", "heaviside", "elu"}


def _special(dtype: np.dtype[Any], count: int) -> list[Any]:
    if dtype.kind == "f":
        limits = np.finfo(dtype)
        values = np.array([*FLOATS, limits.max, limits.tiny, limits.smallest_subnormal], dtype)
    elif dtype.kind == "b":
        values = np.array([False, True])
    else:
        limits = np.iinfo(dtype)
        values = np.array([*INTEGERS, limits.max, limits.min]).astype(dtype)
    values = values[: 16 if count > 2 else None]
    return [np.array(column, dtype) for column in zip(*itertools.product(values, repeat=count), strict=True)]


def special_operands(op: Op, dtype: np.dtype[Any]) -> Iterator[tuple[list[Any], dict[str, Any]]]:
    """The operands and parameters of the samples of an elementwise op, with these numbers for operands."""
    for sample in op.samples:
        made = sample.make()
        arrays = [i for i, x in enumerate(made) if isinstance(x, ARRAY)]
        args = list(made)
        for i, column in zip(arrays, _special(dtype, len(arrays)), strict=True):
            args[i] = column.astype(bool) if op.name == "where" and i == 0 else column
        if all(map(is_real, made)) and not (dtype.kind in "iu" and any(isinstance(x, float) for x in args)):
            yield args, sample.params


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("op", SCALARS, ids=lambda op: op.name)
def test_special_values(op: Op, name: str) -> None:
    for args, params in special_operands(op, np.dtype(name)):
        wanted = evaluated(op, args, params)
        if wanted is None:
            continue
        mine = run(op, args, params)
        if mine is NotImplemented:
            assert (op.name, np.dtype(name).kind) in UNCOVERED
            continue
        assert_same(mine, wanted, f"{op.name} of {name}", op.name not in EITHER_ZERO)


# Expansions are traced, as the compiler does it


def _expansions() -> list[Any]:
    found = [(op, s, op.lower.rule) for op, s in LOWERED if isinstance(op.lower, Expansion)]
    return found + [
        (op, s, op.lower.otherwise)
        for op, s in LOWERED
        if isinstance(op.lower, Product) and op.lower.rule(*map(spec_of, s.make()), **s.params) is None
    ]


@pytest.mark.parametrize(("op", "sample", "rule"), _expansions(), ids=lambda v: v.name if isinstance(v, Op) else "")
@pytest.mark.parametrize("name", ["float64", "float32"])
def test_traced_expansions(op: Op, sample: Sample, rule: Any, name: str) -> None:
    made = sample.make()
    if not all(map(is_real, made)):
        return
    args = [as_dtype(x, np.dtype(name)) for x in made]
    traced = trace(lambda *xs: rule(*xs, **sample.params), *args)
    for step in traced.graph.instructions:
        assert step.op is not op or len(step.args) < len(args) or step.params != sample.params, "it expands to itself"
        assert not isinstance(step.op.lower, Unsupported), f"{step.op.name} in the expansion is not lowered"
    wanted = evaluated(op, args, sample.params)
    assert_same([np.asarray(y) for y in traced.graph(*args)], wanted, f"{op.name} of {name}", zeros=False)


@pytest.mark.parametrize(("op", "sample"), LOWERED, ids=lambda v: v.name if isinstance(v, Op) else repr(v))
def test_derivatives_are_lowered(op: Op, sample: Sample) -> None:
    """What rules are made of has lowerings too."""
    args, chosen, rng = point(op, sample)
    if not chosen or not all(map(is_real, args)) or op.name == "cumprod":  # by the recurrence, which is not lowered
        return
    f = restricted(op, sample, args, chosen)
    xs = [args[i] for i in chosen]
    gs = [like(rng, np.asarray(y)) for y in f(*xs)]
    pulled = trace(lambda *both: pb.vjp(f, *both[: len(xs)])[1](both[len(xs) :]), *xs, *gs)
    pushed = trace(lambda *both: tuple(pb.jvp(f, both[: len(xs)], both[len(xs) :])[1]), *xs, *xs)
    found = {step.op for traced in (pulled, pushed) for step in traced.graph.instructions}
    assert not {step.name for step in found if isinstance(step.lower, Unsupported)}


# Parameters and shapes that samples do not have

X = np.arange(24.0).reshape(2, 3, 4) - 7
EMPTY = np.zeros((0, 3))
CASES = [
    ("reshape", (np.arange(3.0)[:, None],), {"shape": (1, 3)}),
    ("reshape", (X,), {"shape": (2, 1, 3, 1, 4)}),
    ("reshape", (np.float64(2.0),), {"shape": (1, 1)}),
    ("broadcast_to", (X[:, :1],), {"shape": (5, 2, 3, 4)}),
    ("slice", (X,), {"index": (1,)}),
    ("slice", (X,), {"index": (Ellipsis, -1)}),
    ("slice", (EMPTY,), {"index": (slice(None, None, -1), 2)}),
    ("split", (X,), {"sizes": (0, 3, 1), "axis": 2}),
    ("unbind", (X,), {"axis": 2}),
    ("diagonal", (X,), {"offset": 5, "axis1": 2, "axis2": 0}),
    ("diag_embed", (np.zeros((3, 0)),), {"shape": (2, 3, 4), "offset": 5, "axis1": 2, "axis2": 0}),
    ("diag_embed", (X[0, :, :1],), {"shape": (4, 3, 2), "offset": -1, "axis1": 2, "axis2": 0}),
    ("diagonal_update", (X, np.ones((3, 0))), {"offset": 5, "axis1": 2, "axis2": 0}),
    ("embed", (EMPTY,), {"index": (slice(2, 2), slice(None)), "shape": (4, 3)}),
    ("embed", (X[:, :1, :3],), {"index": (slice(1, 3), None, slice(None, None, -2), 2), "shape": (4, 5, 3)}),
    ("slice_update", (X, np.float64(2.0)), {"index": (0, slice(1, 2))}),
    ("slice_update", (X, np.arange(4.0)), {"index": (slice(None), slice(None, None, 2))}),
    ("slice_update", (X, EMPTY[:, :, None]), {"index": (slice(0, 0), slice(None), slice(0, 1))}),
    ("slice_update", (np.arange(3), np.float64(1.7)), {"index": (1,)}),
    ("pad", (EMPTY,), {"widths": ((1, 1), (-1, 0)), "value": 3.0}),
    ("pad", (X,), {"widths": ((0, 0), (-1, 2), (3, -4)), "value": np.nan}),
    ("concatenate", (EMPTY, X[0, :2, :3], EMPTY, X[1, :2, :3]), {"axis": 0}),
    ("concatenate", (np.arange(3), np.arange(2.0)), {"axis": 0}),
    ("stack", (np.arange(3), np.arange(3.0)), {"axis": 0}),
    ("roll", (X,), {"shift": (7, -1, 2), "axis": (2, 0, 2)}),
    ("gather", (X, np.array([-1, 0], np.int32), np.array([[2], [-3], [0]])), {}),
    ("gather", (X, np.array([], np.int64)), {}),
    ("gather", (X, np.array(1, np.uint8)), {}),
    ("scatter_add", (np.stack([X, X]), np.array([1, -1]), np.array([[0], [0]])), {"shape": (2, 2, 3, 4)}),
    ("index_update", (X, np.ones((2, 3, 4), bool), np.array([-1, 1])), {}),
    ("embedding", (X[0], np.array([[-1, 0, 2, 2]])), {"padding": 2}),
    ("as_strided", (X,), {"shape": (3, 2), "strides": (0, 5), "offset": 3}),
    ("window_pick", (X[0], np.array([[-1, 0], [9, 1], [200, 2]])), {"window": Window((2,), (3,), ((1, 1),), (2,))}),
    ("any", (np.array([[np.nan, 0.0], [0.0, -0.0]]),), {"axis": (1,), "keepdims": True}),
    ("count_nonzero", (np.array([[np.nan, 0.0], [0.0, 256]]),), {"axis": (1,), "keepdims": False}),
    ("sum", (np.array([100, 100, 100], np.uint8),), {"axis": (0,), "keepdims": False}),
    ("amax", (np.array([[np.nan, 1.0], [np.inf, -np.inf]]),), {"axis": (1,), "keepdims": False}),
    ("argmax", (np.array([[3.0, 5.0, 5.0], [1.0, np.nan, np.nan]]),), {"axis": 1, "keepdims": False}),
    ("argmin", (np.array([[3, 2, 2], [-1, 7, -1]]),), {"axis": 0, "keepdims": True}),
    ("argmax", (np.array([[False, True, True]]),), {"axis": 1, "keepdims": False}),
    ("logsumexp", (np.array([[np.inf, 1.0], [-np.inf, -np.inf], [1e3, 1e3]]),), {"axis": (1,), "keepdims": False}),
    ("softmax", (np.array([[-np.inf, 1.0], [-np.inf, -np.inf], [1e3, 1e3]]),), {"axis": 1}),
    ("log_softmax", (np.array([[-np.inf, 1.0], [np.inf, 0.0], [1e3, 1e3]]),), {"axis": 1}),
    ("nll_loss", (X[0], np.array([5, 5, 5])), {"reduction": "mean", "ignore_index": 5}),
    ("cross_entropy", (X[0], np.array([-100, 1, -100])), {"reduction": "mean", "ignore_index": -100}),
    ("gate", (X, np.zeros(4)), {}),
    ("eq", (np.array([44, 255], np.uint8), 300), {}),
    ("lt", (-(2**40), np.array([-5, 7], np.int32)), {}),
    ("ge", (np.array([2**63 - 1, -1]), 2**70), {}),
    ("gt", (np.array([True, False]), 0.5), {}),
    ("matmul", (X[:, :, None], np.ones((3, 4, 1))), {}),
    ("matmul", (np.ones((1, 5, 0)), np.ones((2, 0, 3))), {}),
    ("einsum", (X, X[0], X[0, 0]), {"spec": "aij,ij,j->a"}),
    ("einsum", (X, X[0], X[0], X[1]), {"spec": "aij,kj,kl,il->lak"}),
    ("einsum", (X,), {"spec": "aij->ji"}),
    ("einsum", (X, X[0]), {"spec": "aij,kj->k"}),
    ("difference", (EMPTY,), {"axis": 0, "full": True}),
    ("difference", (EMPTY,), {"axis": 0, "full": False}),
]


@pytest.mark.parametrize(("name", "args", "params"), CASES, ids=lambda v: v if isinstance(v, str) else "")
def test_further_cases(name: str, args: Any, params: Any) -> None:
    op = TABLE[name]
    mine = run(op, args, params)
    assert mine is not NotImplemented, f"{name} is not lowered"
    with np.errstate(all="ignore"):
        wanted = as_tuple(op.evaluate(*args, **params))
    assert_same(mine, wanted, name, zeros=False)


@pytest.mark.parametrize(
    ("name", "args", "params"),
    [
        ("gather", (X, np.array([0, 2])), {}),
        ("gather", (X, np.array([-3])), {}),
        ("scatter_add", (X, np.array([2, 0])), {"shape": (2, 3, 4)}),
        ("index_update", (X, X, np.array([0, 2])), {}),
        ("embedding", (X[0], np.array([3])), {"padding": None}),
        ("nll_loss", (X[0], np.array([0, 1, 4])), {"reduction": "sum", "ignore_index": -100}),
        ("cross_entropy", (X[0], np.array([0, 1, 4])), {"reduction": "sum", "ignore_index": -100}),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_indices_out_of_range(name: str, args: Any, params: Any) -> None:
    with pytest.raises(IndexError):
        run(TABLE[name], args, params)


bound = st.none() | st.integers(-6, 6)
item = st.builds(slice, bound, bound, st.none() | st.integers(1, 3) | st.integers(-3, -1))


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_slices(data: Any) -> None:
    shape = data.draw(st.lists(st.integers(0, 5), min_size=1, max_size=3))
    x = np.arange(float(math.prod(shape))).reshape(shape) + 1
    index: list[Any] = []
    for n in shape:
        index += [None] * data.draw(st.integers(0, 1))
        index.append(data.draw(item | st.integers(-n, n - 1) if n else item))
    params = {"index": tuple(index)}
    (y,) = run(TABLE["slice"], [x], params)
    np.testing.assert_array_equal(y, x[params["index"]])
    (z,) = run(TABLE["embed"], [y], {**params, "shape": x.shape})
    np.testing.assert_array_equal(z, TABLE["embed"].evaluate(y, **params, shape=x.shape))
    (z,) = run(TABLE["slice_update"], [x, -y], params)
    np.testing.assert_array_equal(z, TABLE["slice_update"].evaluate(x, -y, **params))


def test_several_views() -> None:
    """A view of an op with several results is a list for each."""
    assert TABLE["unbind"].lower.rule((2, 3), axis=1) == [[(0, 1, 0), (None, 0, k)] for k in range(3)]
    assert TABLE["split"].lower.rule((4,), sizes=(1, 3), axis=0) == [[(0, 1, 0)], [(0, 1, 1)]]
