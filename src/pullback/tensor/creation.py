"""New tensors from data and from constants, under PyTorch's names, with its defaults."""

from __future__ import annotations

import builtins
import math
import warnings
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from pullback.ops.cast import cast
from pullback.ops.shape import broadcast_to
from pullback.tape.node import Handle, new_handle, wrap
from pullback.tape.state import modes
from pullback.tensor.conversion import numbers
from pullback.tensor.device import check_device
from pullback.tensor.dispatch import is_raw
from pullback.values.dtype import as_dtype, default_dtype, promote, scalar_dtype, type_name
from pullback.values.shape import Shape, Size

__all__ = [
    "BoolTensor",
    "ByteTensor",
    "CharTensor",
    "DoubleTensor",
    "FloatTensor",
    "HalfTensor",
    "IntTensor",
    "LongTensor",
    "ShortTensor",
    "arange",
    "as_tensor",
    "asarray",
    "empty",
    "empty_like",
    "eye",
    "from_dlpack",
    "from_numpy",
    "full",
    "full_like",
    "linspace",
    "logspace",
    "ones",
    "ones_like",
    "range",
    "scalar_tensor",
    "tensor",
    "tril_indices",
    "triu_indices",
    "zeros",
    "zeros_like",
]

_SUPPORTED = (
    "float64, float32, float16, complex64, complex128, int64, int32, int16, int8, uint64, uint32, uint16, uint8, "
    "and bool"
)


# From data


def supported(array: Any) -> Any:
    """`array`, if its element type is one of pullback's.

    Raises `TypeError` if it is not (strings, objects, long double), `ValueError` for a foreign byte order.
    """
    if not array.dtype.isnative:
        raise ValueError(
            "given numpy array has byte order different from the native byte order; convert it with .astype"
        )
    try:
        as_dtype(array.dtype)
    except TypeError:
        raise TypeError(
            f"can't convert np.ndarray of type {array.dtype.type.__module__}.{array.dtype.type.__name__}. "
            f"The only supported types are: {_SUPPORTED}."
        ) from None
    return array


def finished(array: Any, requires_grad: bool = False) -> Any:
    """A new tensor on `array`; a 0-dim one holds a NumPy scalar, as the results of operations do.

    Raises `RuntimeError` if a gradient is asked for integers.
    """
    if requires_grad and array.dtype.kind not in "fc":
        raise RuntimeError("Only Tensors of floating point and complex dtype can require gradients")
    result = new_handle(array[()] if type(array) is np.ndarray and array.ndim == 0 else array)
    if requires_grad:
        result.requires_grad_()
    return result


def dtype_of(dtype: Any, otherwise: np.dtype[Any] | None = None) -> np.dtype[Any]:
    """The NumPy dtype meant by a `dtype=` argument; None is `otherwise`, or the default float."""
    if dtype is None:
        return default_dtype() if otherwise is None else otherwise
    return as_dtype(dtype).dtype


def _is_sequence(value: Any) -> bool:
    return isinstance(value, list | tuple | builtins.range) or (
        isinstance(value, Sequence | np.ndarray) and not isinstance(value, str | bytes) and np.ndim(value) != 0
    )


def _flattened(data: Any) -> tuple[list[Any], Shape]:
    """The elements of nested sequences in order, and their shape.

    Raises `ValueError` for ragged sequences, `TypeError` for a number beside a sequence.
    """
    level = [data]
    shape: list[int] = []
    while level and _is_sequence(level[0]):
        length = len(level[0])
        for item in level:
            if not _is_sequence(item):
                raise TypeError("not a sequence")
            if len(item) != length:
                raise ValueError(f"expected sequence of length {length} at dim {len(shape)} (got {len(item)})")
        shape.append(length)
        level = list(chain.from_iterable(level))
    return level, tuple(shape)


