"""grad, vjp, jvp, jacobians, hessians and vmap: against JAX, closed forms and each other, nested in any order."""

import dataclasses
import itertools
from collections import OrderedDict, namedtuple
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pullback as pb
from pullback.tape.state import modes

jax = pytest.importorskip("jax")
jnp = jax.numpy


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


@pytest.fixture(autouse=True)
def no_state_left_behind() -> Iterator[None]:
    yield
    assert (modes.depth, modes.grad, modes.numpy, modes.special) == (0, True, False, False)


def assert_same(found: Any, expected: Any, rtol: float = 1e-9) -> None:
    """Equal numbers in equal containers; NumPy's on our side."""
    if isinstance(expected, dict):
        assert set(found) == set(expected)
        found, expected = [found[key] for key in expected], list(expected.values())
    if isinstance(expected, tuple | list):
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            assert_same(a, b, rtol)
        return
    if expected is None:
        assert found is None
        return
    assert not isinstance(found, pb.Tensor), "NumPy goes in, so NumPy comes out"
    assert np.shape(found) == np.shape(expected)
    assert np.asarray(found).dtype == np.asarray(expected).dtype
    np.testing.assert_allclose(found, np.asarray(expected), rtol=rtol, atol=1e-12)


rng = np.random.default_rng(0)
VECTOR, MATRIX, WEIGHT = rng.standard_normal(3), rng.standard_normal((3, 4)), rng.standard_normal((4, 3))

# Functions written once for NumPy and jax.numpy: vectors and matrices in, anything out.
VECTOR_FUNCTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "powers": lambda xp, x: x**3 - 2 * x,
    "trigonometry": lambda xp, x: xp.sin(x) * xp.cos(2 * x) + xp.tanh(x),
    "coupled": lambda xp, x: xp.exp(x[0]) * x[1:] + x[::-1][:2],
    "product": lambda xp, x: MATRIX.T @ x,
    "outer": lambda xp, x: x[:, None] * xp.exp(-x)[None, :],
    "field": lambda xp, x: xp.stack([x[0] ** 3 - x[1] ** 2, x[1] ** 2 + x[2] ** 2, x[2] ** 3 - x[0] ** 2]),
    "gather": lambda xp, x: x[np.array([0, 2, 0, 1])] * 2.0,
    "where": lambda xp, x: xp.where(x > 0, x**2, xp.exp(x)),
    "joined": lambda xp, x: xp.concatenate([x, x * x])[1:5],
    "scan": lambda xp, x: xp.cumsum(x * x),
    "sorted": lambda xp, x: xp.sort(x) * np.arange(1.0, 4.0),
    "norm": lambda xp, x: xp.sqrt(xp.sum(x * x)),
    "logsumexp": lambda xp, x: xp.log(xp.sum(xp.exp(x))),
    "constant": lambda xp, x: xp.ones(2) + 0 * x[0],
    "solve": lambda xp, x: xp.linalg.solve(np.eye(3) + x[:, None] * x[None, :], x),
}
SCALAR_FUNCTIONS: dict[str, Callable[[Any, Any], Any]] = {
    name: (lambda xp, x, f=f: xp.sum(f(xp, x) * 1.5)) for name, f in VECTOR_FUNCTIONS.items()
}


def compiled(f: Callable[..., Any], *args: Any) -> Any:
    """JAX's answer; one compilation takes a tenth of the time of dispatching every operation."""
    return jax.jit(f)(*args)


@pytest.mark.parametrize("name", SCALAR_FUNCTIONS)
def test_scalar_functions(name: str) -> None:
    f = SCALAR_FUNCTIONS[name]
    ours, theirs = (lambda x: f(np, x)), (lambda x: f(jnp, x))
    v = np.array([0.3, -1.0, 2.0])
    value, gradient, hessian = compiled(lambda x: (theirs(x), jax.grad(theirs)(x), jax.hessian(theirs)(x)), VECTOR)
    assert_same(pb.grad(ours)(VECTOR), gradient)
    assert_same(pb.value_and_grad(ours)(VECTOR), (value, gradient))
    assert_same(pb.jvp(ours, (VECTOR,), (v,)), (value, gradient @ v))
    assert_same(pb.hessian(ours)(VECTOR), hessian)
    assert_same(pb.jacrev(pb.grad(ours))(VECTOR), hessian)
    assert_same(pb.jacrev(pb.jacfwd(ours))(VECTOR), hessian)
    assert_same(pb.jacfwd(pb.jacfwd(ours))(VECTOR), hessian)
    assert_same(pb.hvp(ours, (VECTOR,), (v,)), hessian @ v)


