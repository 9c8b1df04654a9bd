"""What a compiled function finds and changes outside of its arguments: names, attributes, lists, generators."""

import numpy as np
import pytest

import pullback as pb

G = np.zeros(2)


class Net:
    def __init__(self):
        self.W = np.ones(3)
        self.k = 2.0
        self.options = {"scale": [1.0]}

    def step(self, x):
        slope = pb.grad(lambda w: np.sum((w * x - 1) ** 2))(self.W)
        self.W = self.W - 0.1 * slope
        return np.sum(self.W) * self.k * self.options["scale"][0]

    @pb.jit
    def compiled(self, x):
        return self.step(x)


X = np.arange(3.0)


@pytest.mark.parametrize("way", ["bound", "method"])
def test_attributes_are_read_and_rebound(way):
    eager, other = Net(), Net()
    step = pb.jit(other.step) if way == "bound" else other.compiled
    for _ in range(3):
        assert step(X) == pytest.approx(eager.step(X))
        np.testing.assert_allclose(other.W, eager.W)
        assert type(other.W) is np.ndarray
    for change in (
        lambda net: setattr(net, "k", 3.0),
        lambda net: net.options.update(scale=[5.0]),
        lambda net: net.options["scale"].__setitem__(0, 7.0),
        lambda net: setattr(net, "W", np.full(3, 0.5)),
        lambda net: net.W.__setitem__(1, 4.0),
    ):
        change(eager)
        change(other)
        assert step(X) == pytest.approx(eager.step(X))


def test_a_rebound_attribute_is_not_traced_again():
    step = pb.jit(Net().step)
    for _ in range(4):
        step(X)
    assert step.cache_info().misses == 1


def test_the_example_of_a_network_by_hand_learns():
    rng = np.random.default_rng(0)

    class Layer:
        def __init__(self):
            self.w = np.random.default_rng(1).normal(size=(4, 3))

        def step(self, x, t):
            self.z = x @ self.w
            self.h = np.tanh(self.z)
            loss = np.mean((self.h - t) ** 2)
            self.w = self.w - 0.5 * (x.T @ ((self.h - t) * (1 - self.h**2))) / len(x)
            return loss

    x, t = rng.normal(size=(8, 4)), rng.normal(size=(8, 3))
    eager, other = Layer(), Layer()
    compiled = pb.jit(other.step)
    for _ in range(5):
        assert compiled(x, t) == pytest.approx(eager.step(x, t))
    for name in ("w", "z", "h"):
        np.testing.assert_allclose(getattr(other, name), getattr(eager, name))


def test_globals_are_rebound():
    global G

    @pb.jit
    def add(x):
        global G
        G = G + x
        return G * 1

    G = np.zeros(2)
    for i in range(1, 4):
        np.testing.assert_array_equal(add(np.ones(2)), [i, i])
        np.testing.assert_array_equal(G, [i, i])
    assert add.cache_info().misses == 1
    G = np.zeros(3)
    np.testing.assert_array_equal(add(np.ones(3)), np.ones(3))


@pytest.mark.parametrize("kind", [np.array, pb.tensor])
def test_variables_of_enclosing_functions_are_rebound(kind):
    def make():
        w = kind([1.0, 2.0])

        def f(x):
            nonlocal w
            w = w * x
            return w.sum()

        return f, lambda: w

    (eager, its), (function, other) = make(), make()
    compiled = pb.jit(function)
    for _ in range(3):
        assert float(compiled(2.0)) == float(eager(2.0))
        assert type(other()) is type(its())
    assert compiled.cache_info().misses == 1


def test_a_module_that_keeps_what_it_computed():
    class Keeps(pb.nn.Module):
        def forward(self, x):
            self.last = x * 2
            return self.last + 1

    model = Keeps()
    compiled = pb.jit(model)
    for i in range(3):
        compiled(pb.ones(2) * i)
        assert model.last.tolist() == [2.0 * i, 2.0 * i]


