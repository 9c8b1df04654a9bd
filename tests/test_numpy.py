"""NumPy's functions on Tensors: values, dtypes, derivatives in both modes, batches, and what they refuse.

Each entry of the table is called as `numpy_calls.CALLS` says, once on arrays and once on Tensors.
"""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pullback as pb
from numpy_calls import CALLS, OPERANDS
from numpy_tools import assert_same, leaves
from pullback.tape.state import numpy_promotion
from pullback.tensor.numpy_api import FUNCTIONS

ALL = [pytest.param(call, id=f"{name}-{i}") for name, calls in CALLS.items() for i, call in enumerate(calls)]
# What these give or read depends on the numbers themselves, so they must be known.
NEEDS_NUMBERS = set(
    """
    roots unique unique_values unique_counts unique_inverse unique_all intersect1d union1d setdiff1d setxor1d isin
    trim_zeros lexsort histogram_bin_edges-1 vectorize-0 real_if_close-2
    """.split()
)


def arguments(call: Callable[..., Any], dtype: Any = None) -> list[Any]:
    names = list(inspect.signature(call).parameters)[1:]
    found = [np.copy(OPERANDS[name])[()] for name in names]
    return [x.astype(dtype) if dtype and x.dtype.kind == "f" else x for x in found]


def floating(xs: list[Any]) -> tuple[int, ...]:
    return tuple(i for i, x in enumerate(xs) if x.dtype.kind == "f")


def weighted(call: Callable[..., Any], module: Any) -> Callable[..., Any]:
    """The results of a call as one number: each float multiplied by a fixed weight, and added."""

    def total(*xs: Any) -> Any:
        result = 0.0
        for i, leaf in enumerate(leaves(call(module, *xs))):
            if isinstance(leaf, np.ndarray | np.generic | pb.Tensor) and np.dtype(leaf.dtype).kind == "f":
                weights = np.random.default_rng(i).standard_normal(tuple(leaf.shape))
                result = result + (leaf * weights).sum()
        return result

    return total


def test_every_entry_of_the_table_is_called():
    assert set(CALLS) == set(FUNCTIONS)
    assert all(CALLS.values())


def carries_a_gradient(call: Callable[..., Any]) -> bool:
    """Whether a derivative that is not zero everywhere flows from the floats of a call to its results."""
    xs = arguments(call)
    where = floating(xs)
    with np.errstate(all="ignore"):
        if not where:
            return False
        found = pb.grad(lambda *ys: weighted(call, np)(*ys) + 0.0 * ys[where[0]].sum(), where)(*xs)
    return any(np.nan_to_num(np.asarray(g)).any() for g in found)


def test_so_many_functions_are_differentiated():
    """The table has 300 names of numpy itself; through 230 and more of it and of its linalg and fft a slope flows."""
    names = {name for name in FUNCTIONS if "." not in name}
    assert all(hasattr(np, name) for name in names)
    assert len(names) >= 300
    smooth = {name for name in FUNCTIONS if any(map(carries_a_gradient, CALLS[name]))}
    assert len(smooth) >= 260
    assert len(smooth & names) >= 225


@pytest.mark.parametrize("call", ALL)
def test_value(call):
    xs = arguments(call)
    with numpy_promotion(True), np.errstate(all="ignore"):
        expected = call(np, *xs)
        tensors = [pb.asarray(x) for x in xs]
        found = call(np, *tensors)
    if tensors:
        assert all(
            isinstance(b, pb.Tensor) for a, b in zip(leaves(expected), leaves(found)) if isinstance(a, np.ndarray)
        )
    assert_same(found, expected)


@pytest.mark.parametrize("call", ALL)
def test_value_in_the_namespace(call):
    xs = arguments(call)
    with numpy_promotion(True), np.errstate(all="ignore"):
        assert_same(call(pb.numpy, *map(pb.asarray, xs)), call(np, *xs))