@pytest.mark.parametrize("name", VECTOR_FUNCTIONS)
def test_vector_functions(name: str) -> None:
    f = VECTOR_FUNCTIONS[name]
    ours, theirs = (lambda x: f(np, x)), (lambda x: f(jnp, x))
    value, jacobian = compiled(lambda x: (theirs(x), jax.jacrev(theirs)(x)), VECTOR)
    assert_same(pb.jacrev(ours)(VECTOR), jacobian)
    assert_same(pb.jacfwd(ours)(VECTOR), jacobian)
    cotangent = rng.standard_normal(value.shape)
    ours_value, pull = pb.vjp(ours, VECTOR)
    assert_same(ours_value, value)
    expected = np.tensordot(cotangent, jacobian, cotangent.ndim)
    assert_same(pull(cotangent), (expected,))
    assert_same(pull(cotangent), (expected,))  # it can be called again
    batch = rng.standard_normal((5, 3))
    assert_same(pb.vmap(ours)(batch), np.stack([ours(row) for row in batch]))
    assert_same(pb.vmap(pb.jacrev(ours))(batch), np.stack([pb.jacrev(ours)(row) for row in batch]))


def test_matrix_arguments() -> None:
    def f(xp: Any, a: Any, b: Any) -> Any:
        return xp.sum(xp.tanh(a @ b) ** 2)

    ours, theirs = (lambda a, b: f(np, a, b)), (lambda a, b: f(jnp, a, b))
    gradients, hessians = compiled(
        lambda a, b: (jax.grad(theirs, (0, 1))(a, b), jax.hessian(theirs, (0, 1))(a, b)), MATRIX, WEIGHT
    )
    assert_same(pb.grad(ours, (0, 1))(MATRIX, WEIGHT), gradients)
    assert_same(pb.grad(ours, (1, 0))(MATRIX, WEIGHT), gradients[::-1])
    assert_same(pb.grad(ours, 1)(MATRIX, WEIGHT), gradients[1])
    assert_same(pb.hessian(ours, (0, 1))(MATRIX, WEIGHT), hessians)
    assert_same(pb.hessian(ours, 1)(MATRIX, WEIGHT), hessians[1][1])


# Nesting: every order of four transforms. Each maps polynomials to polynomials, which gives the exact result.

TANGENT = np.array([1.0, 0.5, -1.0])
NESTED: dict[str, Callable[[Callable[[Any], Any]], Callable[[Any], Any]]] = {
    "grad": lambda f: pb.grad(f),
    "jvp": lambda f: lambda x: pb.jvp(f, (x,), (x,))[1],
    "vmap": lambda f: lambda x: np.sum(pb.vmap(f)(x * TANGENT)),
    "vmap_closed": lambda f: lambda x: np.sum(pb.vmap(lambda c: c * f(x * c))(TANGENT)),
    "vmap_unbatched": lambda f: lambda x: np.sum(pb.vmap(lambda c: c * f(x))(TANGENT[:2])),
}
Polynomial = np.polynomial.Polynomial
X = Polynomial([0.0, 1.0])
EXACT: dict[str, Callable[[Polynomial], Polynomial]] = {
    "grad": lambda p: p.deriv(),
    "jvp": lambda p: X * p.deriv(),
    "vmap": lambda p: sum((p(c * X) for c in TANGENT), Polynomial([0.0])),
    "vmap_closed": lambda p: sum((c * p(c * X) for c in TANGENT), Polynomial([0.0])),
    "vmap_unbatched": lambda p: TANGENT[:2].sum() * p,
}


@pytest.mark.parametrize("order", [p for n in (1, 2, 3) for p in itertools.product(NESTED, repeat=n)], ids="-".join)
def test_nesting(order: tuple[str, ...]) -> None:
    coefficients = [0.5, -1.0, 2.0, 0.3, -0.7, 0.2]

    def f(x: Any) -> Any:
        total = 0.0
        for c in reversed(coefficients):
            total = total * x + c
        return total

    exact = Polynomial(coefficients)
    for name in order:
        f, exact = NESTED[name](f), EXACT[name](exact)
    np.testing.assert_allclose(f(0.7), exact(0.7), rtol=1e-9)