def _element_dtype(element: Any) -> np.dtype[Any]:
    if isinstance(element, Handle):
        return element._value.dtype  # type: ignore[no-any-return]
    if isinstance(element, np.generic | np.ndarray):
        return supported(element).dtype  # type: ignore[no-any-return]
    if isinstance(element, int | float | complex):
        return scalar_dtype(element)
    if isinstance(element, str):
        raise TypeError("new(): invalid data type 'str'")
    if _is_sequence(element):
        raise TypeError(f"{type(element).__name__!r} object cannot be interpreted as a number")
    raise RuntimeError(f"Could not infer dtype of {type(element).__name__}")


_KINDS: dict[type, np.dtype[Any]] = {bool: np.dtype(bool), int: np.dtype(np.int64)}


def _from_sequence(data: Any, dtype: Any) -> Any:
    """An array of the numbers in `data`, nested sequences of numbers, NumPy scalars and one-element tensors."""
    elements, shape = _flattened(data)
    kinds = set(map(type, elements))
    if not kinds <= {bool, int, float, complex}:
        dtypes = {_element_dtype(x) for x in elements}
        elements = [_number(x) for x in elements]
    else:
        dtypes = {scalar_dtype(kind()) for kind in kinds}
    wanted = dtype_of(dtype, promote(*((d, 1, None) for d in dtypes)) if dtypes else None)
    if wanted.kind in "iu":
        elements = [x if type(x) is int else _as_integer(x) for x in elements]
        low, high = np.iinfo(wanted).min, np.iinfo(wanted).max
        for x in elements:
            if not low <= x <= high:
                if dtype is None:
                    raise ValueError("Overflow when unpacking long long")
                if not (wanted.kind == "u" and -high <= x < 0):
                    raise RuntimeError(f"value cannot be converted to type {wanted} without overflow")
        if wanted.kind == "u":
            elements = [x & high for x in elements]
    elif wanted.kind == "f" and complex in kinds:
        raise TypeError("must be real number, not complex")
    with np.errstate(over="ignore"):
        return np.array(elements, wanted).reshape(shape)


def _as_integer(x: Any) -> int:
    if isinstance(x, complex):
        raise TypeError("int() argument must be a real number, not 'complex'")
    return int(x)


def _array_of(data: Any, dtype: Any, copy: bool) -> Any:
    """An array with the numbers of `data`, which is anything `tensor` takes but a Tensor."""
    if isinstance(data, np.generic | np.ndarray) or hasattr(data, "__array_interface__"):
        array = supported(np.asarray(data))
        wanted = dtype_of(dtype, array.dtype)
        return array.astype(wanted, copy=copy)
    return _from_sequence(data, dtype)


def tensor(
    data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False, pin_memory: bool = False
) -> Any:
    """A new leaf with a copy of `data`: a number, nested sequences of numbers, or an array.

    Without `dtype`, Python floats become the default float (float32), integers int64, and arrays keep their own.
    Raises `ValueError` for ragged data, `TypeError` for what is not numbers, `RuntimeError` for a gradient of integers.

    >>> tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    tensor([[1., 2.],
            [3., 4.]], requires_grad=True)
    """
    check_device(device)
    if type(data) is float and dtype is None and not requires_grad:
        with np.errstate(over="ignore"):
            return new_handle(default_dtype().type(data))
    if isinstance(data, Handle) and not modes.numpy:  # where arrays are seen as Tensors, a copy of one is no mistake
        warnings.warn(
            "To copy construct from a tensor, it is recommended to use sourceTensor.detach().clone() or "
            "sourceTensor.detach().clone().requires_grad_(True), rather than tensor(sourceTensor).",
            UserWarning,
            stacklevel=2,
        )
    if isinstance(data, Handle):
        array = numbers(data, "tensor()")
        return finished(array.astype(dtype_of(dtype, array.dtype)), requires_grad)
    return finished(_array_of(data, dtype, True), requires_grad)


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Any:
    """`data` as a tensor, sharing its memory and its history where that is possible."""
    check_device(device)
    if isinstance(data, Handle):
        return data if dtype is None else data.to(dtype)  # type: ignore[attr-defined]
    array = _array_of(data, dtype, False)
    if isinstance(data, np.ndarray):
        _no_negative_strides(array)
        return new_handle(array)
    return finished(array)


