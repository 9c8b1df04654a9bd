"""What every op in the table must satisfy, as checks of one op on one of its samples.

A check raises `AssertionError` when the op is wrong. `test_ops.py` runs them over the table; `test_op_checks.py` plants
wrong ops and demands that each is caught.

Notation: x operands, t tangents, g cotangents. Cotangents of complex values follow PyTorch, so that for a real loss
dL = Re Σ conj(g) dy, and the pairing of cotangents and tangents below is that real inner product.
"""

import importlib
import itertools
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

import pullback as pb
import pullback.ops
from pullback.ops.samples import Sample
from pullback.ops.table import NONE, SPEC, TABLE, Op, Unsupported
from pullback.tape.node import new_handle
from pullback.tape.state import nested
from pullback.tensor import autograd
from pullback.values.graph import Graph
from pullback.values.shape import Spec, spec_of

for module in pkgutil.iter_modules(pullback.ops.__path__):
    importlib.import_module(f"pullback.ops.{module.name}")

ARRAY = (np.ndarray, np.generic)
BATCH = 3


def all_samples() -> Iterator[tuple[Op, Sample]]:
    for op in list(TABLE.values()):
        for sample in op.samples:
            yield op, sample


# What is differentiated: the operands that a sample makes (a fixed one is a constant) and the op has a rule for.


def is_inexact(x: Any) -> bool:
    return isinstance(x, ARRAY) and x.dtype.kind in "fc"


def has_derivative(op: Op, i: int) -> bool:
    if op.family == "nondifferentiable" or isinstance(op.rules, Unsupported):
        return False
    return not isinstance(op.rules, tuple) or op.rules[i] is not None


def differentiable(op: Op, sample: Sample, args: Sequence[Any]) -> tuple[int, ...]:
    return tuple(
        i
        for i, (maker, x) in enumerate(zip(sample.args, args, strict=True))
        if callable(maker) and is_inexact(x) and has_derivative(op, i)
    )


def as_tuple(y: Any) -> tuple[Any, ...]:
    return tuple(y) if isinstance(y, tuple | list) else (y,)


def subsets(items: Sequence[int]) -> list[tuple[int, ...]]:
    return [s for n in range(1, len(items) + 1) for s in itertools.combinations(items, n)]


def restricted(op: Op, sample: Sample, args: Sequence[Any], chosen: Sequence[int]) -> Callable[..., tuple[Any, ...]]:
    """The op as a function of the chosen operands, giving the tuple of its inexact results."""

    def f(*xs: Any) -> tuple[Any, ...]:
        full = list(args)
        for i, x in zip(chosen, xs, strict=True):
            full[i] = x
        ys = as_tuple(op(*full, **sample.params))
        return tuple(y for y in ys if y.dtype.kind in "fc")

    return f


# Numbers


def like(rng: np.random.Generator, x: Any) -> Any:
    """A random array that looks like x."""
    r = rng.standard_normal(x.shape)
    if x.dtype.kind == "c":
        r = r + 1j * rng.standard_normal(x.shape)
    return np.asarray(r, x.dtype)


def raw(x: Any) -> Any:
    return np.asarray(x._value if hasattr(x, "_value") else x)


def raws(xs: Any) -> list[Any]:
    return [raw(x) for x in xs]


def pairing(gs: Sequence[Any], ts: Sequence[Any]) -> float:
    """Re Σ conj(g) t, where both are finite."""
    return float(sum(np.real(np.conj(g) * t).sum() for g, t in zip(gs, ts, strict=True)))


def assert_close(mine: Sequence[Any], wanted: Sequence[Any], what: str, tol: float = 2e-8) -> None:
    assert len(mine) == len(wanted), f"{what}: {len(mine)} results, {len(wanted)} expected"
    for i, (a, b) in enumerate(zip(raws(mine), raws(wanted), strict=True)):
        assert a.shape == b.shape, f"{what}: result {i} has shape {a.shape}, {b.shape} expected"
        scale = max(1.0, float(np.max(np.abs(b[np.isfinite(b)]), initial=0.0)))
        np.testing.assert_allclose(a, b, rtol=tol, atol=tol * scale, err_msg=what)


