"""What the tape promises: depth, memory, versions, hooks, modes, threads, anomaly mode, and the graph one can look
at.
"""

import gc
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest

import pullback as pb
from pullback.tape.node import Node
from pullback.tape.state import modes
from pullback.transforms.vmap import vmap


@pytest.fixture(autouse=True)
def ordinary_modes() -> Iterator[None]:
    yield
    assert (modes.depth, modes.grad, modes.anomaly, modes.special) == (0, True, False, False)


def leaf(*values: float) -> Any:
    return pb.tensor(list(values) if len(values) != 1 else values[0], requires_grad=True)


def line() -> int:
    """The line of the caller."""
    return sys._getframe(1).f_lineno


# Depth and memory


@pytest.mark.parametrize("create_graph", [False, True])
def test_a_chain_of_100_000_operations(create_graph: bool) -> None:
    length = 100_000 if not create_graph else 20_000
    x = leaf(1.0)
    y = x
    for _ in range(length):
        y = y + 1e-9
    y.backward(create_graph=create_graph)
    assert x.grad.item() == 1.0
    x.grad = None
    del y  # the graph is a linked list of that length


def test_a_long_chain_of_transformed_operations() -> None:
    def f(x: Any) -> Any:
        for _ in range(20_000):
            x = x * 1.00001
        return x

    expected = 1.00001**20_000
    np.testing.assert_allclose(pb.grad(f)(1.0), expected, rtol=1e-9)
    np.testing.assert_allclose(pb.grad(lambda x: pb.grad(f)(x) * x)(1.0), expected, rtol=1e-9)
    np.testing.assert_allclose(pb.jvp(f, (1.0,), (1.0,))[1], expected, rtol=1e-9)


def test_a_wide_diamond_is_walked_once() -> None:
    x = leaf(1.0)
    y = x
    for _ in range(200):
        y = 0.5 * y + 0.5 * y  # 2^200 paths
    y.backward()
    assert x.grad.item() == 1.0


def test_backward_frees_what_was_saved() -> None:
    x = leaf(1.0, 2.0)
    hidden = x * 2
    seen = weakref.ref(hidden)
    y = (hidden * hidden).sum()
    del hidden
    assert seen() is not None  # saved for backward
    y.backward()
    assert seen() is None
    with pytest.raises(RuntimeError, match="Trying to backward through the graph a second time") as error:
        y.backward()
    assert "retain_graph=True" in str(error.value)
    assert "MulBackward0" in str(error.value)
    assert "y = (hidden * hidden).sum()" in str(error.value)


def test_retain_graph() -> None:
    x = leaf(3.0)
    y = x * x
    y.backward(retain_graph=True)
    y.backward(retain_graph=True)
    assert x.grad.item() == 12.0
    y.backward()
    with pytest.raises(RuntimeError, match="a second time"):
        y.backward()
    assert x.grad.item() == 18.0


def test_a_graph_that_saved_nothing_can_be_walked_again() -> None:
    x = leaf(1.0, 2.0)
    y = (x + x).sum()
    y.backward()
    y.backward()
    assert x.grad.tolist() == [4.0, 4.0]


def test_an_unused_graph_is_freed_when_dropped() -> None:
    x = leaf(1.0, 2.0)
    y = x * x
    node = weakref.ref(y.grad_fn)
    z = y.exp()
    del y
    assert node() is not None
    del z
    assert node() is None


def training_step(w: Any, x: Any) -> None:
    h = pb.tanh(x @ w) * 2
    h[0] = 0.0
    view = h[1:]
    loss = (view * view).mean() + pb.cat([h, h]).sum() * 0.1
    loss.backward()
    with pb.no_grad():
        w -= 0.01 * w.grad
    w.grad.zero_()


def hooked_step(w: Any, x: Any) -> None:
    h = x @ w
    h.retain_grad()
    h.register_hook(lambda g: g * 2)
    h.sum().backward()
    w.grad = None


def higher_step(w: Any, x: Any) -> None:
    (g,) = pb.autograd.grad((x @ w).tanh().sum(), w, create_graph=True)
    (g * g).sum().backward()
    w.grad = None


