"""GradientTape and Variable against TensorFlow: the same program is run with both."""

import copy
import os
import pickle
import threading
import weakref
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import pullback as pb
from pullback.tape.state import modes

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
tf = pytest.importorskip("tensorflow")

OURS = SimpleNamespace(
    GradientTape=pb.GradientTape,
    Variable=pb.Variable,
    constant=pb.constant,
    exp=pb.exp,
    sin=pb.sin,
    sigmoid=pb.sigmoid,
    log=pb.log,
    matmul=pb.matmul,
    reduce_sum=pb.sum,
    reduce_mean=pb.mean,
    float64=pb.float64,
)
THEIRS = SimpleNamespace(**{name: getattr(tf, name) for name in vars(OURS) if name not in ("log",)}, log=tf.math.log)


@pytest.fixture(autouse=True)
def no_tape_left_open() -> Iterator[None]:
    yield
    assert modes.session is None
    assert not modes.special


def numbers(result: Any) -> Any:
    if result is None or isinstance(result, str | bool):
        return result
    if isinstance(result, dict):
        return {key: numbers(value) for key, value in result.items()}
    if isinstance(result, tuple | list):
        return [numbers(part) for part in result]
    if isinstance(result, pb.Tensor):
        assert not result.requires_grad, "nothing stays on the tape"
    return np.asarray(result.numpy() if hasattr(result, "numpy") else result)


def assert_same(found: Any, expected: Any) -> None:
    if isinstance(expected, list):
        assert isinstance(found, list)
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            assert_same(a, b)
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            assert_same(found[key], expected[key])
    elif isinstance(expected, np.ndarray):
        assert isinstance(found, np.ndarray)
        assert found.dtype == expected.dtype
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=2e-6, atol=1e-6)
    else:
        assert found == expected


PROGRAMS: list[Callable[[Any], Any]] = []