_STENCIL = ((1, 4 / 5), (2, -1 / 5), (3, 4 / 105), (4, -1 / 280))
_STEP = 2e-3


def slope(f: Callable[..., Sequence[Any]], xs: Sequence[Any], ts: Sequence[Any]) -> list[Any]:
    """The derivative of f at xs in the direction ts, by central differences of eighth order; 0 where f is infinite."""
    total: list[Any] = []
    for n, weight in _STENCIL:
        for side in (n, -n):
            ys = raws(f(*(x + side * _STEP * t for x, t in zip(xs, ts, strict=True))))
            terms = [np.where(np.isfinite(y), y, 0.0) * (np.sign(side) * weight / _STEP) for y in ys]
            total = terms if not total else [a + b for a, b in zip(total, terms, strict=True)]
    return total


# (a) The entry itself


def check_entry(op: Op) -> None:
    assert len(op.doc) >= 3
    assert op.doc[0] != " "
    assert op.samples, "no samples"
    assert op.family in ("elementwise", "linear", "general", "nondifferentiable")
    assert callable(op.evaluate)
    assert callable(op.shape)
    assert callable(op.batch)
    assert not isinstance(op.batch, Unsupported), op.batch.reason
    for field in (op.rules, op.jvp, op.lower):
        if isinstance(field, Unsupported):
            assert len(field.reason) > 10, "a gap in the table needs its reason"
    if op.family == "general":
        assert callable(op.rules) or isinstance(op.rules, tuple)
        assert callable(op.jvp)
    elif op.family == "nondifferentiable":
        assert isinstance(op.rules, Unsupported)
    else:
        assert op.jvp is None, "the forward rule follows from the family"
    if isinstance(op.rules, tuple):
        assert any(rule is not None for rule in op.rules)
        assert all(len(s.args) == len(op.rules) for s in op.samples)
    arities = {len(s.args) for s in op.samples}
    reached: set[int] = set()
    for sample in op.samples:
        reached |= set(differentiable(op, sample, sample.make()))
    wanted = {i for i in range(max(arities)) if has_derivative(op, i) and any(_is_inexact_in(s, i) for s in op.samples)}
    assert wanted <= reached, f"operands {wanted - reached} are constants in every sample"
    if op.family != "nondifferentiable":
        assert wanted, "nothing to differentiate in any sample"
    assert op.title.endswith(("Backward0", "Backward1")) or op.title == "CopySlices"


def _is_inexact_in(sample: Sample, i: int) -> bool:
    return i < len(sample.args) and is_inexact(sample.make()[i])


# (b) Shape rule, tracing


def check_shape(op: Op, sample: Sample) -> None:
    args = sample.make()
    result = op.evaluate(*args, **sample.params) if not op.is_elementwise else op(*args, **sample.params)
    assert op.several is isinstance(result, tuple), "`several` says otherwise than the result"
    results = as_tuple(result)
    graph = Graph()
    inputs = [graph.input(spec_of(x)) if isinstance(x, ARRAY) else x for x in args]
    handles = [new_handle(x) if isinstance(x, ARRAY) or hasattr(x, "graph") else x for x in inputs]
    with nested():  # as a trace is: in the thread's ordinary mode every payload is an array
        traced = as_tuple(op(*handles, **sample.params))
    assert len(traced) == len(results), "the shape rule gives another number of results"
    for y, handle in zip(results, traced, strict=True):
        spec = handle._value.spec
        assert type(spec) is Spec
        assert all(type(n) is int for n in spec.shape), f"{spec.shape} has lengths that are not int"
        assert spec == spec_of(y), f"the shape rule says {spec}, the result is {spec_of(y)}"
    graph.outputs = [handle._value for handle in traced]
    again = graph(*(x for x in args if isinstance(x, ARRAY)))
    for y, z in zip(results, again, strict=True):
        np.testing.assert_array_equal(y, z)
    for y, x in itertools.product(results, args):
        if isinstance(x, np.ndarray) and isinstance(y, np.ndarray) and np.shares_memory(x, y):
            assert op.view or op.name in SHARING, "the result shares memory with an operand: is it a view?"


