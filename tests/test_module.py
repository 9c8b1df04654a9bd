"""`nn.Module` and containers against PyTorch's: registration, state, text, hooks; and modules under the transforms."""

from __future__ import annotations

import copy
import pickle
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest

import pullback as pb
from pullback import nn

torch = pytest.importorskip("torch")

from nn_tools import numbers, same  # noqa: E402

BOTH = [pb, torch]


def network(lib: Any) -> Any:
    """A module of the same make in each library: nested, shared, with buffers."""

    class Block(lib.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.linear = lib.nn.Linear(3, 3)
            self.norm = lib.nn.BatchNorm1d(3)
            self.register_buffer("scale", lib.ones(1))
            self.register_buffer("cache", lib.zeros(2), persistent=False)

        def forward(self, x: Any) -> Any:
            return self.norm(self.linear(x)) * self.scale

    class Net(lib.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.first = Block()
            self.blocks = lib.nn.ModuleList([Block(), self.first])
            self.head = lib.nn.Sequential(lib.nn.Linear(3, 2, bias=False), lib.nn.ReLU())
            self.w = lib.nn.Parameter(lib.ones(2))
            self.nothing = None
            self.register_parameter("absent", None)

        def forward(self, x: Any) -> Any:
            x = self.first(x)
            for block in self.blocks:
                x = block(x)
            return self.head(x) * self.w

    return Net()


def test_names_and_order_are_pytorchs() -> None:
    mine, theirs = network(pb), network(torch)
    for walk in ("named_parameters", "named_buffers", "named_modules", "named_children"):
        assert [n for n, _ in getattr(mine, walk)()] == [n for n, _ in getattr(theirs, walk)()], walk
    for walk in ("named_parameters", "named_buffers", "named_modules"):
        every = [n for n, _ in getattr(mine, walk)(remove_duplicate=False)]
        assert every == [n for n, _ in getattr(theirs, walk)(remove_duplicate=False)], walk
    assert [n for n, _ in mine.named_parameters("net", recurse=False)] == ["net.w"]
    assert list(mine.state_dict()) == list(theirs.state_dict())
    assert len(list(mine.modules())) == len(list(theirs.modules()))
    assert repr(mine) == repr(theirs)
    assert {"first", "w", "forward"} <= set(dir(mine))


def test_registration_errors() -> None:
    for lib in BOTH:
        net = network(lib)
        with pytest.raises(TypeError, match="cannot assign 'int' as parameter 'w'"):
            net.w = 3
        with pytest.raises(TypeError, match=r"cannot assign '.*Tensor' as parameter 'w'"):
            net.w = lib.ones(2)
        with pytest.raises(TypeError, match="cannot assign 'int' as child module 'first'"):
            net.first = 3
        with pytest.raises(TypeError, match="cannot assign 'int' as buffer 'scale'"):
            net.first.scale = 3
        with pytest.raises(KeyError, match="attribute 'w' already exists"):
            net.register_buffer("w", lib.ones(1))
        with pytest.raises(KeyError, match="attribute 'forward' already exists"):
            net.register_parameter("forward", None)
        with pytest.raises(KeyError, match=r'contain "\."'):
            net.add_module("a.b", lib.nn.ReLU())
        with pytest.raises(TypeError, match="is not a Module subclass"):
            net.add_module("a", 3)
        with pytest.raises(AttributeError, match="has no attribute 'missing'"):
            _ = net.missing
        with pytest.raises(AttributeError, match=r"is not an nn\.Parameter"):
            net.get_parameter("head.0.bias")
        with pytest.raises(AttributeError):
            net.get_submodule("head.7")
        with pytest.raises(NotImplementedError, match='missing the required "forward" function'):
            lib.nn.Module()(1)

        class Hasty(lib.nn.Module):  # type: ignore[misc]
            def __init__(self, lib: Any) -> None:
                self.w = lib.nn.Parameter(lib.ones(1))

        with pytest.raises(AttributeError, match=r"before Module.__init__\(\) call"):
            Hasty(lib)


def test_assignment_moves_between_kinds() -> None:
    for lib in BOTH:
        net = network(lib)
        net.nothing = lib.nn.Parameter(lib.zeros(1))
        assert "nothing" in dict(net.named_parameters())
        net.nothing = None
        assert "nothing" not in dict(net.named_parameters())
        net.w = None
        net.extra = lib.nn.ReLU()
        assert "extra" in dict(net.named_modules())
        del net.extra
        assert not hasattr(net, "extra")
        net.first.scale = lib.zeros(1)
        assert "first.scale" in dict(net.named_buffers())
        net.b = lib.nn.Buffer(lib.ones(2), persistent=False)
        assert "b" in dict(net.named_buffers())
        assert "b" not in net.state_dict()
        assert net.get_submodule("blocks.0.linear") is net.blocks[0].linear
        assert net.get_parameter("head.0.weight") is net.head[0].weight
        assert net.get_buffer("first.scale") is net.first.scale


def test_parameter() -> None:
    for lib in BOTH:
        data = lib.ones(2)
        p = lib.nn.Parameter(data)
        assert repr(p) == "Parameter containing:\ntensor([1., 1.], requires_grad=True)"
        assert p.is_leaf
        assert isinstance(p, lib.Tensor)
        data[0] = 5
        assert p[0].item() == 5
        assert type(p * 2) is lib.Tensor
        frozen = lib.nn.Parameter(lib.ones(1), requires_grad=False)
        assert not frozen.requires_grad
        twin = copy.deepcopy(p)
        assert type(twin) is lib.nn.Parameter
        assert twin.requires_grad
        assert twin is not p
        back = pickle.loads(pickle.dumps(p))
        assert type(back) is lib.nn.Parameter
        np.testing.assert_array_equal(numbers(back), [5, 1])
        with pytest.raises(RuntimeError, match="Only Tensors of floating point"):
            lib.nn.Parameter(lib.tensor([1, 2]))


# State


def test_state_dict_shares_memory_and_round_trips() -> None:
    for lib in BOTH:
        one, two = network(lib), network(lib)
        state = one.state_dict()
        assert isinstance(state, OrderedDict)
        assert not any(t.requires_grad for t in state.values())
        assert state["w"].detach()[0].item() == 1
        with lib.no_grad():
            one.w[0] = 7
        assert state["w"][0].item() == 7
        kept = one.state_dict(prefix="net.", keep_vars=True)
        assert kept["net.w"] is one.w
        result = two.load_state_dict(state)
        assert repr(result) == "<All keys matched successfully>"
        np.testing.assert_array_equal(numbers(two.w), [7, 1])
        assert two.w is not one.w


def test_state_dict_loads_into_pytorch_and_back() -> None:
    mine, theirs = network(pb), network(torch)
    mine.load_state_dict({name: numbers(t) for name, t in theirs.state_dict().items()})
    x = np.random.default_rng(0).standard_normal((4, 3)).astype("float32")
    for mode in (True, False):
        same(mine.train(mode)(pb.tensor(x)), theirs.train(mode)(torch.tensor(x)), rtol=1e-4, atol=1e-5)
    theirs.load_state_dict({name: torch.tensor(numbers(t)) for name, t in mine.state_dict().items()})


def broken(lib: Any, net: Any) -> dict[str, Any]:
    state = dict(net.state_dict())
    del state["first.linear.weight"]
    del state["w"]
    state["extra"] = lib.ones(1)
    state["blocks.0.norm.more"] = lib.ones(1)
    state["head.0.weight"] = lib.ones(5, 3)
    return state


def test_load_errors_are_pytorchs_and_load_nothing() -> None:
    texts = []
    for lib in BOTH:
        net = network(lib)
        before = {name: numbers(t).copy() for name, t in net.state_dict().items()}
        state = broken(lib, net)
        state = {name: lib.zeros(*t.shape) if t.dtype == lib.float32 else t for name, t in state.items()}
        with pytest.raises(RuntimeError, match="loading state_dict for Net") as error:
            net.load_state_dict(state)
        texts.append(str(error.value))
        if lib is pb:
            for name, t in net.state_dict().items():
                np.testing.assert_array_equal(numbers(t), before[name])
        with pytest.raises(RuntimeError, match=r"size mismatch for head\.0\.weight"):
            net.load_state_dict(state, strict=False)
        with pytest.raises(TypeError, match="Expected state_dict to be dict-like"):
            net.load_state_dict([1])
        with pytest.raises(RuntimeError, match=r'While copying the parameter named "w"'):
            net.load_state_dict(net.state_dict() | {"w": "text"})
    mine, theirs = ({line.strip() for line in text.split("\n")} for text in texts)
    assert mine == theirs


def test_load_without_strict_and_with_assign() -> None:
    for lib in BOTH:
        net = network(lib)
        result = net.load_state_dict({"w": lib.tensor([3.0, 4.0]), "extra": lib.ones(1)}, strict=False)
        assert result.unexpected_keys == ["extra"]
        assert "head.0.weight" in result.missing_keys
        assert "w" not in result.missing_keys
        np.testing.assert_array_equal(numbers(net.w), [3, 4])
        new = lib.tensor([5.0, 6.0], dtype=lib.float64)
        net.load_state_dict({"w": new}, strict=False, assign=True)
        assert net.w.dtype == lib.float64
        assert net.w.requires_grad
        assert isinstance(net.w, lib.nn.Parameter)
        cast = network(lib)
        cast.load_state_dict({"w": new}, strict=False)
        assert cast.w.dtype == lib.float32


# Modes and conversions


def test_modes_and_conversions() -> None:
    for lib in BOTH:
        net = network(lib)
        assert net.training
        assert net.eval() is net
        assert not any(m.training for m in net.modules())
        assert net.train().first.norm.training
        with pytest.raises(ValueError, match="training mode is expected to be boolean"):
            net.train(1)
        p = net.w
        assert net.double() is net
        assert net.w is p
        assert net.w.dtype == lib.float64
        assert net.first.norm.running_mean.dtype == lib.float64
        assert net.first.norm.num_batches_tracked.dtype == lib.int64
        assert net.to(lib.float32).w.dtype == lib.float32
        assert net.to("cpu").half().w.dtype == lib.float16
        assert net.to(device="cpu", dtype=lib.float64).float().w.dtype == lib.float32
        with pytest.raises(TypeError, match="only accepts floating point or complex"):
            net.to(lib.int64)
        net.requires_grad_(False)
        assert not any(q.requires_grad for q in net.parameters())
        net.requires_grad_()
        seen: list[str] = []
        net.apply(lambda m, seen=seen: seen.append(type(m).__name__))
        assert seen[-1] == "Net"


def test_zero_grad() -> None:
    for lib in BOTH:
        net = network(lib)
        net(lib.ones(4, 3)).sum().backward()
        gradient = net.head[0].weight.grad
        net.zero_grad(set_to_none=False)
        assert net.head[0].weight.grad is gradient
        assert not numbers(gradient).any()
        net.zero_grad()
        assert all(p.grad is None for p in net.parameters())


# Hooks


def test_hooks() -> None:
    for lib in BOTH:
        layer = lib.nn.Linear(2, 2)
        calls: list[str] = []
        handles = [
            layer.register_forward_pre_hook(lambda m, args, calls=calls: calls.append("pre")),
            layer.register_forward_hook(lambda m, args, y, calls=calls: calls.append("post")),
            layer.register_forward_pre_hook(lambda m, args, calls=calls: calls.append("first"), prepend=True),
            layer.register_forward_hook(lambda m, args, y: y * 2),
            layer.register_forward_pre_hook(lambda m, args: (args[0] + 1,)),
            layer.register_forward_hook(lambda m, args, kwargs, y, calls=calls: calls.append("kw"), with_kwargs=True),
        ]
        x = lib.ones(1, 2)
        y = layer(x)
        assert calls == ["first", "pre", "post", "kw"]
        for handle in handles:
            handle.remove()
        np.testing.assert_allclose(numbers(y), numbers(layer(x + 1) * 2), rtol=1e-6)
        assert len(calls) == 4
        with layer.register_forward_hook(lambda m, args, y: None):
            layer(x)
        bad = layer.register_forward_pre_hook(lambda m, args, kwargs: 3, with_kwargs=True)
        with pytest.raises(RuntimeError, match="pre-hook must return None or a tuple"):
            layer(x)
        bad.remove()
        always: list[Any] = []
        layer.register_forward_hook(lambda m, args, y, always=always: always.append(y), always_call=True)
        with pytest.raises(RuntimeError):
            layer(lib.ones(1, 5))
        assert always == [None]


# Containers


def test_sequential() -> None:
    for lib in BOTH:
        n = lib.nn
        s = n.Sequential(n.Linear(2, 3), n.ReLU(), n.Linear(3, 1))
        assert len(s) == 3
        assert isinstance(s[-1], n.Linear)
        assert [type(m) for m in s[:2]] == [n.Linear, n.ReLU]
        s.append(n.Tanh())
        assert list(dict(s.named_children())) == ["0", "1", "2", "3"]
        s[1] = n.Sigmoid()
        assert isinstance(s[1], n.Sigmoid)
        del s[0]
        assert list(dict(s.named_children())) == ["0", "1", "2"]
        s.insert(0, n.Identity())
        assert isinstance(s[0], n.Identity)
        assert isinstance(s.pop(0), n.Identity)
        assert len(s + n.Sequential(n.ReLU())) == 4
        assert len(s.extend([n.ReLU()])) == 4
        named = n.Sequential(OrderedDict(a=n.Linear(2, 2), b=n.ReLU()))
        assert list(named.state_dict()) == ["a.weight", "a.bias"]
        assert isinstance(named.b, n.ReLU)
        assert list(dict(named[1:].named_children())) == ["b"]
        with pytest.raises(IndexError, match="out of range"):
            s[9]
        with pytest.raises(TypeError, match="is not a Module subclass"):
            n.Sequential(n.ReLU(), 3)


def test_lists_and_dictionaries() -> None:
    texts = []
    for lib in BOTH:
        n = lib.nn
        m = n.ModuleList([n.Linear(2, 2) for _ in range(3)] + [n.ReLU()])
        m += [n.Linear(2, 2)]
        m.insert(0, n.Tanh())
        assert len(m) == 6
        assert isinstance(m[0], n.Tanh)
        assert isinstance(m[1:3], n.ModuleList)
        d = n.ModuleDict({"a": n.ReLU(), "b": n.Linear(1, 1)})
        d["c"] = n.Tanh()
        d.update([("a", n.Sigmoid())])
        assert list(d.keys()) == ["a", "b", "c"]
        assert isinstance(d["a"], n.Sigmoid)
        assert "b" in d
        d.pop("b")
        assert len(d) == 2
        p = n.ParameterList([n.Parameter(lib.ones(2)), lib.zeros(2, 3)])
        p.append(lib.ones(1))
        assert [tuple(q.shape) for q in p.parameters()] == [(2,), (2, 3), (1,)]
        assert tuple(p[-1].shape) == (1,)
        p[0] = n.Parameter(lib.zeros(4))
        assert len(list(p[:2])) == 2
        q = n.ParameterDict({"x": n.Parameter(lib.ones(2)), "y": lib.zeros(1)})
        q["z"] = lib.ones(1)
        assert list(dict(q.named_parameters())) == ["x", "y", "z"]
        assert "x" in q
        assert q.pop("y").shape == (1,)
        assert q.get("nothing") is None
        texts.append((repr(m), repr(d), repr(p), repr(q), repr(n.ModuleList())))
        with pytest.raises(IndexError, match="out of range"):
            p[5]
    for mine, theirs in zip(*texts, strict=True):
        assert mine == theirs


# Copies, pickles, transforms


def test_deepcopy_keeps_sharing() -> None:
    for lib in BOTH:
        net = network(lib)
        twin = copy.deepcopy(net)
        assert twin.first is twin.blocks[1]
        assert twin.first is not net.first
        with lib.no_grad():
            net.w[0] = 9
        assert twin.w[0].item() == 1
        assert twin.w.requires_grad


def test_pickle() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Sigmoid())
    back = pickle.loads(pickle.dumps(model))
    assert repr(back) == repr(model)
    x = pb.ones(4, 3)
    np.testing.assert_array_equal(numbers(back(x)), numbers(model(x)))
    assert all(isinstance(p, nn.Parameter) and p.requires_grad for p in back.parameters())


def test_gradient_of_a_module_is_a_module() -> None:
    pb.manual_seed(0)
    net = network(pb).eval()
    x = pb.randn(4, 3)

    def loss(net: Any) -> Any:
        return (net(x) ** 2).sum()

    value, gradient = pb.value_and_grad(loss)(net)
    assert isinstance(gradient, type(net))
    assert gradient.first is gradient.blocks[1]
    loss(net).backward()
    assert value.item() == pytest.approx(loss(net).item())
    for (name, g), (other, p) in zip(gradient.named_parameters(), net.named_parameters(), strict=True):
        assert name == other
        np.testing.assert_allclose(numbers(g), numbers(p.grad), rtol=1e-5, atol=1e-6)
    assert net.w.grad is not gradient.w
    assert isinstance(net.w, nn.Parameter)


def test_batches_of_modules() -> None:
    """Gradients for every example: the module is the same for all, the examples are a batch."""
    pb.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    x, t = pb.randn(5, 3, dtype=pb.float64), pb.tensor([0, 1, 1, 0, 1])

    def loss(net: Any, x: Any, t: Any) -> Any:
        return nn.functional.cross_entropy(net(x), t)

    each = pb.vmap(pb.grad(loss), in_axes=(None, 0, 0))(net, x, t)
    for i in range(5):
        net.zero_grad()
        loss(net, x[i], t[i]).backward()
        for g, p in zip(each.parameters(), net.parameters(), strict=True):
            np.testing.assert_allclose(numbers(g[i]), numbers(p.grad), rtol=1e-10, atol=1e-12)


def test_functional_call() -> None:
    for lib, call in ((pb, pb.functional_call), (torch, torch.func.functional_call)):
        net = network(lib).eval()
        x = lib.ones(4, 3)
        before = numbers(net(x)).copy()
        y = call(net, {"w": lib.tensor([2.0, 3.0])}, (x,))
        np.testing.assert_allclose(numbers(y), before * [2, 3], rtol=1e-6)
        np.testing.assert_array_equal(numbers(net(x)), before)
    net = network(pb)
    pb.functional_call(net, {name: p * 2 for name, p in net.named_parameters()}, pb.ones(4, 3)).sum().backward()
    assert net.w.grad is not None
    assert net.first.linear.weight.grad is not None
    with pytest.raises(KeyError, match="no parameter or buffer 'v'"):
        pb.functional_call(net, {"v": pb.ones(1)}, pb.ones(4, 3))
    names = {"first.scale": pb.ones(1), "blocks.1.scale": pb.zeros(1)}
    with pytest.raises(ValueError, match="shared with another name"):
        pb.functional_call(network(pb), names, pb.ones(4, 3))


def test_no_cycles_in_a_training_step() -> None:
    """A step's graph is freed as soon as it is dropped, without the garbage collector."""
    import gc
    import weakref

    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.LayerNorm(4), nn.Linear(4, 2))
    gc.collect()
    gc.disable()
    try:
        y = nn.functional.cross_entropy(net(pb.ones(2, 3)), pb.tensor([0, 1]))
        node = weakref.ref(y.grad_fn)
        y.backward()
        del y
        assert node() is None
    finally:
        gc.enable()


