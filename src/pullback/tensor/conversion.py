"""Between tensors and Python, NumPy, other libraries and other dtypes."""

from __future__ import annotations

import builtins
import copy
import warnings
from types import FunctionType
from typing import Any, ClassVar

import numpy as np

from pullback.ops.cast import conj as conj_op
from pullback.ops.cast import imag as imag_op
from pullback.ops.cast import real as real_op
from pullback.ops.control import identity
from pullback.tape.location import Location
from pullback.tape.node import Handle, Node, new_handle
from pullback.tape.state import modes
from pullback.tensor.device import check_device
from pullback.tensor.device import device as Device
from pullback.tensor.dispatch import as_handle, is_raw, materialize, to_dtype, view
from pullback.values.dtype import DTYPES, as_dtype, type_name
from pullback.values.shape import Size, normalize_axis

__all__ = [
    "clone",
    "conj",
    "imag",
    "is_complex",
    "is_floating_point",
    "is_nonzero",
    "is_tensor",
    "numel",
    "real",
    "typename",
]

_KINDS = {
    "Batch": "one of a batch under vmap",
    "Dual": "a dual number under jvp: its tangent would be lost",
    "Symbol": "a symbol of a trace (under jit), without numbers until the code runs",
}
_INSTEAD = (
    "To fill an array, collect the values in a list and np.stack them, or write into np.zeros_like(x) or "
    "pb.numpy.zeros(shape) instead of a NumPy array; for np.array([a, b]) write np.stack([a, b]) or "
    "pb.numpy.array([a, b])."
)


class PlainNumbersError(TypeError):
    """Plain numbers were asked for, of a value that a transform is working on."""


def numbers(handle: Any, what: str) -> Any:
    """The array or NumPy scalar under a tensor, for `what` needs plain numbers.

    Raises `PlainNumbersError`, a `TypeError`, for a value that a transform is working on.
    """
    if modes.tracer is not None:
        modes.tracer.lift(handle)
    value = handle._value
    while isinstance(value, Handle):
        value = value._value
    if isinstance(value, np.ndarray | np.generic):
        return value
    kind = type(value).__name__
    raise PlainNumbersError(
        f"{what} needs plain numbers, and this tensor (shape {tuple(value.shape)}, {value.dtype}) is "
        f"{_KINDS.get(kind, kind)}, at {Location.here()}. To choose between values write pb.where(condition, a, b); "
        "to fill an array, np.stack a list of values or write into pb.numpy.zeros(shape); to keep the value as a "
        "constant, take it outside the transformed function."
    )


def _one(handle: Any, what: str, error: type[Exception], text: str) -> Any:
    """The one number in a tensor, as Python's."""
    value = numbers(handle, what)
    if value.size != 1:
        raise error(text.format(value.size))
    return value.item()


def _warn_tracked(handle: Any, name: str) -> None:
    if modes.numpy and _tracked(handle):
        raise PlainNumbersError(
            f"{name}() of a value that is being differentiated would lose its gradient. Write np.sin(x) for "
            f"math.sin(x); x.detach() is the value alone. {_INSTEAD}"
        )
    if handle._node is not None and modes.session is None:  # an open GradientTape tracks all that it sees
        warnings.warn(
            "Converting a tensor with requires_grad=True to a scalar may lead to unexpected behavior.\n"
            "Consider using tensor.detach() first.",
            UserWarning,
            stacklevel=3,
        )


_SCALAR = "only one element tensors can be converted to Python scalars"
_INDEX = "only integer tensors of a single element can be converted to an index"


def clone(input: Any, *, memory_format: Any = None) -> Any:
    """A copy of `input`, with its history."""
    x = as_handle(input)
    value = x._value
    if x._node is None and isinstance(value, np.ndarray | np.generic):
        return new_handle(value.copy())
    return identity(x)


def is_tensor(obj: object) -> bool:
    """Whether `obj` is a Tensor."""
    return isinstance(obj, Handle)


def _tensor(name: str, input: Any) -> Any:
    if not isinstance(input, Handle):
        raise TypeError(f"{name}(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}")
    return input


def is_floating_point(input: Any) -> bool:
    """Whether the dtype is float16, float32 or float64."""
    return bool(_tensor("is_floating_point", input)._value.dtype.kind == "f")


def is_complex(input: Any) -> bool:
    """Whether the dtype is complex."""
    return bool(_tensor("is_complex", input)._value.dtype.kind == "c")


def is_nonzero(input: Any) -> bool:
    """Whether a one-element tensor is not zero."""
    return bool(_tensor("is_nonzero", input))


def numel(input: Any) -> int:
    """The number of elements."""
    return int(np.prod(_tensor("numel", input)._value.shape, dtype=np.int64))