def transformed_step(w: Any, x: Any) -> None:
    f = lambda w: np.tanh(x.numpy() @ w).sum()  # noqa: E731
    pb.grad(f)(w.detach().numpy())
    pb.hessian(f)(w.detach().numpy())
    pb.vmap(pb.grad(lambda row: (row**2).sum()))(x.numpy())


def taped_step(w: Any, x: Any) -> None:
    v = pb.Variable(w.detach().numpy())
    with pb.GradientTape(persistent=True) as tape:
        loss = (x @ v).tanh().sum()
    v.assign_sub(tape.gradient(loss, v))
    tape.gradient(loss, v)


class Exp(pb.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        y = x.exp()
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g * ctx.saved_tensors[1]


def custom_step(w: Any, x: Any) -> None:
    (g,) = pb.autograd.grad(Exp.apply(x @ w).sum(), w, create_graph=True)
    g.sum().backward()
    w.grad = None
    Exp.apply(w)  # dropped without a backward pass


def failing_step(w: Any, x: Any) -> None:
    y = (x @ w).exp()
    z = (y * y).sum()
    y += 1
    try:
        z.backward()
    except RuntimeError:
        return
    raise AssertionError("the write must be noticed")


@pytest.mark.parametrize(
    "step", [training_step, hooked_step, higher_step, transformed_step, taped_step, custom_step, failing_step]
)
def test_no_reference_cycles(step: Callable[[Any, Any], None]) -> None:
    pb.manual_seed(0)
    w, x = pb.randn(3, 2, requires_grad=True), pb.randn(4, 3)
    step(w, x)
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            step(w, x)
        assert gc.collect() == 0
    finally:
        gc.enable()


# Hooks


def test_a_hook_sees_and_replaces_the_gradient() -> None:
    x = leaf(1.0, 2.0)
    y = x * 3
    seen = []
    y.register_hook(lambda g: seen.append(g.tolist()))
    handle = y.register_hook(lambda g: g * 10)
    y.register_hook(lambda g: seen.append(g.tolist()))
    (y * y).sum().backward(retain_graph=True)
    assert seen == [[6.0, 12.0], [60.0, 120.0]]
    assert x.grad.tolist() == [180.0, 360.0]
    handle.remove()
    handle.remove()  # harmless
    x.grad = None
    z = (y * y).sum()
    z.backward()
    assert x.grad.tolist() == [18.0, 36.0]


def test_a_hook_on_a_leaf_sees_the_sum_once() -> None:
    x = leaf(2.0)
    seen = []
    x.register_hook(lambda g: seen.append(g.item()))
    x.register_hook(lambda g: g + 1)
    (x * x + 3 * x).backward()
    assert seen == [7.0]
    assert x.grad.item() == 8.0


def test_a_hook_after_accumulation() -> None:
    """An optimiser's step in the backward pass: the gradient need not be kept."""
    w = leaf(1.0, 2.0)

    def step(w: Any) -> None:
        with pb.no_grad():
            w -= 0.1 * w.grad
        w.grad = None

    handle = w.register_post_accumulate_grad_hook(step)
    (w * w).sum().backward()
    np.testing.assert_allclose(w.detach(), [0.8, 1.6], rtol=1e-6)
    assert w.grad is None
    handle.remove()
    (w * w).sum().backward()
    np.testing.assert_allclose(w.grad, [1.6, 3.2], rtol=1e-6)
    with pytest.raises(RuntimeError, match="non-leaf"):
        (w * 2).register_post_accumulate_grad_hook(step)


def test_a_hook_on_a_node() -> None:
    x = leaf(2.0)
    y = x * x
    z = y + 1
    order = []
    y.grad_fn.register_hook(lambda g: order.append("y"))
    z.grad_fn.register_hook(lambda g: order.append("z"))
    z.backward()
    assert order == ["z", "y"]


def test_hooks_with_grad_and_create_graph() -> None:
    x = leaf(2.0)
    y = x * x
    y.register_hook(lambda g: g * x)
    (g,) = pb.autograd.grad(y, x, create_graph=True)
    assert g.item() == 8.0  # 2x · x
    assert pb.autograd.grad(g, x)[0].item() == 8.0  # 4x


def test_hooks_are_refused_where_no_gradient_comes() -> None:
    with pytest.raises(RuntimeError, match="doesn't require gradient"):
        pb.ones(2).register_hook(print)
    with pytest.raises(RuntimeError, match="retain_grad"):
        pb.ones(2).retain_grad()


def test_a_hook_that_raises_changes_no_gradient() -> None:
    x, w = leaf(1.0), leaf(2.0)
    x.grad = pb.tensor(5.0)
    y = x * w

    def fail(g: Any) -> None:
        raise ZeroDivisionError

    handle = y.register_hook(fail)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            (y * y).backward()
        assert x.grad.item() == 5.0
        assert w.grad is None
    handle.remove()


def test_retain_grad() -> None:
    x = leaf(1.0, 2.0)
    y = x * 2
    y.retain_grad()
    y.retain_grad()
    assert y.retains_grad
    (y * y).sum().backward()
    assert y.grad.tolist() == [4.0, 8.0]
    assert x.grad.tolist() == [8.0, 16.0]
    assert (y * 1).grad is None


# Versions


def message(run: Callable[[], Any]) -> str:
    with pytest.raises(RuntimeError, match="modified by an inplace operation") as error:
        run()
    return str(error.value)


def test_a_saved_operand_that_changed_is_noticed() -> None:
    x = leaf(1.0, 2.0)
    y = x * 2
    z = (y * y).sum()
    here = line() - 1
    y.add_(1)
    y[0] = 0.0
    text = message(z.backward)
    assert "MulBackward0" in text
    assert "saved at version 0 and is at version 2 now" in text
    assert f'{__file__}", line {here}' in text
    assert "z = (y * y).sum()" in text
    assert x.grad is None


def test_a_saved_result_that_changed_is_noticed() -> None:
    x = leaf(1.0, 2.0)
    y = x.exp()
    y.mul_(2)
    text = message(y.sum().backward)
    assert "ExpBackward0" in text
    assert "its own result" in text
    assert "y = x.exp()" in text


def test_what_is_not_saved_may_change() -> None:
    x = leaf(1.0, 2.0)
    y = x * 2
    z = y + 1  # saves nothing
    y.zero_()
    z.sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]
    y = x * 2
    z = y * 3  # saves the 3
    y.zero_()
    z.sum().backward()