def asarray(
    obj: Any, *, dtype: Any = None, device: Any = None, copy: bool | None = None, requires_grad: bool = False
) -> Any:
    """`obj` as a tensor; `copy=True` always copies, `copy=False` raises `ValueError` if it would have to."""
    shares = isinstance(obj, Handle | np.ndarray)
    result = as_tensor(obj, dtype, device)
    same = shares and result.dtype == obj.dtype
    if copy is False and not same:
        raise ValueError("can't alias arbitrary objects: pass an array or a tensor of the wanted dtype, or copy=None")
    if copy and same:
        result = result.clone()
    if requires_grad or isinstance(obj, Handle):
        result = result if result._node is None or requires_grad else result.detach()
    return result.requires_grad_() if requires_grad else result


def _no_negative_strides(array: Any) -> None:
    if any(stride < 0 for stride in array.strides):
        raise ValueError(
            "At least one stride in the given numpy array is negative, and tensors with negative strides are not "
            "supported: PyTorch's would not be either. Pass array.copy()."
        )


def from_numpy(ndarray: Any) -> Any:
    """A tensor that shares the array's memory and dtype.

    Raises `TypeError` if it is not an array, or of an unsupported dtype.

    >>> import numpy as np
    >>> from_numpy(np.arange(3.0))
    tensor([0., 1., 2.], dtype=torch.float64)
    """
    if isinstance(ndarray, Handle) and modes.tracer is not None:
        return ndarray  # an array that is an argument of a compiled function
    if not isinstance(ndarray, np.ndarray):
        module = type(ndarray).__module__
        name = type(ndarray).__name__
        raise TypeError(f"expected np.ndarray (got {name if module == 'builtins' else module + '.' + name})")
    array = supported(ndarray)
    _no_negative_strides(array)
    return new_handle(array)


def from_dlpack(ext_tensor: Any) -> Any:
    """A tensor that shares the memory of another library's array (or of a DLPack capsule's owner)."""
    if isinstance(ext_tensor, Handle):
        return ext_tensor.detach()  # type: ignore[attr-defined]
    return new_handle(supported(np.from_dlpack(ext_tensor)))