def program(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
    PROGRAMS.append(f)
    return f


@program
def one_gradient(t: Any) -> Any:
    x = t.Variable(3.0)
    with t.GradientTape() as tape:
        y = x * x + 4.0 * x
    return y, tape.gradient(y, x)


@program
def watched_constant(t: Any) -> Any:
    x = t.constant([1.0, 2.0])
    with t.GradientTape() as tape:
        tape.watch(x)
        y = t.reduce_sum(t.exp(x) * x)
    return tape.gradient(y, x)


@program
def unwatched_constant(t: Any) -> Any:
    x, v = t.constant(3.0), t.Variable(2.0)
    with t.GradientTape() as tape:
        y = x * x * v
    return tape.gradient(y, [x, v])


@program
def watched_too_late(t: Any) -> Any:
    x = t.constant(3.0)
    with t.GradientTape(persistent=True) as tape:
        y = x * x
        tape.watch(x)
        z = x * y
    return tape.gradient(y, x), tape.gradient(z, x)


@program
def several_targets_and_sources(t: Any) -> Any:
    a, b, c = t.Variable(2.0), t.Variable([1.0, 3.0]), t.Variable(5.0)
    with t.GradientTape(persistent=True) as tape:
        y = a * b
        z = t.sin(a)
        w = {"p": y * z, "q": z * z}
    return (
        tape.gradient([y, z], [a, b]),
        tape.gradient(w, {"b": b, "rest": (a, [c])}),
        tape.gradient(y, (a, b, c)),
        tape.gradient([y, y], a),
        tape.gradient(y, [a, a]),
    )


@program
def intermediates(t: Any) -> Any:
    x = t.Variable(2.0)
    with t.GradientTape(persistent=True) as tape:
        y = x * x
        z = y * y * x
    return tape.gradient(z, [x, y, z]), tape.gradient(y, z), tape.gradient(y, y)


@program
def unconnected(t: Any) -> Any:
    x, unused = t.Variable(2.0), t.Variable([1.0, 2.0])
    with t.GradientTape(persistent=True) as tape:
        y = x * 3.0
    return (
        tape.gradient(y, [x, unused]),
        tape.gradient(y, [x, unused], unconnected_gradients="zero"),
        tape.gradient(y, [x, unused], unconnected_gradients="none"),
    )


@program
def output_gradients(t: Any) -> Any:
    x = t.Variable([1.0, 2.0])
    with t.GradientTape(persistent=True) as tape:
        y = x * x
        z = t.exp(x)
    weight = t.constant([1.0, 10.0])
    return tape.gradient(y, x, output_gradients=weight), tape.gradient([y, z], x, output_gradients=[weight, weight])


@program
def a_target_that_is_no_scalar_is_summed(t: Any) -> Any:
    x = t.Variable(np.arange(6.0).reshape(2, 3))
    with t.GradientTape() as tape:
        y = x * x
    return tape.gradient(y, x)


@program
def a_variable_as_target(t: Any) -> Any:
    x, y = t.Variable([1.0, 2.0]), t.Variable(3.0)
    with t.GradientTape(persistent=True) as tape:
        x * y
    return tape.gradient(x, x), tape.gradient(x, y)


@program
def nothing_outside_is_recorded(t: Any) -> Any:
    x = t.Variable(3.0)
    with t.GradientTape(persistent=True) as tape:
        y = x * x
    z = y * y
    w = x * x
    return tape.gradient(z, x), tape.gradient(w, x), tape.gradient(y, x), z


@program
def entered_again(t: Any) -> Any:
    x = t.Variable(3.0)
    with t.GradientTape(persistent=True) as tape:
        y = x * x
    between = y * 2.0
    with tape:
        z = y * x + between
    return tape.gradient(z, x)


@program
def second_order(t: Any) -> Any:
    x = t.Variable(2.0)
    with t.GradientTape() as outer:
        with t.GradientTape() as inner:
            y = x**3
        slope = inner.gradient(y, x)
    return slope, outer.gradient(slope, x)


@program
def third_order_of_a_constant(t: Any) -> Any:
    x = t.constant([1.0, 2.0])
    with t.GradientTape() as t1:
        t1.watch(x)
        with t.GradientTape() as t2:
            t2.watch(x)
            with t.GradientTape() as t3:
                t3.watch(x)
                y = t.reduce_sum(t.sin(x) * x)
            g = t3.gradient(y, x)
        h = t2.gradient(g, x)
    return g, h, t1.gradient(h, x)


@program
def mixed_second_order(t: Any) -> Any:
    x, y = t.Variable(2.0), t.Variable(3.0)
    with t.GradientTape(persistent=True) as outer:
        with t.GradientTape() as inner:
            z = x * x * y * y
        gx, gy = inner.gradient(z, [x, y])
    return outer.gradient(gx, [x, y]), outer.gradient(gy, [x, y])


@program
def second_order_with_a_persistent_tape(t: Any) -> Any:
    x = t.Variable([1.0, 2.0])
    with t.GradientTape(persistent=True) as tape:
        y = x**3
        slope = tape.gradient(y, x)
    return slope, tape.gradient(slope, x), tape.gradient(y, x)


@program
def an_inner_tape_sees_only_its_own(t: Any) -> Any:
    x, c = t.Variable(2.0), t.constant(5.0)
    with t.GradientTape(persistent=True) as outer:
        outer.watch(c)
        y = x * c
        with t.GradientTape(persistent=True) as inner:
            z = y * x
            w = c * 2.0
        found = inner.gradient(z, [x, c]), inner.gradient(w, c), inner.gradient(z, y)
    return found, outer.gradient(z, [x, c, y]), outer.gradient(w, c)


@program
def overlapping_tapes(t: Any) -> Any:
    x = t.Variable(3.0)
    a, b = t.GradientTape(), t.GradientTape()
    a.__enter__()
    y = x * x
    b.__enter__()
    z = y * x
    a.__exit__(None, None, None)
    w = z * x
    b.__exit__(None, None, None)
    return a.gradient(z, x), b.gradient(w, x)


@program
def recording_stopped(t: Any) -> Any:
    x = t.Variable(3.0)
    with t.GradientTape(persistent=True) as tape:
        y = x * x
        with tape.stop_recording():
            z = y * 2.0
            early = tape.gradient(y, x)
        w = z * x + y
    return early, tape.gradient(w, x), tape.gradient(z, x)


@program
def reset(t: Any) -> Any:
    x = t.Variable(3.0)
    with t.GradientTape(persistent=True) as tape:
        y = x * x
        tape.reset()
        z = y * x
    return tape.gradient(z, x), tape.gradient(y, x)


@program
def only_what_is_watched(t: Any) -> Any:
    x, y = t.Variable(3.0), t.Variable(2.0, trainable=False)
    with t.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(y)
        z = x * y
    with t.GradientTape() as other:
        w = x * y
    return tape.gradient(z, [x, y]), other.gradient(w, [x, y])


@program
def assigning(t: Any) -> Any:
    x = t.Variable([1.0, 2.0])
    results = [
        x.assign([3.0, 4.0]).numpy(),
        x.assign_add([1.0, 1.0]).numpy(),
        x.assign_sub(t.constant([0.5, 0.5])).numpy(),
    ]
    with t.GradientTape() as tape:
        y = x * x
        x.assign([10.0, 20.0])
        z = x * x
        w = y + z
    return results, tape.gradient(w, x), x.numpy(), y, x.value()


@program
def assigned_after_the_tape(t: Any) -> Any:
    x = t.Variable([1.0, 2.0])
    with t.GradientTape(persistent=True) as tape:
        y = t.exp(x) * x
    before = tape.gradient(y, x)
    x.assign_sub(before)
    return before, tape.gradient(y, x), x.numpy()


@program
def descent(t: Any) -> Any:
    x = t.Variable(5.0)
    path = []
    for _ in range(20):
        with t.GradientTape() as tape:
            y = x * x + 4.0 * x
        x.assign_sub(0.1 * tape.gradient(y, x))
        path.append(x.numpy())
    return path


@program
def linear_regression(t: Any) -> Any:
    rng = np.random.default_rng(0)
    features = t.constant(rng.standard_normal((20, 3)).astype("float32"))
    targets = t.constant(rng.standard_normal((20, 1)).astype("float32"))
    w, b = t.Variable(np.zeros((3, 1), np.float32)), t.Variable(0.0)
    losses, total = [], 0.0
    for _ in range(15):
        with t.GradientTape() as tape:
            loss = t.reduce_mean((t.matmul(features, w) + b - targets) ** 2)
        gradients = tape.gradient(loss, [w, b])
        for variable, gradient in zip([w, b], gradients, strict=True):
            variable.assign_sub(0.1 * gradient)
        losses.append(loss.numpy())
        total = total + loss
    return losses, total, w.numpy(), b.numpy()


@program
def logistic_regression_in_float64(t: Any) -> Any:
    rng = np.random.default_rng(1)
    features, labels = t.constant(rng.standard_normal((30, 2))), t.constant(rng.integers(0, 2, (30, 1)).astype(float))
    w, b = t.Variable(np.zeros((2, 1))), t.Variable(0.0, dtype=t.float64)
    for _ in range(10):
        with t.GradientTape() as tape:
            p = t.sigmoid(t.matmul(features, w) + b)
            loss = -t.reduce_mean(labels * t.log(p) + (1.0 - labels) * t.log(1.0 - p))
        gw, gb = tape.gradient(loss, (w, b))
        w.assign_sub(0.5 * gw)
        b.assign_sub(0.5 * gb)
    return w.numpy(), b.numpy(), loss


@program
def jacobian(t: Any) -> Any:
    x, v, unused = t.Variable([1.0, 2.0, 3.0]), t.Variable([[1.0, 2.0], [3.0, 4.0]]), t.Variable(1.0)
    with t.GradientTape(persistent=True) as tape:
        y = t.sin(x) * x
        z = t.matmul(v, v)
        s = t.reduce_sum(x)
    return (
        tape.jacobian(y, x),
        tape.jacobian(z, [v, unused]),
        tape.jacobian(s, x),
        tape.jacobian(y, {"u": unused, "x": x}, unconnected_gradients="zero"),
    )


@program
def batch_jacobian(t: Any) -> Any:
    x = t.constant(np.arange(6.0).reshape(3, 2))
    with t.GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = t.exp(0.1 * x) * x
    return tape.batch_jacobian(y, x)


@program
def hessian_by_jacobian(t: Any) -> Any:
    x = t.Variable([1.0, 2.0])
    with t.GradientTape() as outer:
        with t.GradientTape() as inner:
            y = t.reduce_sum(t.sin(x) * x) * x[0]
        slope = inner.gradient(y, x)
    return outer.jacobian(slope, x)


@program
def reading_numbers_inside(t: Any) -> Any:
    x = t.Variable(2.0)
    with t.GradientTape() as tape:
        y = x * x
        shown = y.numpy() + float(y)
        z = y * x
    return shown, tape.gradient(z, x)


@program
def operators(t: Any) -> Any:
    x = t.Variable([1.0, 2.0])
    with t.GradientTape() as tape:
        y = 2.0 * x + x / 4.0 - (1.0 - x) ** 2.0 + 1.0 / x + (-x) + abs(x)
        y += x
        z = x * 3.0
        y = y * z + x[0] * x[1]
    return tape.gradient(y, x), x.numpy()


@program
def defaults(t: Any) -> Any:
    values = [1.0, 2, [1.0, 2.5], [1, 2], True, np.arange(3.0), np.float64(2.0), np.ones(2, np.float32), [[1.0], [2.0]]]
    return [t.Variable(value).numpy() for value in values], [t.constant(value).numpy() for value in values]


@pytest.mark.parametrize("run", PROGRAMS, ids=lambda f: f.__name__)
def test_programs(run: Callable[[Any], Any]) -> None:
    assert_same(numbers(run(OURS)), numbers(run(THEIRS)))


@pytest.mark.parametrize(
    "make",
    [
        lambda t: t.Variable(2.0),
        lambda t: t.Variable([1.0, 2.0], name="weights"),
        lambda t: t.Variable(np.arange(6.0).reshape(2, 3)),
        lambda t: t.Variable(3),
        lambda t: t.Variable(True),
    ],
)
def test_repr(make: Callable[[Any], Any]) -> None:
    assert repr(make(OURS)) == repr(make(THEIRS))


def raised(run: Callable[[], Any]) -> BaseException:
    with pytest.raises(Exception) as error:  # noqa: PT011 (which one is what is compared)
        run()
    return error.value


def second_gradient(t: Any) -> None:
    x = t.Variable(3.0)
    with t.GradientTape() as tape:
        y = x * x
    tape.gradient(y, x)
    tape.gradient(y, x)


def gradient_and_jacobian(t: Any) -> None:
    x = t.Variable([3.0])
    with t.GradientTape() as tape:
        y = x * x
    tape.gradient(y, x)
    tape.jacobian(y, x)


def entered_twice(t: Any) -> None:
    with t.GradientTape() as tape, tape:
        pass


def stopped_outside(t: Any) -> None:
    tape = t.GradientTape()
    with tape.stop_recording():
        pass


def unknown_option(t: Any) -> None:
    x = t.Variable(3.0)
    with t.GradientTape() as tape:
        y = x * x
    tape.gradient(y, x, unconnected_gradients="nothing")


def watched_list(t: Any) -> None:
    with t.GradientTape() as tape:
        tape.watch("text")


def wrong_shape(t: Any) -> None:
    t.Variable([1.0, 2.0]).assign([1.0, 2.0, 3.0])


def written_item(t: Any) -> None:
    t.Variable([1.0, 2.0])[0] = 1.0


def added_in_place(t: Any) -> None:
    x = t.Variable([1.0, 2.0])
    x += 1.0


def multiplied_in_place(t: Any) -> None:
    x = t.Variable([1.0, 2.0])
    x *= 2.0


def uneven_batch(t: Any) -> None:
    x = t.Variable([[1.0], [2.0]])
    with t.GradientTape() as tape:
        y = x[:1] * 2.0
    tape.batch_jacobian(y, x)


@pytest.mark.parametrize(
    "run",
    [
        second_gradient,
        gradient_and_jacobian,
        entered_twice,
        stopped_outside,
        unknown_option,
        watched_list,
        wrong_shape,
        written_item,
        added_in_place,
        multiplied_in_place,
        uneven_batch,
    ],
)
def test_errors(run: Callable[[Any], None]) -> None:
    ours, theirs = raised(lambda: run(OURS)), raised(lambda: run(THEIRS))
    assert type(ours) is type(theirs)
    if not isinstance(ours, TypeError):
        assert str(ours).split()[1:3] == str(theirs).split()[1:3]


def test_watching_integers_warns() -> None:
    x = pb.constant([1, 2])
    with pb.GradientTape() as tape:
        with pytest.warns(UserWarning, match="must be floating"):
            tape.watch(x)
        y = x * 2.0
    assert tape.gradient(y, x) is None


def test_watched_variables_are_listed() -> None:
    a, b, c = pb.Variable(1.0), pb.Variable(2.0), pb.Variable(3.0, trainable=False)
    with pb.GradientTape() as tape:
        b * c * a
        assert [v is w for v, w in zip(tape.watched_variables(), (b, a), strict=True)] == [True, True]


def test_outside_of_a_tape_nothing_is_tracked() -> None:
    v = pb.Variable([1.0, 2.0])
    assert not (v * v).requires_grad
    with pb.GradientTape() as tape:
        y = v * v
        z = y[0]
        assert y.requires_grad
    assert not y.requires_grad
    assert not z.requires_grad
    assert not (y * y).requires_grad
    assert isinstance(y.numpy(), np.ndarray)
    assert tape.gradient(y, v).tolist() == [2.0, 4.0]
    c = pb.constant(1.0)
    with pb.GradientTape() as tape:
        tape.watch(c)
    assert not c.requires_grad


def test_a_graph_dies_with_its_tape() -> None:
    v = pb.Variable([1.0, 2.0])
    with pb.GradientTape() as tape:
        y = pb.exp(v)
        node = weakref.ref(y.grad_fn)
        z = y * y
    assert node() is not None
    del tape
    assert node() is None
    assert z.requires_grad is False
    with pb.GradientTape() as tape:
        y = pb.exp(v)
        node = weakref.ref(y.grad_fn)
    tape.gradient(y, v)
    assert node() is None  # a tape that can be asked once keeps nothing after that


def test_a_million_handles_are_not_kept() -> None:
    v = pb.Variable(1.0)
    with pb.GradientTape() as tape:
        for _ in range(20_000):
            v * 2.0
        assert len(modes.session.handles) < 3000  # type: ignore[union-attr]
    assert tape.watched_variables() == (v,)


def test_no_grad_inside_a_tape() -> None:
    v = pb.Variable(3.0)
    with pb.GradientTape() as tape:
        y = v * v
        with pb.no_grad():
            z = v * y
        w = z * y
    assert tape.gradient(w, v).item() == 27.0 * 6.0


def test_numpy_functions_and_in_place_writes_inside_a_tape() -> None:
    v = pb.Variable(np.array([1.0, 2.0, 3.0]))
    with pb.GradientTape(persistent=True) as tape:
        y = np.exp(v) * 2
        y[0] = v[1] * v[2]
        y[1:] *= 3
        loss = np.sum(np.square(y)) / y.shape[0]
    x = v.numpy()
    out = np.array([x[1] * x[2], *(6 * np.exp(x[1:]))])
    expected = np.array([0.0, 2 * out[1] * out[1], 2 * out[2] * out[2]]) + 2 * out[0] * np.array([0, x[2], x[1]])
    np.testing.assert_allclose(tape.gradient(loss, v), expected / 3)
    assert not y.requires_grad


def test_parameters_are_watched_like_variables() -> None:
    w, v = pb.tensor([1.0, 2.0], requires_grad=True), pb.Variable([3.0, 4.0])
    with pb.GradientTape() as tape:
        y = (w * v).sum()
    gw, gv = tape.gradient(y, [w, v])
    assert (gw.tolist(), gv.tolist()) == ([3.0, 4.0], [1.0, 2.0])
    assert y.requires_grad  # through w, as without a tape
    y.backward()
    assert w.grad.tolist() == [3.0, 4.0]
    assert w.requires_grad


def test_a_tape_inside_transforms() -> None:
    def slope(x: Any) -> Any:
        with pb.GradientTape() as tape:
            tape.watch(x)
            y = x**3
        return tape.gradient(y, x)

    assert pb.grad(slope)(2.0) == 12.0
    w = pb.tensor(2.0, requires_grad=True)
    assert pb.grad(slope)(w).item() == 12.0
    pb.grad(slope)(w).backward()
    assert w.grad.item() == 6.0
    np.testing.assert_allclose(pb.jvp(slope, (2.0,), (1.0,)), (12.0, 12.0))
    np.testing.assert_allclose(pb.vmap(slope)(np.array([1.0, 2.0])), [3.0, 12.0])
    np.testing.assert_allclose(pb.vmap(pb.grad(slope))(np.array([1.0, 2.0])), [6.0, 12.0])


def test_transforms_inside_a_tape() -> None:
    v = pb.Variable(np.float64(2.0))
    with pb.GradientTape(persistent=True) as tape:
        a = pb.grad(lambda x: x**2 * v**2)(3.0)
        b = pb.jvp(lambda x: x**2 * v**2, (3.0,), (1.0,))[1]
        c = pb.vmap(lambda x: x**2 * v**2)(np.array([1.0, 2.0])).sum()
        d = pb.grad(lambda x: x**3)(v)
    found = [tape.gradient(y, v).item() for y in (a, b, c, d)]
    assert found == [24.0, 24.0, 20.0, 12.0]


def test_tapes_belong_to_a_thread() -> None:
    v = pb.Variable(2.0)
    results: list[bool] = []

    def other() -> None:
        results.append((v * v).requires_grad)
        with pb.GradientTape() as tape:
            y = v * v
        results.append(tape.gradient(y, v).item() == 4.0)

    with pb.GradientTape() as tape:
        y = v * v * v
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        z = y * v
    assert results == [False, True]
    assert tape.gradient(z, v).item() == 32.0


def fail() -> None:
    raise ZeroDivisionError


def test_an_exception_closes_the_tape() -> None:
    v = pb.Variable(2.0)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), pb.GradientTape(), pb.GradientTape():
            (v * v).numpy() / fail()
        assert modes.session is None