@pytest.mark.parametrize(
    "write",
    [
        lambda y: y[1:].zero_(),
        lambda y: y[1:][:1].add_(1),
        lambda y: y.view(2, 2)[0].mul_(2),
        lambda y: y.view(2, 2).t()[1][0].fill_(0),
        lambda y: y.unbind()[2].zero_(),
        lambda y: y.split(2)[1].zero_(),
        lambda y: y.chunk(2)[0].zero_(),
        lambda y: y.detach().zero_(),
        lambda y: y.detach()[2:].zero_(),
        lambda y: y.view(2, 2).detach().add_(1),
    ],
)
def test_writes_through_views_are_counted(write: Callable[[Any], Any]) -> None:
    x = leaf(1.0, 2.0, 3.0, 4.0)
    y = x * 2
    z = (y * y).sum()
    with pb.no_grad():
        write(y)
    text = message(z.backward)
    assert "is at version 1 now" in text


@pytest.mark.parametrize(
    "join",
    [
        lambda w, c: pb.cat([w, c]),
        lambda w, c: pb.stack([w, c]),
        lambda w, c: pb.index_put(w * 1, (pb.tensor([1, 0, 2]),), c),
    ],
)
def test_an_operand_of_which_only_the_shape_is_read_may_be_written(join: Callable[[Any, Any], Any]) -> None:
    w, constant = leaf(1.0, 2.0, 3.0), pb.zeros(3, dtype=pb.float64)
    y = join(w, constant)
    constant += 1
    y.sum().backward()
    assert w.grad.tolist() == ([0.0] * 3 if y.shape == (3,) else [1.0] * 3)


