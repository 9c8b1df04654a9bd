"""Random tensors and their generators, under PyTorch's names.

The numbers come from NumPy's PCG64, so for one seed they are not PyTorch's. Every thread has a default generator of its
own: what one thread draws never depends on another. A `layout` is taken and means nothing: all tensors are strided.
"""

from __future__ import annotations

import functools
import secrets
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from pullback.tape.node import Handle, new_handle
from pullback.tape.state import modes
from pullback.tensor.conversion import numbers
from pullback.tensor.creation import dtype_of, finished, pattern, shape_of
from pullback.tensor.device import check_device
from pullback.tensor.device import device as Device
from pullback.tensor.dispatch import to_dtype
from pullback.values.dtype import type_name
from pullback.values.shape import Shape, broadcast_shapes

__all__ = [
    "Generator",
    "bernoulli",
    "get_rng_state",
    "initial_seed",
    "manual_seed",
    "multinomial",
    "normal",
    "poisson",
    "rand",
    "rand_like",
    "randint",
    "randint_like",
    "randn",
    "randn_like",
    "randperm",
    "seed",
    "set_rng_state",
]

_MASK = (1 << 64) - 1
_STATE_BYTES = 48


class Generator:
    """A source of random numbers, deterministic given its seed.

    >>> a, b = Generator().manual_seed(0), Generator().manual_seed(0)
    >>> bool((rand(3, generator=a) == rand(3, generator=b)).all())
    True
    """

    def __init__(self, device: Any = "cpu") -> None:
        check_device(device)
        self.manual_seed(67280421310721)

    def manual_seed(self, seed: int) -> Generator:
        """Start over from `seed`, an integer of 64 bits; negative ones count from 2⁶⁴ down. Returns self."""
        seed = int(seed)
        if not -(1 << 63) <= seed <= _MASK:
            raise RuntimeError("Overflow when unpacking long long: a seed has 64 bits")
        self._seed = seed & _MASK
        self._bits = np.random.PCG64(self._seed)
        self.numpy = np.random.Generator(self._bits)
        return self

    def seed(self) -> int:
        """Start over from a seed that the operating system gives; returns it."""
        self.manual_seed(secrets.randbits(64))
        return self._seed

    def initial_seed(self) -> int:
        """The seed this generator last started from."""
        return self._seed

    def get_state(self) -> Any:
        """The state as a uint8 tensor; `set_state` puts it back."""
        state = self._bits.state
        words = (state["state"]["state"], state["state"]["inc"])
        data = b"".join(word.to_bytes(16, "little") for word in words)
        data += state["has_uint32"].to_bytes(4, "little") + state["uinteger"].to_bytes(4, "little")
        data += self._seed.to_bytes(8, "little")
        return new_handle(np.frombuffer(data, np.uint8).copy())

    def set_state(self, new_state: Any) -> None:
        """Go on from a state that `get_state` gave.

        Raises `TypeError` for anything but a uint8 tensor, `RuntimeError` for one of another length.
        """
        if not isinstance(new_state, Handle) or new_state._value.dtype != np.uint8:
            raise TypeError("expected a uint8 tensor as given by get_state()")
        data = numbers(new_state, "set_state()").tobytes()
        if len(data) != _STATE_BYTES:
            raise RuntimeError(f"RNG state is wrong size: expected {_STATE_BYTES} bytes, got {len(data)}")
        state, inc = int.from_bytes(data[:16], "little"), int.from_bytes(data[16:32], "little")
        self._bits.state = {
            "bit_generator": "PCG64",
            "state": {"state": state, "inc": inc},
            "has_uint32": int.from_bytes(data[32:36], "little"),
            "uinteger": int.from_bytes(data[36:40], "little"),
        }
        self._seed = int.from_bytes(data[40:], "little")

    def clone_state(self) -> Generator:
        """A generator that will draw what this one would."""
        twin = Generator()
        twin.set_state(self.get_state())
        return twin

    @property
    def device(self) -> Device:
        return Device("cpu")


class _Default(threading.local):
    def __init__(self) -> None:
        self.generator = Generator()
        self.generator.seed()


_default = _Default()


def source(generator: Generator | None = None) -> np.random.Generator:
    """The NumPy generator to draw from: that of `generator`, or of this thread's default."""
    if modes.tracer is not None:
        raise NotImplementedError(
            "this way of drawing random numbers does not compile: they would be the same at every run. Draw them with "
            "pb.rand, pb.randn, pb.rand_like, Tensor.normal_ or dropout, or outside of the compiled function."
        )
    return _numbers_of(generator)