# Views too, though nothing is written back through them by the op: the tensor functions link or copy their results.
SHARING = frozenset({"stop_gradient", "split", "unbind", "broadcast_to", "real", "imag", "windows"})


# (c), (d) First order


def point(op: Op, sample: Sample) -> tuple[tuple[Any, ...], tuple[int, ...], np.random.Generator]:
    args = sample.make()
    return args, differentiable(op, sample, args), np.random.default_rng(7)


# A gradient that is no derivative, by the op's definition: its modes agree with each other only.
WITHHELD = {"embedding": lambda params: params["padding"] is not None}


def check_jvp(op: Op, sample: Sample) -> None:
    """Forward mode against differences, for every choice of operands that move."""
    if WITHHELD.get(op.name, lambda params: False)(sample.params):
        return
    args, chosen, rng = point(op, sample)
    for moving in subsets(chosen):
        f = restricted(op, sample, args, moving)
        xs = [args[i] for i in moving]
        ts = [like(rng, x) for x in xs]
        value, tangent = pb.jvp(f, tuple(xs), tuple(ts))
        assert_close(value, f(*xs), "value under jvp", 0.0)
        assert_close(tangent, slope(f, xs, ts), f"jvp in operands {moving}")


def check_vjp(op: Op, sample: Sample) -> None:
    """Reverse mode against forward mode, <g, J t> = <vjp(g), t>, for every choice of tracked operands, on raw arrays
    and on handles."""
    args, chosen, rng = point(op, sample)
    for tracked in subsets(chosen):
        f = restricted(op, sample, args, tracked)
        xs = [args[i] for i in tracked]
        ts = [like(rng, x) for x in xs]
        tangent = raws(pb.jvp(f, tuple(xs), tuple(ts))[1])
        value, pull = pb.vjp(f, *xs)
        gs = tuple(like(rng, raw(y)) for y in value)
        found = raws(pull(gs))
        forward, backward = pairing(gs, tangent), pairing(found, ts)
        scale = sum(float(np.abs(g * t).sum()) for g, t in zip(gs, tangent, strict=True)) + 1
        assert abs(forward - backward) <= 1e-11 * scale, f"<g, Jt> = {forward}, <vjp(g), t> = {backward}, {tracked}"
        for x, d in zip(xs, found, strict=True):
            assert d.shape == x.shape, f"the cotangent of {x.shape} has shape {d.shape}"
        leaves = [new_handle(np.array(x)).requires_grad_() for x in xs]
        ys = f(*leaves)
        seeds = [new_handle(g) for g in gs]
        lifted = autograd.grad(ys, leaves, seeds, create_graph=True, materialize_grads=True)
        assert_close(lifted, found, "gradient with create_graph", 1e-13)


# (e) Batching


def batched_args(op: Op, sample: Sample, chosen: Sequence[int], size: int, seed: int) -> list[Any]:
    """The sample with the chosen operands stacked from `size` different ones."""
    many = [sample.make(seed + n) for n in range(size)]
    rng = np.random.default_rng(seed)

    def vary(i: int) -> Any:
        if callable(sample.args[i]):
            return np.stack([args[i] for args in many])
        fixed = np.asarray(sample.args[i])
        return np.stack([rng.permutation(fixed.reshape(-1)).reshape(fixed.shape) for _ in range(size)])

    return [vary(i) if i in chosen else x for i, x in enumerate(many[0])]


def arrays_of(args: Sequence[Any]) -> list[int]:
    return [i for i, x in enumerate(args) if isinstance(x, ARRAY)]


