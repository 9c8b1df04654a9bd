"""Functions of PyTorch, JAX, TensorFlow and HIPS/autograd, checked: their own automatic differentiation, the backwards
that users write for them, and faults that live in the installed versions.
"""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import pullback as pb
from pullback.check import check_jacobian, check_jvp
from pullback.check.adapters import adapter_for, referenced
from pullback.check.forms import own_autodiff
from pullback.check.problem import Problem
from pullback.check.reference import reference_gradient

torch = pytest.importorskip("torch")
jax = pytest.importorskip("jax")
tf = pytest.importorskip("tensorflow")
jnp = jax.numpy
F = torch.nn.functional

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*:UserWarning"),
]


def single(*shape: int, seed: int = 0) -> Any:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def kinds(report: Any, count: int = 3) -> list[str]:
    return [finding.kind for finding in report.findings[:count]]


# What users write


class Affine(torch.autograd.Function):
    """The bias is broadcast over the rows, and its gradient keeps them."""

    @staticmethod
    def forward(ctx: Any, x: Any, w: Any, b: Any) -> Any:
        ctx.save_for_backward(x, w)
        return x @ w + b

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        x, w = ctx.saved_tensors
        return g @ w.T, x.T @ g, g.mean(0)


class Softplus(torch.autograd.Function):
    """In the newer way of writing one; right unless `slope` is another."""

    slope = staticmethod(torch.sigmoid)

    @staticmethod
    def forward(x: Any) -> Any:
        return torch.log1p(torch.exp(x))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)

    @classmethod
    def backward(cls, ctx: Any, g: Any) -> Any:
        (x,) = ctx.saved_tensors
        return g * torch.sigmoid(x)


class Saturated(Softplus):
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (x,) = ctx.saved_tensors
        return -g * torch.sigmoid(x)


def test_a_function_with_a_wrong_broadcast() -> None:
    report = pb.check(Affine, single(4, 3), single(3, 2, seed=1), single(2, seed=2), seed=0)
    assert report.verdict == "refuted"
    assert report.name == "Affine"
    assert set(kinds(report)) & {"sum_for_mean", "one_over_n", "broadcast"}
    assert report.findings[0].argument == "b"
    assert "x @ w + b" in str(report)
    assert pb.check(Affine.apply, single(4, 3), single(3, 2), single(2), seed=0).verdict == "refuted"


class SquaredError(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, p: Any, y: Any) -> Any:
        ctx.save_for_backward(p, y)
        return ((p - y) ** 2).mean()

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        p, y = ctx.saved_tensors
        return 2 * (p - y) / p.numel(), 2 * (y - p) / p.numel()


def test_a_loss_that_ignores_its_cotangent() -> None:
    report = pb.check(SquaredError, single(6), single(6, seed=1), seed=0)
    assert report.verdict == "refuted"
    assert report.findings[0].kind == "ignore_upstream"


class Target(SquaredError):
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        p, y = ctx.saved_tensors
        return 2 * g * (p - y) / p.numel(), None


def test_only_what_requires_grad_is_checked_if_anything_does() -> None:
    p, y = single(6), single(6, seed=1)
    report = pb.check(Target, p, y, seed=0)
    assert (report.verdict, report.findings[0].kind, report.findings[0].argument) == ("refuted", "zero", "y")
    assert pb.check(Target, p.requires_grad_(), y)


def test_a_function_within_a_function() -> None:
    x = single(5)
    assert pb.check(Softplus, x)
    assert pb.check(lambda x: Softplus.apply(x * x).sum(), x)
    report = pb.check(lambda x: (Saturated.apply(x) * x).sum(), x)
    assert report.verdict == "refuted"
    assert "Saturated" in str(report) or report.findings[0].line is not None


def test_the_rule_that_a_function_refers_to() -> None:
    def f(x: Any) -> Any:
        return Saturated.apply(x).sum()

    written = adapter_for(single(1)).written(f)
    assert written is not None
    assert (written.name, written.whole) == ("Saturated", False)
    x = single(3)
    np.testing.assert_array_equal(written.run(torch.ones(3), x), -torch.sigmoid(x))
    assert Saturated in list(referenced(f))