def _numbers_of(generator: Generator | None) -> np.random.Generator:
    return (_default.generator if generator is None else generator).numpy


def drawn(sample: Callable[[np.random.Generator], Any], generator: Generator | None = None) -> Any:
    """What `sample` draws from a generator (this thread's default for None): an array, of one shape and dtype every
    time. In a function that is compiled it draws anew at every run.
    """
    if modes.tracer is None:
        return sample(source(generator))
    return modes.tracer.draw(sample, functools.partial(_numbers_of, generator))


class _Traced:
    """A generator of NumPy's as a compiled function sees it: what its methods draw, at every run, are Tensors."""

    def __init__(self, source: Callable[[], Any]) -> None:
        self._source = source

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def method(*args: Any, **kwargs: Any) -> Any:
            assert modes.tracer is not None
            return new_handle(modes.tracer.draw(lambda rng: getattr(rng, name)(*args, **kwargs), self._source))

        return method


def as_traced(value: Any) -> Any:
    """What stands for a generator of NumPy's, or for a function of `np.random`, in a function that is compiled; None
    for anything else."""
    if isinstance(value, np.random.Generator | np.random.RandomState):
        return _Traced(lambda: value)
    owner = getattr(value, "__self__", None)
    if isinstance(owner, np.random.Generator | np.random.RandomState):
        return getattr(_Traced(lambda: owner), value.__name__)
    return None


def drawing(generator: Generator | None = None) -> Any:
    """NumPy's generator, that of `generator` or of this thread's default, or what a function that is compiled sees of
    it; what is drawn goes through `as_drawn`."""
    return source(generator) if modes.tracer is None else _Traced(functools.partial(_numbers_of, generator))


def as_drawn(numbers: Any, dtype: Any) -> Any:
    """Drawn numbers as a Tensor of a dtype."""
    if isinstance(numbers, Handle):
        return to_dtype(numbers, np.dtype(dtype))
    return new_handle(np.asarray(numbers, dtype)[()])


def manual_seed(seed: int) -> Generator:
    """Start this thread's default generator over from `seed`; returns it."""
    return _default.generator.manual_seed(seed)


def seed() -> int:
    """Start this thread's default generator over from a seed that the operating system gives; returns it."""
    return _default.generator.seed()


def initial_seed() -> int:
    """The seed that this thread's default generator last started from."""
    return _default.generator.initial_seed()


def get_rng_state() -> Any:
    """The state of this thread's default generator, as a uint8 tensor."""
    return _default.generator.get_state()


def set_rng_state(new_state: Any) -> None:
    """Have this thread's default generator go on from `new_state`."""
    _default.generator.set_state(new_state)


# Arrays


def _not_implemented(kernel: str, dtype: np.dtype[Any]) -> NotImplementedError:
    return NotImplementedError(f"\"{kernel}\" not implemented for '{type_name(dtype)}'")


def uniform_array(rng: np.random.Generator, shape: Shape, dtype: np.dtype[Any]) -> Any:
    """Numbers evenly distributed in [0, 1), of a float dtype; both parts of a complex one."""
    if dtype == np.float16:
        return (rng.integers(0, 1 << 11, shape) / (1 << 11)).astype(dtype)
    if dtype.kind == "f":
        return np.asarray(rng.random(shape, dtype.type))
    if dtype.kind == "c":
        part = np.dtype(np.float32 if dtype == np.complex64 else np.float64)
        return (uniform_array(rng, shape, part) + 1j * uniform_array(rng, shape, part)).astype(dtype)
    raise _not_implemented("check_uniform_bounds", dtype)


def normal_array(rng: np.random.Generator, shape: Shape, dtype: np.dtype[Any]) -> Any:
    """Normally distributed numbers of mean 0 and variance 1 (of a complex number, half in each part)."""
    if dtype == np.float16:
        return np.asarray(rng.standard_normal(shape, np.float32)).astype(dtype)
    if dtype.kind == "f":
        return np.asarray(rng.standard_normal(shape, dtype.type))
    if dtype.kind == "c":
        parts = rng.standard_normal((2, *shape)) * np.sqrt(0.5)
        return np.asarray(parts[0] + 1j * parts[1]).astype(dtype)
    raise _not_implemented("normal_kernel_cpu", dtype)