# nn.utils


@pytest.mark.parametrize("norm_type", [2.0, 1.0, np.inf])
@pytest.mark.parametrize("max_norm", [0.5, 100.0])
def test_clip_grad_norm(max_norm: float, norm_type: float) -> None:
    results = []
    for lib in BOTH:
        ps = [lib.nn.Parameter(lib.ones(2)), lib.nn.Parameter(lib.ones(2, 2)), lib.nn.Parameter(lib.ones(1))]
        ps[0].grad = lib.tensor([1.0, -2.0])
        ps[1].grad = lib.tensor([[1.0, 3.0], [0.0, 0.5]])
        total = lib.nn.utils.clip_grad_norm_(ps, max_norm, norm_type)
        results.append([total, ps[0].grad, ps[1].grad])
    for mine, theirs in zip(*results, strict=True):
        same(mine, theirs)


def test_clip_grad_value_and_errors() -> None:
    for lib in BOTH:
        p = lib.nn.Parameter(lib.ones(3))
        p.grad = lib.tensor([1.0, -2.0, 0.1])
        lib.nn.utils.clip_grad_value_([p], 0.5)
        np.testing.assert_allclose(numbers(p.grad), [0.5, -0.5, 0.1])
        p.grad = lib.tensor([1.0, np.inf, 0.1])
        with pytest.raises(RuntimeError, match="is non-finite, so it cannot be clipped"):
            lib.nn.utils.clip_grad_norm_(p, 1.0, error_if_nonfinite=True)