def test_a_view_that_was_saved_notices_a_write_to_its_base() -> None:
    x = leaf(1.0, 2.0, 3.0, 4.0)
    y = x * 2
    row = y.view(2, 2)[0]
    z = (row * row).sum()
    with pb.no_grad():
        y[3] = 0.0
    message(z.backward)


def test_writes_to_data_are_not_counted() -> None:
    x = leaf(1.0, 2.0)
    y = x * 2
    z = (y * y).sum()
    y.data.zero_()
    z.backward()
    assert x.grad.tolist() == [0.0, 0.0]  # silently wrong, as in PyTorch: that is what .data is


def test_a_leaf_written_between_forward_and_backward_is_noticed() -> None:
    w = leaf(3.0)
    y = w * w
    with pb.no_grad():
        w -= 1
    text = message(y.backward)
    assert "saved at version 0 and is at version 1 now" in text


def test_versions_are_checked_with_create_graph_and_in_transforms() -> None:
    x = leaf(1.0, 2.0)
    y = x * 2
    z = (y * y).sum()
    with pb.no_grad():
        y.add_(1)
    message(lambda: pb.autograd.grad(z, x, create_graph=True))

    def f(x: Any) -> Any:
        y = x * 2
        z = (y * y).sum()
        with pb.no_grad():
            y.add_(1)
        return z

    message(lambda: pb.grad(f)(pb.ones(2)))


def test_accumulation_is_in_place() -> None:
    x = leaf(1.0, 2.0)
    (x * 2).sum().backward()
    first = x.grad
    version = first._version
    (x * 3).sum().backward()
    assert x.grad is first
    assert first.tolist() == [5.0, 5.0]
    assert first._version > version
    (x * x).sum().backward(create_graph=True)  # not in place: the sum is differentiable
    assert x.grad is not first
    assert first.tolist() == [5.0, 5.0]
    assert x.grad.requires_grad
    x.grad = None


def test_numbers_and_arrays_of_no_dimensions_add_up() -> None:
    """Cotangents of one value come as either, in any order, and the sum of two of them is a number."""

    def slope(x, v):
        return pb.jvp(lambda x: np.maximum(x, x), (x,), (v,))[1]

    _, pull = pb.vjp(slope, 1.0, 0.3)
    assert pull(1.0) == (0.0, 1.0)
    x = pb.tensor(1.0, requires_grad=True)
    parts = [pb.where(x > 0, x, 0.0), x * 2.0, pb.where(x > 0, x, 0.0), pb.where(x > 0, x, 0.0), x * 3.0]
    sum(parts).backward()
    assert x.grad.item() == 8.0


def test_gradients_of_two_leaves_share_no_memory() -> None:
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    gradient = pb.tensor([1.0, 1.0])
    (a + b).backward(gradient)
    a.grad.add_(10)
    assert b.grad.tolist() == [1.0, 1.0]
    assert gradient.tolist() == [1.0, 1.0]
    ga, gb = pb.autograd.grad(a + b, (a, b), gradient)
    ga.zero_()
    assert (gb.tolist(), gradient.tolist()) == ([1.0, 1.0], [1.0, 1.0])


# backward() and grad()


def test_gradient_argument() -> None:
    x = leaf(1.0, 2.0)
    y = x * x
    y.backward(gradient=pb.tensor([1.0, 10.0]))
    assert x.grad.tolist() == [2.0, 40.0]
    y = x * x
    with pytest.raises(RuntimeError, match="grad can be implicitly created only for scalar outputs"):
        y.backward()
    with pytest.raises(RuntimeError, match="Mismatch in shape"):
        y.backward(pb.ones(3))
    with pytest.raises(RuntimeError, match="does not require grad and does not have a grad_fn"):
        pb.ones(()).backward()


def test_several_roots() -> None:
    x = leaf(2.0)
    pb.autograd.backward([x * x, x * 3], [pb.tensor(1.0), pb.tensor(10.0)])
    assert x.grad.item() == 34.0
    y = x * x
    pb.autograd.backward([y, y])  # the same root twice
    assert x.grad.item() == 42.0
    with pytest.raises(RuntimeError, match="2 tensors and 1 gradients"):
        pb.autograd.backward([x * x, x], [pb.tensor(1.0)])


