"""Exported functions: every op has in JAX the values, dtypes and derivatives that it has here, and so have programs."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pullback as pb
from pullback.compile.export.jax import table
from pullback.ops.samples import Sample
from pullback.ops.table import TABLE, Op
from pullback.transforms.tree import flatten

EXPORTED = [op for name, op in TABLE.items() if name in table()]
# Operands in which JAX has no derivative, by number; and samples of which JAX has no value: of complex numbers, and
# derivatives in shape parameters.
NO_SLOPE = {"gammainc": (0,), "gammaincc": (0,), "betainc": (0, 1)}
NO_VALUE = {"dawsn": (1,), "erfi": (1,), "gammainc": (2,), "gammaincc": (2,), "betainc": (2, 3)}
# Any of several results will do: the order of what is not asked for.
FREE = {"argpartition"}


@pytest.fixture(autouse=True)
def double_precision() -> Any:
    with jax.enable_x64(True):
        yield


def close(found: Any, expected: Any, rtol: float = 1e-11) -> None:
    found, expected = flatten(found)[0], flatten(expected)[0]
    assert len(found) == len(expected)
    for a, b in zip(map(np.asarray, found), map(np.asarray, expected), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol / 10)


def arrays_of(op: Op, sample: Sample) -> tuple[Callable[..., Any], list[Any], list[int]]:
    """The op as a function of the sample's arrays, these, and the numbers of those to differentiate in."""
    made = sample.make()
    first = op.name.startswith("eval_")  # a polynomial's degree is a constant
    places = [i for i, x in enumerate(made) if isinstance(x, np.ndarray | np.generic) and not (first and i == 0)]

    def call(*arrays: Any) -> Any:
        operands = dict(enumerate(made)) | dict(zip(places, arrays, strict=True))
        return op(*operands.values(), **sample.params)

    fixed = NO_SLOPE.get(op.name, ())
    smooth = [
        k
        for k, i in enumerate(places)
        if callable(sample.args[i]) and np.asarray(made[i]).dtype.kind in "fc" and i not in fixed
    ]
    return call, [np.asarray(made[i]) for i in places], smooth


def in_some(f: Callable[..., Any], arrays: list[Any], places: list[int]) -> tuple[Any, ...]:
    """f as a function of some of its arguments, and these."""

    def of_these(*xs: Any) -> Any:
        return f(*(dict(enumerate(arrays)) | dict(zip(places, xs, strict=True))).values())

    return of_these, *(arrays[i] for i in places)


def cotangents(ys: list[Any]) -> list[Any]:
    rng = np.random.default_rng(1)
    return [(rng.standard_normal(y.shape) + 1j * rng.standard_normal(y.shape)).astype(y.dtype) if y.dtype.kind == "c"
            else rng.standard_normal(y.shape) for y in map(np.asarray, ys)]  # fmt: skip


@pytest.mark.parametrize("op", EXPORTED, ids=lambda op: op.name)
def test_ops_have_their_values_and_derivatives(op: Op) -> None:
    programs: list[Any] = []
    arguments: list[Any] = []
    expected: list[Any] = []
    for number, sample in enumerate(op.samples):
        if number in NO_VALUE.get(op.name, ()):
            continue
        call, arrays, smooth = arrays_of(op, sample)
        values = flatten(call(*arrays))[0]
        kept = [i for i, y in enumerate(values) if op.family != "nondifferentiable" and y.dtype.kind in "fc"]

        def parted(*xs: Any, call: Any = call, kept: Any = kept) -> Any:
            ys = flatten(call(*xs))[0]
            return [ys[i] for i in kept], [y for i, y in enumerate(ys) if i not in kept]

        g: list[Any] = []
        d: list[Any] = []
        if smooth and kept:
            (_, pull, _), g = (
                pb.vjp(*in_some(parted, arrays, smooth), has_aux=True),
                cotangents([values[i] for i in kept]),
            )
            try:
                d = [np.conj(x) for x in pull(g)]
            except NotImplementedError:  # no derivative here, nor in JAX
                g = []
        programs.append((pb.export_jax(parted), smooth))
        arguments.append((arrays, [np.conj(x) for x in g]))
        expected.append(([values[i] for i in kept], [y for i, y in enumerate(values) if i not in kept], d))

    def every(arguments: Any) -> Any:
        found = []
        for (program, smooth), (arrays, g) in zip(programs, arguments, strict=True):
            if g:
                ys, pull, others = jax.vjp(*in_some(program, arrays, smooth), has_aux=True)
                found.append((ys, others, list(pull(g))))
            else:
                found.append((*program(*arrays), []))
        return found

    for found, wanted in zip(jax.jit(every)(arguments), expected, strict=True):
        if op.name in FREE:
            np.testing.assert_array_equal(np.sort(found[1]), np.sort(wanted[1]))
            continue
        close(found[:2], wanted[:2])
        close(found[2], wanted[2], rtol=1e-9)


def test_the_table_is_of_ops_and_nearly_whole() -> None:
    assert set(table()) <= set(TABLE)
    assert len(EXPORTED) >= 286