@pytest.mark.parametrize("call", ALL)
def test_single_precision_is_kept(call):
    xs = arguments(call, np.float32)
    with numpy_promotion(True), np.errstate(all="ignore"):
        assert_same(call(np, *map(pb.asarray, xs)), call(np, *xs), rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("call", ALL)
def test_derivatives(call):
    """Forward and reverse mode agree with each other, and with central differences."""
    xs = arguments(call)
    where = floating(xs)
    with np.errstate(all="ignore"):
        outs = [x for x in leaves(call(np, *xs)) if isinstance(x, np.ndarray | np.generic) and x.dtype.kind == "f"]
        if not where or not outs:
            return
        rng = np.random.default_rng(1)
        directions = [rng.standard_normal(xs[i].shape) for i in where]

        def along(t: Any) -> list[Any]:
            moved = list(xs)
            for i, d in zip(where, directions, strict=True):
                moved[i] = xs[i] + t * d
            return moved

        f = weighted(call, np)
        gradients = pb.grad(lambda *ys: f(*ys) + 0.0 * ys[where[0]].sum(), where)(*xs)
        for i, g in zip(where, gradients, strict=True):
            assert isinstance(g, np.ndarray | np.generic)
            assert g.dtype == xs[i].dtype
            assert g.shape == xs[i].shape
        reverse = sum(float(np.nansum(g * d)) for g, d in zip(gradients, directions, strict=True))
        _, forward = pb.jvp(lambda *ys: f(*insert(xs, where, ys)), [xs[i] for i in where], directions)
        h = 1e-6
        difference = (f(*along(h)) - f(*along(-h))) / (2 * h)
    single = any(x.dtype == np.float32 for x in outs)
    assert forward == pytest.approx(reverse, rel=1e-5 if single else 1e-9, abs=1e-5 if single else 1e-9)
    if not single:
        assert reverse == pytest.approx(difference, rel=1e-6, abs=1e-6)


def insert(xs: list[Any], where: tuple[int, ...], ys: Any) -> list[Any]:
    full = list(xs)
    for i, y in zip(where, ys, strict=True):
        full[i] = y
    return full


@pytest.mark.parametrize("call", ALL)
def test_batched(call, request):
    xs = arguments(call)
    where = floating(xs)
    with np.errstate(all="ignore"):
        one = leaves(call(np, *xs))
        if not where or not all(isinstance(x, np.ndarray | np.generic) for x in one):
            return
        stacks = [np.stack([x, 1.05 * x]) if i in where else x for i, x in enumerate(xs)]
        axes = tuple(0 if i in where else None for i in range(len(xs)))

        def run() -> Any:
            return pb.vmap(lambda *ys: call(np, *ys), in_axes=axes)(*stacks)

        if not NEEDS_NUMBERS.isdisjoint((request.node.callspec.id, request.node.callspec.id.rpartition("-")[0])):
            with pytest.raises(TypeError, match="needs plain numbers"):
                run()
            return
        expected = zip(
            *(leaves(call(np, *[x[b] if i in where else x for i, x in enumerate(stacks)])) for b in (0, 1)), strict=True
        )
        assert_same(run(), [np.stack(pair) for pair in expected], rtol=1e-10)


@pytest.mark.parametrize("call", ALL)
def test_second_derivatives(call):
    """Reverse over reverse and forward over reverse agree with differences of the gradient."""
    xs = arguments(call)
    where = floating(xs)
    with np.errstate(all="ignore"):
        outs = [x for x in leaves(call(np, *xs)) if isinstance(x, np.ndarray | np.generic) and x.dtype.kind == "f"]
        if not where or not outs or any(x.dtype != np.float64 for x in outs):
            return
        rng = np.random.default_rng(2)
        directions = [rng.standard_normal(xs[i].shape) for i in where]
        f = weighted(call, np)

        def gradient(*ys: Any) -> Any:
            return pb.grad(lambda *zs: f(*insert(xs, where, zs)) + 0.0 * zs[0].sum(), tuple(range(len(ys))))(*ys)

        def slope(*ys: Any) -> Any:
            return sum((g * d).sum() for g, d in zip(gradient(*ys), directions, strict=True))

        ys = [xs[i] for i in where]
        reverse = pb.grad(lambda *zs: slope(*zs) + 0.0 * zs[0].sum(), tuple(range(len(ys))))(*ys)
        _, forward = pb.jvp(gradient, ys, directions)
        h = 1e-5
        up = gradient(*[y + h * d for y, d in zip(ys, directions, strict=True)])
        down = gradient(*[y - h * d for y, d in zip(ys, directions, strict=True)])
        for r, t, a, b in zip(reverse, forward, up, down, strict=True):
            np.testing.assert_allclose(t, r, rtol=1e-7, atol=1e-8)
            np.testing.assert_allclose(r, (a - b) / (2 * h), rtol=1e-5, atol=1e-5)
