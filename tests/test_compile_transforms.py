"""Compiled functions under the transforms and the transforms of compiled functions, on tapes, and in other compiled
functions: in any order the numbers, dtypes and types are those of the function as it was written.
"""

import numpy as np
import pytest

import pullback as pb
from pullback.transforms.tree import flatten

X = np.random.default_rng(0).standard_normal((3, 4))
ONES = np.ones_like(X)


def function(x, a):
    return np.tanh(x) * a + np.sum(x**2, axis=0)


def several(x, a):
    return {"y": np.sin(x) * a, "z": (np.sum(x), None)}


def same(found, expected, rtol=1e-9):
    (mine, tree), (theirs, other) = flatten(found), flatten(expected)
    assert tree.same_as(other)
    for a, b in zip(mine, theirs, strict=True):
        assert type(a) is type(b)
        if isinstance(a, str | int):
            assert a == b
            continue
        a, b = (np.asarray(v.detach() if isinstance(v, pb.Tensor) else v) for v in (a, b))
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-12)


def scalar(h):
    return lambda x: np.sum(h(x, 2.0) ** 2)


COMPOSITIONS = {
    "call": lambda h: h(X, 2.0),
    "grad": lambda h: pb.grad(scalar(h))(X),
    "value_and_grad": lambda h: pb.value_and_grad(scalar(h))(X),
    "grad of grad": lambda h: pb.grad(lambda x: np.sum(pb.grad(scalar(h))(x) ** 2))(X),
    "grad of grad of grad": lambda h: pb.grad(
        lambda x: np.sum(pb.grad(lambda y: np.sum(pb.grad(scalar(h))(y) ** 2))(x))
    )(X),
    "hessian": lambda h: pb.hessian(scalar(h))(X),
    "hvp": lambda h: pb.hvp(scalar(h), (X,), (ONES,)),
    "jvp": lambda h: pb.jvp(lambda x: h(x, 2.0), (X,), (ONES,)),
    "jvp in a number": lambda h: pb.jvp(lambda a: h(X, a), (2.0,), (1.0,)),
    "jvp of grad": lambda h: pb.jvp(pb.grad(scalar(h)), (X,), (ONES,)),
    "vmap": lambda h: pb.vmap(lambda x: h(x, 2.0))(X[:, None]),
    "vmap of grad": lambda h: pb.vmap(pb.grad(scalar(h)))(X[:, None]),
    "grad of vmap": lambda h: pb.grad(lambda x: np.sum(pb.vmap(lambda r: h(r, 2.0))(x[:, None]) ** 2))(X),
    "vmap of vmap": lambda h: pb.vmap(pb.vmap(lambda x: h(x, 2.0)))(X[:, None, None]),
    "vmap over numbers": lambda h: pb.vmap(lambda a: h(X, a))(np.arange(3.0)),
    "jacrev": lambda h: pb.jacrev(lambda x: h(x, 2.0))(X),
    "jacfwd": lambda h: pb.jacfwd(lambda x: h(x, 2.0))(X),
    "vjp": lambda h: pb.vjp(lambda x: h(x, 2.0), X)[1](ONES),
    "jit": lambda h: pb.jit(lambda x: h(x, 2.0) * 2)(X),
    "jit of grad": lambda h: pb.jit(pb.grad(scalar(h)))(X),
    "jit of vmap": lambda h: pb.jit(pb.vmap(lambda x: h(x, 2.0)))(X[:, None]),
    "jit of jvp": lambda h: pb.jit(lambda x: pb.jvp(lambda y: h(y, 2.0), (x,), (ONES,)))(X),
    "jit of hessian": lambda h: pb.jit(pb.hessian(scalar(h)))(X),
    "jit of hvp": lambda h: pb.jit(lambda x, v: pb.hvp(scalar(h), (x,), (v,)))(X, ONES),
    "grad of jit of grad": lambda h: pb.grad(lambda x: np.sum(pb.jit(pb.grad(scalar(h)))(x) ** 2))(X),
    "vmap of jit of vmap": lambda h: pb.vmap(pb.jit(pb.vmap(lambda x: h(x, 2.0))))(X[:, None, None]),
}


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_compositions(name):
    same(COMPOSITIONS[name](pb.jit(function)), COMPOSITIONS[name](function))


@pytest.mark.parametrize("name", ["call", "vmap"])
def test_compositions_of_containers(name):
    same(COMPOSITIONS[name](pb.jit(several)), COMPOSITIONS[name](several))


def pair(x, a):
    return x, np.sin(x) * a


def product(h):
    return lambda x: np.sum(np.multiply(*h(x, 2.0)) ** 2)


@pytest.mark.parametrize("name", ["call", "jvp", "vmap", "vmap of vmap"])
def test_an_argument_among_the_results(name):
    same(COMPOSITIONS[name](pb.jit(pair)), COMPOSITIONS[name](pair))


