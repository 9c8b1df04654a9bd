"""New tensors, from data, constants and random numbers, look as PyTorch's."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pullback as pb
from expressions import agree, evaluate, same

torch = pytest.importorskip("torch")


# Creation

CREATION = """
t.tensor(3)
t.tensor(3.5)
t.tensor(True)
t.tensor(2j)
t.tensor([])
t.tensor([[], []])
t.tensor([1, 2.5, True])
t.tensor([True, 2])
t.tensor([1, 2.5, 1j])
t.tensor((1, (2, 3)[0]))
t.tensor([[1, 2], [3, 4]])
t.tensor(range(4))
t.tensor([1.7, -1.7], dtype=t.int32)
t.tensor([1.7, 0.0], dtype=t.bool)
t.tensor([1, 2], dtype=t.float64)
t.tensor(1.0, dtype=float)
t.tensor(-1, dtype=t.uint8)
t.tensor([1.0, 2.0], requires_grad=True)
t.tensor(1e300)
t.tensor(2**70, dtype=t.float32)
t.tensor(np.float64(3))
t.tensor(np.float32(3))
t.tensor(np.int16(3))
t.tensor([np.float64(3), 1.0])
t.tensor([np.float32(3), 1])
t.tensor([np.int32(3), 1])
t.tensor(np.arange(6.0).reshape(2, 3))
t.tensor(np.arange(3, dtype=np.uint8))
t.tensor(np.array([True, False]))
t.tensor([np.ones(2), np.zeros(2)])
t.tensor([t.tensor(1), t.tensor(2.5, dtype=t.float64)])
t.tensor([t.tensor(1.0, requires_grad=True), 2.0])
t.tensor(t.tensor([1.0, 2.0], requires_grad=True))
t.tensor([[1, 2], [3]])
t.tensor([[1, 2], 3])
t.tensor([3, [1, 2]])
t.tensor('a')
t.tensor(None)
t.tensor([None])
t.tensor({1: 2})
t.tensor(2**63)
t.tensor([300], dtype=t.int8)
t.tensor(1j, dtype=t.float32)
t.tensor([1], requires_grad=True)
t.tensor(np.array(['a']))
t.tensor(np.array([object()]))
t.tensor(np.array([1, 2], dtype='>f4'))
t.tensor(1.0, device='cpu')
t.tensor(1.0, device=t.device('cpu'))
t.tensor(1.0, device='nowhere')
t.Tensor()
t.Tensor([1, 2])
t.Tensor([[True, 2.5]])
t.Tensor(2, 3).shape
t.Tensor(3).shape
t.Tensor(t.zeros(2, 3).shape).shape
t.Tensor(np.array([1.0, 2.0]))
t.Tensor((1, 2))
t.Tensor(3.0)
t.FloatTensor([1, 2])
t.LongTensor([1, 2])
t.DoubleTensor([[1.5]])
t.FloatTensor(2, 3).shape
t.as_tensor([1, 2])
t.as_tensor(np.ones(2))
t.as_tensor(np.ones(2), dtype=t.float32)
t.as_tensor(t.tensor([1.0], requires_grad=True))
t.as_tensor(2.5)
t.asarray(2.5)
t.asarray(np.ones(2))
t.asarray([1, 2], dtype=t.float32)
t.asarray(t.ones(2), copy=True)
t.asarray([1.0, 2.0], requires_grad=True)
t.from_numpy(np.ones((2, 2)))
t.from_numpy([1])
t.from_numpy(np.float64(1))
t.from_numpy(np.ones(2)[::-1])
t.from_numpy(np.array('a'))
t.scalar_tensor(3)
t.scalar_tensor(3, dtype=t.int64)
t.zeros(2, 3)
t.zeros((2, 3))
t.zeros([2, 3], dtype=t.int64)
t.zeros(())
t.zeros(size=(2,))
t.zeros(2, requires_grad=True)
t.zeros(t.tensor(2))
t.zeros(np.int64(2))
t.zeros([t.tensor(2), 3])
t.zeros(t.ones(2, 3).shape)
t.zeros(0, 3)
t.zeros()
t.zeros(-1)
t.zeros((2, -1))
t.zeros(2.5)
t.zeros('a')
t.zeros(2, dtype=t.int64, requires_grad=True)
t.ones(2, 3)
t.ones((), dtype=t.complex64)
t.ones(2, dtype=t.bool)
t.empty(2, 3).shape
t.empty((0,)).dtype
t.full((2,), 3)
t.full((2,), 3.0)
t.full((2,), True)
t.full((2,), 1j)
t.full((2, 2), 3.5, dtype=t.int64)
t.full((), 3)
t.full((2,), t.tensor(3.0, dtype=t.float64))
t.full([2], -1, dtype=t.uint8)
t.full(2, 3)
t.full((2,), 2.5, requires_grad=True)
t.full((2,), 1j, dtype=t.float32)
t.eye(3)
t.eye(2, 3, dtype=t.int64)
t.eye(0)
t.eye(-1)
t.arange(5)
t.arange(5.0)
t.arange(1, 5, 2)
t.arange(0, 1, 0.1)
t.arange(5, 0, -2)
t.arange(0)
t.arange(1, 0)
t.arange(0, 1, 0)
t.arange(5, dtype=t.float64)
t.arange(0.5, 3, dtype=t.int64)
t.arange(end=4)
t.arange(start=1, end=4)
t.arange(1, end=4)
t.arange(t.tensor(4))
t.arange(np.float64(3))
t.arange(3.0, requires_grad=True)
t.arange(3, requires_grad=True)
t.arange(0, 10, 0.3, dtype=t.float64)
t.linspace(0, 1, 5)
t.linspace(0, 1, 7, dtype=t.float64)
t.linspace(-3, 10, 50)
t.linspace(0, 1, 1)
t.linspace(0, 1, 0)
t.linspace(0, 10, 5, dtype=t.int64)
t.linspace(0, 1j, 3)
t.linspace(t.tensor(0.0), t.tensor(1.0), 3)
t.linspace(0, 1, steps=4)
t.linspace(0, 1, -1)
t.linspace(0, 1)
t.logspace(0, 2, 5)
t.logspace(0, 4, 3, base=2)
t.logspace(0, 3, 4, dtype=t.int64)
t.zeros_like(t.ones(2, dtype=t.int32))
t.ones_like(t.zeros(2, 3), dtype=t.float64)
t.ones_like(t.zeros(2), requires_grad=True)
t.ones_like(3)
t.full_like(t.ones(2, dtype=t.int64), 2.5)
t.full_like(t.ones(2), 2.5, dtype=t.float64)
t.empty_like(t.ones(2, 3)).shape
t.tril_indices(3, 3)
t.tril_indices(3, 4, -1)
t.triu_indices(3, 4, 1)
t.complex(t.ones(2), t.zeros(2))
t.complex(t.ones(2), t.zeros(2, dtype=t.float64))
t.complex(t.ones(2, dtype=t.int64), t.zeros(2, dtype=t.int64))
t.polar(t.tensor([1.0, 2.0]), t.tensor([0.0, 1.5]))
t.ones(2).new_zeros(2, 3)
t.ones(2).new_ones((2, 3), dtype=t.int64)
t.ones(2, dtype=t.float64).new_tensor([1, 2])
t.ones(2, dtype=t.int64).new_full((2,), 3)
t.ones(2).new_empty(0)
""".strip().splitlines()


@pytest.mark.parametrize("expression", CREATION)
def test_creation(expression: str) -> None:
    same(expression)


RANDOM = """
t.rand(2, 3)
t.rand((2,), dtype=t.float64)
t.rand(size=(3,))
t.rand(())
t.rand(2, dtype=t.float16)
t.rand(2, dtype=t.complex64)
t.rand(2, dtype=t.int64)
t.rand(2, requires_grad=True)
t.randn(2, 3)
t.randn(2, dtype=t.float16)
t.randn(2, dtype=t.complex128)
t.randn(2, dtype=t.int64)
t.randn(-2)
t.randint(5, (2, 3))
t.randint(2, 5, (2,))
t.randint(low=0, high=5, size=(2,))
t.randint(5, (2,), dtype=t.float32)
t.randint(5, 2, (2,))
t.randint(5, 2)
t.randint(300, (2,), dtype=t.uint8)
t.randint_like(t.ones(3), 5)
t.randint_like(t.ones(3), 2, 5)
t.randperm(5)
t.randperm(5, dtype=t.int32)
t.randperm(0)
t.randperm(-1)
t.normal(0, 1, (2,))
t.normal(t.zeros(2, 1), t.ones(3))
t.normal(t.zeros(2, dtype=t.float64), 1.0)
t.normal(0.0, t.ones(3))
t.normal(0.0, -1.0, (2,))
t.normal(t.zeros(2), -t.ones(2))
t.normal(t.zeros(2), t.ones(3))
t.normal(t.zeros(2, dtype=t.int64), 1.0)
t.normal(0.0, 1.0)
t.bernoulli(t.tensor([0.5, 1.0]))
t.bernoulli(t.ones(2, dtype=t.int64), 0.5)
t.bernoulli(t.tensor([0.0, 2.0]))
t.bernoulli(t.tensor([0, 1]))
t.multinomial(t.tensor([1.0, 2.0, 3.0]), 2)
t.multinomial(t.ones(4, 3), 5, replacement=True)
t.multinomial(t.tensor([0.0, 1.0]), 3)
t.multinomial(t.tensor([1, 0]), 1)
t.multinomial(t.tensor([-1.0, 0.0]), 1)
t.multinomial(t.tensor([0.0, 0.0]), 1)
t.multinomial(t.tensor([1.0, nan]), 1)
t.multinomial(t.ones(2, 2, 2), 1)
t.multinomial(t.ones(2), 0)
t.poisson(t.tensor([1.0, 2.0]))
t.rand_like(t.ones(2, 3, dtype=t.float64))
t.randn_like(t.ones(2, 3))
t.rand_like(t.ones(2, dtype=t.int64))
t.ones(2).uniform_(2, 3)
t.ones(2, dtype=t.float64).normal_(2, 3)
t.ones(2).exponential_()
t.ones(2, dtype=t.uint8).random_()
t.ones(2, dtype=t.bool).random_()
t.ones(3).random_(2)
t.ones(3).bernoulli_(0.5)
t.rand(2, generator=t.Generator())
t.manual_seed('a')
t.Generator().get_state()[:0]
""".strip().splitlines()


@pytest.mark.parametrize("expression", RANDOM)
def test_random_tensors_look_like_pytorchs(expression: str) -> None:
    ours, theirs = evaluate(pb, expression), evaluate(torch, expression)
    if isinstance(theirs, Exception):
        agree(ours, theirs)
    else:
        assert not isinstance(ours, Exception), ours
        assert (str(ours.dtype), ours.shape, ours.requires_grad) == (
            str(theirs.dtype),
            theirs.shape,
            theirs.requires_grad,
        )


def test_random_numbers_are_distributed_as_said() -> None:
    g = pb.Generator().manual_seed(1)
    n = 20_000
    for dtype in (pb.float16, pb.float32, pb.float64):
        u = pb.rand(n, generator=g, dtype=dtype).double().numpy()
        assert u.min() >= 0
        assert u.max() < 1
        assert abs(u.mean() - 0.5) < 0.02
        z = pb.randn(n, generator=g, dtype=dtype).double().numpy()
        assert abs(z.mean()) < 0.04
        assert abs(z.std() - 1) < 0.04
    w = pb.randn(n, generator=g, dtype=pb.complex64).numpy()
    assert abs(w.real.var() - 0.5) < 0.03
    assert abs(w.imag.var() - 0.5) < 0.03
    assert set(pb.randint(-1, 2, (n,), generator=g).tolist()) == {-1, 0, 1}
    assert sorted(pb.randperm(50, generator=g).tolist()) == list(range(50))
    assert abs(pb.empty(n).uniform_(2, 4, generator=g).numpy().mean() - 3) < 0.05
    assert abs(pb.normal(3.0, 2.0, (n,), generator=g).numpy().std() - 2) < 0.05
    assert abs(pb.empty(n).exponential_(2.0, generator=g).numpy().mean() - 0.5) < 0.02
    assert abs(pb.bernoulli(pb.full((n,), 0.3), generator=g).numpy().mean() - 0.3) < 0.02
    assert abs(pb.poisson(pb.full((n,), 3.0), generator=g).numpy().mean() - 3) < 0.05
    weights = pb.tensor([1.0, 0.0, 3.0])
    with_replacement = pb.multinomial(weights, n, replacement=True, generator=g).numpy()
    np.testing.assert_allclose(np.bincount(with_replacement, minlength=3) / n, [0.25, 0, 0.75], atol=0.02)
    first = pb.multinomial(
        weights.new_tensor([1.0, 1.0, 2.0]).numpy().tolist() and pb.tensor([[1.0, 1.0, 2.0]] * 4000), 2, generator=g
    )
    np.testing.assert_allclose(np.bincount(first[:, 0].numpy(), minlength=3) / 4000, [0.25, 0.25, 0.5], atol=0.04)
    assert all(a != b for a, b in first.tolist())


def test_seeds_and_states() -> None:
    pb.manual_seed(5)
    a = [pb.rand(2).tolist(), pb.randn(2).tolist(), pb.randperm(9).tolist()]
    pb.manual_seed(5)
    assert a == [pb.rand(2).tolist(), pb.randn(2).tolist(), pb.randperm(9).tolist()]
    state = pb.get_rng_state()
    b = pb.rand(3).tolist()
    pb.set_rng_state(state)
    assert pb.rand(3).tolist() == b
    assert pb.initial_seed() == 5
    g = pb.Generator().manual_seed(-1)
    assert g.initial_seed() == 2**64 - 1
    h = pb.Generator()
    h.set_state(g.get_state())
    assert pb.rand(4, generator=h).tolist() == pb.rand(4, generator=g).tolist()
    with pytest.raises(TypeError):
        g.set_state(pb.zeros(3))
    with pytest.raises(RuntimeError):
        g.set_state(pb.zeros(3, dtype=pb.uint8))
    with pytest.raises(RuntimeError):
        g.manual_seed(2**64)


def test_threads_do_not_share_the_default_generator() -> None:
    found: dict[int, list[float]] = {}

    def draw(seed: int) -> None:
        pb.manual_seed(seed)
        found[seed] = [pb.rand(()).item() for _ in range(200)]

    threads = [threading.Thread(target=draw, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, drawn in found.items():
        pb.manual_seed(seed)
        assert drawn == [pb.rand(()).item() for _ in range(200)]


def test_creation_shares_or_copies() -> None:
    array = np.zeros(2)
    copied, shared, same_array = pb.tensor(array), pb.from_numpy(array), pb.as_tensor(array)
    array[0] = 7
    assert copied.tolist() == [0.0, 0.0]
    assert shared.tolist() == same_array.tolist() == [7.0, 0.0]
    x = pb.tensor([1.0, 2.0])
    assert pb.as_tensor(x) is x
    assert pb.as_tensor(x, dtype=pb.float64) is not x
    x.numpy()[0] = 5.0
    assert x.tolist() == [5.0, 2.0]
    np.from_dlpack(x)
    y = pb.from_dlpack(array)
    y.add_(1)
    assert array.tolist() == [8.0, 1.0]
    with pytest.raises(ValueError, match="alias"):
        pb.asarray([1.0], copy=False)


def test_a_tracked_fill_value_keeps_its_gradient() -> None:
    x = pb.tensor(2.0, requires_grad=True)
    pb.full((3,), x).sum().backward()
    assert x.grad.item() == 3.0


def test_the_copy_constructor_warns_as_pytorchs() -> None:
    for lib in (torch, pb):
        with pytest.warns(UserWarning, match="To copy construct from a tensor"):
            lib.tensor(lib.ones(2))


@settings(max_examples=60, deadline=None)
@given(
    st.recursive(
        st.lists(st.one_of(st.booleans(), st.integers(-100, 100), st.floats(width=32)), max_size=3),
        lambda inner: st.lists(inner, max_size=3),
        max_leaves=8,
    )
)
def test_nested_lists(data: Any) -> None:
    ours, theirs = evaluate(pb, f"t.tensor({data})"), evaluate(torch, f"t.tensor({data})")
    if isinstance(theirs, Exception) or isinstance(ours, ValueError):
        assert isinstance(ours, ValueError | TypeError)
        assert isinstance(theirs, Exception) or not theirs.numel()  # PyTorch lets raggedness behind an empty list pass
    else:
        agree(ours, theirs)


def test_programs_that_ask_for_a_gpu_get_the_cpu() -> None:
    device = pb.device("cuda" if pb.cuda.is_available() else "mps" if pb.backends.mps.is_available() else "cpu")
    pb.cuda.manual_seed_all(0)
    assert pb.cuda.device_count() == 0
    assert pb.ones(2, device=device).device == pb.device("cpu")


def test_constants_and_types_have_the_peers_names() -> None:
    for name in ("e", "inf", "pi", "newaxis"):
        assert getattr(pb, name) == getattr(torch, name)
    assert pb.nan != pb.nan
    for name in ("LongTensor", "FloatTensor", "DoubleTensor", "BoolTensor"):
        ours, theirs = (lib.tensor([1.0, 0.0]).type(getattr(lib, name)) for lib in (pb, torch))
        assert (ours.type(), ours.tolist()) == (theirs.type(), theirs.tolist())