def check_batch(op: Op, sample: Sample) -> None:
    """The batch rule against a loop, for every choice of batched operands."""
    base = sample.make()
    for chosen in subsets(arrays_of(base)):
        args = batched_args(op, sample, chosen, BATCH, 11)

        def f(*xs: Any, chosen: Sequence[int] = chosen, args: list[Any] = args) -> tuple[Any, ...]:
            full = list(args)
            for i, x in zip(chosen, xs, strict=True):
                full[i] = x
            return as_tuple(op(*full, **sample.params))

        xs = [args[i] for i in chosen]
        mine = pb.vmap(f)(*xs)
        rows = [f(*(x[n] for x in xs)) for n in range(BATCH)]
        wanted = [np.stack([np.asarray(row[k]) for row in rows]) for k in range(len(rows[0]))]
        assert [raw(y).dtype for y in mine] == [y.dtype for y in wanted], "dtype under vmap"
        assert_close(mine, wanted, f"vmap over operands {chosen}", 1e-12)


def check_nested_batch(op: Op, sample: Sample) -> None:
    """vmap in vmap: operands batched in the outer one, in the inner one, and in both."""
    base = sample.make()
    arrays = arrays_of(base)
    for outer in subsets(arrays):
        inner = tuple(i for i in arrays if i not in outer) or outer
        both = batched_args(op, sample, arrays, 2 * BATCH, 5)
        args = [
            x
            if i not in arrays
            else x.reshape(2, BATCH, *x.shape[1:])[(slice(None) if i in outer else 0, slice(None) if i in inner else 0)]
            for i, x in enumerate(both)
        ]
        numbers = [i for i in arrays if i in outer or i in inner]
        f = _spread(op, sample, args, numbers)
        xs = [args[i] for i in numbers]
        over = [0 if i in inner else None for i in numbers]
        mine = pb.vmap(pb.vmap(f, in_axes=tuple(over)), in_axes=tuple(0 if i in outer else None for i in numbers))(*xs)

        def pick(i: int, x: Any, m: int, n: int, outer: Any = outer, inner: Any = inner) -> Any:
            x = x[m] if i in outer else x
            return x[n] if i in inner else x

        rows = [
            [f(*(pick(i, x, m, n) for i, x in zip(numbers, xs, strict=True))) for n in range(BATCH)] for m in range(2)
        ]
        wanted = [np.array([[np.asarray(y[k]) for y in row] for row in rows]) for k in range(len(rows[0][0]))]
        assert_close(mine, wanted, f"vmap over {outer} of vmap over {inner}", 1e-12)


def _spread(op: Op, sample: Sample, args: list[Any], numbers: Sequence[int]) -> Callable[..., tuple[Any, ...]]:
    def f(*xs: Any) -> tuple[Any, ...]:
        full = list(args)
        for i, x in zip(numbers, xs, strict=True):
            full[i] = x
        return as_tuple(op(*full, **sample.params))

    return f


def check_batched_derivatives(op: Op, sample: Sample) -> None:
    """The derivative rules under vmap, against a loop: all operands batched, and each alone."""
    _, chosen, rng = point(op, sample)
    for moving in {chosen, *((i,) for i in chosen)}:
        if not moving:
            continue
        args = batched_args(op, sample, moving, BATCH, 23)
        f = restricted(op, sample, args, moving)
        xs = [args[i] for i in moving]
        ts = [like(rng, x) for x in xs]
        gs = [np.stack([like(rng, np.asarray(y))] * BATCH) for y in f(*(x[0] for x in xs))]
        n = len(moving)

        def forward(*both: Any, f: Any = f, n: int = n) -> Any:
            return tuple(pb.jvp(f, both[:n], both[n:])[1])

        def reverse(*both: Any, f: Any = f, n: int = n) -> Any:
            return pb.vjp(f, *both[:n])[1](both[n:])

        for rule, seeds, what in ((forward, ts, "jvp"), (reverse, gs, "vjp")):
            mine = pb.vmap(rule)(*xs, *seeds)
            rows = [rule(*(x[m] for x in (*xs, *seeds))) for m in range(BATCH)]
            wanted = [np.stack([raw(row[k]) for row in rows]) for k in range(len(rows[0]))]
            assert_close(mine, wanted, f"{what} of operands {moving} under vmap", 1e-11)


