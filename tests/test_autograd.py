"""pb.autograd: Function, functional, grad and the modes, against PyTorch: the same program is run with both."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import pullback as pb
from pullback import autograd
from pullback.tape.node import Node

torch = pytest.importorskip("torch")


def data(result: Any) -> Any:
    """Numbers, dtypes and whether something is tracked, of either library's results."""
    if isinstance(result, tuple | list):
        return [data(part) for part in result]
    if isinstance(result, pb.Tensor | torch.Tensor):
        return str(result.dtype), tuple(result.shape), result.requires_grad, result.detach().numpy().copy()
    return result


def assert_same(found: Any, expected: Any) -> None:
    if isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            assert_same(a, b)
    elif isinstance(expected, np.ndarray):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    else:
        assert found == expected


def outcome(program: Callable[[Any], Any], t: Any) -> Any:
    try:
        return data(program(t))
    except Exception as error:
        return type(error), str(error).split()[:6]


PROGRAMS: list[Callable[[Any], Any]] = []


def program(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
    PROGRAMS.append(f)
    return f


def function(t: Any, forward: Any, backward: Any, setup: Any = None, name: str = "Custom") -> Any:
    members = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    if setup is not None:
        members["setup_context"] = staticmethod(setup)
    return type(name, (t.autograd.Function,), members)


def leaf(t: Any, *values: float) -> Any:
    return t.tensor(list(values) if len(values) != 1 else values[0], requires_grad=True)


# Function


def square(t: Any) -> Any:
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x * x

    return function(t, forward, lambda ctx, g: 2 * ctx.saved_tensors[0] * g, name="Square")


@program
def a_gradient(t: Any) -> Any:
    x = leaf(t, 1.0, 2.0)
    y = square(t).apply(x)
    y.sum().backward()
    return y, x.grad, type(y.grad_fn).__name__ if t is torch else y.grad_fn.name(), y.grad_fn.name()


@program
def second_and_third_order(t: Any) -> Any:
    x = leaf(t, 3.0)
    f = square(t).apply
    (g,) = t.autograd.grad(f(f(x)), x, create_graph=True)
    (h,) = t.autograd.grad(g, x, create_graph=True)
    return g, h, t.autograd.grad(h, x)


@program
def saved_results(t: Any) -> Any:
    def forward(ctx: Any, x: Any) -> Any:
        y = x.exp()
        ctx.save_for_backward(y)
        return y

    f = function(t, forward, lambda ctx, g: g * ctx.saved_tensors[0]).apply
    x = leaf(t, 0.5, 1.0)
    (g,) = t.autograd.grad(f(x).sum(), x, create_graph=True)
    (h,) = t.autograd.grad(g.sum(), x)
    return g, h


@program
def several_results_and_arguments(t: Any) -> Any:
    def forward(ctx: Any, x: Any, n: int, y: Any, text: str) -> Any:
        ctx.save_for_backward(x, None, y)
        ctx.n = n
        return x * y * n, x + y

    def backward(ctx: Any, g: Any, h: Any) -> Any:
        x, none, y = ctx.saved_tensors
        assert none is None
        return g * y * ctx.n + h, None, g * x * ctx.n + h, None

    f = function(t, forward, backward).apply
    x, y = leaf(t, 1.0, 2.0), leaf(t, 3.0, 4.0)
    a, b = f(x, 5, y, "text")
    first = t.autograd.grad(a.sum(), (x, y), retain_graph=True)
    second = t.autograd.grad(b.sum(), (x, y), retain_graph=True)
    (a * b).sum().backward()
    return first, second, x.grad, y.grad


@program
def needs_input_grad(t: Any) -> Any:
    seen = []

    def forward(ctx: Any, x: Any, y: Any, n: int) -> Any:
        seen.append((ctx.needs_input_grad, t.is_grad_enabled(), x.requires_grad, y.requires_grad))
        return x * y

    def backward(ctx: Any, g: Any) -> Any:
        seen.append((ctx.needs_input_grad, t.is_grad_enabled()))
        return g, g, None

    f = function(t, forward, backward).apply
    x = leaf(t, 1.0)
    f(x, t.tensor(2.0), 3).backward()
    t.autograd.grad(f(x, t.tensor(2.0), 3), x, create_graph=True)
    with t.no_grad():
        seen.append(f(x, x, 3).requires_grad)
    return seen


@program
def none_for_a_gradient(t: Any) -> Any:
    f = function(t, lambda ctx, x, y: x * y, lambda ctx, g: (g, None)).apply
    x, y = leaf(t, 2.0), leaf(t, 3.0)
    f(x, y).backward()
    return x.grad, y.grad


@program
def setup_context(t: Any) -> Any:
    def setup(ctx: Any, inputs: Any, output: Any) -> None:
        x, power = inputs
        ctx.save_for_backward(x)
        ctx.power = power

    f = function(
        t,
        lambda x, power: x**power,
        lambda ctx, g: (g * ctx.power * ctx.saved_tensors[0] ** (ctx.power - 1), None),
        setup,
    ).apply
    x = leaf(t, 2.0)
    (g,) = t.autograd.grad(f(x, 3), x, create_graph=True)
    return g, t.autograd.grad(g, x)


@program
def non_differentiable_results(t: Any) -> Any:
    def forward(ctx: Any, x: Any) -> Any:
        index = (x * 2).sum()
        ctx.mark_non_differentiable(index)
        return index, x * 3

    seen = []

    def backward(ctx: Any, g: Any, h: Any) -> Any:
        seen.append(g)
        return h * 3

    x = leaf(t, 1.0, 2.0)
    constant, y = function(t, forward, backward).apply(x)
    y.sum().backward()
    return constant, y, x.grad, seen


@program
def materialize_grads(t: Any) -> Any:
    seen = []

    def run(value: bool) -> None:
        def forward(ctx: Any, x: Any) -> Any:
            ctx.set_materialize_grads(value)
            return x * 2, x * 3

        def backward(ctx: Any, g: Any, h: Any) -> Any:
            seen.append((g, h))
            return h * 3

        x = leaf(t, 1.0, 2.0)
        function(t, forward, backward).apply(x)[1].sum().backward()
        seen.append(x.grad)

    run(True)
    run(False)
    return seen


@program
def results_that_are_no_tensors(t: Any) -> Any:
    f = function(t, lambda ctx, x: (x * 2, 3.0, "a"), lambda ctx, *gs: gs[0] * len(gs)).apply
    x = leaf(t, 1.0, 2.0)
    y, number, text = f(x)
    y.sum().backward()
    return y, number, text, x.grad, function(t, lambda ctx, x: 3.0, lambda ctx, g: g).apply(x)


@program
def an_input_returned(t: Any) -> Any:
    x = leaf(t, 1.0, 2.0)
    y = function(t, lambda ctx, x: x, lambda ctx, g: g * 2).apply(x)
    y.sum().backward()
    return y is x, y, x.grad


@program
def mark_dirty(t: Any) -> Any:
    def forward(ctx: Any, x: Any) -> Any:
        ctx.mark_dirty(x)
        x.mul_(3)
        return x

    f = function(t, forward, lambda ctx, g: g * 3).apply
    x = leaf(t, 1.0, 2.0)
    y = x * 2
    z = f(y)
    (y * z).sum().backward()
    return z is y, y, x.grad


@program
def mark_dirty_of_a_leaf(t: Any) -> Any:
    def forward(ctx: Any, x: Any) -> Any:
        ctx.mark_dirty(x)
        return x.mul_(3)

    return function(t, forward, lambda ctx, g: g).apply(leaf(t, 1.0))


@program
def broadcast_gradient(t: Any) -> Any:
    x = leaf(t, 1.0, 2.0)
    function(t, lambda ctx, x: x * 2, lambda ctx, g: t.ones(3, 2)).apply(x).sum().backward()
    return x.grad


@program
def too_few_gradients(t: Any) -> Any:
    function(t, lambda ctx, x, n: x * n, lambda ctx, g: g).apply(leaf(t, 1.0), 2).backward()


@program
def too_many_gradients(t: Any) -> Any:
    x = leaf(t, 1.0)
    function(t, lambda ctx, x: x * 2, lambda ctx, g: (g, None, None)).apply(x).backward()
    function(t, lambda ctx, x: x * 2, lambda ctx, g: (g, g)).apply(x).backward()


@program
def a_gradient_of_another_shape(t: Any) -> Any:
    function(t, lambda ctx, x: x * 2, lambda ctx, g: t.ones(3)).apply(leaf(t, 1.0, 2.0)).sum().backward()


@program
def a_gradient_for_a_number(t: Any) -> Any:
    function(t, lambda ctx, x, n: x * 2, lambda ctx, g: (g, g)).apply(leaf(t, 1.0), 2).backward()


@program
def a_gradient_that_is_no_tensor(t: Any) -> Any:
    function(t, lambda ctx, x: x * 2, lambda ctx, g: 2.0).apply(leaf(t, 1.0)).backward()


@program
def saving_a_number(t: Any) -> Any:
    return function(t, lambda ctx, x: ctx.save_for_backward(x, 1), lambda ctx, g: g).apply(leaf(t, 1.0))


@program
def no_backward(t: Any) -> Any:
    f = type("F", (t.autograd.Function,), {"forward": staticmethod(lambda ctx, x: x * 2)})
    f.apply(leaf(t, 1.0)).backward()


@program
def no_forward(t: Any) -> Any:
    type("F", (t.autograd.Function,), {}).apply(leaf(t, 1.0))


@program
def a_second_backward(t: Any) -> Any:
    x = leaf(t, 1.0)
    y = square(t).apply(x)
    y.backward()
    y.backward()


@program
def a_second_backward_with_nothing_saved(t: Any) -> Any:
    x = leaf(t, 1.0)
    y = function(t, lambda ctx, x: x * 2, lambda ctx, g: g * 2).apply(x)
    y.backward()
    y.backward()
    return x.grad


@program
def a_saved_argument_that_changed(t: Any) -> Any:
    x = leaf(t, 1.0, 2.0)
    y = x * 1
    z = square(t).apply(y)
    y.add_(1)
    z.sum().backward()


@program
def a_saved_result_that_changed(t: Any) -> Any:
    def forward(ctx: Any, x: Any) -> Any:
        y = x.exp()
        ctx.save_for_backward(y)
        return y

    y = function(t, forward, lambda ctx, g: g * ctx.saved_tensors[0]).apply(leaf(t, 1.0, 2.0))
    y.add_(1)
    y.sum().backward()


@program
def once_differentiable(t: Any) -> Any:
    once = t.autograd.function.once_differentiable
    f = function(t, lambda ctx, x: x * 2, once(lambda ctx, g: g * 2)).apply
    x, w = leaf(t, 1.0), leaf(t, 3.0)
    (g,) = t.autograd.grad(f(x) * w, x, create_graph=True)
    assert g.item() == 6.0
    g.backward()


@program
def forward_mode(t: Any) -> Any:
    def forward(ctx: Any, x: Any, n: int) -> Any:
        ctx.save_for_forward(x)
        ctx.n = n
        return x**n

    f = function(t, forward, lambda ctx, g: (g, None))
    f.jvp = staticmethod(lambda ctx, dx, _: ctx.n * ctx.saved_tensors[0] ** (ctx.n - 1) * dx)
    if t is torch:
        with torch.autograd.forward_ad.dual_level():
            dual = torch.autograd.forward_ad.make_dual(t.tensor([1.0, 2.0]), t.tensor([1.0, 10.0]))
            return tuple(torch.autograd.forward_ad.unpack_dual(f.apply(dual, 3)))
    return pb.jvp(lambda x: f.apply(x, 3), (t.tensor([1.0, 2.0]),), (t.tensor([1.0, 10.0]),))


@program
def forward_mode_without_a_rule(t: Any) -> Any:
    def setup(ctx: Any, inputs: Any, output: Any) -> None: ...

    f = function(t, lambda x: x * 2, lambda ctx, g: g, setup)
    t.func.jvp(f.apply, (t.tensor(1.0),), (t.tensor(1.0),))


@program
def under_vmap_and_grad(t: Any) -> Any:
    def setup(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)

    f = function(t, lambda x, y: x * x * y, lambda ctx, g: (g * 3, g * ctx.saved_tensors[0]), setup)
    f.generate_vmap_rule = True
    x, y = t.tensor([1.0, 2.0, 3.0]), t.tensor(2.0)
    both = t.func.grad(f.apply, argnums=(0, 1))
    return (
        t.func.vmap(f.apply, in_dims=(0, None))(x, y) if t is torch else pb.vmap(f.apply, (0, None))(x, y),
        t.func.vmap(both, (0, None))(x, y),
        t.func.grad(lambda x, y: t.func.vmap(f.apply, (0, None))(x, y).sum(), argnums=(0, 1))(x, y),
        t.func.grad(lambda y: t.func.vmap(t.func.grad(f.apply, 1), (0, None))(x, y).sum())(y),
    )


@program
def several_threads_of_use(t: Any) -> Any:
    """A Function within a Function, and the same node reached twice."""
    f = square(t).apply

    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return f(x) * x

    cube = function(t, forward, lambda ctx, g: 3 * f(ctx.saved_tensors[0]) * g).apply
    x = leaf(t, 2.0)
    y = cube(x)
    (g,) = t.autograd.grad(y * y + f(y), x, create_graph=True)
    (h,) = t.autograd.grad(g, x)
    return y, g, h


# functional


def mixed(t: Any) -> Any:
    return lambda x, y: (x.sum() * y * y, (x * x).sin())


@program
def functional_jacobian(t: Any) -> Any:
    x, y = t.tensor([1.0, 2.0]), t.tensor([[3.0, 4.0, 5.0]])
    F = t.autograd.functional
    return (
        F.jacobian(mixed(t), (x, y)),
        F.jacobian(mixed(t), (x, y), vectorize=True, strategy="forward-mode"),
        F.jacobian(lambda x: x.exp() * x[0], x),
        F.jacobian(lambda x: (x * x,), x),
        F.jacobian(lambda x: x.sum(), (x,)),
        F.jacobian(lambda x, y: x * x, (x, y)),
    )


@program
def functional_hessian(t: Any) -> Any:
    x, y = t.tensor([1.0, 2.0]), t.tensor([3.0, 4.0, 5.0])
    F = t.autograd.functional
    f = lambda x, y: x.prod() * y.sum() ** 2 + (x**3).sum()  # noqa: E731
    return F.hessian(f, (x, y)), F.hessian(lambda x: (x**3).sum(), x), F.hessian(lambda x: x.prod().reshape(1, 1), x)


@program
def functional_products(t: Any) -> Any:
    x, y = t.tensor([1.0, 2.0]), t.tensor([3.0, 4.0, 5.0])
    F = t.autograd.functional
    f = lambda x: (x**3).sum() * x[0]  # noqa: E731
    g = lambda x, y: x.prod() * (y**2).sum()  # noqa: E731
    return (
        F.vjp(mixed(t), (x, y), (y, x)),
        F.jvp(mixed(t), (x, y), (x, y)),
        F.vjp(f, x),
        F.hvp(f, x, x),
        F.vhp(f, x, x),
        F.hvp(g, (x, y), (x, y)),
        F.vhp(g, (x, y), (x, y)),
        F.jvp(lambda x: x * x, t.tensor(3.0)),
    )


@program
def functional_create_graph(t: Any) -> Any:
    x = leaf(t, 1.0, 2.0)
    F = t.autograd.functional
    jacobian = F.jacobian(lambda x: x**3, x, create_graph=True)
    jacobian.sum().backward()
    value, product = F.vjp(lambda x: x**3, x, t.ones(2), create_graph=True)
    hessian = F.hessian(lambda x: (x**4).sum(), x, create_graph=True)
    return jacobian, x.grad, t.autograd.grad(product.sum() + hessian.sum(), x), value


@program
def functional_uses_closures_as_constants(t: Any) -> Any:
    w = leaf(t, 3.0)
    return t.autograd.functional.jacobian(lambda x: w * x * x, t.tensor([1.0, 2.0])), w.grad


@program
def strict_jacobian(t: Any) -> Any:
    y = t.tensor([1.0])
    return t.autograd.functional.jacobian(lambda x: y, t.tensor([1.0, 2.0]), strict=True)


@program
def strict_hessian(t: Any) -> Any:
    return t.autograd.functional.hessian(lambda x: x.sum(), t.tensor([1.0, 2.0]), strict=True)


@program
def strict_vjp(t: Any) -> Any:
    return t.autograd.functional.vjp(lambda x, y: x.sum(), (t.ones(2), t.ones(2)), strict=True)


@program
def a_vector_is_needed(t: Any) -> Any:
    return t.autograd.functional.vjp(lambda x: x, t.ones(2))


@program
def a_vector_of_another_shape(t: Any) -> Any:
    return t.autograd.functional.jvp(lambda x: x, t.ones(2), t.ones(3))


@program
def a_hessian_of_a_vector(t: Any) -> Any:
    return t.autograd.functional.hessian(lambda x: x, t.ones(2))


@program
def an_input_that_is_no_tensor(t: Any) -> Any:
    return t.autograd.functional.jacobian(lambda x: x, 3.0)


# grad, modes and func


@program
def batched_gradients(t: Any) -> Any:
    x, y = leaf(t, 1.0, 2.0), leaf(t, 3.0)
    z = x * x * y
    return (
        t.autograd.grad(z, (x, y), t.eye(2), is_grads_batched=True, retain_graph=True),
        t.autograd.grad([z], [x], [t.eye(2)], is_grads_batched=True),
    )


@program
def transforms_of_func(t: Any) -> Any:
    x = t.tensor([1.0, 2.0])
    f = lambda x: (x**3).sum()  # noqa: E731
    value, pull = t.func.vjp(lambda x: x * x, x)
    return (
        t.func.grad(f)(x),
        t.func.grad_and_value(f)(x),
        t.func.grad_and_value(lambda x: (f(x), x * 2), has_aux=True)(x),
        t.func.jacrev(lambda x: x * x)(x),
        t.func.jacfwd(lambda x: x * x)(x),
        t.func.hessian(f)(x),
        t.func.jvp(lambda x: x * x, (x,), (x,)),
        value,
        pull(x),
        t.func.vmap(f)(t.ones(3, 2)),
    )


@program
def modes(t: Any) -> Any:
    x = leaf(t, 1.0)
    seen = []
    with t.autograd.no_grad():
        seen.append((x * 2).requires_grad)
        with t.autograd.enable_grad():
            seen.append((x * 2).requires_grad)
    with t.autograd.set_grad_enabled(False):
        seen.append(t.is_grad_enabled())

    @t.no_grad()
    def f(x: Any) -> Any:
        return x * 2

    @t.inference_mode()
    def g(x: Any) -> Any:
        return x * 2

    return seen, f(x).requires_grad, g(x).requires_grad, t.is_grad_enabled()


@program
def anomaly(t: Any) -> Any:
    x = leaf(t, 0.0)
    with t.autograd.set_detect_anomaly(True):
        (x.sqrt() * 0.0).backward()


@pytest.mark.filterwarnings("ignore:.*generate_vmap_rule|.*Error detected in|Anomaly|invalid value:")
@pytest.mark.parametrize("run", PROGRAMS, ids=lambda f: f.__name__)
def test_programs(run: Callable[[Any], Any]) -> None:
    with np.errstate(all="ignore"):
        ours = outcome(run, pb)
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = outcome(run, torch)
    assert_same(ours, theirs)


def test_a_function_node_is_a_node() -> None:
    x = leaf(pb, 1.0, 2.0)
    y = square(pb).apply(x)
    assert isinstance(y.grad_fn, Node)
    assert repr(y.grad_fn).startswith("<SquareBackward object at 0x")
    assert repr(y) == "tensor([1., 4.], grad_fn=<SquareBackward>)"
    assert y.grad_fn.next_functions[0][0].variable is x
    assert y.grad_fn.saved_tensors[0] is x
    y.sum().backward()
    with pytest.raises(RuntimeError, match="second time"):
        _ = y.grad_fn.saved_tensors


def test_a_function_inside_transforms_of_numpy() -> None:
    class Cube(autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return 3 * ctx.saved_tensors[0] ** 2 * g

    f = Cube.apply
    xs = np.array([1.0, 2.0])
    assert pb.grad(f)(2.0) == 12.0
    assert pb.grad(pb.grad(f))(2.0) == 12.0
    assert pb.hessian(f)(2.0) == 12.0  # forward mode through backward's own operations
    np.testing.assert_allclose(pb.vmap(pb.grad(f))(xs), 3 * xs**2)
    np.testing.assert_allclose(pb.grad(lambda x: pb.vmap(f)(x).sum())(xs), 3 * xs**2)
    np.testing.assert_allclose(pb.jacrev(f)(xs), np.diag(3 * xs**2))
    np.testing.assert_allclose(pb.make_graph(pb.grad(lambda x: f(x).sum()))(xs)(2 * xs), 12 * xs**2)
    v = pb.Variable(np.float64(2.0))
    with pb.GradientTape() as tape:
        y = f(v)
    assert tape.gradient(y, v).item() == 12.0
    with pytest.raises(NotImplementedError, match="jvp"):
        pb.jvp(f, (2.0,), (1.0,))


def test_namespaces_import() -> None:
    import importlib

    assert importlib.import_module("pullback.autograd") is pb.autograd
    assert importlib.import_module("pullback.autograd.functional") is pb.autograd.functional
    assert importlib.import_module("pullback.func").grad is pb.grad
    assert autograd.Variable is pb.Tensor
    assert isinstance(autograd.graph, SimpleNamespace)
    weights = {"weight": pb.ones(1, 2), "bias": pb.zeros(1)}
    found = pb.func.functional_call(pb.nn.Linear(2, 1), weights, (pb.ones(2),))
    assert found.tolist() == [2.0]