def scalar_tensor(s: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Any:
    """A 0-dim tensor of the number `s`, of the default float unless `dtype` is given."""
    check_device(device)
    return finished(np.asarray(s).astype(dtype_of(dtype)), requires_grad)


def legacy_array(name: str, args: tuple[Any, ...], dtype: np.dtype[Any] | None = None) -> Any:
    """What `Tensor(...)` holds: the data in `dtype` (the default float), or zeros of the given sizes."""
    wanted = dtype_of(dtype)
    if not args:
        return np.empty(0, wanted)
    if len(args) == 1:
        (data,) = args
        if isinstance(data, Handle):
            return numbers(data, name)
        if _is_sequence(data) and not isinstance(data, Size):
            return _array_of(data, wanted, True)
        if isinstance(data, bool | float | complex) or not (hasattr(data, "__index__") or isinstance(data, Size)):
            raise TypeError(f"new(): data must be a sequence (got {type(data).__name__})")
    return np.zeros(shape_of(name, args), wanted)


def _legacy(name: str, dtype: str) -> Any:
    def make(*args: Any, device: Any = None) -> Any:
        check_device(device)
        return finished(legacy_array(name, args, np.dtype(dtype)).astype(dtype, copy=False))

    make.__name__ = make.__qualname__ = name
    make.__doc__ = f"`Tensor(...)` of {dtype}: from data, or (zeros) from sizes."
    return make


FloatTensor, DoubleTensor, HalfTensor, LongTensor, IntTensor, ShortTensor, CharTensor, ByteTensor, BoolTensor = (
    _legacy(f"{type_name(np.dtype(name))}Tensor", name)
    for name in "float32 float64 float16 int64 int32 int16 int8 uint8 bool".split()
)


# From constants


def shape_of(name: str, sizes: tuple[Any, ...]) -> Shape:
    """A shape from sizes given one by one or as one sequence.

    Raises `TypeError` for what are not integers, `RuntimeError` for negative ones.
    """
    if not sizes:
        raise TypeError(f'{name}() missing 1 required positional arguments: "size"')
    given: Any = sizes[0] if len(sizes) == 1 and isinstance(sizes[0], Sequence | np.ndarray) else sizes
    try:
        shape = tuple([n.__index__() for n in given])
    except (AttributeError, TypeError):
        kind = next((type(n).__name__ for n in given if not hasattr(n, "__index__")), "Tensor")
        raise TypeError(f"{name}(): argument 'size' (position 1) must be tuple of ints, not {kind}") from None
    if builtins.any(n < 0 for n in shape):
        raise RuntimeError(f"{name}: Dimension size must be non-negative.")
    return shape


def _sizes(size: tuple[Any, ...], keyword: Any) -> tuple[Any, ...]:
    return size if keyword is None else (tuple(keyword),)


def zeros(*sizes: Any, size: Any = None, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Any:
    """Zeros of a shape, given as sizes or one sequence; of the default float unless `dtype` is given."""
    check_device(device)
    return finished(np.zeros(shape_of("zeros", _sizes(sizes, size)), dtype_of(dtype)), requires_grad)


def ones(*sizes: Any, size: Any = None, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Any:
    """Ones of a shape, given as sizes or one sequence; of the default float unless `dtype` is given."""
    check_device(device)
    return finished(np.ones(shape_of("ones", _sizes(sizes, size)), dtype_of(dtype)), requires_grad)


def empty(*sizes: Any, size: Any = None, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Any:
    """A tensor of a shape whose numbers are whatever was in memory: write them before reading them."""
    check_device(device)
    return finished(np.empty(shape_of("empty", _sizes(sizes, size)), dtype_of(dtype)), requires_grad)


def full(size: Any, fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Any:
    """`fill_value` in every place of a shape; without `dtype`, of the kind of the number.

    A 0-dim tensor may be given for the number; its gradient is kept.

    >>> full((2,), 3), full((2,), 0.5)
    (tensor([3, 3]), tensor([0.5000, 0.5000]))
    """
    check_device(device)
    if not isinstance(size, Sequence | np.ndarray):
        raise TypeError(f"full(): argument 'size' (position 1) must be tuple of ints, not {type(size).__name__}")
    shape = shape_of("full", (size,))
    if isinstance(fill_value, Handle):
        found = fill_value._value.dtype
        wanted = dtype_of(dtype, {"f": default_dtype()}.get(found.kind, found))
        return _spread(fill_value, wanted, shape)
    return finished(_filled(shape, fill_value, dtype_of(dtype, scalar_dtype(fill_value))), requires_grad)


def _spread(value: Any, dtype: np.dtype[Any], shape: Shape) -> Any:
    """A 0-dim tensor repeated, with its history."""
    if value.shape:
        raise TypeError(f"the value to fill with must be a number or a 0-dim tensor, not of shape {tuple(value.shape)}")
    if is_raw(value) and value._node is None:
        return finished(np.full(shape, value._value, dtype))
    return wrap(broadcast_to(value if value.dtype == dtype else cast(value, dtype=dtype), shape=shape)).clone()


def _filled(shape: Shape, number: Any, dtype: np.dtype[Any]) -> Any:
    if isinstance(number, complex) and dtype.kind != "c":
        raise RuntimeError(f"value cannot be converted to type {dtype} without overflow")
    return np.full(shape, np.asarray(number).astype(dtype))


def eye(n: int, m: int | None = None, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Any:
    """Ones on the diagonal of an n × m matrix (m = n unless given), zeros elsewhere."""
    check_device(device)
    for name, value in (("n", n), ("m", m)):
        if value is not None and value < 0:
            raise RuntimeError(f"{name} must be greater or equal to 0, got {value}")
    return finished(np.eye(n, m, dtype=dtype_of(dtype)), requires_grad)


def _number(value: Any) -> Any:
    """A Python number from whatever holds one."""
    return value.item() if hasattr(value, "item") else value


def arange(
    *bounds: Any,
    start: Any = None,
    end: Any = None,
    step: Any = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Any:
    """Numbers from `start` up to but not including `end`, `step` apart: `arange(end)`, `arange(start, end, step=1)`.

    int64 if all are integers, else the default float. Raises `RuntimeError` for a zero step or one of the wrong sign.

    >>> arange(3), arange(0, 1, 0.25)
    (tensor([0, 1, 2]), tensor([0.0000, 0.2500, 0.5000, 0.7500]))
    """
    check_device(device)
    given = dict(zip(("end",) if len(bounds) == 1 and end is None else ("start", "end", "step"), bounds, strict=False))
    first, last, by = (
        _number(given.get(key, default if value is None else value))
        for key, value, default in (("start", start, 0), ("end", end, None), ("step", step, 1))
    )
    if last is None or len(bounds) > 3:
        raise TypeError("arange() takes end, or start and end, or start, end and step")
    if by == 0:
        raise RuntimeError("step must be nonzero")
    if (last - first) * by < 0:
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    whole = all(isinstance(x, int) for x in (first, last, by))
    wanted = dtype_of(dtype, np.dtype(np.int64) if whole else None)
    if whole:
        return finished(np.arange(first, last, by, dtype=np.int64).astype(wanted, copy=False), requires_grad)
    if not math.isfinite(first) or not math.isfinite(last):
        raise RuntimeError(f"unsupported range: {first} -> {last}")
    count = math.ceil((last - first) / by)
    return finished((first + by * np.arange(count, dtype=np.float64)).astype(wanted), requires_grad)


def range(
    start: Any, end: Any, step: Any = 1, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Any:
    """Numbers from `start` up to and with `end`, `step` apart; of the default float unless `dtype` is given."""
    first, last, by = _number(start), _number(end), _number(step)
    if by == 0:
        raise RuntimeError("step must be nonzero")
    if (last - first) * by < 0:
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    check_device(device)
    values = first + by * np.arange(math.floor((last - first) / by) + 1, dtype=np.float64)
    return finished(values.astype(dtype_of(dtype)), requires_grad)


def _steps(start: Any, end: Any, steps: int, dtype: Any) -> Any:
    """`steps` numbers from `start` to `end`, counted from the nearer end so that both are exact, as PyTorch does."""
    if steps < 0:
        raise RuntimeError("number of steps must be non-negative")
    first, last = _number(start), _number(end)
    inexact = np.dtype(np.complex128 if isinstance(first, complex) or isinstance(last, complex) else np.float64)
    wanted = dtype_of(dtype, None if inexact.kind == "f" else scalar_dtype(1j))
    i = np.arange(steps)
    if steps < 2:
        return np.full(steps, first, inexact), wanted
    step = (last - first) / (steps - 1)
    return np.where(i < steps // 2, first + step * i, last - step * (steps - 1 - i)), wanted


def linspace(
    start: Any, end: Any, steps: int, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Any:
    """`steps` numbers evenly spaced from `start` to `end`, both included."""
    check_device(device)
    values, wanted = _steps(start, end, steps, dtype)
    return finished(values.astype(wanted), requires_grad)


def logspace(
    start: Any,
    end: Any,
    steps: int,
    base: float = 10.0,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Any:
    """`base` to the power of `steps` numbers evenly spaced from `start` to `end`."""
    check_device(device)
    values, wanted = _steps(start, end, steps, dtype)
    return finished(np.power(float(base), values).astype(wanted), requires_grad)


def tril_indices(row: int, col: int, offset: int = 0, *, dtype: Any = None, device: Any = None) -> Any:
    """The indices of the lower triangle of a matrix, as a 2 × N tensor (int64 unless `dtype` is given)."""
    check_device(device)
    return new_handle(np.stack(np.tril_indices(row, offset, col)).astype(dtype_of(dtype, np.dtype(np.int64))))


def triu_indices(row: int, col: int, offset: int = 0, *, dtype: Any = None, device: Any = None) -> Any:
    """The indices of the upper triangle of a matrix, as a 2 × N tensor (int64 unless `dtype` is given)."""
    check_device(device)
    return new_handle(np.stack(np.triu_indices(row, offset, col)).astype(dtype_of(dtype, np.dtype(np.int64))))


# Like another


def pattern(name: str, input: Any, dtype: Any) -> tuple[Shape, np.dtype[Any]]:
    """The shape of `input`, and its dtype unless another is given.

    Raises `TypeError` if it is not a tensor.
    """
    if not isinstance(input, Handle):
        raise TypeError(f"{name}(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}")
    return tuple(input._value.shape), dtype_of(dtype, input._value.dtype)


def zeros_like(
    input: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False, memory_format: Any = None
) -> Any:
    """Zeros of the shape and dtype of `input`."""
    check_device(device)
    return finished(np.zeros(*pattern("zeros_like", input, dtype)), requires_grad)


def ones_like(
    input: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False, memory_format: Any = None
) -> Any:
    """Ones of the shape and dtype of `input`."""
    check_device(device)
    return finished(np.ones(*pattern("ones_like", input, dtype)), requires_grad)


def empty_like(
    input: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False, memory_format: Any = None
) -> Any:
    """A tensor of the shape and dtype of `input` whose numbers are whatever was in memory."""
    check_device(device)
    return finished(np.empty(*pattern("empty_like", input, dtype)), requires_grad)


def full_like(
    input: Any,
    fill_value: Any,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    memory_format: Any = None,
) -> Any:
    """`fill_value` in the shape and dtype of `input`."""
    check_device(device)
    shape, wanted = pattern("full_like", input, dtype)
    if isinstance(fill_value, Handle):
        return _spread(fill_value, wanted, shape)
    return finished(_filled(shape, fill_value, wanted), requires_grad)


class CreationMethods:
    """New tensors of this one's dtype, as methods of `Tensor`."""

    _value: Any

    def new_tensor(self, data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Any:
        """`tensor(data)` of this tensor's dtype."""
        return tensor(
            data, dtype=self._value.dtype if dtype is None else dtype, device=device, requires_grad=requires_grad
        )

    def new_zeros(self, *sizes: Any, size: Any = None, dtype: Any = None, **options: Any) -> Any:
        """Zeros of a shape, of this tensor's dtype."""
        return zeros(*sizes, size=size, dtype=self._value.dtype if dtype is None else dtype, **options)

    def new_ones(self, *sizes: Any, size: Any = None, dtype: Any = None, **options: Any) -> Any:
        """Ones of a shape, of this tensor's dtype."""
        return ones(*sizes, size=size, dtype=self._value.dtype if dtype is None else dtype, **options)

    def new_empty(self, *sizes: Any, size: Any = None, dtype: Any = None, **options: Any) -> Any:
        """Uninitialised memory of a shape, of this tensor's dtype."""
        return empty(*sizes, size=size, dtype=self._value.dtype if dtype is None else dtype, **options)

    def new_full(self, size: Any, fill_value: Any, *, dtype: Any = None, **options: Any) -> Any:
        """`fill_value` in a shape, of this tensor's dtype."""
        return full(size, fill_value, dtype=self._value.dtype if dtype is None else dtype, **options)