def test_inputs_argument() -> None:
    x, w = leaf(2.0), leaf(3.0)
    y = x * w
    z = y * y
    z.backward(inputs=[x], retain_graph=True)
    assert (x.grad.item(), w.grad) == (36.0, None)
    z.backward(inputs=y, retain_graph=True)
    assert y.grad.item() == 12.0
    assert (x.grad.item(), w.grad) == (36.0, None)


def test_grad_of_intermediates_and_unused() -> None:
    x, unused = leaf(2.0), leaf(1.0)
    y = x * x
    z = y.exp()
    gy, gx = pb.autograd.grad(z, [y, x], retain_graph=True)
    np.testing.assert_allclose((gy.item(), gx.item()), (np.exp(4.0), 4 * np.exp(4.0)), rtol=1e-6)
    assert pb.autograd.grad(z, z, retain_graph=True)[0].item() == 1.0
    with pytest.raises(RuntimeError, match="appears to not have been used in the graph"):
        pb.autograd.grad(z, [x, unused], retain_graph=True)
    gx, none = pb.autograd.grad(z, [x, unused], retain_graph=True, allow_unused=True)
    assert none is None
    _, zero = pb.autograd.grad(z, [x, unused], retain_graph=True, materialize_grads=True)
    assert zero.item() == 0.0
    with pytest.raises(RuntimeError, match="does not require grad"):
        pb.autograd.grad(z, pb.ones(()))
    assert x.grad is None


def test_grad_walks_only_what_leads_to_the_inputs() -> None:
    x, w = leaf(2.0), leaf(3.0)
    branch = w * w
    walked = []
    branch.register_hook(lambda g: walked.append("branch"))
    w.register_hook(lambda g: walked.append("w"))
    pb.autograd.grad(x * branch * w, x)
    assert walked == []


def test_create_graph() -> None:
    x = leaf(2.0)
    y = x**3
    y.backward(create_graph=True)
    (second,) = pb.autograd.grad(x.grad, x, create_graph=True)
    (third,) = pb.autograd.grad(second, x)
    assert (x.grad.item(), second.item(), third.item()) == (12.0, 12.0, 6.0)
    assert not third.requires_grad


def test_batched_gradients() -> None:
    x = leaf(1.0, 2.0, 3.0)
    y = x * x.sum()
    (jacobian,) = pb.autograd.grad(y, x, pb.eye(3), is_grads_batched=True, retain_graph=True)
    np.testing.assert_allclose(jacobian, np.eye(3) * 6 + np.array([[1.0], [2.0], [3.0]]))
    rows = vmap(lambda g: pb.autograd.grad(y, x, g, retain_graph=True)[0])(pb.eye(3))
    np.testing.assert_allclose(rows, jacobian)


def test_an_error_in_backward_changes_no_gradient() -> None:
    x, w = leaf(2.0), leaf(3.0)
    x.grad = pb.tensor(1.0)
    y = x * 2
    z = y * y + w * 5
    with pb.no_grad():
        y.add_(1)
    for _ in range(3):
        with pytest.raises(RuntimeError, match="inplace"):
            z.backward()
        assert (x.grad.item(), w.grad) == (1.0, None)


# The graph


def test_walking_the_graph() -> None:
    w, b, x = leaf(2.0), leaf(1.0), pb.tensor(3.0)
    y = pb.sigmoid(w * x + b)
    root = y.grad_fn
    assert root.name() == "SigmoidBackward0"
    assert repr(root).startswith("<SigmoidBackward0 object at 0x")
    ((plus, index),) = root.next_functions
    assert (plus.name(), index) == ("AddBackward0", 0)
    (times, _), (accumulate_b, _) = plus.next_functions
    assert times.name() == "MulBackward0"
    assert accumulate_b.name() == "torch::autograd::AccumulateGrad"
    assert accumulate_b.variable is b
    assert accumulate_b.next_functions == ()
    (accumulate_w, _), (constant, _) = times.next_functions
    assert accumulate_w.variable is w
    assert constant is None
    assert (w.grad_fn, w.is_leaf, y.is_leaf, x.is_leaf) == (None, True, False, True)