# (f) Second order


def check_second_order(op: Op, sample: Sample) -> None:
    """The derivative of the gradient and of the tangent, each in both modes, against differences of first order."""
    args, chosen, rng = point(op, sample)
    if not chosen:
        return
    f = restricted(op, sample, args, chosen)
    xs = [args[i] for i in chosen]
    n = len(xs)
    gs = [like(rng, np.asarray(y)) for y in f(*xs)]
    ts = [like(rng, x) for x in xs]

    def gradient(*both: Any) -> Any:
        return pb.vjp(f, *both[:n])[1](both[n:])

    def tangent(*both: Any) -> Any:
        return tuple(pb.jvp(f, both[:n], both[n:])[1])

    for first, seeds, name in ((gradient, gs, "gradient"), (tangent, ts, "tangent")):
        at = [*xs, *seeds]
        moves = [like(rng, x) for x in at]
        wanted = slope(first, at, moves)
        mine = raws(pb.jvp(first, tuple(at), tuple(moves))[1])
        assert_close(mine, wanted, f"forward over {name}", 1e-7)
        value, pull = pb.vjp(first, *at)
        weights = tuple(like(rng, raw(y)) for y in value)
        found = raws(pull(weights))
        a, b = pairing(weights, mine), pairing(found, moves)
        scale = sum(float(np.abs(w * d).sum()) for w, d in zip(weights, mine, strict=True)) + 1
        assert abs(a - b) <= 1e-9 * scale, f"reverse over {name}: {b}, forward says {a}"
        for x, d in zip(at, found, strict=True):
            assert d.shape == x.shape


# (g) Element types


def check_dtype(op: Op, sample: Sample, dtype: str, tol: float) -> None:
    """Values, tangents, gradients and second derivatives keep the precision of the operands."""
    args, chosen, rng = point(op, sample)

    def lower(x: Any) -> Any:
        if not is_inexact(x):
            return x
        if x.dtype.kind == "c":
            return x.astype({"float32": "complex64"}[dtype])
        return np.asarray(x).astype(dtype)[()] if isinstance(x, np.generic) else x.astype(dtype)

    wide = [raw(y) for y in as_tuple(op(*args, **sample.params))]
    low = [lower(x) for x in args]
    narrow = [raw(y) for y in as_tuple(op(*low, **sample.params))]
    for a, b in zip(narrow, wide, strict=True):
        wanted = lower(b).dtype
        assert a.dtype == wanted, f"the result of {dtype} operands is {a.dtype}"
        if a.dtype.kind in "fc":
            np.testing.assert_allclose(
                a, b, rtol=tol, atol=tol * max(1.0, np.max(np.abs(b[np.isfinite(b)]), initial=0))
            )
    if not chosen:
        return
    f = restricted(op, sample, low, chosen)
    xs = [low[i] for i in chosen]
    ts = [like(rng, x) for x in xs]
    value, tangent = pb.jvp(f, tuple(xs), tuple(ts))
    for y, t in zip(value, tangent, strict=True):
        assert raw(y).dtype == raw(t).dtype, f"the tangent of {raw(y).dtype} is {raw(t).dtype}"
    value, pull = pb.vjp(f, *xs)
    gs = [like(rng, raw(y)) for y in value]
    for x, d in zip(xs, pull(tuple(gs)), strict=True):
        assert raw(d).dtype == x.dtype, f"the gradient of {x.dtype} is {raw(d).dtype}"
    leaves = [new_handle(np.array(x)).requires_grad_() for x in xs]
    first = autograd.grad(f(*leaves), leaves, [new_handle(g) for g in gs], create_graph=True, materialize_grads=True)
    for x, d in zip(xs, first, strict=True):
        assert d.dtype == x.dtype, f"the gradient of {x.dtype} with create_graph is {d.dtype}"
    tracked = [d for d in first if d.requires_grad]
    if tracked:
        second = autograd.grad(tracked, leaves, [new_handle(raw(d)) for d in tracked], materialize_grads=True)
        for x, d in zip(xs, second, strict=True):
            assert d.dtype == x.dtype, f"the second derivative of {x.dtype} is {d.dtype}"