@pytest.mark.parametrize(
    "way",
    [
        lambda f: pb.grad(f)(X),
        lambda f: pb.grad(lambda x: np.sum(pb.grad(f)(x) ** 2))(X),
        lambda f: pb.hessian(f)(X),
        lambda f: pb.vmap(pb.grad(f))(X[:, None]),
        lambda f: pb.jvp(pb.grad(f), (X,), (ONES,)),
    ],
)
def test_derivatives_through_an_argument_among_the_results(way):
    same(way(product(pb.jit(pair))), way(product(pair)))


def test_nothing_but_an_argument():
    def f(x):
        return x

    compiled, x = pb.jit(f), np.array([1.0, 2.0])
    same(pb.vmap(compiled)(x), pb.vmap(f)(x))
    same(pb.grad(compiled)(3.0), pb.grad(f)(3.0))
    same(pb.jvp(compiled, (3.0,), (1.0,)), pb.jvp(f, (3.0,), (1.0,)))


def test_a_tensor_from_outside_among_the_results():
    c = pb.tensor([3.0, 4.0])
    found = []
    for h in (lambda x: (c, x * c), pb.jit(lambda x: (c, x * c))):
        x = pb.tensor([1.0, 2.0], requires_grad=True)
        kept, y = h(x)
        assert kept is c
        (g,) = pb.autograd.grad((y * y * kept).sum(), x, create_graph=True)
        g.pow(2).sum().backward()
        found.append(x.grad)
    same(*found)


def test_constants_among_the_results():
    f = pb.jit(lambda x: {"x": x * 2, "name": "a", "n": 3, "none": None})
    same(f(X), f.function(X))
    same(f(X), f.function(X))


def test_every_transform_compiles_what_it_makes():
    f = pb.jit(function)
    for name in ("vmap", "jvp", "grad of grad"):
        COMPOSITIONS[name](f)
    assert {key[0][0] for key in f._derived} == {"batch", "push", "pull"}
    before = f.cache_info().misses
    for name in ("vmap", "jvp", "grad of grad"):
        COMPOSITIONS[name](f)
    assert f.cache_info().misses == before


# On the tape


def torch_style(x, a):
    return pb.tanh(x) * a + (x**2).sum(0)


def leaves():
    return pb.tensor(X, requires_grad=True), pb.tensor(2.0, dtype=pb.float64, requires_grad=True)


def test_backward_through_a_compiled_function():
    for h in (torch_style, pb.jit(torch_style)):
        x, a = leaves()
        y = h(x, a)
        (y * x).sum().backward()
        if h is torch_style:
            expected = x.grad, a.grad
        else:
            same((x.grad, a.grad), expected)
            assert y.grad_fn.name() == "CompiledBackward0"


def test_second_derivatives_on_the_tape():
    found = []
    for h in (torch_style, pb.jit(torch_style)):
        x, a = leaves()
        (g,) = pb.autograd.grad((h(x, a) * x).sum(), x, create_graph=True)
        (g**2).sum().backward()
        found.append((x.grad, a.grad))
    same(*found)


def test_no_grad_and_detached_arguments_record_nothing():
    f = pb.jit(torch_style)
    x, a = leaves()
    with pb.no_grad():
        assert f(x, a).grad_fn is None
    assert f(x.detach(), a.detach()).grad_fn is None
    assert f(x, a).grad_fn is not None


def test_a_saved_argument_that_is_written_is_noticed():
    f = pb.jit(lambda x: (x * x).sum())
    x = pb.tensor([1.0, 2.0], requires_grad=True)
    y = x * 1
    loss = f(y)
    y.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("place", ["outside", "argument"])
def test_state_that_is_read_and_then_written_is_differentiated_as_it_was_read(place):
    state = pb.tensor([2.0, 3.0])

    def f(x, s):
        s = state if place == "outside" else s
        y = x * s
        s.mul_(0.5)
        return y + s

    compiled = pb.jit(f)
    for factor in (1.0, 0.5):
        x = pb.ones(2).requires_grad_()
        compiled(x, state if place == "argument" else pb.zeros(2)).sum().backward()
        assert x.grad.tolist() == [2.0 * factor, 3.0 * factor]
        assert state.tolist() == [factor, 1.5 * factor]


def test_modules_and_tensors_from_outside_get_gradients():
    pb.manual_seed(0)
    model = pb.nn.Sequential(pb.nn.Linear(4, 5), pb.nn.Tanh(), pb.nn.Linear(5, 2)).double()
    compiled = pb.jit(model)
    found = []
    for h in (model, compiled, compiled):
        model.zero_grad()
        h(pb.tensor(X)).pow(2).sum().backward()
        found.append([p.grad.clone() for p in model.parameters()])
    same(found[1], found[0])
    same(found[2], found[0])
    assert [name for name, _ in compiled.named_parameters()] == [name for name, _ in model.named_parameters()]