def integer_array(rng: np.random.Generator, low: int, high: int, shape: Shape, dtype: np.dtype[Any]) -> Any:
    """Integers in [low, high), evenly distributed, in any dtype that holds them.

    Raises `RuntimeError` if the interval is empty or leaves the dtype.
    """
    low, high = int(low), int(high)
    if low >= high:
        raise RuntimeError(f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}")
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        for name, value in (("from", low), ("to - 1", high - 1)):
            if not info.min <= value <= info.max:
                raise RuntimeError(f"{name} is out of bounds for {dtype}")
        return np.asarray(rng.integers(low, high, shape, dtype))
    return np.asarray(rng.integers(low, high, shape)).astype(dtype)


# Functions


def rand(
    *sizes: Any,
    size: Any = None,
    generator: Generator | None = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Any:
    """Numbers evenly distributed in [0, 1), of a shape given as sizes or one sequence."""
    check_device(device)
    shape = shape_of("rand", sizes if size is None else (tuple(size),))
    wanted = dtype_of(dtype)
    return finished(drawn(lambda rng: uniform_array(rng, shape, wanted), generator), requires_grad)


def randn(
    *sizes: Any,
    size: Any = None,
    generator: Generator | None = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Any:
    """Normally distributed numbers of mean 0 and variance 1, of a shape given as sizes or one sequence."""
    check_device(device)
    shape = shape_of("randn", sizes if size is None else (tuple(size),))
    wanted = dtype_of(dtype)
    return finished(drawn(lambda rng: normal_array(rng, shape, wanted), generator), requires_grad)


def randint(
    *bounds: Any,
    low: int | None = None,
    high: int | None = None,
    size: Any = None,
    generator: Generator | None = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Any:
    """Integers in [low, high): `randint(high, size)` or `randint(low, high, size)`; int64 unless `dtype` is given."""
    check_device(device)
    given = list(bounds)
    if size is None and given:
        size = given.pop()
    if isinstance(size, int) or size is None:
        raise TypeError(f"randint(): argument 'size' (position 2) must be tuple of ints, not {type(size).__name__}")
    if given and high is None:
        high = given.pop()
    if given and low is None:
        low = given.pop()
    if high is None or given:
        raise TypeError("randint() takes high and size, or low, high and size")
    wanted = dtype_of(dtype, np.dtype(np.int64))
    shape = shape_of("randint", (tuple(size),))
    return finished(drawn(lambda rng: integer_array(rng, low or 0, high, shape, wanted), generator), requires_grad)


def randperm(
    n: int,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Any:
    """The integers from 0 to n - 1 in random order; int64 unless `dtype` is given."""
    check_device(device)
    if n < 0:
        raise RuntimeError(f"Trying to create tensor with negative dimension {n}: [{n}]")
    wanted = dtype_of(dtype, np.dtype(np.int64))
    return finished(drawn(lambda rng: rng.permutation(n).astype(wanted), generator), requires_grad)


def _moment(value: Any) -> Any:
    if not isinstance(value, Handle):
        return value
    array = numbers(value, "normal()")
    if array.dtype.kind not in "fc":
        raise _not_implemented("normal_kernel_cpu", array.dtype)
    return array


def normal(
    mean: Any = 0.0,
    std: Any = 1.0,
    size: Any = None,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Any:
    """Normally distributed numbers: `mean` and `std` are numbers, with a `size`, or they are tensors that broadcast.

    The result is not tracked. Raises `RuntimeError` for a negative `std`.
    """
    check_device(device)
    centre, spread = _moment(mean), _moment(std)
    if np.any(np.less(spread, 0)):
        found = "all elements of std >= 0.0" if isinstance(std, Handle) else f"std >= 0.0, but found std {std:g}"
        raise RuntimeError(f"normal expects {found}")
    if size is not None:
        shape = shape_of("normal", (tuple(size),))
    elif isinstance(mean, Handle) or isinstance(std, Handle):
        shape = broadcast_shapes(np.shape(centre), np.shape(spread))
        dtype = centre.dtype if isinstance(mean, Handle) else spread.dtype
    else:
        raise TypeError("normal() takes a size with a number for mean and std, or a tensor for one of them")
    wanted = dtype_of(dtype)
    sample = drawn(lambda rng: np.asarray(normal_array(rng, shape, wanted) * spread + centre, wanted), generator)
    return finished(sample, requires_grad)


def _probabilities(input: Any) -> Any:
    p = numbers(input, "bernoulli()")
    if p.dtype.kind != "f":
        raise _not_implemented("bernoulli_tensor_cpu_p_", p.dtype)
    if not np.all((p >= 0) & (p <= 1)):
        raise RuntimeError("Expected p_in >= 0 && p_in <= 1 to be true, but got false.")
    return p


def bernoulli_array(rng: np.random.Generator, p: Any, shape: Shape, dtype: np.dtype[Any]) -> Any:
    """Ones with probability `p` (a number, or a tensor that broadcasts to `shape`), zeros otherwise."""
    if isinstance(p, Handle):
        p = _probabilities(p)
    elif not 0 <= p <= 1:
        raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p}")
    return np.asarray(rng.random(shape) < p).astype(dtype)


def bernoulli(input: Any, p: float | None = None, *, generator: Generator | None = None) -> Any:
    """Ones with the probabilities in `input`, or with probability `p`, zeros otherwise, in its shape and dtype."""
    shape, dtype = pattern("bernoulli", input, None)
    return finished(drawn(lambda rng: bernoulli_array(rng, input if p is None else p, shape, dtype), generator))


def poisson(input: Any, *, generator: Generator | None = None) -> Any:
    """Poisson-distributed counts with the rates in `input`, in its dtype."""
    rates = numbers(input, "poisson()")
    return finished(drawn(lambda rng: np.asarray(rng.poisson(rates)).astype(rates.dtype), generator))


def multinomial(input: Any, num_samples: int, replacement: bool = False, *, generator: Generator | None = None) -> Any:
    """`num_samples` column numbers for each row of weights (which need not sum to 1), as int64.

    Without `replacement` each number comes once: those of the largest w/e for exponential e, which draws them as if one
    by one [Efraimidis and Spirakis, 2006]. Raises `RuntimeError` for weights that are not a distribution.
    """
    weights = numbers(input, "multinomial()")
    if weights.ndim not in (1, 2):
        raise RuntimeError("prob_dist must be 1 or 2 dim")
    if weights.dtype.kind != "f":
        raise RuntimeError(
            f"multinomial only supports floating-point dtypes for input, got: {type_name(weights.dtype)}"
        )
    if num_samples <= 0:
        raise RuntimeError("cannot sample n_sample <= 0 samples")
    if not replacement and num_samples > weights.shape[-1]:
        raise RuntimeError("cannot sample n_sample > prob_dist.size(-1) samples without replacement")
    if not np.all(np.isfinite(weights)) or np.any(weights < 0):
        raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")
    rows = np.atleast_2d(weights).astype(np.float64)
    totals = rows.sum(-1)
    if np.any(totals <= 0):
        raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")
    rng = source(generator)
    if replacement:
        bounds = np.cumsum(rows, -1)
        drawn = rng.random((len(rows), num_samples)) * totals[:, None]
        picked = np.stack([np.searchsorted(b, d, side="right") for b, d in zip(bounds, drawn, strict=True)])
        last = rows.shape[-1] - 1 - np.argmax(rows[:, ::-1] > 0, -1)  # rounding must not pick a zero at the end
        picked = np.minimum(picked, last[:, None])
    else:
        keys = rows / rng.standard_exponential(rows.shape)
        picked = np.argsort(-keys, -1, kind="stable")[:, :num_samples]
    return new_handle((picked if weights.ndim == 2 else picked[0]).astype(np.int64))


def rand_like(
    input: Any,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Any:
    """Numbers evenly distributed in [0, 1), in the shape and dtype of `input`."""
    shape, wanted = pattern("rand_like", input, dtype)
    return rand(size=shape, generator=generator, dtype=wanted, device=device, requires_grad=requires_grad)


def randn_like(
    input: Any,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Any:
    """Normally distributed numbers of mean 0 and variance 1, in the shape and dtype of `input`."""
    shape, wanted = pattern("randn_like", input, dtype)
    return randn(size=shape, generator=generator, dtype=wanted, device=device, requires_grad=requires_grad)


def randint_like(
    input: Any,
    *bounds: Any,
    generator: Generator | None = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Any:
    """Integers in [low, high), in the shape and dtype of `input`; `bounds` are high alone, or low and high."""
    shape, wanted = pattern("randint_like", input, dtype)
    return randint(*bounds, size=shape, generator=generator, dtype=wanted, device=device, requires_grad=requires_grad)


class RandomMethods:
    """Draws with the probabilities in a `Tensor`, as its methods."""

    bernoulli = bernoulli
    multinomial = multinomial