def check_scalar(op: Op, sample: Sample) -> None:
    """An elementwise op on NumPy scalars, as 0-dim results are held: same dtype and numbers as on arrays."""
    if not op.is_elementwise:
        return
    args, _, rng = point(op, sample)
    one = [np.asarray(x).reshape(-1)[0] if isinstance(x, ARRAY) else x for x in args]
    one = [x.astype("float32") if is_inexact(x) and x.dtype.kind == "f" else x for x in one]
    whole = [np.asarray(x).reshape(1) if isinstance(x, ARRAY) else x for x in one]
    a, b = raw(op(*one, **sample.params)), raw(op(*whole, **sample.params))
    assert a.dtype == b.dtype, f"a scalar gives {a.dtype}, an array {b.dtype}"
    np.testing.assert_allclose(a, b[0], rtol=3e-7)  # scalar and vector loops differ in the last place
    chosen = differentiable(op, sample, args)
    if not chosen:
        return
    fa, fb = restricted(op, sample, one, chosen), restricted(op, sample, whole, chosen)
    g = np.float32(rng.standard_normal()) if a.dtype.kind == "f" else a.dtype.type(1)
    mine = pb.vjp(fa, *(one[i] for i in chosen))[1]((g,))
    wanted = pb.vjp(fb, *(whole[i] for i in chosen))[1]((np.array([g]),))
    for x, y in zip(mine, wanted, strict=True):
        assert raw(x).dtype == raw(y).dtype
        np.testing.assert_allclose(raw(x), raw(y)[0], rtol=1e-6)


def check_number(op: Op, sample: Sample) -> None:
    """An elementwise op with a Python number for an operand: as with an array of it, and float32 stays float32."""
    args, chosen, rng = point(op, sample)
    floats = [i for i, x in enumerate(args) if is_inexact(x) and x.dtype.kind == "f"]
    if not op.is_elementwise or len(floats) < 2:
        return
    low = [x.astype("float32") if i in floats else x for i, x in enumerate(args)]
    for i in floats:
        others = tuple(j for j in chosen if j != i)
        number = float(low[i].reshape(-1)[0])
        plain = [*low[:i], number, *low[i + 1 :]]
        array = [*low[:i], np.array(number, "float32"), *low[i + 1 :]]
        f, h = (restricted(op, sample, given, others) for given in (plain, array))
        xs = [low[j] for j in others]
        a, b = raw(op(*plain, **sample.params)), raw(op(*array, **sample.params))
        assert a.dtype == b.dtype, f"a number as operand {i} gives {a.dtype}"
        np.testing.assert_allclose(a, b, rtol=1e-6)
        if not xs:
            continue
        g = like(rng, b)
        mine, wanted = pb.vjp(f, *xs)[1]((g,)), pb.vjp(h, *xs)[1]((g,))
        for x, c, d in zip(xs, raws(mine), raws(wanted), strict=True):
            assert c.dtype == x.dtype, f"a number as operand {i} makes the gradient {c.dtype}"
            np.testing.assert_allclose(c, d, rtol=1e-5, atol=1e-5)
        forward = pb.jvp(f, tuple(xs), tuple(like(rng, x) for x in xs))[1]
        assert raw(forward[0]).dtype == a.dtype