def test_a_recorded_line_is_the_users() -> None:
    x = leaf(1.0, 2.0, 3.0)
    y = pb.nn.functional.softmax(x, 0)
    here = line() - 1
    assert y.grad_fn.location.file == __file__
    assert y.grad_fn.location.line == here
    assert y.grad_fn.location.function == "test_a_recorded_line_is_the_users"


def test_results_of_several_share_a_node() -> None:
    x = leaf(1.0, 2.0, 3.0)
    first, second = x.split([1, 2])
    assert isinstance(first.grad_fn, Node)
    (second * second).sum().backward()
    assert x.grad.tolist() == [0.0, 4.0, 6.0]


# Modes


MODES: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "no_grad": pb.no_grad,
    "enable_grad": pb.enable_grad,
    "set_grad_enabled": lambda: pb.set_grad_enabled(False),
    "inference_mode": pb.inference_mode,
    "detect_anomaly": pb.autograd.detect_anomaly,
    "set_detect_anomaly": lambda: pb.autograd.set_detect_anomaly(True),
    "tape": pb.GradientTape,
}


@pytest.mark.parametrize("name", MODES)
def test_a_mode_ends_with_an_exception(name: str) -> None:
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), MODES[name]():
            raise ZeroDivisionError
        assert (modes.grad, modes.anomaly, modes.session, modes.special) == (True, False, None, False)
    x = leaf(2.0)
    (x * x).backward()
    assert x.grad.item() == 4.0


def test_modes_nest_and_can_be_reused() -> None:
    off = pb.no_grad()
    with off:
        with pb.enable_grad():
            assert pb.is_grad_enabled()
            with off:
                assert not pb.is_grad_enabled()
            assert pb.is_grad_enabled()
        assert not pb.is_grad_enabled()
    assert pb.is_grad_enabled()


def test_modes_as_decorators_and_calls() -> None:
    @pb.no_grad()
    def quiet(x: Any) -> Any:
        return x * 2

    @pb.no_grad
    def bare(x: Any) -> Any:
        return x * 2

    @pb.set_grad_enabled(False)
    def set_off(x: Any) -> Any:
        return x * 2

    @pb.enable_grad()
    def recorded(x: Any) -> Any:
        return x * 2

    x = leaf(1.0)
    assert not any(f(x).requires_grad for f in (quiet, bare, set_off))
    with pb.no_grad():
        assert recorded(x).requires_grad
    assert pb.is_grad_enabled()
    pb.set_grad_enabled(False)
    try:
        assert not (x * 2).requires_grad
    finally:
        pb.set_grad_enabled(True)


def test_a_generator_keeps_its_mode_to_itself() -> None:
    @pb.no_grad()
    def rows(x: Any) -> Iterator[Any]:
        for _ in range(3):
            yield x * 2

    x = leaf(1.0)
    for y in rows(x):
        assert not y.requires_grad
        assert pb.is_grad_enabled()
        assert (x * 2).requires_grad

    @pb.no_grad
    def conversation() -> Iterator[Any]:
        heard = []
        try:
            while True:
                try:
                    heard.append((yield pb.is_grad_enabled()))
                except ValueError:
                    heard.append("error")
                    return heard
        finally:
            closed.append(pb.is_grad_enabled())

    closed: list[bool] = []
    talk = conversation()
    assert next(talk) is False
    assert talk.send("hello") is False
    with pytest.raises(StopIteration) as end:
        talk.throw(ValueError)
    assert end.value.value == ["hello", "error"]
    other = conversation()
    next(other)
    other.close()
    assert closed == [False, False]
    assert pb.is_grad_enabled()


def test_modes_belong_to_a_thread() -> None:
    results: dict[str, bool] = {}
    inside, done = threading.Event(), threading.Event()

    def other() -> None:
        with pb.no_grad(), pb.autograd.detect_anomaly():
            inside.set()
            done.wait(5)
            results["other"] = modes.grad or not modes.anomaly

    thread = threading.Thread(target=other)
    thread.start()
    assert inside.wait(5)
    results["this"] = pb.is_grad_enabled() and not modes.special
    done.set()
    thread.join()
    assert results == {"this": True, "other": False}