@pytest.mark.parametrize("what", ["list", "attribute"])
def test_what_happens_while_tracing_only_is_refused_and_run_as_it_is(what):
    seen = []

    class Counts:
        n = 0

    counts = Counts()
    counts.n = 0

    def f(x):
        if what == "list":
            seen.append(x * 2)
        else:
            counts.n += 1
        return x + 1

    compiled = pb.jit(f)
    with pytest.warns(pb.UncompiledWarning, match="runs uncompiled: it"):
        assert compiled(1.0) == 2.0
    assert compiled(2.0) == 3.0
    before = compiled.cache_info().misses
    assert [compiled(float(i)) for i in range(5)] == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert compiled.cache_info().misses <= before + 1  # it is not tried for ever
    del seen[2:]
    counts.n -= 5 * bool(counts.n)
    assert (seen, counts.n) == (([2.0, 4.0], 0) if what == "list" else ([], 2))


def test_what_requires_a_gradient_is_not_put_outside_without_it():
    w, kept = pb.ones(2).requires_grad_(), pb.zeros(2)

    def f(x):
        kept.add_(w * x)
        return x

    with pytest.warns(pb.UncompiledWarning, match="detach it first"):
        pb.jit(f)(pb.ones(2))
    kept.sum().backward()
    assert w.grad.tolist() == [1.0, 1.0]

    class Keeps(pb.nn.Linear):
        def forward(self, x):
            self.penalty = self.weight.pow(2).sum()
            return super().forward(x)

    model = Keeps(2, 1)
    with pytest.warns(pb.UncompiledWarning, match="'penalty' to something that requires a gradient"):
        pb.jit(model)(pb.ones(1, 2))
    model.penalty.backward()
    assert model.weight.grad is not None


def test_gradients_that_the_program_looks_at():
    w = pb.tensor([1.0, 2.0], requires_grad=True)

    @pb.jit
    def f(x):
        return x * 10 if w.grad is None else x * w.grad

    assert f(pb.ones(2)).tolist() == [10.0, 10.0]
    w.grad = pb.tensor([2.0, 3.0])
    assert f(pb.ones(2)).tolist() == [2.0, 3.0]
    w.grad = pb.tensor([4.0, 5.0])
    assert f(pb.ones(2)).tolist() == [4.0, 5.0]
    w.grad = None
    assert f(pb.ones(2)).tolist() == [10.0, 10.0]


def test_generators_of_numpy_draw_anew():
    rng = np.random.default_rng(0)
    f = pb.jit(lambda x: x + rng.standard_normal(3) + np.random.normal(size=3))
    np.random.seed(0)
    found = [f(1.0), f(1.0)]
    again = np.random.default_rng(0)
    np.random.seed(0)
    for y in found:
        np.testing.assert_allclose(y, 1 + again.standard_normal(3) + np.random.normal(size=3))
    with pytest.raises(NotImplementedError, match="gives none"):
        pb.jit(lambda x: (rng.shuffle([1, 2]), x)[1])(1.0)


@pytest.mark.parametrize("make", [np.zeros, pb.zeros])
def test_an_argument_that_is_returned_is_itself(make):
    def f(a):
        a += 1
        return a, a * 2

    compiled = pb.jit(f)
    a = make(2)
    for i in (1, 2):
        b, c = compiled(a)
        assert b is a
        assert (a.tolist(), c.tolist()) == ([i, i], [2 * i, 2 * i])
    assert pb.jit(lambda x: x)(a) is a


def test_a_tensor_from_outside_that_is_returned_is_itself():
    w = pb.tensor([1.0], requires_grad=True)
    f = pb.jit(lambda x: (w, x * w))
    assert f(pb.ones(1))[0] is w
    assert f(pb.ones(1))[0] is w


def test_the_default_dtype_is_looked_at():
    f = pb.jit(lambda v: v * pb.ones(3))
    assert f(2.0).dtype == pb.float32
    try:
        pb.set_default_dtype(pb.float64)
        assert f(2.0).dtype == pb.float64
    finally:
        pb.set_default_dtype(pb.float32)
    assert f(2.0).dtype == pb.float32