def complexified(sample: Sample) -> Sample:
    """The sample with an imaginary part given to every real operand that it makes."""

    def lift(maker: Any, n: int) -> Any:
        def make(rng: np.random.Generator) -> Any:
            x = maker(rng)
            return x + 0.3j * (rng.random(np.shape(x)) + 0.2 + n) if is_inexact(x) and x.dtype.kind == "f" else x

        return make if callable(maker) else maker

    return Sample(*(lift(maker, n) for n, maker in enumerate(sample.args)), **sample.params)


# (h), (i) What rules read and what they give back


class Poison:
    """Stands for what was not saved: reading it in any way fails."""

    def __getattribute__(self, name: str) -> Any:
        if name == "__class__":
            return object.__getattribute__(self, name)
        raise AssertionError(f"a rule read something it had said it does not need (.{name})")

    def _refuse(self, *args: Any) -> Any:
        raise AssertionError("a rule read something it had said it does not need")

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __neg__ = _refuse
    __pow__ = __rpow__ = __matmul__ = __rmatmul__ = __getitem__ = __iter__ = __len__ = __bool__ = __array__ = _refuse


def run_rules(op: Op, tracked: Sequence[bool], g: Any, y: Any, xs: Sequence[Any], params: Any) -> list[Any]:
    if isinstance(op.rules, tuple):
        return [
            rule(g, y, *xs, **params) if rule is not None and tracked[i] else None for i, rule in enumerate(op.rules)
        ]
    return list(op.rules(g, y, *xs, **params))


def check_rules(op: Op, sample: Sample) -> None:
    """Rules read only what they say they do, keep their hands off what they get, and give back arrays of their own."""
    args, chosen, rng = point(op, sample)
    if not chosen:
        return
    if op.is_elementwise:
        shape = np.broadcast_shapes(*(np.shape(x) for x in args))
        args = tuple(np.array(np.broadcast_to(x, shape)) if isinstance(x, ARRAY) else x for x in args)
    y = op.evaluate(*args, **sample.params)
    ys = as_tuple(y)
    gs = tuple(like(rng, np.asarray(part)) if part.dtype.kind in "fc" else None for part in ys)
    g = gs if isinstance(y, tuple) else gs[0]
    everything = [i in chosen for i in range(len(args))]
    before = [np.array(x) for x in (*args, *ys, *gs) if isinstance(x, ARRAY)]
    whole = run_rules(op, everything, g, y, args, sample.params)
    for array, copy in zip([x for x in (*args, *ys, *gs) if isinstance(x, ARRAY)], before, strict=True):
        np.testing.assert_array_equal(array, copy, "a rule wrote to its operands")
    for tracked in subsets(chosen):
        flags = tuple(i in tracked for i in range(len(args)))
        need_y, *needs = op.needs(flags)
        kept = [Poison() if n == NONE else spec_of(x) if n == SPEC else x for n, x in zip(needs, args, strict=True)]
        found = run_rules(op, flags, g, y if need_y else Poison(), kept, sample.params)
        for i in tracked:
            if found[i] is not None and whole[i] is not None:
                np.testing.assert_array_equal(found[i], whole[i], "a rule depends on what was not saved")
        _check_ownership([found[i] for i in tracked], gs, [*args, *ys])


def _check_ownership(grads: Sequence[Any], gs: Sequence[Any], saved: Sequence[Any]) -> None:
    arrays = [d for d in grads if isinstance(d, np.ndarray)]
    mine = [d for d in arrays if not any(g is not None and np.shares_memory(d, g) for g in gs)]
    for d in arrays:
        for x in saved:
            if isinstance(x, np.ndarray):
                assert not np.shares_memory(d, x), "a rule returned (a view of) an array that the tape saved"
    for a, b in itertools.combinations(mine, 2):
        assert not np.shares_memory(a, b), "a rule returned the same array twice"


SAMPLE_CHECKS = (
    check_shape,
    check_jvp,
    check_vjp,
    check_batch,
    check_nested_batch,
    check_batched_derivatives,
    check_second_order,
    check_scalar,
    check_number,
    check_rules,
)