@pytest.mark.parametrize(
    "order", [("grad", "vmap", "grad"), ("jvp", "vmap", "grad"), ("vmap", "grad", "jvp")], ids="-".join
)
def test_nesting_as_jax(order: tuple[str, ...]) -> None:
    def compose(m: Any, xp: Any) -> Any:
        nested = {
            "grad": m.grad,
            "jvp": lambda f: lambda x: m.jvp(f, (x,), (xp.sin(x),))[1],
            "vmap": lambda f: lambda x: xp.sum(m.vmap(f)(x * TANGENT)),
        }
        f = lambda x: xp.sin(x) * x**2 + xp.exp(0.3 * x)  # noqa: E731
        for name in order:
            f = nested[name](f)
        return f(0.7)

    np.testing.assert_allclose(compose(pb, np), compiled(lambda: compose(jax, jnp)), rtol=1e-9)


@pytest.mark.parametrize("outer", ["grad", "jvp"])
@pytest.mark.parametrize("inner", ["grad", "jvp"])
def test_perturbations_are_not_confused(outer: str, inner: str) -> None:
    """Siskind & Pearlmutter (2005), Nesting forward-mode AD: d/dx x·(d/dy (x + y) at 1) is 1, and not 2."""

    def d(mode: str, f: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return pb.grad(f) if mode == "grad" else lambda x: pb.jvp(f, (x,), (1.0 + 0 * x,))[1]

    assert d(outer, lambda x: x * d(inner, lambda y: x + y)(1.0))(3.0) == 1.0
    assert d(outer, lambda x: x * d(inner, lambda y: x * y)(2.0))(3.0) == 6.0
    assert d(outer, lambda x: d(inner, lambda y: x * y**2)(x))(3.0) == 12.0
    assert d(outer, lambda x: d(inner, lambda y: y * d(inner, lambda z: x * y * z)(4.0))(5.0))(3.0) == 10.0
    # A derivative that leaks out of its own run is a constant for others (the shift operator, Manzyuk et al. 2019).
    shift = lambda u: d(inner, lambda x: lambda_at(u + x))  # noqa: E731
    lambda_at = np.sin
    np.testing.assert_allclose(d(outer, lambda u: shift(u)(0.0))(0.5), -np.sin(0.5))


def test_higher_orders() -> None:
    f = np.sin
    expected = [np.sin, np.cos, lambda x: -np.sin(x), lambda x: -np.cos(x), np.sin, np.cos]
    reverse, forward, mixed = f, f, f
    for k, value in enumerate(expected):
        for derivative in (reverse, forward, mixed):
            np.testing.assert_allclose(derivative(0.4), value(0.4), rtol=1e-12)
        reverse = pb.grad(reverse)
        forward = (lambda g: lambda x: pb.jvp(g, (x,), (1.0,))[1])(forward)
        mixed = pb.grad(mixed) if k % 2 else (lambda g: lambda x: pb.jvp(g, (x,), (1.0,))[1])(mixed)


# Containers and options


Pair = namedtuple("Pair", "left right")


@dataclasses.dataclass
class Layer:
    weight: Any
    bias: Any
    activation: str = dataclasses.field(default="tanh", metadata={"static": True})


def test_containers() -> None:
    params = {"w": [MATRIX, (VECTOR, None)], "pair": Pair(1.5, VECTOR * 2), "od": OrderedDict(b=2.0, a=3.0)}

    def f(xp: Any, p: Any, scale: float) -> Any:
        total = xp.sum(p["w"][0].T @ p["w"][1][0]) * p["pair"].left + xp.sum(p["pair"].right ** 2)
        return scale * (total + p["od"]["a"] * p["od"]["b"] ** 2)

    found = pb.grad(lambda p, scale: f(np, p, scale))(params, scale=2.0)
    expected = jax.grad(lambda p, scale: f(jnp, p, scale))(params, scale=2.0)
    assert type(found["pair"]) is Pair
    assert type(found["od"]) is OrderedDict
    assert found["w"][1][1] is None
    leaves = lambda tree: [*tree["w"], tree["pair"], dict(sorted(tree["od"].items()))]  # noqa: E731
    assert_same(leaves(found), leaves(expected))
    value, pull = pb.vjp(lambda p: {"y": p["pair"].right * p["pair"].left, "z": (p["w"][0],)}, params)
    (back,) = pull({"y": np.ones(3), "z": (MATRIX,)})
    np.testing.assert_allclose(back["w"][0], MATRIX)
    np.testing.assert_allclose(back["pair"].left, 2 * VECTOR.sum())
    np.testing.assert_allclose(value["y"], 3 * VECTOR)
    np.testing.assert_allclose(back["w"][1][0], 0)


def test_jacobians_over_containers() -> None:
    def f(xp: Any, p: Any, q: Any) -> Any:
        return {"a": xp.outer(p["x"], q), "b": [xp.sum(p["x"]) * p["y"]]}

    p, q = {"x": VECTOR, "y": 2.0}, np.array([1.0, -2.0])
    for name in ("jacrev", "jacfwd"):
        ours, theirs = getattr(pb, name), getattr(jax, name)
        for argnums in (0, (0, 1)):
            found = ours(lambda p, q: f(np, p, q), argnums=argnums)(p, q)
            assert_same(found, compiled(theirs(lambda p, q: f(jnp, p, q), argnums=argnums), p, q))


def test_dicts_match_by_key() -> None:
    f = lambda p: {"b": p["x"] * 2, "a": p["y"] * 3}  # noqa: E731
    _, pull = pb.vjp(f, {"y": 1.0, "x": 5.0})
    assert pull({"a": 1.0, "b": 10.0}) == ({"y": 3.0, "x": 20.0},)
    assert list(pull({"a": 1.0, "b": 10.0})[0]) == ["y", "x"]
    assert pb.jvp(f, ({"y": 1.0, "x": 5.0},), ({"x": 1.0, "y": 10.0},))[1] == {"b": 2.0, "a": 30.0}
    found = pb.vmap(lambda p: p["x"] * p["y"], in_axes=({"x": 0, "y": None},))({"y": 2.0, "x": VECTOR})
    assert_same(found, 2 * VECTOR)


def test_a_dataclass_is_a_container() -> None:
    layer = Layer(np.array([1.0, 2.0]), 0.5)

    def f(layer: Layer, x: Any) -> Any:
        assert layer.activation == "tanh"
        return np.sum(np.tanh(layer.weight * x + layer.bias))

    found = pb.grad(f)(layer, 3.0)
    slope = 1 - np.tanh(layer.weight * 3 + 0.5) ** 2
    assert type(found) is Layer
    np.testing.assert_allclose(found.weight, 3 * slope)
    np.testing.assert_allclose(found.bias, slope.sum())


def test_has_aux() -> None:
    f = lambda x: (np.sum(x**2), {"doubled": 2 * x, "name": "f"})  # noqa: E731
    gradient, aux = pb.grad(f, has_aux=True)(VECTOR)
    assert_same((gradient, aux["doubled"]), (2 * VECTOR, 2 * VECTOR))
    (value, aux), gradient = pb.value_and_grad(f, has_aux=True)(VECTOR)
    assert aux["name"] == "f"
    assert_same((value, aux["doubled"]), (np.sum(VECTOR**2), 2 * VECTOR))
    g = lambda x: (x**2, x[0])  # noqa: E731
    for transform in (pb.jacrev, pb.jacfwd):
        jacobian, aux = transform(g, has_aux=True)(VECTOR)
        assert_same((jacobian, aux), (np.diag(2 * VECTOR), VECTOR[0]))
    assert_same(pb.jvp(g, (VECTOR,), (VECTOR,), has_aux=True), (VECTOR**2, 2 * VECTOR**2, VECTOR[0]))
    value, pull, aux = pb.vjp(g, VECTOR, has_aux=True)
    assert_same((value, pull(np.ones(3)), aux), (VECTOR**2, (2 * VECTOR,), VECTOR[0]))
    assert_same(pb.hessian(lambda x: (np.sum(x**3), x[1]), has_aux=True)(VECTOR), (np.diag(6 * VECTOR), VECTOR[1]))
    with pytest.raises(TypeError, match="returns a pair"):
        pb.grad(lambda x: np.sum(x), has_aux=True)(VECTOR)


def test_tensors_in_tensors_out() -> None:
    x = pb.tensor([1.0, 2.0])
    gradient = pb.grad(lambda x: (x**3).sum())(x)
    assert isinstance(gradient, pb.Tensor)
    assert gradient.dtype == pb.float32
    assert not gradient.requires_grad
    assert gradient.tolist() == [3.0, 12.0]
    assert x.grad is None
    value, tangent = pb.jvp(lambda x: x * x, (x,), (pb.ones(2),))
    assert (value.tolist(), tangent.tolist()) == ([1.0, 4.0], [2.0, 4.0])


def test_gradients_keep_dtypes() -> None:
    for dtype in (np.float16, np.float32, np.float64):
        x = np.array([1.0, 2.0], dtype)
        for transform in (pb.grad, pb.jacfwd, pb.jacrev):
            assert transform(lambda x: (2.5 * x * x).sum())(x).dtype == dtype
    a, b = np.float32(2.0), np.float64(3.0)
    da, db = pb.grad(lambda a, b: a * b, (0, 1))(a, b)
    assert (da.dtype, db.dtype) == (np.float32, np.float64)


# What is tracked outside


def test_results_without_axes_are_numpy_scalars() -> None:
    functions: list[Callable[[Any], Any]] = [
        lambda x: np.clip(x, 0, 1),
        lambda x: np.where(x > 0, x, 2 * x),
        lambda x: np.squeeze(np.atleast_1d(x)),
        lambda x: np.einsum("i,i->", np.atleast_1d(x), np.atleast_1d(x)),
        lambda x: x * x,
    ]
    for f, x in itertools.product(functions, [0.5, np.float64(0.5), np.array(0.5)]):
        results = [*pb.value_and_grad(f)(x), *pb.jvp(f, (x,), (1.0,)), pb.hvp(f, (x,), (1.0,))]
        results += [transform(f)(x) for transform in (pb.grad, pb.jacrev, pb.jacfwd, pb.hessian)]
        results += [pb.vjp(f, x)[0], *pb.vjp(f, x)[1](1.0)]
        assert [type(result) for result in results] == [np.float64] * len(results)


def test_gradients_of_closed_over_tensors() -> None:
    w = pb.tensor([2.0, 3.0], dtype=pb.float64, requires_grad=True)
    x = np.array([1.0, 4.0])
    gradient = pb.grad(lambda x: (w * x * x).sum())(x)
    assert gradient.requires_grad  # it depends on w
    gradient.sum().backward()
    np.testing.assert_allclose(w.grad, 2 * x)
    w.grad = None
    value, pull = pb.vjp(lambda x: w * x, x)
    (value.sum() + pull(pb.ones(2, dtype=pb.float64))[0].sum()).backward()
    np.testing.assert_allclose(w.grad, x + 1)
    w.grad = None
    pb.jacrev(lambda x: w * x**2)(x).sum().backward()
    np.testing.assert_allclose(w.grad, 2 * x)
    w.grad = None
    pb.jvp(lambda x: w * x**2, (x,), (x,))[1].sum().backward()
    np.testing.assert_allclose(w.grad, 2 * x * x)
    w.grad = None
    pb.vmap(lambda row: (w * row).sum())(np.ones((3, 2))).sum().backward()
    np.testing.assert_allclose(w.grad, 3)


def test_a_tracked_argument() -> None:
    w = pb.tensor([2.0, 3.0], requires_grad=True)
    gradient = pb.grad(lambda x: (x**3).sum())(w)
    gradient.sum().backward()
    np.testing.assert_allclose(w.grad, [12.0, 18.0])
    w.grad = None
    u = w * 2  # not a leaf: the derivative is with respect to u, and the result depends on w through u
    pb.grad(lambda x: (x**3).sum())(u).sum().backward()
    np.testing.assert_allclose(w.grad, 12 * u.detach().numpy())


def test_a_tensor_tracked_outside_of_vmap_is_differentiated_inside() -> None:
    xs = np.array([1.0, 2.0, 5.0])
    w = pb.tensor(3.0, dtype=pb.float64, requires_grad=True)
    found = pb.vmap(lambda x: pb.grad(lambda v: v * v * x)(w))(xs)
    np.testing.assert_allclose(found.detach(), 6 * xs)
    found.sum().backward()
    np.testing.assert_allclose(w.grad, 2 * xs.sum())
    expected = jax.grad(lambda w: jax.vmap(lambda x: jax.grad(lambda v: v**3 * x)(w))(xs).sum())(2.0)
    np.testing.assert_allclose(
        pb.grad(lambda w: pb.vmap(lambda x: pb.grad(lambda v: v**3 * x)(w))(xs).sum())(2.0), expected
    )
    found = pb.jvp(lambda w: pb.vmap(lambda x: pb.grad(lambda v: v**3 * x)(w))(xs), (2.0,), (1.0,))[1]
    np.testing.assert_allclose(found, 12 * xs)


def test_a_result_that_depends_on_an_outer_argument_only_is_numpy_outside() -> None:
    outer = pb.grad(lambda w: pb.grad(lambda q: np.sum(q * w**2 * q))(VECTOR).sum())(3.0)
    assert_same(outer, 12 * VECTOR.sum())


def test_no_grad_outside() -> None:
    with pb.no_grad():
        assert pb.grad(lambda x: x**2)(3.0) == 6.0
        assert pb.vjp(lambda x: x**2, 3.0)[1](1.0) == (6.0,)
        assert_same(pb.jacrev(lambda x: x**2)(VECTOR), np.diag(2 * VECTOR))
        assert pb.hessian(lambda x: x**3)(2.0) == 12.0
        assert not pb.is_grad_enabled()


def test_no_grad_inside_makes_constants() -> None:
    def f(x: Any) -> Any:
        with pb.no_grad():
            y = x * x
        return x * y

    assert pb.grad(f)(3.0) == 9.0


def test_a_result_that_does_not_depend_on_the_argument() -> None:
    assert_same(pb.grad(lambda x: np.float64(3.0))(VECTOR), np.zeros(3))
    assert_same(pb.grad(lambda x, y: np.sum(y), (0, 1))(VECTOR, VECTOR), (np.zeros(3), np.ones(3)))
    assert_same(pb.jacrev(lambda x: np.ones(2))(VECTOR), np.zeros((2, 3)))
    assert_same(pb.jacfwd(lambda x: np.ones(2))(VECTOR), np.zeros((2, 3)))
    assert_same(pb.jvp(lambda x: np.ones(2), (VECTOR,), (VECTOR,)), (np.ones(2), np.zeros(2)))
    assert_same(pb.vmap(lambda x: np.float64(2.0))(VECTOR), np.full(3, 2.0))


def test_complex_arguments() -> None:
    """The gradient of a real loss at z = x + iy is dL/dx + i dL/dy: PyTorch's convention, the conjugate of JAX's."""
    z = np.array([1.0 + 2.0j, -0.5j])
    w = np.array([0.3 - 1.0j, 2.0 + 0.1j])
    for f in (
        lambda xp, z: xp.sum(xp.real(z * xp.conj(z))),
        lambda xp, z: xp.sum(xp.real(xp.exp(z) * w)),
        lambda xp, z: xp.sum(xp.imag(z * z * w) + xp.abs(z)),
    ):
        expected = np.conj(compiled(jax.grad(lambda z, f=f: f(jnp, z)), z))
        np.testing.assert_allclose(pb.grad(lambda z, f=f: f(np, z))(z), expected, rtol=1e-9)
        found = pb.jvp(lambda z, f=f: f(np, z), (z,), (w,))
        np.testing.assert_allclose(
            found, compiled(lambda z, w, f=f: jax.jvp(lambda z: f(jnp, z), (z,), (w,)), z, w), rtol=1e-9
        )
    _, tangent = pb.jvp(lambda z: z**3, (z,), (w,))
    np.testing.assert_allclose(tangent, 3 * z**2 * w)


# vmap


def test_vmap_axes() -> None:
    a, b = rng.standard_normal((2, 3, 4)), rng.standard_normal((4, 5))
    for in_axes, out_axes in itertools.product([(0, None), (1, None), (2, 0), (-1, 0), (None, 1)], [0, 1, -1]):
        f = lambda xp: lambda x, y: xp.tensordot(x, y, 0) * 2.0  # noqa: E731
        found = pb.vmap(f(np), in_axes, out_axes)(a, b)
        assert_same(found, compiled(jax.vmap(f(jnp), in_axes, out_axes), a, b))


def test_vmap_over_containers() -> None:
    params = {"w": rng.standard_normal((4, 3)), "b": rng.standard_normal((2, 4))}
    f = lambda p, x: {"y": p["w"] * x + p["b"].sum(), "n": (p["b"],)}  # noqa: E731
    for in_axes, out_axes in [
        (({"w": 0, "b": 1}, None), 0),
        (({"w": 0, "b": None}, 0), {"y": 1, "n": 0}),
        (({"w": None, "b": 1}, 0), {"y": 0, "n": (1,)}),
    ]:
        x = 2.0 if in_axes[1] is None else np.arange(4.0)
        assert_same(pb.vmap(f, in_axes, out_axes)(params, x), compiled(jax.vmap(f, in_axes, out_axes), params, x))
    assert_same(pb.vmap(lambda p: p["w"], out_axes=None, in_axes=({"w": None, "b": 0},))(params), params["w"])


def test_vmap_of_python_control_flow_and_indexing() -> None:
    xs = rng.standard_normal((4, 6))

    def f(xp: Any, row: Any) -> Any:
        total = 0.0
        for i in range(0, 6, 2):
            total = total + row[i] * row[i + 1 :].sum()
        return total * xp.max(row)

    assert_same(pb.vmap(lambda row: f(np, row))(xs), np.stack([f(np, row) for row in xs]))
    expected = compiled(jax.vmap(jax.grad(lambda row: f(jnp, row))), xs)
    assert_same(pb.vmap(pb.grad(lambda row: f(np, row)))(xs), expected)


def test_in_place_writes_are_differentiated() -> None:
    def ours(x: Any) -> Any:
        y = x * 2
        y[0] = y[1] * y[2]
        tail = y[1:]
        tail[0] = x[0] * 3
        y += x
        return (y * y).sum()

    def theirs(x: Any) -> Any:
        y = x * 2
        y = y.at[0].set(y[1] * y[2])
        y = y.at[1].set(x[0] * 3) + x
        return (y * y).sum()

    gradient, hessian = compiled(lambda x: (jax.grad(theirs)(x), jax.hessian(theirs)(x)), VECTOR)
    assert_same(pb.grad(ours)(VECTOR), gradient)
    assert_same(pb.jvp(ours, (VECTOR,), (VECTOR,)), (ours(VECTOR), gradient @ VECTOR))
    assert_same(pb.hessian(ours)(VECTOR), hessian)
    batch = np.stack([VECTOR, 2 * VECTOR])
    assert_same(pb.vmap(pb.grad(ours))(batch), compiled(jax.vmap(jax.grad(theirs)), batch))


def test_the_argument_itself_is_not_written() -> None:
    x = VECTOR.copy()

    def f(x: Any) -> Any:
        y = x
        y = y + 1
        y[0] = 7.0
        return (y * y).sum()

    assert_same(pb.grad(f)(x), [0.0, *(2 * (VECTOR[1:] + 1))])
    np.testing.assert_array_equal(x, VECTOR)


# What is refused


@pytest.mark.parametrize("transform", [pb.grad, pb.jacrev, pb.jacfwd, pb.hessian])
@pytest.mark.parametrize("bad", [3, np.arange(3), True, pb.tensor([1, 2])], ids=repr)
def test_integers_are_refused(transform: Any, bad: Any) -> None:
    with pytest.raises(TypeError, match="can't differentiate with respect to"):
        transform(lambda x: x * 1.0)(bad)


def test_integers_elsewhere_are_fine() -> None:
    assert pb.grad(lambda x, n: x**n)(2.0, 3) == 12.0
    assert_same(pb.grad(lambda x: (x[np.array([0, 0])] * 2).sum())(VECTOR), [4.0, 0.0, 0.0])


def test_errors() -> None:
    with pytest.raises(TypeError, match=r"returns one number, this one returned shape \(3,\)"):
        pb.grad(lambda x: x * 2)(VECTOR)
    with pytest.raises(TypeError, match="real floating-point result"):
        pb.grad(lambda x: x * 2)(1j)
    with pytest.raises(TypeError, match="argnums names argument 2, but 1 were given"):
        pb.grad(lambda x: x, argnums=2)(1.0)
    with pytest.raises(TypeError, match="expected an array"):
        pb.grad(lambda x: 1.0)("text")
    with pytest.raises(TypeError, match="as tuples"):
        pb.jvp(np.sin, 1.0, 1.0)
    with pytest.raises(TypeError, match="same structure"):
        pb.jvp(lambda x: x[0], ((1.0, 2.0),), ([1.0, 2.0],))
    with pytest.raises(TypeError, match=r"shape \(2,\) does not match \(3,\)"):
        pb.jvp(np.sin, (VECTOR,), (np.ones(2),))
    with pytest.raises(TypeError, match="cotangent must have the structure"):
        pb.vjp(np.sin, 1.0)[1]((1.0, 2.0))
    with pytest.raises(ValueError, match="different sizes"):
        pb.vmap(np.add)(np.ones(2), np.ones(3))
    with pytest.raises(ValueError, match="nothing is batched"):
        pb.vmap(np.add, in_axes=None)(np.ones(2), np.ones(2))
    with pytest.raises(ValueError, match="no axis to batch over"):
        pb.vmap(np.add)(np.ones(2), 1.0)
    with pytest.raises(ValueError, match="out_axes=None"):
        pb.vmap(np.sin, out_axes=None)(np.ones(2))
    with pytest.raises(ValueError, match="3 axes were given for 2 values"):
        pb.vmap(np.add, in_axes=(0, 0, 0))(np.ones(2), np.ones(2))
    with pytest.raises(TypeError, match="axis must be"):
        pb.vmap(np.sin, in_axes=("x",))(np.ones(2))


@pytest.mark.parametrize(
    "transform",
    [
        lambda f: pb.grad(f)(1.0),
        lambda f: pb.jvp(f, (1.0,), (1.0,)),
        lambda f: pb.vmap(f)(np.ones(2)),
        lambda f: pb.hessian(f)(1.0),
        lambda f: pb.vmap(lambda x: pb.jvp(pb.grad(f), (x,), (x,)))(np.ones(2)),
        lambda f: pb.make_graph(pb.grad(f))(1.0),
    ],
)
def test_an_exception_leaves_no_state(transform: Any) -> None:
    def f(x: Any) -> Any:
        x * x
        raise ZeroDivisionError

    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            transform(f)
        assert (modes.depth, modes.grad, modes.numpy, modes.special) == (0, True, False, False)
    assert pb.grad(lambda x: x * x)(3.0) == 6.0


# Properties: random expressions, all modes against each other and against differences.

UNARY = {
    "sin": np.sin,
    "tanh": np.tanh,
    "exp": lambda x: np.exp(-(x**2)),
    "square": np.square,
    "negative": np.negative,
    "roll": lambda x: np.roll(x, 1),
    "cumsum": np.cumsum,
    "mean": lambda x: x.mean() + 0 * x,
    "reverse": lambda x: x[::-1],
    "matrix": lambda x: WEIGHT[:3] @ x,
    "write": lambda x: written(x),
    "relu": lambda x: np.where(x > 0.1, x, 0.3 * x),
}
BINARY = {
    "add": np.add,
    "multiply": np.multiply,
    "divide": lambda a, b: a / (2.0 + np.cos(b)),
    "outer": lambda a, b: (a[:, None] * b).sum(0),
}


def written(x: Any) -> Any:
    y = x * 1.0
    y[1] = y[0] * y[2]
    return y


expressions = st.recursive(
    st.just("x") | st.floats(-2, 2),
    lambda inner: (
        st.tuples(st.sampled_from(sorted(UNARY)), inner) | st.tuples(st.sampled_from(sorted(BINARY)), inner, inner)
    ),
    max_leaves=6,
)


def evaluate(expression: Any, x: Any) -> Any:
    if expression == "x":
        return x
    if isinstance(expression, float):
        return np.full(3, expression)
    name, *operands = expression
    return (UNARY | BINARY)[name](*(evaluate(operand, x) for operand in operands))


@settings(max_examples=60, deadline=None)
@given(expressions, st.lists(st.floats(-1.5, 1.5), min_size=3, max_size=3))
def test_all_modes_agree(expression: Any, point: list[float]) -> None:
    x = np.array(point)
    vector = lambda x: evaluate(expression, x) + 0 * x  # noqa: E731
    scalar = lambda x: np.sum(vector(x) * np.array([1.0, -0.5, 2.0]))  # noqa: E731
    jacobian = pb.jacrev(vector)(x)
    close = {"rtol": 1e-9, "atol": 1e-9 * max(1.0, np.abs(jacobian).max())}
    np.testing.assert_allclose(pb.jacfwd(vector)(x), jacobian, **close)
    np.testing.assert_allclose(pb.vmap(pb.jacrev(vector))(np.stack([x, x]))[1], jacobian, **close)
    rows = [pb.vjp(vector, x)[1](e)[0] for e in np.eye(3)]
    np.testing.assert_allclose(rows, jacobian, **close)
    gradient = pb.grad(scalar)(x)
    np.testing.assert_allclose(gradient, np.array([1.0, -0.5, 2.0]) @ jacobian, **close)
    traced = pb.make_graph(pb.grad(scalar))(x)
    np.testing.assert_allclose(traced(x), gradient, **close)
    hessian = pb.hessian(scalar)(x)
    close["atol"] = 1e-8 * max(1.0, np.abs(hessian).max())
    np.testing.assert_allclose(hessian, hessian.T, **close)
    np.testing.assert_allclose(pb.jacrev(pb.jacrev(scalar))(x), hessian, **close)
    np.testing.assert_allclose(pb.jacrev(pb.jacfwd(scalar))(x), hessian, **close)
    np.testing.assert_allclose(pb.hvp(scalar, (x,), (x,)), hessian @ x, **close)
    if np.abs(hessian).max() < 1e3 and "relu" not in str(expression):
        h = 1e-5
        differences = [(vector(x + h * e) - vector(x - h * e)) / (2 * h) for e in np.eye(3)]
        np.testing.assert_allclose(np.transpose(differences), jacobian, rtol=1e-4, atol=1e-4)


def test_a_cotangent_that_two_arguments_get_is_differentiated_for_both() -> None:
    def pulled(x, y, g):
        return pb.vjp(np.add, x, y)[1](g)

    value, pull = pb.vjp(pulled, 1.0, 2.0, 0.5)
    assert value == (0.5, 0.5)
    assert pull((1.0, 10.0)) == (0.0, 0.0, 11.0)
    assert pb.jvp(pulled, (1.0, 2.0, 0.5), (0.0, 0.0, 3.0))[1] == (3.0, 3.0)
    x = np.arange(3.0)
    first, second = pb.vmap(pulled)(x, x, x + 1)
    first[0] = 7.0
    np.testing.assert_array_equal(second, x + 1)
