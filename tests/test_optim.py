"""Optimizers take PyTorch's steps, keep PyTorch's state, and act on memory in place."""

from __future__ import annotations

import io
import pickle
import re
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pullback as pb
from pullback.tape.node import new_handle
from pullback.tape.state import nested
from pullback.tensor import autograd
from pullback.values.graph import Graph
from pullback.values.shape import spec_of

torch = pytest.importorskip("torch")

# Every option of every optimizer, alone and with those it meets in the formula.
CASES: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {}),
    ("SGD", {"weight_decay": 0.1, "maximize": True}),
    ("SGD", {"momentum": 0.9}),
    ("SGD", {"momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
    ("SGD", {"momentum": 0.9, "nesterov": True}),
    ("SGD", {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1, "maximize": True}),
    ("Adam", {}),
    ("Adam", {"betas": (0.7, 0.95), "eps": 1e-3, "weight_decay": 0.1}),
    ("Adam", {"amsgrad": True, "maximize": True}),
    ("Adam", {"weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("AdamW", {}),
    ("AdamW", {"weight_decay": 0.2, "amsgrad": True, "maximize": True}),
    ("RMSprop", {}),
    ("RMSprop", {"alpha": 0.9, "eps": 1e-4, "weight_decay": 0.1, "maximize": True}),
    ("RMSprop", {"momentum": 0.9}),
    ("RMSprop", {"centered": True}),
    ("RMSprop", {"centered": True, "momentum": 0.9, "weight_decay": 0.1}),
    ("Adagrad", {}),
    ("Adagrad", {"lr_decay": 0.1, "initial_accumulator_value": 0.3, "eps": 1e-5}),
    ("Adagrad", {"weight_decay": 0.1, "maximize": True}),
    ("Adadelta", {}),
    ("Adadelta", {"rho": 0.8, "eps": 1e-4, "weight_decay": 0.1, "maximize": True}),
    ("Adamax", {}),
    ("Adamax", {"betas": (0.7, 0.95), "eps": 1e-3, "weight_decay": 0.1, "maximize": True}),
    ("NAdam", {}),
    ("NAdam", {"betas": (0.7, 0.95), "momentum_decay": 0.1, "weight_decay": 0.1, "maximize": True}),
    ("NAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("RAdam", {}),
    ("RAdam", {"weight_decay": 0.1, "maximize": True}),
    ("RAdam", {"betas": (0.9, 0.5), "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("Rprop", {}),
    ("Rprop", {"etas": (0.3, 2.0), "step_sizes": (0.02, 0.1), "maximize": True}),
    ("ASGD", {}),
    ("ASGD", {"lambd": 0.1, "alpha": 0.5, "t0": 2, "weight_decay": 0.1, "maximize": True}),
]
ONE_OF_EACH = list({name: (name, options) for name, options in reversed(CASES)}.values())
TOLERANCE = {"float32": 2e-6, "float64": 1e-12, "complex128": 1e-12}


def label(case: Any) -> str | None:
    if isinstance(case, dict):
        return ",".join(f"{key}={value}" for key, value in case.items()) or "plain"
    return None


def starts(dtype: str) -> list[Any]:
    """A matrix, one in column order, a vector, a number, and one that never gets a gradient."""
    rng = np.random.default_rng(0)
    shapes: list[tuple[int, ...]] = [(3, 4), (4, 2), (5,), (), (2,)]
    arrays = [rng.standard_normal(shape) for shape in shapes]
    if dtype == "complex128":
        arrays = [a + 1j * rng.standard_normal(a.shape) for a in arrays]
    return [np.asarray(a, dtype) for a in arrays]


def parameters(arrays: list[Any]) -> list[Any]:
    ours = [pb.tensor(a) for a in arrays]
    ours[1]._value = np.asfortranarray(ours[1]._value)
    return [p.requires_grad_() for p in ours]


def pair(name: str, options: dict[str, Any], dtype: str = "float64") -> tuple[Any, Any, Any, Any]:
    """Our parameters and optimizer, and PyTorch's: two groups, the second with a rate of its own."""
    ours, theirs = parameters(starts(dtype)), [torch.tensor(a, requires_grad=True) for a in starts(dtype)]

    def groups(ps: Any) -> list[dict[str, Any]]:
        return [{"params": ps[:2]}, {"params": ps[2:], "lr": 0.05}]

    mine = getattr(pb.optim, name)(groups(ours), lr=0.03, **options)
    return ours, mine, theirs, getattr(torch.optim, name)(groups(theirs), lr=0.03, foreach=False, **options)


def feed(ours: Any, theirs: Any, steps: int, *optimizers: Any, seed: int = 1) -> None:
    """The same gradients for both, step by step; the last parameter gets none."""
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        for p, q in zip(ours[:-1], theirs[:-1], strict=True):
            g = rng.standard_normal(tuple(q.shape)) + (1j * rng.standard_normal() if q.is_complex() else 0)
            q.grad = torch.tensor(np.asarray(g), dtype=q.dtype)
            p.grad = pb.tensor(q.grad.numpy())
        for optimizer in optimizers:
            optimizer.step()


def close(mine: Any, other: Any, tolerance: float) -> None:
    mine, other = np.asarray(mine.detach().numpy()), np.asarray(other.detach().numpy())
    assert mine.dtype == other.dtype
    assert mine.shape == other.shape
    np.testing.assert_allclose(mine, other, rtol=tolerance, atol=tolerance * np.abs(other).max(initial=0))


def same_state(mine: Any, other: Any, tolerance: float) -> None:
    """Both `state_dict()`s alike, key by key."""
    assert mine.keys() == other.keys()
    assert [set(g) for g in mine["param_groups"]] == [set(g) for g in other["param_groups"]]
    assert [g["params"] for g in mine["param_groups"]] == [g["params"] for g in other["param_groups"]]
    assert mine["state"].keys() == other["state"].keys()
    for number, state in other["state"].items():
        assert mine["state"][number].keys() == state.keys()
        for name, value in state.items():
            close(mine["state"][number][name], value, tolerance)


def in_torch(value: Any) -> Any:
    """A state dict with our Tensors as PyTorch's."""
    if isinstance(value, dict):
        return {k: in_torch(v) for k, v in value.items()}
    if isinstance(value, list):
        return [in_torch(v) for v in value]
    return torch.tensor(np.array(value.detach().numpy())) if isinstance(value, pb.Tensor) else value


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("name", "options"), CASES, ids=label)
def test_twenty_steps_are_pytorchs(name: str, options: dict[str, Any], dtype: str) -> None:
    ours, mine, theirs, other = pair(name, options, dtype)
    feed(ours, theirs, 20, mine, other)
    for p, q, start in zip(ours, theirs, starts(dtype), strict=True):
        close(p, q, TOLERANCE[dtype])
        assert (np.asarray(p.detach().numpy()) == start).all() == (p is ours[-1])
    same_state(mine.state_dict(), other.state_dict(), 10 * TOLERANCE[dtype])


@pytest.mark.parametrize(("name", "options"), ONE_OF_EACH, ids=label)
def test_a_complex_parameter_is_its_two_parts(name: str, options: dict[str, Any]) -> None:
    ours, mine, theirs, other = pair(name, options, "complex128")
    feed(ours, theirs, 5, mine, other)
    for p, q in zip(ours, theirs, strict=True):
        close(p, q, TOLERANCE["complex128"])


def test_learning_by_backward_is_pytorchs() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((20, 3)), rng.standard_normal(20)

    def losses(lib: Any) -> list[float]:
        w, b = lib.tensor([0.5, -1.0, 2.0], requires_grad=True), lib.tensor(0.1, requires_grad=True)
        optimizer = lib.optim.Adam([w, b], lr=0.1)
        seen = []
        for _ in range(10):
            optimizer.zero_grad()
            loss = (((lib.tensor(x, dtype=lib.float32) * w).sum(1) + b - lib.tensor(y, dtype=lib.float32)) ** 2).sum()
            loss.backward()
            optimizer.step()
            seen.append(loss.item())
        return seen

    np.testing.assert_allclose(losses(pb), losses(torch), rtol=1e-5)


# State


@pytest.mark.parametrize(("name", "options"), CASES, ids=label)
def test_a_state_of_pytorch_goes_on_here_and_back(name: str, options: dict[str, Any]) -> None:
    ours, mine, theirs, other = pair(name, options)
    feed(ours, theirs, 4, mine, other)
    again, resumed, _, _ = pair(name, {})
    _, _, back, returned = pair(name, {})
    for p, b, q in zip(again, back, theirs, strict=True):
        p.data = pb.tensor(q.detach().numpy())
        b.data = q.detach().clone()
    resumed.load_state_dict(other.state_dict())
    returned.load_state_dict(in_torch(mine.state_dict()))
    feed(again, theirs, 4, resumed, other, seed=2)
    feed(ours, back, 4, mine, returned, seed=2)
    for p, q, o, b in zip(again, theirs, ours, back, strict=True):
        tolerance = 1e-7 if name in ("NAdam", "ASGD") else 1e-12  # PyTorch casts their float32 numbers on loading
        close(p, q, tolerance)
        close(o, b, tolerance)


def test_a_saved_state_goes_through_files() -> None:
    ours, mine, theirs, other = pair("Adam", {"amsgrad": True})
    feed(ours, theirs, 3, mine, other)
    buffer = io.BytesIO()
    torch.save(other.state_dict(), buffer)
    from pullback.io import load, save

    buffer.seek(0)
    _, resumed, _, _ = pair("Adam", {})
    resumed.load_state_dict(load(buffer))
    same_state(resumed.state_dict(), other.state_dict(), 0)
    buffer = io.BytesIO()
    save(mine.state_dict(), buffer)
    buffer.seek(0)
    _, _, _, returned = pair("Adam", {})
    returned.load_state_dict(torch.load(buffer, weights_only=True))
    same_state(mine.state_dict(), returned.state_dict(), 0)


def test_a_loaded_state_is_a_copy_in_the_parameters_dtype() -> None:
    w = pb.ones(3, requires_grad=True)
    first = pb.optim.Adam([w], lr=0.1)
    w.grad = pb.ones(3)
    first.step()
    wide = pb.ones(3, dtype=pb.float64, requires_grad=True)
    second = pb.optim.Adam([wide])
    second.load_state_dict(first.state_dict())
    assert second.param_groups[0]["lr"] == 0.1
    assert second.param_groups[0]["params"][0] is wide
    state = second.state[wide]
    assert (state["exp_avg"].dtype, state["step"].dtype) == (pb.float64, pb.float32)
    wide.grad = pb.ones(3, dtype=pb.float64)
    second.step()
    assert (state["step"].item(), first.state[w]["step"].item()) == (2.0, 1.0)
    same = pb.optim.Adam([w])
    same.load_state_dict(first.state_dict())
    same.step()
    np.testing.assert_allclose(first.state[w]["exp_avg"].numpy(), 0.1, rtol=1e-6)


def test_load_refuses_other_groups() -> None:
    w, v = pb.ones(1, requires_grad=True), pb.ones(1, requires_grad=True)
    saved = pb.optim.SGD([w], lr=0.1).state_dict()
    with pytest.raises(ValueError, match="different number of parameter groups"):
        pb.optim.SGD([{"params": [w]}, {"params": [v]}], lr=0.1).load_state_dict(saved)
    with pytest.raises(ValueError, match="doesn't match the size"):
        pb.optim.SGD([w, v], lr=0.1).load_state_dict(saved)


def test_adamw_stays_decoupled_after_loading_adam() -> None:
    w = pb.ones(1, requires_grad=True)
    optimizer = pb.optim.AdamW([w])
    optimizer.load_state_dict(pb.optim.Adam([w], weight_decay=0.1).state_dict())
    assert optimizer.param_groups[0]["decoupled_weight_decay"] is True
    assert optimizer.param_groups[0]["weight_decay"] == 0.1


def test_a_pickled_optimizer_goes_on_with_its_parameters() -> None:
    w = pb.ones(3, requires_grad=True)
    optimizer = pb.optim.SGD([w], lr=0.5, momentum=0.9)
    w.grad = pb.ones(3)
    optimizer.step()
    other = pickle.loads(pickle.dumps(optimizer))
    (v,) = other.param_groups[0]["params"]
    v.grad = w.grad = pb.ones(3)
    optimizer.step()
    other.step()
    assert v is not w
    assert v.tolist() == w.tolist()


# Memory


@pytest.mark.parametrize("name", ["SGD", "Adam", "LBFGS"])
def test_what_shares_a_parameters_memory_sees_the_step(name: str) -> None:
    base = np.ones((2, 3))
    w = pb.from_numpy(base).requires_grad_()
    row, detached = w[0], w.detach()
    version = w._version
    w.grad = pb.ones(2, 3, dtype=pb.float64)
    optimizer = getattr(pb.optim, name)([w], lr=0.1)
    if name == "LBFGS":
        optimizer.step(lambda: pb.tensor(1.0))
    else:
        optimizer.step()
    assert (base < 1).all()
    assert w.tolist() == detached.tolist() == base.tolist()
    assert row.tolist() == base[0].tolist()
    assert w._version > version


def test_a_parameter_that_is_a_view_writes_its_base() -> None:
    base = pb.zeros(4)
    w = base[1:3].detach().requires_grad_()
    w.grad = pb.ones(2)
    pb.optim.SGD([w], lr=1.0).step()
    assert base.tolist() == [0, -1, -1, 0]
    assert base._version == 1


def test_a_step_between_forward_and_backward_is_noticed() -> None:
    for start in (pb.ones(2), pb.tensor(1.0)):
        w = start.requires_grad_()
        loss = (w * w).sum()
        w.grad = pb.ones_like(w)
        pb.optim.SGD([w], lr=0.1).step()
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()


@pytest.mark.parametrize(
    ("name", "options"), [case for case in CASES if case[0] in ("SGD", "Adam", "AdamW")], ids=label
)
def test_a_step_allocates_nothing_of_a_parameters_size(name: str, options: dict[str, Any]) -> None:
    w = pb.ones(100, 100, requires_grad=True)
    w.grad = pb.ones(100, 100)
    optimizer = getattr(pb.optim, name)([w], lr=0.1, **options)
    optimizer.step()
    optimizer.step()
    tracemalloc.start()
    optimizer.step()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10_000  # a quarter of one float32 array


def test_gradients_are_not_written() -> None:
    for name, options in CASES:
        w = pb.ones(3, requires_grad=True)
        w.grad = pb.tensor([1.0, -2.0, 3.0])
        optimizer = getattr(pb.optim, name)([w], lr=0.1, **options)
        optimizer.step()
        optimizer.step()
        assert w.grad.tolist() == [1.0, -2.0, 3.0]


def test_scratch_follows_a_parameter_that_changes() -> None:
    w, v = pb.ones(2, requires_grad=True), pb.ones(3, requires_grad=True)
    optimizer = pb.optim.SGD([w, v], lr=0.5)
    w.grad, v.grad = pb.ones(2), pb.ones(3)
    optimizer.step()
    w.data = pb.ones(4, 2, dtype=pb.float64)
    w.grad = pb.ones(4, 2, dtype=pb.float64)
    optimizer.step()
    assert (w.dtype, w.tolist(), v.tolist()) == (pb.float64, [[0.5, 0.5]] * 4, [0, 0, 0])


def test_a_number_may_become_an_array_and_back() -> None:
    w, q = pb.tensor(2.0, requires_grad=True), torch.tensor(2.0, requires_grad=True)
    mine, other = pb.optim.Adam([w], lr=0.1), torch.optim.Adam([q], lr=0.1)
    for i in range(6):
        alias = w.detach() if i == 2 else None
        w.grad = pb.tensor(1.0 + i) if i % 2 else (w * 0 + 1.0 + i).detach()
        q.grad = torch.tensor(1.0 + i)
        mine.step()
        other.step()
        assert alias is None or alias.item() == w.item()
    close(w, q, 1e-6)


# Groups, options, errors


def test_repr_is_pytorchs() -> None:
    for name, options in CASES:
        _, mine, _, other = pair(name, options)
        assert repr(mine).replace("foreach: None", "foreach: False") == repr(other)
    assert "line_search_fn: None" in repr(pb.optim.LBFGS([pb.ones(1, requires_grad=True)]))


BAD: list[Callable[[Any], Any]] = [
    lambda lib: lib.optim.SGD([]),
    lambda lib: lib.optim.SGD({lib.ones(1)}, lr=0.1).add_param_group({"params": {lib.ones(1)}}),
    lambda lib: lib.optim.SGD([{"params": {lib.ones(1)}}]),
    lambda lib: lib.optim.SGD([1.0]),
    lambda lib: lib.optim.SGD([lib.ones(1, requires_grad=True) * 2]),
    lambda lib: lib.optim.SGD([lib.ones(1)]).add_param_group([lib.ones(1)]),
    lambda lib: lib.optim.SGD([("a", lib.ones(1)), lib.ones(1)]),
    lambda lib: lib.optim.SGD([("a", lib.ones(1))]).add_param_group({"params": [lib.ones(1)]}),
    lambda lib: [w := lib.ones(1), lib.optim.SGD([{"params": [w]}, {"params": [w]}])],
    lambda lib: lib.optim.SGD([lib.ones(1)], lr=-1.0),
    lambda lib: lib.optim.SGD([lib.ones(1)], lr=lib.ones(2)),
    lambda lib: lib.optim.SGD([lib.ones(1)], momentum=-1.0),
    lambda lib: lib.optim.SGD([lib.ones(1)], weight_decay=-1.0),
    lambda lib: lib.optim.SGD([lib.ones(1)], nesterov=True),
    lambda lib: lib.optim.Adam([lib.ones(1)], betas=(1.0, 0.9)),
    lambda lib: lib.optim.Adam([lib.ones(1)], betas=(0.9, -0.1)),
    lambda lib: lib.optim.Adam([lib.ones(1)], eps=-1.0),
    lambda lib: lib.optim.RMSprop([lib.ones(1)], alpha=-1.0),
    lambda lib: lib.optim.Adagrad([lib.ones(1)], lr_decay=-1.0),
    lambda lib: lib.optim.Adagrad([lib.ones(1)], initial_accumulator_value=-1.0),
    lambda lib: lib.optim.Adadelta([lib.ones(1)], rho=1.5),
    lambda lib: lib.optim.NAdam([lib.ones(1)], momentum_decay=-1.0),
    lambda lib: lib.optim.LBFGS([{"params": [lib.ones(1)]}, {"params": [lib.ones(1)]}]),
    lambda lib: lib.optim.LBFGS([lib.ones(1)]).step(),
]


@pytest.mark.parametrize("misuse", BAD, ids=[str(i) for i in range(len(BAD))])
def test_misuse_raises_as_in_pytorch(misuse: Callable[[Any], Any]) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        misuse(torch)
    words = "closure" if "closure" in str(caught.value) else " ".join(str(caught.value).split()[:5])
    with pytest.raises(type(caught.value), match=re.escape(words)):
        misuse(pb)


def test_a_lone_tensor_is_no_list_of_parameters() -> None:
    with pytest.raises(TypeError, match="params argument given to the optimizer should be an iterable"):
        pb.optim.SGD(pb.ones(1), lr=0.1)


def test_a_required_option_must_be_given() -> None:
    from pullback.optim.optimizer import required

    with pytest.raises(ValueError, match="didn't specify a value of required optimization parameter lr"):
        pb.optim.Optimizer([pb.ones(1)], {"lr": required})
    pb.optim.Optimizer([{"params": pb.ones(1), "lr": 1.0}], {"lr": required})


def test_groups_can_be_added_and_named() -> None:
    w, v = pb.ones(1, requires_grad=True), pb.ones(1, requires_grad=True)
    optimizer = pb.optim.SGD([("w", w)], lr=1.0)
    optimizer.add_param_group({"params": [("v", v)], "lr": 0.5})
    assert [g["param_names"] for g in optimizer.state_dict()["param_groups"]] == [["w"], ["v"]]
    assert optimizer.param_groups[1]["momentum"] == 0
    w.grad = v.grad = pb.ones(1)
    optimizer.step()
    assert (w.item(), v.item()) == (0.0, 0.5)
    with pytest.warns(UserWarning, match="duplicate parameters"):
        pb.optim.SGD([w, w], lr=1.0)


def test_zero_grad() -> None:
    w, b = pb.ones(2, requires_grad=True), pb.tensor(1.0, requires_grad=True)
    optimizer = pb.optim.SGD([w, b], lr=1.0)
    ((w * w).sum() * b).backward(create_graph=True)
    kept = w.grad
    assert kept is not None
    optimizer.zero_grad(set_to_none=False)
    assert w.grad is kept
    assert b.grad is not None
    assert (kept.tolist(), kept.requires_grad, b.grad.item()) == ([0, 0], False, 0)
    optimizer.zero_grad()
    assert w.grad is None
    assert b.grad is None


def test_a_closure_is_called_with_gradients_on() -> None:
    w = pb.tensor([3.0], requires_grad=True)
    optimizer = pb.optim.SGD([w], lr=0.5)

    def closure() -> Any:
        optimizer.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        return loss

    with pb.no_grad():
        assert optimizer.step(closure).item() == 9
    assert w.item() == 0


@pytest.mark.parametrize(("name", "options"), ONE_OF_EACH, ids=label)
def test_the_rate_may_be_a_tensor(name: str, options: dict[str, Any]) -> None:
    w, v = pb.ones(3, requires_grad=True), pb.ones(3, requires_grad=True)
    w.grad = v.grad = pb.tensor([1.0, 2.0, 3.0])
    rate = pb.tensor(0.25)
    plain = getattr(pb.optim, name)([w], lr=0.25, **options)
    held = getattr(pb.optim, name)([v], lr=rate, **options)
    for optimizer in (plain, held):
        optimizer.step()
    rate.fill_(0.5)
    plain.param_groups[0]["lr"] = 0.5
    for optimizer in (plain, held):
        optimizer.step()
    assert w.tolist() == v.tolist()


# Values that are not arrays


@pytest.mark.parametrize(("name", "options"), CASES, ids=label)
def test_a_step_inside_vmap_is_a_step_for_each(name: str, options: dict[str, Any]) -> None:
    def train(start: Any) -> Any:
        w = (start * 1.0).detach().requires_grad_()
        optimizer = getattr(pb.optim, name)([w], lr=0.1, **options)
        for _ in range(7):
            optimizer.zero_grad()
            (w * w * w).sum().backward()
            optimizer.step()
        return w.detach()

    starts = pb.tensor([[0.5, -0.25], [0.75, 0.1], [0.2, 0.3]], dtype=pb.float64)
    one_by_one = np.stack([train(row).numpy() for row in starts])
    np.testing.assert_allclose(pb.vmap(train)(starts).numpy(), one_by_one, rtol=1e-12)


@pytest.mark.parametrize(("name", "options"), CASES, ids=label)
def test_a_step_can_be_traced_with_its_state(name: str, options: dict[str, Any]) -> None:
    """What a tracing compiler does: parameters, gradients, state and rate are symbols, the step is a graph."""
    rng = np.random.default_rng(0)
    w = pb.tensor(rng.standard_normal(4)).requires_grad_()
    rate = pb.tensor(0.1, dtype=pb.float64)
    optimizer = getattr(pb.optim, name)([w], lr=rate, **options)
    w.grad = pb.tensor(rng.standard_normal(4))
    for _ in range(6):  # RAdam changes its rule after the fifth step
        optimizer.step()
    handles = [w, rate, w.grad, *optimizer.state[w].values()]
    before = [np.array(handle._value) for handle in handles]
    graph = Graph()
    for handle, value in zip(handles, before, strict=True):
        handle._value = graph.input(spec_of(value))
    with nested():
        optimizer.step()
    graph.outputs = [handle._value for handle in handles]
    traced = graph(*before)
    for handle, value in zip(handles, before, strict=True):
        handle._value = value.copy()
    optimizer.step()
    for handle, result in zip(handles, traced, strict=True):
        assert result.dtype == handle._value.dtype
        np.testing.assert_allclose(handle._value, result, rtol=1e-6 if handle is not w else 1e-12)
    assert not np.array_equal(w.detach().numpy(), before[0])


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"])
def test_differentiable_steps_have_pytorchs_gradient(name: str) -> None:
    """The derivative of the loss after three steps with respect to where they began."""

    def gradient(lib: Any, grad: Any) -> Any:
        start = lib.tensor([0.5, -1.0], dtype=lib.float64, requires_grad=True)
        w = start.clone()
        optimizer = getattr(lib.optim, name)([w], lr=0.1, weight_decay=0.1, differentiable=True)
        for _ in range(3):
            v = w.clone()  # w itself is written by the step, so the graph must not have saved it
            (w.grad,) = grad((v * v * v).sum(), w, create_graph=True)
            optimizer.step()
        (w * w).sum().backward()
        return start.grad.numpy()

    tolerance = 1e-4 if "Adam" in name else 1e-10  # PyTorch's bias correction is in single precision here
    np.testing.assert_allclose(gradient(pb, autograd.grad), gradient(torch, torch.autograd.grad), rtol=tolerance)


def test_the_rate_has_a_gradient_through_differentiable_steps() -> None:
    def loss(rate: Any) -> Any:
        w = pb.tensor([1.0, 2.0], dtype=pb.float64, requires_grad=True) * 1.0
        optimizer = pb.optim.AdamW([w], lr=rate, weight_decay=0.1, differentiable=True)
        for _ in range(2):
            w.grad = w * 2.0
            optimizer.step()
        return (w * w).sum()

    rate = pb.tensor(0.1, dtype=pb.float64, requires_grad=True)
    loss(rate).backward()
    assert rate.grad is not None
    step = 1e-6
    slope = (loss(0.1 + step) - loss(0.1 - step)).item() / (2 * step)
    np.testing.assert_allclose(rate.grad.item(), slope, rtol=1e-8)


def test_a_leaf_is_not_stepped_differentiably() -> None:
    w = pb.ones(1, requires_grad=True)
    w.grad = pb.ones(1)
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad"):
        pb.optim.SGD([w], lr=0.1, differentiable=True).step()


def test_an_optimizer_of_ones_own() -> None:
    class Sign(pb.optim.Optimizer):
        def __init__(self, params: Any, lr: float) -> None:
            super().__init__(params, {"lr": lr})

        def step(self, closure: Any = None) -> None:
            with pb.no_grad():
                for group in self.param_groups:
                    for p in group["params"]:
                        p -= group["lr"] * p.grad.sign()

    w = pb.tensor([1.0, -1.0], requires_grad=True)
    w.grad = pb.tensor([5.0, -3.0])
    optimizer = Sign([w], lr=0.5)
    scheduler = pb.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    optimizer.step()
    scheduler.step()  # no warning: the step was seen
    assert w.tolist() == [0.5, -0.5]
    assert optimizer.param_groups[0]["lr"] == 0.25


# LBFGS


LBFGS_CASES: list[dict[str, Any]] = [
    {"lr": 0.5},
    {"lr": 0.1, "max_iter": 7, "history_size": 2},
    {"line_search_fn": "strong_wolfe"},
    {"line_search_fn": "strong_wolfe", "max_iter": 4, "max_eval": 5},
    {"line_search_fn": "strong_wolfe", "lr": 0.01, "history_size": 3, "max_iter": 5},
    {"line_search_fn": "strong_wolfe", "lr": 20.0},
    {"line_search_fn": "strong_wolfe", "tolerance_grad": 1e-2, "tolerance_change": 1e-4},
]


def valley(lib: Any, dtype: str, seed: int) -> tuple[Any, Callable[[Any], Callable[[], Any]]]:
    """A smooth function that is not quadratic, of a vector and a number, and its closure for an optimizer."""
    rng = np.random.default_rng(seed)
    a, b = lib.tensor(rng.standard_normal((8, 4)).astype(dtype)), lib.tensor(rng.standard_normal(8).astype(dtype))
    w = lib.tensor(rng.standard_normal(4).astype(dtype), requires_grad=True)
    c = lib.tensor(np.asarray(rng.standard_normal(), dtype), requires_grad=True)

    def closure_for(optimizer: Any) -> Callable[[], Any]:
        def closure() -> Any:
            optimizer.zero_grad()
            z = (a * w).sum(1) + c - b
            loss = (lib.exp(z) + lib.exp(-2.0 * z)).sum() + (w * w).sum() * 0.1
            loss.backward()
            return loss

        return closure

    return [w, c], closure_for


@pytest.mark.parametrize("options", LBFGS_CASES, ids=label)
def test_lbfgs_has_pytorchs_iterates(options: dict[str, Any]) -> None:
    for seed in range(3):
        runs = []
        for lib in (pb, torch):
            params, closure_for = valley(lib, "float64", seed)
            optimizer = lib.optim.LBFGS(params, **options)
            losses = [optimizer.step(closure_for(optimizer)).item() for _ in range(3)]
            state = optimizer.state[params[0]]
            point = np.append(params[0].detach().numpy(), params[1].item())
            runs.append((losses, point, state["n_iter"], state["func_evals"], set(state)))
        mine, other = runs
        assert mine[2:] == other[2:]
        np.testing.assert_allclose(mine[0], other[0], rtol=1e-9)
        np.testing.assert_allclose(mine[1], other[1], rtol=1e-9, atol=1e-9)


def test_lbfgs_in_single_precision_finds_the_minimum() -> None:
    ends = {}
    for dtype in ("float32", "float64"):
        params, closure_for = valley(pb, dtype, 0)
        optimizer = pb.optim.LBFGS(params, max_iter=60, line_search_fn="strong_wolfe")
        optimizer.step(closure_for(optimizer))
        assert {str(p.dtype) for p in params} == {f"torch.{dtype}"}
        ends[dtype] = np.append(params[0].detach().numpy(), params[1].item())
    np.testing.assert_allclose(ends["float32"], ends["float64"], atol=2e-3)


def test_lbfgs_state_goes_from_pytorch_to_here_and_back() -> None:
    ends = []
    for first, second in ((pb, pb), (torch, pb), (pb, torch)):
        params, closure_for = valley(first, "float64", 0)
        optimizer = first.optim.LBFGS(params, max_iter=3, line_search_fn="strong_wolfe")
        optimizer.step(closure_for(optimizer))
        later, closure_for = valley(second, "float64", 0)
        for p, q in zip(later, params, strict=True):
            p.data = second.tensor(q.detach().numpy())
        resumed = second.optim.LBFGS(later)
        saved = optimizer.state_dict()
        resumed.load_state_dict(in_torch(saved) if second is torch else saved)
        resumed.step(closure_for(resumed))
        ends.append(np.append(later[0].detach().numpy(), later[1].item()))
    np.testing.assert_allclose(ends[1], ends[0], rtol=1e-10)
    np.testing.assert_allclose(ends[2], ends[0], rtol=1e-10)


def test_lbfgs_says_what_it_cannot_do() -> None:
    w = pb.ones(1, requires_grad=True)
    w.grad = pb.ones(1)
    with pytest.raises(RuntimeError, match="only 'strong_wolfe' is supported"):
        pb.optim.LBFGS([w], line_search_fn="armijo").step(lambda: 1.0)
    z = pb.tensor([1j], requires_grad=True)
    with pytest.raises(TypeError, match="LBFGS takes real parameters"):
        pb.optim.LBFGS([z]).step(lambda: 1.0)
    w.grad = new_handle(Graph().input(spec_of(np.ones(1, np.float32))))
    with pytest.raises(TypeError, match="can't run inside vmap, jvp or a trace"):
        pb.optim.LBFGS([w]).step(lambda: 1.0)


# Hooks


def test_step_hooks() -> None:
    seen: list[Any] = []
    w = pb.ones(2, requires_grad=True)
    w.grad = pb.ones(2)
    optimizer = pb.optim.SGD([w], lr=1.0)
    before = optimizer.register_step_pre_hook(lambda o, args, kwargs: seen.append((o, args, kwargs, w.tolist())))
    after = optimizer.register_step_post_hook(lambda o, args, kwargs: seen.append(w.tolist()))
    changed = optimizer.register_step_pre_hook(lambda o, args, kwargs: ((lambda: pb.tensor(7.0),), {}))
    assert optimizer.step().item() == 7.0
    assert seen == [(optimizer, (), {}, [1.0, 1.0]), [0.0, 0.0]]
    for handle in (before, after, changed):
        handle.remove()
    assert optimizer.step() is None
    assert len(seen) == 2
    assert pickle.loads(pickle.dumps(optimizer)).step() is None
    optimizer.register_step_pre_hook(lambda o, args, kwargs: 1)
    with pytest.raises(RuntimeError, match="must return None or a tuple"):
        optimizer.step()


def test_the_rates_of_rprop_are_checked() -> None:
    for options in ({"etas": (1.5, 2.0)}, {"etas": (0.5, 0.9)}, {"lr": -1.0}):
        for lib in (pb, torch):
            with pytest.raises(ValueError, match="Invalid"):
                lib.optim.Rprop([lib.ones(1, requires_grad=True)], **options)


def test_asgd_averages_what_it_passes() -> None:
    w = pb.tensor([4.0], dtype=pb.float64, requires_grad=True)
    optimizer = pb.optim.ASGD([w], lr=0.1, t0=1, lambd=0.0)
    passed = []
    for _ in range(8):
        w.grad = w.detach().clone()
        optimizer.step()
        passed.append(w.item())
    np.testing.assert_allclose(optimizer.state[w]["ax"].item(), np.mean(passed[2:]), rtol=1e-6)