# Programs

rng = np.random.default_rng(0)
X, Y = rng.standard_normal((8, 4)), rng.standard_normal((8, 2))
LABELS = rng.integers(0, 2, 8)
WEIGHTS = {"hidden": (rng.standard_normal((4, 5)), rng.standard_normal(5)), "out": [rng.standard_normal((5, 2))]}
W, B = rng.standard_normal(4), 0.3


def mlp(weights: Any, x: Any, y: Any) -> Any:
    w, b = weights["hidden"]
    return np.mean((np.tanh(x @ w + b) @ weights["out"][0] - y) ** 2)


def logistic(w: Any, b: Any, x: Any, t: Any) -> Any:
    z = x @ w + b
    return np.mean(np.log1p(np.exp(-np.abs(z))) + np.maximum(z, 0) - t * z)


def layer_norm(x: Any, w: Any) -> Any:
    centred = x - x.mean(axis=-1, keepdims=True)
    return np.sum(np.sin(centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5) * w))


def attention(q: Any, k: Any, v: Any) -> Any:
    y = pb.nn.functional.scaled_dot_product_attention(*map(pb.as_tensor, (q, k, v)), is_causal=True)
    return (y * y).sum()


def in_place(x: Any) -> Any:
    y = x * 2
    y[0] = x[1] * x[2]
    y[1:][:, 0] += x[0, 0]
    return (y * np.sort(x, axis=1)[::-1]).sum()


PROGRAMS: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "mlp": (mlp, (WEIGHTS, X, Y)),
    "logistic": (logistic, (W, B, X, LABELS)),
    "layer-norm": (layer_norm, (X, W)),
    "attention": (attention, tuple(rng.standard_normal((3, 2, 4, 6)))),
    "in-place": (in_place, (X,)),
    "cross-entropy": (lambda x: pb.nn.functional.cross_entropy(x, pb.tensor(LABELS)), (Y,)),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_and_their_gradients(name: str) -> None:
    f, arguments = PROGRAMS[name]
    exported = pb.export_jax(f)
    close(exported(*arguments), f(*arguments))
    expected = pb.value_and_grad(f)(*arguments)
    close(pb.export_jax(pb.value_and_grad(f))(*arguments), expected, rtol=1e-10)  # the gradient's graph
    close(jax.jit(jax.value_and_grad(exported))(*arguments), expected, rtol=1e-10)  # JAX's derivative of f's


def test_transforms_nest_either_way() -> None:
    def f(x: Any) -> Any:
        return np.sum(np.maximum(np.cumsum(x), 0.1) ** 3) * np.linalg.norm(x)

    x, t = X[0], X[1]
    exported, hessian = pb.export_jax(f), pb.hessian(f)(x)
    close(jax.hessian(exported)(x), hessian, rtol=1e-10)
    close(jax.jacrev(pb.export_jax(pb.grad(f)))(x), hessian, rtol=1e-10)
    close(jax.jvp(exported, (x,), (t,)), pb.jvp(f, (x,), (t,)), rtol=1e-10)
    close(jax.vmap(jax.grad(exported))(X), pb.vmap(pb.grad(f))(X), rtol=1e-10)


@pytest.mark.parametrize(
    ("f", "x"),
    [
        (lambda x: np.sum(np.abs(x) + np.maximum(x, 0.0)), np.zeros(2)),
        (lambda x: np.linalg.norm(x), np.zeros(3)),
        (lambda x: np.std(x), np.ones(3)),
        (lambda x: pb.relu(pb.as_tensor(x)).sum(), np.zeros(2)),
        (lambda x: np.sum(np.clip(x, 0.0, 1.0)), np.array([0.0, 1.0, 2.0])),
        (lambda x: np.sum(np.hypot(x, x)), np.zeros(2)),
        (lambda x: np.prod(x), np.array([0.0, 2.0, 0.0])),
        (lambda x: np.max(x), np.array([1.0, 3.0, 3.0])),
        (lambda x: np.sum(x**0 + x**2.0), np.zeros(2)),
    ],
)
def test_kinks_have_the_same_slopes(f: Callable[[Any], Any], x: Any) -> None:
    close(jax.grad(pb.export_jax(f))(x), pb.grad(f)(x))


def test_a_cotangent_that_moves_through_zero_is_differentiated() -> None:
    def f(x: Any) -> Any:
        return np.sum(np.where(x > -1.0, x, 0.0) ** 2)  # the slope, at 0, of the cotangent 2x that `where` lets pass

    x = np.array([0.0, 1.0, -2.0])
    close(jax.jacfwd(pb.export_jax(pb.grad(f)))(x), pb.hessian(f)(x))


def test_traced_once_for_each_signature() -> None:
    seen = []

    def f(x: Any, scale: Any = 1.0) -> Any:
        seen.append((x.shape, x.dtype))
        return x * scale

    exported = pb.export_jax(f)
    for _ in range(2):
        exported(np.ones(3)), exported(np.ones(4)), exported(np.ones(3, np.float32)), exported(np.ones(3), scale=2.0)
    assert len(seen) == 4
    close(exported(jnp.arange(3.0), scale=2.0), np.array([0.0, 2.0, 4.0]))