@jax.custom_vjp
def modulated(x: Any, y: Any) -> Any:
    return x * jnp.sin(y)


modulated.defvjp(
    lambda x, y: (modulated(x, y), (x, y)),
    lambda r, g: (g * r[0] * jnp.cos(r[1]), g * jnp.sin(r[1])),
)


@pytest.mark.parametrize(
    ("f", "array"),
    [
        (modulated, jnp.asarray),
        (jax.jit(modulated), np.asarray),
        (lambda x, y: jnp.sum(modulated(x, y)), np.float32),
    ],
)
def test_a_custom_vjp_with_swapped_arguments(f: Any, array: Any) -> None:
    report = pb.check(f, array([0.3, 1.2, -0.8]), array([1.0, 0.4, 2.0]), seed=0)
    assert report.verdict == "refuted"
    assert report.findings[0].kind == "swapped_args"
    assert "x and y" in report.findings[0].message
    assert not jax.config.jax_enable_x64


def test_a_custom_gradient_of_tensorflow() -> None:
    @tf.custom_gradient
    def tanh(x: Any) -> Any:
        return tf.tanh(x), lambda g: g * (1 - x * x)

    report = pb.check(tanh, tf.constant([0.3, -1.2, 0.8]), seed=0)
    assert report.verdict == "refuted"
    assert report.findings[0].kind in ("wrong_point", "wrong_formula")


# What the frameworks do right


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = torch.nn.Linear(3, 4)
        self.rest = torch.nn.Sequential(torch.nn.Tanh(), torch.nn.LayerNorm(4), torch.nn.Linear(4, 1))
        self.scale = torch.nn.Parameter(torch.ones(1))

    def forward(self, x: Any) -> Any:
        return F.softplus(self.rest(self.first(x)) * self.scale + torch.sigmoid(x).sum(-1, keepdim=True))


@tf.function
def gram(x: Any) -> Any:
    return tf.reduce_sum(tf.matmul(x, x, transpose_b=True))


