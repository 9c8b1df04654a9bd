"""Every lowering as native code: what ops compute, and their derivatives in both modes, against NumPy."""

from typing import Any

import numpy as np
import pytest

import pullback as pb
from lowering_reference import ARRAY, as_dtype, assert_same, evaluated, is_real
from op_checks import as_tuple, like, point, restricted
from pullback.compile.llvm.entry import Input, Output
from pullback.compile.native import Native
from pullback.ops.table import TABLE, Op
from pullback.transforms.trace import trace
from pullback.values.graph import Graph
from pullback.values.shape import spec_of
from test_lowering import CASES, DTYPES, EITHER_ZERO, LOWERED, SCALARS, special_operands


@pytest.fixture(autouse=True)
def _no_disk_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULLBACK_CACHE_DIR", "off")


def _missed(*args: Any) -> Any:
    raise AssertionError("the entry refused its arguments")


def run_native(graph: Graph, args: Any) -> tuple[tuple[Any, ...], list[str]]:
    """The results of a graph as native code, and the ops for which that calls NumPy."""
    arrays = [np.array(x, order="C") for x in args]
    native = Native(graph, {})
    inputs = [Input("array", symbol.dtype, symbol.shape) for symbol in graph.inputs]
    outputs = [Output("array", *reversed(spec_of(out))) for out in graph.outputs]
    result = native.entry(inputs, outputs, _missed, False)(*arrays)
    called = [node.instruction.op.name for node in native.module.calls if node.instruction is not None]
    return as_tuple(result), called


def run_op(op: Op, args: Any, params: dict[str, Any]) -> tuple[tuple[Any, ...], list[str]]:
    graph = Graph()
    operands = [graph.input(spec_of(x)) if isinstance(x, ARRAY) else x for x in args]
    graph.outputs = list(as_tuple(graph.append(op, tuple(operands), params)))
    return run_native(graph, [x for x in args if isinstance(x, ARRAY)])


def _of(pairs: Any) -> list[Any]:
    """The cases of each op."""
    found: dict[str, list[Any]] = {}
    for op, case in pairs:
        found.setdefault(op.name, []).append(case)
    return [pytest.param(TABLE[name], cases, id=name) for name, cases in found.items()]


@pytest.mark.parametrize(("op", "samples"), _of(LOWERED))
def test_samples(op: Op, samples: Any) -> None:
    for sample in samples:
        made = sample.make()
        if not all(map(is_real, made)) or sample.params.get("dtype") == np.complex128:
            continue
        for name in DTYPES:
            args = [as_dtype(x, np.dtype(name)) for x in made]
            wanted = evaluated(op, args, sample.params)
            if wanted is None or (op.name == "lerp" and np.dtype(name).kind != "f"):
                continue
            mine, called = run_op(op, args, sample.params)
            assert_same(mine, wanted, f"{op.name} of {name}", zeros=False)
            large = "window" in sample.params and op.name in called
            assert np.dtype(name).kind != "f" or not called or large, f"{called} are called"


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("op", SCALARS, ids=lambda op: op.name)
def test_special_values(op: Op, name: str) -> None:
    for args, params in special_operands(op, np.dtype(name)):
        wanted = evaluated(op, args, params)
        if wanted is not None and params.get("dtype") != np.complex128:
            mine, _ = run_op(op, args, params)
            assert_same(mine, wanted, f"{op.name} of {name}", op.name not in EITHER_ZERO)


@pytest.mark.parametrize(("name", "args", "params"), CASES, ids=lambda v: v if isinstance(v, str) else "")
def test_further_cases(name: str, args: Any, params: Any) -> None:
    with np.errstate(all="ignore"):
        wanted = as_tuple(TABLE[name].evaluate(*args, **params))
    mine, called = run_op(TABLE[name], args, params)
    assert_same(mine, wanted, name, zeros=False)
    assert not called


@pytest.mark.parametrize(("op", "samples"), _of(LOWERED))
def test_derivatives(op: Op, samples: Any) -> None:
    for sample in samples:
        args, chosen, rng = point(op, sample)
        if not chosen or not all(map(is_real, args)):
            continue
        f = restricted(op, sample, args, chosen)
        xs = [args[i] for i in chosen]
        gs = [like(rng, np.asarray(y)) for y in f(*xs)]
        ts = [like(rng, x) for x in xs]
        n = len(xs)
        for seeds, rule in (
            (gs, lambda *both, f=f, n=n: pb.vjp(f, *both[:n])[1](both[n:])),
            (ts, lambda *both, f=f, n=n: tuple(pb.jvp(f, both[:n], both[n:])[1])),
        ):
            graph = trace(rule, *xs, *seeds).graph
            wanted = [np.asarray(y) for y in graph(*xs, *seeds)]
            mine, _ = run_native(graph, [*xs, *seeds])
            for y, z in zip(mine, wanted, strict=True):
                assert (y.shape, y.dtype) == (z.shape, z.dtype)
                np.testing.assert_allclose(y, z, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("place", [4, -5])
def test_an_index_out_of_range_raises(place: int) -> None:
    x = np.arange(12.0).reshape(4, 3)
    index = np.array([0, place])
    for name, args, params in (
        ("gather", (x, index), {}),
        ("scatter_add", (x[:2], index), {"shape": (4, 3)}),
        ("index_update", (x, x[:2], index), {}),
        ("embedding", (x, index), {"padding": None}),
        ("cross_entropy", (x.T[:2].copy(), index), {"reduction": "sum", "ignore_index": -100}),
    ):
        with pytest.raises(IndexError, match="out of bounds"):
            run_op(TABLE[name], args, params)