def test_containers_tensors_and_modules() -> None:
    def f(pair: Any, more: Any) -> Any:
        return {"sum": pair[0] + more["x"], "rest": [(pair[1], None), 2.0]}

    y = pb.export_jax(f)((np.ones(2), pb.tensor([1.0, 2.0])), {"x": 1})
    assert isinstance(y["sum"], jax.Array)
    assert y["rest"][0][1] is None
    close(y, {"sum": np.full(2, 2.0), "rest": [(np.array([1.0, 2.0], np.float32), None), np.array(2.0)]})

    model = pb.nn.Sequential(pb.nn.Linear(4, 3), pb.nn.ReLU(), pb.nn.Linear(3, 1))
    x = pb.tensor(X.astype(np.float32))
    exported = pb.export_jax(lambda model, x: model(x))
    close(exported(model, x), model(x).detach().numpy(), rtol=1e-5)
    with pb.no_grad():
        model[2].bias += 1.0
    close(exported(model, x), model(x).detach().numpy(), rtol=1e-5)  # its parameters are arguments

    def step(model: Any, x: Any) -> Any:
        model(x).sum().backward()
        return [p.grad for p in model.parameters()]

    expected = [g.numpy() for g in step(model, x)]
    close(pb.export_jax(step)(model, x), expected, rtol=1e-5)


def test_single_precision_without_x64() -> None:
    with jax.enable_x64(False):
        f = pb.export_jax(lambda x, i: np.sin(x)[i] * 2.0 + x[np.argmax(x)])
        x = np.array([1.0, 2.0, 0.5], np.float32)
        y = f(x, np.array([2, 0]))
        assert y.dtype == np.float32  # the index is of 32 bits there
        np.testing.assert_allclose(y, np.sin(x)[[2, 0]] * 2 + 2, rtol=1e-6)
        scaled = pb.export_jax(lambda x, a: x * a)
        assert scaled(pb.ones(2), 0.5).dtype == scaled(x, 0.5).dtype == scaled(x, 2).dtype == np.float32
        with pytest.raises(TypeError, match="is float64, which JAX has only after"):
            pb.export_jax(lambda x: np.dot(x, W))(np.ones(4, np.float32))
        with pytest.raises(TypeError, match="float64"):
            pb.export_jax(lambda x: x + np.zeros(3))(x)
        with pytest.raises(OverflowError, match="does not fit into int32"):
            pb.export_jax(lambda i: i + np.array([2**40]))(np.arange(2))


def test_promotion_is_numpys() -> None:
    f = pb.export_jax(lambda a, b: (a + b, np.where(a > 1, a, b), np.concatenate([a, b])))
    a, b = np.arange(3, dtype=np.int32), np.ones(3, np.float32)
    close(f(a, b), (a + b, np.where(a > 1, a, b), np.concatenate([a, b])))
    divide = pb.export_jax(lambda a, b: (a // b, a % b))
    with np.errstate(divide="ignore"):
        a, b = np.array([5, -5, 7]), np.array([0, 0, 2])
        close(divide(a, b), (a // b, a % b))


def test_what_cannot_be_exported_says_so() -> None:
    with pytest.raises(NotImplementedError, match="uses the op 'jv', which has no expression in JAX"):
        pb.export_jax(lambda x: TABLE["jv"](1.5, x))(np.ones(2))
    with pytest.raises(NotImplementedError, match="draws random numbers"):
        pb.export_jax(lambda x: x + pb.rand(2))(np.ones(2))
    with pytest.raises(TypeError, match="expected arrays and numbers, got 'mean'"):
        pb.export_jax(lambda x, how: x)(np.ones(2), "mean")
    with pytest.raises(TypeError, match="expected arrays"):
        pb.export_jax(lambda x: x)(jnp.ones(2, jnp.bfloat16))
    with pytest.raises(TypeError, match="pullback's transforms end at"):
        pb.grad(pb.export_jax(np.sum))(np.ones(2))
    with pytest.raises(NotImplementedError, match="shape parameters"):
        jax.grad(pb.export_jax(lambda a: TABLE["gammainc"](a, 0.5)))(1.0)


def test_a_later_write_to_a_repeated_place_counts() -> None:
    def f(x: Any, i: Any) -> Any:
        y = x * 1.0
        y[i] = np.arange(4.0) * x[:4]
        return y

    i = np.array([1, 3, 1, -5])
    exported = pb.export_jax(f)
    close(jax.jit(exported)(np.ones(6), i), f(np.ones(6), i))
    close(
        jax.grad(lambda x: jnp.sum(exported(x, i) ** 2))(np.ones(6)),
        pb.grad(lambda x: np.sum(f(x, i) ** 2))(np.ones(6)),
    )


# The example


def test_a_step_sharded_over_four_devices() -> None:
    path = Path(__file__).parents[1] / "examples" / "sharded.py"
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    done = subprocess.run([sys.executable, path], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "4 devices" in done.stdout
    assert "equal" in done.stdout