def typename(obj: Any) -> str:
    """PyTorch's name for the type of `obj`: `torch.FloatTensor` for a float32 tensor."""
    if isinstance(obj, Handle):
        return f"torch.{type_name(obj._value.dtype)}Tensor"
    module = type(obj).__module__
    return type(obj).__name__ if module == "builtins" else f"{module}.{type(obj).__qualname__}"


def real(input: Any) -> Any:
    """The real part, as a view; `input` itself if it is real."""
    x = as_handle(input)
    return x if x._value.dtype.kind != "c" else view(real_op, x)


def imag(input: Any) -> Any:
    """The imaginary part of a complex tensor, as a view. Raises `RuntimeError` for a real one."""
    x = as_handle(input)
    if x._value.dtype.kind != "c":
        raise RuntimeError("imag is not implemented for tensors with non-complex dtypes.")
    return view(imag_op, x)


def conj(input: Any) -> Any:
    """The complex conjugate; `input` itself if it is real."""
    x = as_handle(input)
    return x if x._value.dtype.kind != "c" else conj_op(x)


def _rebuild(kind: type, array: Any, requires_grad: bool, state: dict[str, Any]) -> Any:
    """A tensor from its pickle."""
    result: Any = object.__new__(kind)
    result._value = array
    result.__dict__.update(state)
    return result.requires_grad_() if requires_grad else result


_PRIVATE = frozenset("_value _node _version _base _view _views _grad _hooks _after _retains".split())
_TYPES = {f"torch.{type_name(dtype.dtype)}Tensor": dtype for dtype in DTYPES.values()}
_CPU = Device("cpu")


def _plain() -> type:
    return Handle.maker


def _checked(dim: int, lengths: tuple[int, ...]) -> int:
    """`dim` counted from the front. Raises `IndexError` when out of range, also for a 0-dim tensor."""
    if not lengths:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    return normalize_axis(dim, len(lengths))


def _tracked(handle: Any) -> bool:
    """Whether a gradient flows to or through `handle`, at any level of nesting."""
    while isinstance(handle, Handle):
        if handle._node is not None:
            return True
        handle = handle._value
    return False


def _differentiated(handle: Any) -> bool:
    """Whether plain numbers would lose a gradient or a tangent of `handle`."""
    return handle._value.dtype.kind in "fc" and (_tracked(handle) or not is_raw(handle))


def primal(handle: Any) -> Any:
    """The numbers of a value, dual numbers without their tangents; None if it has none."""
    value = handle
    while not isinstance(value, np.ndarray | np.generic):
        value = value._value if isinstance(value, Handle) else getattr(value, "primal", None)
        if value is None:
            return None
    return value