def in_threads(work: Callable[[int], None], count: int = 8) -> None:
    errors: list[BaseException] = []

    def run(i: int) -> None:
        try:
            work(i)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors[0]


def test_backward_from_several_threads() -> None:
    def separate(i: int) -> None:
        for k in range(30):
            x = leaf(float(i + k), 2.0)
            y = x
            for _ in range(20):
                y = y * 1.0 + x
            y.sum().backward()
            assert x.grad.tolist() == [21.0, 21.0]

    in_threads(separate)
    x = leaf(2.0)
    y = x
    for _ in range(200):
        y = y * 1.0 + x * 0.5

    def shared(i: int) -> None:
        for _ in range(10):
            assert pb.autograd.grad(y, x, retain_graph=True)[0].item() == 101.0

    in_threads(shared)
    assert x.grad is None


def test_transforms_in_several_threads() -> None:
    def work(i: int) -> None:
        for k in range(10):
            a = float(i + k)
            f = lambda x, a=a: x**3 * a  # noqa: E731
            assert pb.grad(pb.grad(f))(2.0) == 12.0 * a
            np.testing.assert_allclose(pb.vmap(pb.grad(f))(np.arange(3.0)), 3 * a * np.arange(3.0) ** 2)
            np.testing.assert_allclose(pb.jvp(f, (1.0,), (2.0,))[1], 6 * a)

    in_threads(work)


# Anomaly mode


def helper(x: Any) -> Any:
    return (x - x).sqrt() * 0.0


def test_anomaly_mode_names_the_line() -> None:
    x = leaf(1.0, 2.0)
    with np.errstate(all="ignore"), pb.autograd.detect_anomaly():
        y = x * 3
        bad = pb.log(y - 3) * 0.0
        here = line() - 1
        with pytest.raises(RuntimeError, match="returned nan values in its 0th output") as error:
            (bad + y).sum().backward()
    assert "LogBackward0" in str(error.value) or "MulBackward0" in str(error.value)
    assert f'{__file__}", line {here}, in test_anomaly_mode_names_the_line' in str(error.value)
    assert x.grad is None


def test_anomaly_mode_names_the_line_in_a_helper() -> None:
    x = leaf(1.0, 2.0)
    with np.errstate(all="ignore"), pb.autograd.set_detect_anomaly(True):
        y = helper(x)
        with pytest.raises(RuntimeError, match="SqrtBackward0") as error:
            y.sum().backward()
    assert f"line {helper.__code__.co_firstlineno + 1}, in helper: `return (x - x).sqrt() * 0.0`" in str(error.value)


def test_anomaly_mode_names_the_users_line_for_a_layer() -> None:
    x = leaf(1.0, 2.0)
    with np.errstate(all="ignore"), pb.autograd.detect_anomaly():
        y = pb.nn.functional.softplus(x * float("nan"))
        here = line() - 1
        with pytest.raises(RuntimeError) as error:
            y.sum().backward()
    assert f'{__file__}", line {here}' in str(error.value)


def test_anomaly_mode_can_be_set_by_call() -> None:
    pb.autograd.set_detect_anomaly(True)
    try:
        assert pb.autograd.is_anomaly_enabled()
        x = leaf(0.0)
        with np.errstate(all="ignore"), pytest.raises(RuntimeError, match="nan"):
            (x.sqrt() * 0.0).backward()
    finally:
        pb.autograd.set_detect_anomaly(False)
    with np.errstate(all="ignore"):
        (x.sqrt() * 0.0).backward()
    assert np.isnan(x.grad.item())


def test_anomaly_mode_with_higher_derivatives() -> None:
    x = leaf(0.0)
    with np.errstate(all="ignore"), pb.autograd.detect_anomaly():
        (g,) = pb.autograd.grad(x**1.5, x, create_graph=True)
        with pytest.raises(RuntimeError, match="nan values"):
            pb.autograd.grad(g * (x**1.5), x)