def test_a_variable_is_a_tensor() -> None:
    v = pb.Variable([1.0, 2.0], name="w")
    assert isinstance(v, pb.Tensor)
    assert (v.name, v.trainable, v.shape, v.dtype) == ("w:0", True, (2,), pb.float32)
    assert v.numpy() is not v.numpy()
    twin = copy.deepcopy(v)
    again = pickle.loads(pickle.dumps(v))
    v.assign([5.0, 6.0])
    assert (twin.tolist(), again.tolist(), again.name) == ([1.0, 2.0], [1.0, 2.0], "w:0")
    assert type(v * 2) is pb.Tensor
    assert type(v[0]) is pb.Tensor
    with pytest.raises(RuntimeError, match="assign"):
        v.requires_grad_()
    with pytest.raises(TypeError, match="vmap"):
        pb.vmap(lambda x: v.assign(x))(pb.ones(3, 2))


def test_a_variable_that_two_depths_watch_is_refused() -> None:
    v = pb.Variable(2.0)

    def inner(x: Any) -> Any:
        with pb.GradientTape() as tape:
            tape.watch(x)
            y = x * v
        return tape.gradient(y, x)

    def outer() -> None:
        with pb.GradientTape():
            pb.vmap(inner)(np.ones(3))

    with pytest.raises(RuntimeError, match="inside and outside of a transform"):
        outer()