class ConversionMethods:
    """Conversions as methods of `Tensor`."""

    _value: Any
    _node: Any
    _version: int
    _base: Any
    _grad: Any
    _is_parameter: ClassVar[bool] = False

    # Other dtypes

    def to(self, *args: Any, dtype: Any = None, device: Any = None, copy: bool = False, **options: Any) -> Any:
        """This tensor as another dtype: `to(dtype)`, `to("cpu")`, `to(other)`; itself if it is so already.

        Recorded: gradients pass through conversions between floats. `copy=True` makes a copy in any case.
        """
        for arg in args:
            if isinstance(arg, Handle):
                dtype = arg._value.dtype
            elif isinstance(arg, bool):
                continue  # non_blocking, copy
            elif isinstance(arg, str | Device):
                device = arg
            else:
                dtype = arg
        check_device(device)
        result = self if dtype is None else to_dtype(self, as_dtype(dtype).dtype)
        return clone(result) if copy and result is self else result

    def type(self, dtype: Any = None, non_blocking: bool = False) -> Any:
        """PyTorch's name of this tensor's type (`torch.FloatTensor`); or, with `dtype`, a conversion to it.

        `dtype` may also be such a name, or the function of that name: `x.type(pb.LongTensor)`.
        """
        if dtype is None:
            return typename(self)
        if isinstance(dtype, FunctionType):
            dtype = f"torch.{dtype.__name__}"
        if isinstance(dtype, str):
            if dtype not in _TYPES:
                raise ValueError(f"invalid type: {dtype!r}")
            dtype = _TYPES[dtype]
        return self.to(dtype)

    def type_as(self, other: Any) -> Any:
        """This tensor in the dtype of `other`."""
        return to_dtype(self, other._value.dtype)

    def float(self, memory_format: Any = None) -> Any:
        """This tensor as float32."""
        return to_dtype(self, np.dtype(np.float32))

    def double(self, memory_format: Any = None) -> Any:
        """This tensor as float64."""
        return to_dtype(self, np.dtype(np.float64))

    def half(self, memory_format: Any = None) -> Any:
        """This tensor as float16."""
        return to_dtype(self, np.dtype(np.float16))

    def int(self, memory_format: Any = None) -> Any:
        """This tensor as int32."""
        return to_dtype(self, np.dtype(np.int32))

    def long(self, memory_format: Any = None) -> Any:
        """This tensor as int64."""
        return to_dtype(self, np.dtype(np.int64))

    def short(self, memory_format: Any = None) -> Any:
        """This tensor as int16."""
        return to_dtype(self, np.dtype(np.int16))

    def char(self, memory_format: Any = None) -> Any:
        """This tensor as int8."""
        return to_dtype(self, np.dtype(np.int8))

    def byte(self, memory_format: Any = None) -> Any:
        """This tensor as uint8."""
        return to_dtype(self, np.dtype(np.uint8))

    def bool(self, memory_format: Any = None) -> Any:
        """This tensor as booleans: whether each element is not zero."""
        return to_dtype(self, np.dtype(np.bool_))

    def cfloat(self, memory_format: Any = None) -> Any:
        """This tensor as complex64."""
        return to_dtype(self, np.dtype(np.complex64))

    def cdouble(self, memory_format: Any = None) -> Any:
        """This tensor as complex128."""
        return to_dtype(self, np.dtype(np.complex128))

    def cpu(self) -> Any:
        """This tensor: it is on the CPU."""
        return self

    def cuda(self, *args: Any, **options: Any) -> Any:
        """Raises `RuntimeError`: there is no GPU here."""
        check_device("cuda")

    @property
    def device(self) -> Device:
        return _CPU

    @property
    def is_cuda(self) -> builtins.bool:
        return False

    clone = clone
    conj = conj
    is_floating_point = is_floating_point
    is_complex = is_complex

    @property
    def real(self) -> Any:
        return real(self)

    @real.setter
    def real(self, value: Any) -> None:
        real(self)[...] = value

    @property
    def imag(self) -> Any:
        return imag(self)

    # Size and layout

    @property
    def ndim(self) -> builtins.int:
        return len(self._value.shape)

    def dim(self) -> builtins.int:
        """The number of dimensions."""
        return len(self._value.shape)

    ndimension = dim

    def size(self, dim: builtins.int | None = None) -> Any:
        """The shape, or the length of one dimension."""
        shape = self._value.shape
        return Size(shape) if dim is None else shape[_checked(dim, shape)]

    numel = nelement = numel

    @property
    def nbytes(self) -> builtins.int:
        return numel(self) * self.element_size()

    @property
    def itemsize(self) -> builtins.int:
        return self.element_size()

    def element_size(self) -> builtins.int:
        """Bytes in an element."""
        return int(self._value.dtype.itemsize)

    def stride(self, dim: builtins.int | None = None) -> Any:
        """How many elements lie between neighbours along each dimension, or along one."""
        array = numbers(self, "stride()")
        strides = tuple(step // array.itemsize for step in array.strides)
        return strides if dim is None else strides[_checked(dim, strides)]

    def storage_offset(self) -> builtins.int:
        """How many elements into its memory a view begins."""
        array = numbers(self, "storage_offset()")
        owner = array
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        return int(array.ctypes.data - owner.ctypes.data) // array.itemsize if isinstance(owner, np.ndarray) else 0

    def data_ptr(self) -> builtins.int:
        """The address of the first element."""
        numbers(self, "data_ptr()")
        return int(materialize(self).ctypes.data)  # type: ignore[arg-type]

    def is_contiguous(self) -> builtins.bool:
        """Whether the elements lie in memory in order, without gaps."""
        return bool(numbers(self, "is_contiguous()").flags.c_contiguous)

    def contiguous(self, memory_format: Any = None) -> Any:
        """This tensor with its elements in memory in order: itself, or a copy."""
        return self if not is_raw(self) or self.is_contiguous() else clone(self)  # type: ignore[arg-type]

    # To Python

    def item(self) -> Any:
        """The one element, as a Python number.

        In a NumPy program that differentiates it, the element as a tensor: the number would lose its gradient.
        Raises `RuntimeError` if there is not exactly one, `TypeError` inside a transform that has no number for it.
        """
        value = self._value
        if modes.numpy and value.size == 1 and _differentiated(self):
            return self.reshape(())  # type: ignore[attr-defined]
        try:
            if value.size == 1:
                return value.item()
        except AttributeError:
            pass
        return _one(self, "item()", RuntimeError, "a Tensor with {} elements cannot be converted to Scalar")

    def tolist(self) -> Any:
        """The elements as Python numbers, in nested lists of the tensor's shape; as tensors where `item` gives one."""
        if modes.numpy and _differentiated(self):
            return [row.tolist() for row in self] if self._value.shape else self.item()  # type: ignore[attr-defined]
        return numbers(self, "tolist()").tolist()

    def __bool__(self) -> builtins.bool:
        value = numbers(self, "bool()")
        if value.size != 1:
            many = "more than one value" if value.size else "no values"
            raise RuntimeError(f"Boolean value of Tensor with {many} is ambiguous")
        return bool(value.item())

    def __float__(self) -> builtins.float:
        _warn_tracked(self, "float")
        number = _one(self, "float()", ValueError, _SCALAR)
        if isinstance(number, complex):
            raise RuntimeError("value cannot be converted to type double without overflow")
        return float(number)

    def __int__(self) -> builtins.int:
        _warn_tracked(self, "int")
        number = _one(self, "int()", ValueError, _SCALAR)
        if isinstance(number, complex):
            raise RuntimeError("value cannot be converted to type int64_t without overflow")
        return int(number)

    def __complex__(self) -> complex:
        _warn_tracked(self, "complex")
        return complex(_one(self, "complex()", ValueError, _SCALAR))

    def __index__(self) -> builtins.int:
        if self._value.dtype.kind not in "biu":
            raise TypeError(_INDEX)
        return int(_one(self, "an index", TypeError, _INDEX))

    def __format__(self, spec: str) -> str:
        if not self._value.shape and is_raw(self) and (spec or self.__class__ is _plain()):  # type: ignore[arg-type]
            return format(self._value.item(), spec)
        if spec and not self._value.shape and not is_raw(self):  # type: ignore[arg-type]
            value = primal(self)
            return repr(self) if value is None else format(value.item(), spec)  # a line of a log is no reason to stop
        return object.__format__(self, spec)

    def __contains__(self, element: Any) -> builtins.bool:
        if not isinstance(element, Handle | int | float | complex | np.generic):
            raise RuntimeError(
                f"Tensor.__contains__ only supports Tensor or scalar, but you passed in a {builtins.type(element)}."
            )
        other = numbers(element, "in") if isinstance(element, Handle) else element
        return bool(np.any(numbers(self, "in") == other))

    # To NumPy and other libraries

    def numpy(self, *, force: builtins.bool = False) -> Any:
        """The array that holds the elements, sharing memory with the tensor.

        Raises `RuntimeError` for a tensor that requires a gradient, which NumPy would lose: say `.detach().numpy()`,
        or `force=True`.
        """
        if not force and modes.session is None and _tracked(self):
            raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
        array = numbers(self, "numpy()")
        return materialize(self) if array is self._value else array  # type: ignore[arg-type]

    def __array__(self, dtype: Any = None, copy: builtins.bool | None = None) -> Any:
        if _tracked(self):
            if modes.numpy:
                raise PlainNumbersError(
                    "a NumPy array of a value that is being differentiated would lose its gradient. Write np.dot(a, x) "
                    f"for a.dot(x); x.detach() is the value alone. {_INSTEAD}"
                )
            raise RuntimeError(
                "Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead. (NumPy "
                "asked for a plain array here, and that has no gradient; the functions pullback knows take tensors.)"
            )
        return np.array(numbers(self, "a NumPy array"), dtype=None if dtype is None else np.dtype(dtype), copy=copy)

    def __dlpack__(self, **options: Any) -> Any:
        if _tracked(self):
            raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
        return self.numpy().__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[builtins.int, builtins.int]:
        return (1, 0)  # kDLCPU

    # Copies of the object

    def _state(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in _PRIVATE}

    def __reduce_ex__(self, protocol: Any) -> Any:
        array = np.asarray(numbers(self, "pickling"))
        return _rebuild, (builtins.type(self), array, self._node is not None, self._state())

    def __copy__(self) -> Any:
        if modes.numpy:  # a NumPy program copies an array
            return clone(self)
        make, args = self.__reduce_ex__(4)
        return make(*args)

    def __deepcopy__(self, memo: dict[builtins.int, Any]) -> Any:
        if id(self) in memo:
            return memo[id(self)]
        if modes.numpy:
            memo[id(self)] = result = clone(self)
            return result
        if isinstance(self._node, Node):
            raise RuntimeError(
                "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the "
                f"moment; this one is from {self._node.name()}. Copy its .detach(), or .clone() it to keep its history."
            )
        kind = builtins.type(self)
        result = _rebuild(kind, numbers(self, "deepcopy").copy(), self._node is not None, {})
        memo[id(self)] = result
        result.__dict__.update(copy.deepcopy(self._state(), memo))
        if self._grad is not None:
            result._grad = copy.deepcopy(self._grad, memo)
        return result