def test_parameters_to_vector_and_back() -> None:
    for lib in BOTH:
        net = lib.nn.Linear(2, 3)
        v = lib.nn.utils.parameters_to_vector(net.parameters())
        assert tuple(v.shape) == (9,)
        assert v.requires_grad
        lib.nn.utils.vector_to_parameters(lib.arange(9.0), net.parameters())
        np.testing.assert_array_equal(numbers(net.bias), [6, 7, 8])
        assert net.weight.requires_grad


@pytest.mark.filterwarnings("ignore:Full backward hook is firing:UserWarning")
@pytest.mark.parametrize("needs_input_gradient", [False, True])
def test_full_backward_hooks_see_and_change_gradients(needs_input_gradient: bool) -> None:
    seen = []
    for lib in (pb, torch):
        model = lib.nn.Sequential(lib.nn.Linear(2, 2), lib.nn.Tanh(), lib.nn.Linear(2, 1))
        with lib.no_grad():
            for i, parameter in enumerate(model.parameters()):
                parameter.copy_(lib.linspace(-1.0, 1.0 + i, parameter.numel()).reshape(parameter.shape))
        record: list[Any] = []

        def hook(module, grad_input, grad_output, record=record):
            record.extend(np.array(np.nan) if g is None else g.numpy().copy() for g in (*grad_input, *grad_output))

        handles = [layer.register_full_backward_hook(hook) for layer in (model, model[0], model[2])]
        handles.append(model[1].register_full_backward_hook(lambda module, gi, go: (gi[0] * 2,)))
        x = lib.tensor([[0.5, -1.0], [2.0, 0.25]], requires_grad=needs_input_gradient)
        model(x).sum().backward()
        for handle in handles:
            handle.remove()
        model(x).sum().backward()
        record.extend(p.grad.numpy() for p in (*model.parameters(), *([x] if needs_input_gradient else [])))
        seen.append(record)
    assert len(seen[0]) == 2 * 3 + 4 + needs_input_gradient
    for ours, theirs in zip(*seen, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)