Z = [1 + 2j, 0.3 - 1j]
CONSTANT = torch.tensor([1.0, 2.0, 3.0])
RIGHT: dict[str, tuple[Any, ...]] = {
    "torch": (lambda x: (torch.exp(x) * CONSTANT).sum() + torch.linalg.norm(x), single(3)),
    "torch double": (lambda x: torch.exp(x).prod(), single(3).double()),
    "torch builtin": (torch.logsumexp, single(4), 0),
    "torch module": (Net(), single(5, 3)),
    "torch float and int": (lambda x, i, s: x[i] * s, single(4), torch.tensor([1, 1, 3]), 0.5),
    "torch containers": (lambda p: {"y": p["w"] @ p["x"][0], "n": 3}, {"w": single(2, 3), "x": [single(3)]}),
    "torch bfloat16": (lambda x: (x * x).sum(), single(6).bfloat16()),
    "torch complex": (lambda z: (z * z.conj()).real.sum() + torch.sin(z).abs().sum(), torch.tensor(Z)),
    "torch complex result": (lambda z: z * torch.exp(z), torch.tensor(Z)),
    "torch in place": (lambda x: x.clone().mul_(2).sin_().sum(), single(3)),
    "jax": (lambda x: jnp.sum(jax.nn.softmax(x) * jnp.array([1.0, 2.0, 3.0])) + jnp.linalg.norm(x), jnp.arange(3.0)),
    "jax with arrays": (lambda x, s: jnp.tanh(x) * s, np.arange(3.0), 2.0),
    "jax loop": (jax.jit(lambda x: jax.lax.fori_loop(0, 3, lambda i, c: c * jnp.sin(x), x).sum()), jnp.arange(3.0) + 1),
    "jax complex": (lambda z: jnp.real(z * jnp.conj(z)).sum() + jnp.abs(jnp.sin(z)).sum(), jnp.array(Z)),
    "jax complex result": (lambda z: z * jnp.exp(z), jnp.array(Z)),
    "tensorflow": (lambda x: tf.reduce_sum(tf.nn.softmax(x) * tf.range(3.0)), tf.constant([1.0, 2.0, 0.5])),
    "tensorflow function": (gram, tf.constant([[1.0, 2.0, 3.0]])),
    "tensorflow variable": (lambda v: tf.reduce_sum(v**3), tf.Variable([1.0, 2.0])),
    "tensorflow complex": (lambda z: tf.math.real(z * tf.math.conj(z)), tf.constant(Z)),
    "tensorflow gather": (lambda x: tf.gather(x, [1, 1, 0]), tf.constant([1.0, 2.0, 3.0])),
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_right_is_confirmed(name: str) -> None:
    f, *args = RIGHT[name]
    report = pb.check(f, *args, seed=1)
    assert report.verdict == "confirmed", str(report)


ON_TAPE = set(RIGHT) - {"tensorflow variable", "torch bfloat16"}


@pytest.mark.parametrize("name", sorted(ON_TAPE))
def test_the_tape_is_a_second_opinion(name: str) -> None:
    f, *args = RIGHT[name]
    own = own_autodiff(f, args)
    problem = Problem(own.f, own.args)
    size = pb.check.problem.vector_of(problem.result()).size
    found = reference_gradient(problem, np.linspace(1.0, 2.0, size))
    assert found is not None
    assert found.shape == problem.x.shape
    assert np.isfinite(found).all()


def test_claims_of_the_user_in_the_frameworks_conventions() -> None:
    z = jnp.array([1 + 2j, 0.3 - 1j])

    def f(z: Any) -> Any:
        return jnp.sum(jnp.abs(z) ** 2)

    assert pb.check(f, jax.grad(f), z)
    report = pb.check(f, lambda z: jnp.conj(jax.grad(f)(z)), z)
    assert (report.verdict, report.findings[0].kind) == ("refuted", "conj")
    t = torch.tensor([1 + 2j, 0.3 - 1j])
    assert pb.check(lambda t: (t * t.conj()).real.sum(), lambda t: 2 * t, t)
    report = pb.check(lambda t: (t * t.conj()).real.sum(), lambda t: 2 * t.conj(), t)
    assert (report.verdict, report.findings[0].kind) == ("refuted", "conj")


def test_tangents_and_jacobians() -> None:
    x = jnp.array([0.3, 1.2])
    assert check_jvp(jnp.sin, lambda x, dx: jax.jvp(jnp.sin, (x,), (dx,)), x)
    assert check_jacobian(jnp.sin, jax.jacobian(jnp.sin), x)
    assert check_jacobian(
        torch.sin, lambda t: torch.autograd.functional.jacobian(torch.sin, t), torch.tensor([0.3, 1.2])
    )
    assert not check_jacobian(torch.sin, lambda t: torch.diag(torch.sin(t)), torch.tensor([0.3, 1.2]))


def test_float32_errors_as_small_as_they_can_be_seen() -> None:
    x = single(50)
    for factor, verdict in ((1.0, "confirmed"), (1.0001, "refuted")):
        report = pb.check(lambda x: torch.exp(x).sum(), lambda x, factor=factor: factor * torch.exp(x), x, seed=1)
        assert report.verdict == verdict


def test_a_function_that_only_takes_float32() -> None:
    weights = single(3, 3)

    def f(x: Any) -> Any:
        return torch.tanh(weights @ x).sum()

    assert pb.check(f, single(3, seed=1))
    assert not pb.check(f, lambda x: weights.T @ torch.tanh(weights @ x), single(3, seed=1))


def test_versions_in_four_frameworks() -> None:
    class Exp(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return torch.exp(x)

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * ctx.saved_tensors[0]

    versions: dict[str, Any] = {
        "numpy": lambda x, s: np.sum(np.exp(x)) * s,
        "torch": lambda x, s: torch.exp(x).sum() * s,
        "jax": lambda x, s: jnp.sum(jnp.exp(x)) * s,
        "tensorflow": lambda x, s: tf.reduce_sum(tf.exp(x)) * s,
    }
    x = np.array([0.3, -1.2, 2.0])
    assert pb.compare_gradients(versions, x, 2.0)
    versions["torch custom"] = lambda x, s: Exp.apply(x).sum() * s
    found = pb.compare_gradients(versions, x, 2.0)
    assert not found
    assert found.odd == ["torch custom"]
    assert {v.name: v.framework for v in found.versions}["torch custom"] == "torch"


# Faults of the installed versions


def test_faults_of_pytorch() -> None:
    x, part = torch.randn(4, 5, dtype=torch.double), torch.randn(2, 3, dtype=torch.double)
    report = pb.check(lambda x, part: torch.as_strided_scatter(x, part, (2, 3), (5, 1), 0), x, part, seed=0)
    assert report.verdict == "refuted"
    assert {f.argument for f in report.findings if f.index is not None} == {"x"}
    v = torch.randn(1, 1, 3, 3, 3, dtype=torch.double)
    report = pb.check(lambda v: F.interpolate(v, scale_factor=(1.1, 2.3, 1.7), mode="nearest"), v, seed=0)
    assert report.verdict == "refuted"
    assert pb.check(lambda v: F.interpolate(v, scale_factor=(1.1, 2.3, 1.7), mode="nearest-exact"), v)
    x, w = torch.randn(3, 4, dtype=torch.double), torch.randn(4, dtype=torch.double)
    report = pb.check(lambda x, w: torch.native_layer_norm(x, [4], w, w, 1e-5), x, w, seed=0)
    assert report.verdict == "refuted"  # the gradient through the mean and the inverse deviation that it returns
    report = pb.check(lambda u: torch.zeros(4).double().scatter(0, torch.tensor([1, 1, 2]), u), x[0, :3], seed=0)
    assert report.verdict == "refuted"
    assert {f.index for f in report.findings if f.index is not None} == {(0,)}  # the entry that is overwritten


def test_faults_of_tensorflow() -> None:
    report = pb.check(lambda x: tf.reduce_sum(tf.math.cumprod(x)), tf.constant([0.0, 2.0, 3.0]), seed=0)
    assert report.verdict == "refuted"
    assert {f.index for f in report.findings if f.index is not None} == {(0,)}
    update = [tf.constant([1.0, 2.0, 3.0]), tf.constant([4.0, 5.0])]
    report = pb.check(lambda x, u: tf.tensor_scatter_nd_update(x, [[1], [1]], u), *update, seed=0)
    assert report.verdict == "refuted"
    assert {f.index for f in report.findings if f.index is not None} == {(0,)}


M = np.array([True, False, True])
HIPS: dict[str, tuple[Any, Any, str | None]] = {
    "where": (lambda np, x: np.sum(x * x, where=M), np.array([1.0, 2.0, 3.0]), None),
    "initial": (lambda np, x: np.max(x, initial=10.0), np.array([1.0, 2.0, 3.0]), None),
    "full_like": (lambda np, x: np.sum(np.full_like(M * 1.0, x)), 2.0, "zero"),
    "two zeros": (lambda np, x: np.prod(x), np.array([0.0, 0.0, 3.0]), None),
    "std of equals": (lambda np, x: np.std(x), np.ones(3), None),
}


@pytest.mark.parametrize("name", HIPS)
def test_faults_of_hips_autograd(name: str) -> None:
    autograd = pytest.importorskip("autograd")
    f, x, kind = HIPS[name]
    with np.errstate(all="ignore"):
        report = pb.check(lambda x: f(np, x), lambda x: autograd.grad(lambda x: f(autograd.numpy, x))(x), x, seed=0)
        assert report.verdict == "refuted"
        assert report.findings
        assert kind in (None, report.findings[0].kind)
    if name != "std of equals":
        assert pb.check(lambda x: f(np, x), x)  # ours


def test_frameworks_are_imported_only_when_needed() -> None:
    code = (
        "import sys, numpy as np, pullback as pb\n"
        "assert pb.check(lambda x: np.sum(x**2), lambda x: 2 * x, np.ones(3))\n"
        "assert not {'torch', 'jax', 'tensorflow'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