def test_second_derivatives_with_tensors_from_outside():
    w = pb.tensor([1.0, 2.0], requires_grad=True)
    found = []
    for h in (lambda x: (x * w).sin().sum(), pb.jit(lambda x: (x * w).sin().sum())):
        w.grad = None
        x = pb.tensor([0.3, 0.4], requires_grad=True)
        (g,) = pb.autograd.grad(h(x), x, create_graph=True)
        g.pow(2).sum().backward()
        found.append((x.grad, w.grad.clone()))
    same(*found, rtol=1e-6)


def test_outputs_that_are_not_differentiable():
    f = pb.jit(lambda x: (x * 2, x.argmax(), x > 1))
    x = pb.tensor([1.0, 3.0], requires_grad=True)
    y, index, mask = f(x)
    assert (index.item(), mask.tolist()) == (1, [False, True])
    y.sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]


def test_gradient_tape():
    v = pb.Variable([1.0, 2.0])
    f = pb.jit(lambda x: np.sum(x * x))
    with pb.GradientTape() as tape:
        loss = f(v)
    assert tape.gradient(loss, v).numpy().tolist() == [2.0, 4.0]


def test_an_array_closed_over_under_vmap_runs_as_it_is():
    same(pb.vmap(lambda x: pb.jit(lambda y: y + x)(np.ones(4)))(X), X + 1)


# Randomness and printing


def test_random_numbers_differ_from_call_to_call_and_repeat_after_a_seed():
    f = pb.jit(lambda x: pb.nn.functional.dropout(x, 0.5) + pb.randn(8))
    plain = f.function
    x = pb.ones(8)
    for h in (f, plain):
        pb.manual_seed(3)
        found = [h(x), h(x)]
        assert not (found[0] == found[1]).all()
        if h is f:
            expected = found
        else:
            same(found, expected, rtol=1e-6)


def test_random_numbers_are_the_same_forward_and_backward():
    f = pb.jit(lambda x: pb.nn.functional.dropout(x, 0.5).sum())
    x = pb.ones(50).requires_grad_()
    y = f(x)
    y.backward()
    assert x.grad.sum().item() == pytest.approx(y.item())


def test_a_generator_of_ones_own():
    generator = pb.Generator().manual_seed(5)
    f = pb.jit(lambda x: x + pb.rand(3, generator=generator))
    found = [f(pb.zeros(3)), f(pb.zeros(3))]
    again = pb.Generator().manual_seed(5)
    same(found, [pb.rand(3, generator=again), pb.rand(3, generator=again)])


def test_other_ways_of_drawing_say_so():
    with pytest.raises(NotImplementedError, match="would be the same at every run"):
        pb.jit(lambda x: pb.multinomial(pb.ones(4), 2) + x)(pb.zeros(2))


def test_print(capsys):
    @pb.jit
    def f(x):
        pb.debug.print("x = {}, twice {y:.1f}", x, y=x * 2)
        return x * x

    assert f(2.0) == 4.0
    f(3.0)
    assert capsys.readouterr().out == "x = 2.0, twice 4.0\nx = 3.0, twice 6.0\n"
    assert pb.grad(f)(2.0) == 4.0
    assert capsys.readouterr().out == "x = 2.0, twice 4.0\n"
    pb.debug.print("{}", 1.5)
    assert capsys.readouterr().out == "1.5\n"


def test_print_in_order_and_even_if_nothing_is_returned_of_it(capsys):
    @pb.jit
    def f(x):
        for i in range(3):
            pb.debug.print("{} {}", i, np.sum(x) + i)
        return x

    f(np.ones(2))
    assert capsys.readouterr().out == "0 2.0\n1 3.0\n2 4.0\n"


def test_a_text_that_does_not_fit_is_refused_while_tracing():
    with pytest.raises((IndexError, KeyError)):
        pb.jit(lambda x: pb.debug.print("{} {}", x))(1.0)


@pytest.mark.parametrize(
    ("family", "parameters"),
    [
        ("Normal", (0.5, 2.0)),
        ("Gamma", (2.0, 1.5)),
        ("Uniform", (1.0, 2.0)),
        ("Bernoulli", (0.3,)),
        ("Beta", (2.0, 3.0)),
    ],
)
def test_distributions_draw_what_they_draw_eagerly(family, parameters):
    def draw(*values):
        distribution = getattr(pb.distributions, family)(*values)
        return distribution.sample((5,)), distribution.sample((2,))

    tensors = [pb.tensor(x, dtype=pb.float64) for x in parameters]
    compiled = pb.jit(draw)
    pb.manual_seed(1)
    expected = [draw(*tensors), draw(*tensors)]
    pb.manual_seed(1)
    same([compiled(*tensors), compiled(*tensors)], expected)


def test_samples_move_with_their_parameters():
    def loss(mean, scale):
        return pb.distributions.Normal(mean, scale).rsample((4,)).pow(2).sum()

    found = []
    for h in (loss, pb.jit(loss)):
        pb.manual_seed(2)
        mean, scale = (pb.tensor(x, dtype=pb.float64, requires_grad=True) for x in (0.3, 1.2))
        h(mean, scale).backward()
        found.append((mean.grad, scale.grad))
    same(*found)
