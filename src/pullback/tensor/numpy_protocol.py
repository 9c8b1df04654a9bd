"""NumPy's functions on Tensors: the `__array_ufunc__` and `__array_function__` protocols, and NumPy's own methods."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pullback.tape.node import Handle
from pullback.tape.state import modes
from pullback.tensor.numpy_api import FUNCTIONS
from pullback.tensor.numpy_api.methods import ArrayMethods
from pullback.tensor.numpy_api.operands import deliver
from pullback.tensor.numpy_api.table import implementation, not_covered, qualified_name

_COMMUTATIVE = {np.add, np.multiply}
_OPERANDS = (Handle, np.ndarray, np.generic, int, float, complex, list, tuple)
# Keywords by which a call means PyTorch's method, whatever the function was run for.
_TORCH_ONLY = {"dim", "dim0", "dim1", "keepdim", "descending", "index", "as_tuple", "axis0", "end_dim", "start_dim"}


def _method(name: str) -> Callable[..., Any]:
    """A method as NumPy has it, in a function run for NumPy arguments or if PyTorch has none; else PyTorch's."""
    function = FUNCTIONS[name]

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not modes.numpy or not _TORCH_ONLY.isdisjoint(kwargs):
            torch = getattr(super(NumpyMethods, self), name, None)
            if torch is not None:
                return torch(*args, **kwargs)
        return function(self, *args, **kwargs)

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"As NumPy's `{name}` in a function run for NumPy arguments, else as PyTorch's if there is one."
    return method


class _Size(int):
    """The number of elements that can be called for the shape."""

    shape: Callable[..., Any]

    def __new__(cls, shape: Callable[..., Any]) -> _Size:
        self = super().__new__(cls, shape().numel())
        self.shape = shape
        return self

    def __call__(self, dim: int | None = None) -> Any:
        return self.shape(dim)

    def __reduce__(self) -> tuple[type[int], tuple[int]]:
        return int, (int(self),)


class NumpyMethods(ArrayMethods):
    """Makes a Tensor an operand of NumPy's functions.

    A NumPy function called with a Tensor among its arguments is looked up in the table and runs on the tape, with
    NumPy's signature, semantics and promotion; the result is a Tensor. One not in the table raises `TypeError`.

    The dtype of what operators give (`a + b`, `x.mean()`) follows the arguments of the transform that runs a function.
    Where `pb.grad`, `vjp`, `jvp`, `vmap` and their kin were given arrays or numbers, everything in the function follows
    NumPy: float64 with float32 gives float64, also of a 0-dim value; a bool or an integer with a float is float64.
    Elsewhere operators follow PyTorch, with one exception that PyTorch makes too: beside an array, NumPy's rule holds.
    There a NumPy scalar counts as a Python number, on either side: `np.float64(2) * x` is float32 for a float32 x.

    >>> import numpy as np
    >>> import pullback as pb
    >>> x = pb.tensor([1.0, 4.0], dtype=pb.float64, requires_grad=True)
    >>> np.sqrt(x).sum().backward()
    >>> x.grad
    tensor([0.5000, 0.2500], dtype=torch.float64)
    """

    __array_priority__ = 1000

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        for x in inputs:
            if not isinstance(x, _OPERANDS):
                return NotImplemented
        entry = implementation(ufunc)
        if entry is None:
            raise not_covered(qualified_name(ufunc))
        if method == "__call__":
            if not modes.numpy:
                inputs = tuple([x.item() if isinstance(x, np.number) else x for x in inputs])
            if ufunc in _COMMUTATIVE and not isinstance(inputs[0], Handle):
                inputs = (inputs[1], inputs[0], *inputs[2:])  # the tensor first: the fast path
            return entry(*inputs, **kwargs)
        call = getattr(entry, method, None)
        if call is None:
            raise not_covered(f"{qualified_name(ufunc)}.{method}")
        return call(*inputs, **kwargs)

    def __array_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        for kind in types:
            if not issubclass(kind, Handle | np.ndarray | np.generic):
                return NotImplemented
        entry = implementation(function)
        if entry is None:
            raise not_covered(qualified_name(function))
        return entry(*args, **kwargs)

    # Methods that NumPy and PyTorch both have, or that only NumPy has

    all = _method("all")
    any = _method("any")
    argmax = _method("argmax")
    argmin = _method("argmin")
    argsort = _method("argsort")
    choose = _method("choose")
    clip = _method("clip")
    cumprod = _method("cumprod")
    cumsum = _method("cumsum")
    diagonal = _method("diagonal")
    dot = _method("dot")
    max = _method("max")
    min = _method("min")
    nonzero = _method("nonzero")
    prod = _method("prod")
    ptp = _method("ptp")
    ravel = _method("ravel")
    round = _method("round")
    searchsorted = _method("searchsorted")
    squeeze = _method("squeeze")
    std = _method("std")
    swapaxes = _method("swapaxes")
    take = _method("take")
    trace = _method("trace")
    var = _method("var")

    def transpose(self, *axes: Any, **kwargs: Any) -> Any:
        """The axes in another order, a view: reversed without arguments, else as given one by one or as a tuple.

        Two numbers are PyTorch's, the dimensions to exchange, but NumPy's of a matrix in a function run for NumPy
        arguments.
        """
        matrix = len(self._value.shape) == 2  # type: ignore[attr-defined]
        if kwargs or (len(axes) == 2 and not (modes.numpy and matrix)):
            return super().transpose(*axes, **kwargs)  # type: ignore[misc]
        order = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes or None
        return FUNCTIONS["transpose"](self, order)

    def repeat(self, *args: Any, **kwargs: Any) -> Any:
        """PyTorch's, which NumPy calls `tile`; NumPy's, element by element, in a function run for NumPy arguments."""
        if modes.numpy or "axis" in kwargs or "repeats" in kwargs:
            return FUNCTIONS["repeat"](self, *args, **kwargs)
        return super().repeat(*args, **kwargs)  # type: ignore[misc]

    def flatten(self, *args: Any, **kwargs: Any) -> Any:
        """PyTorch's `flatten(start_dim, end_dim)`, or NumPy's `flatten(order)`."""
        order = kwargs.get("order", args[0] if args and isinstance(args[0], str) else None)
        if order is None:
            return super().flatten(*args, **kwargs)  # type: ignore[misc]
        return FUNCTIONS["ravel"](self, order)

    def sort(self, *args: Any, **kwargs: Any) -> Any:
        """PyTorch's, which gives the sorted values and their places; NumPy's, in place, in a function run for NumPy
        arguments."""
        if not modes.numpy or not _TORCH_ONLY.isdisjoint(kwargs):
            return super().sort(*args, **kwargs)  # type: ignore[misc]
        deliver(FUNCTIONS["sort"](self, *args, **kwargs), self)
        return None

    def __divmod__(self, other: Any) -> Any:
        return FUNCTIONS["divmod"](self, other) if modes.numpy else NotImplemented  # PyTorch has none

    def __rdivmod__(self, other: Any) -> Any:
        return FUNCTIONS["divmod"](other, self) if modes.numpy else NotImplemented

    def compress(self, condition: Any, axis: int | None = None, out: Any = None) -> Any:
        """The elements, or the slices along `axis`, where the condition holds."""
        return FUNCTIONS["compress"](condition, self, axis, out)

    def fill(self, value: Any) -> None:
        """Set every element to a number or a 0-dim tensor."""
        self[...] = value  # type: ignore[index]

    def astype(self, dtype: Any, copy: bool = True) -> Any:
        """As another dtype."""
        return FUNCTIONS["astype"](self, dtype, copy=copy)

    def copy(self, order: str = "C") -> Any:
        """A copy; the gradient passes on."""
        return FUNCTIONS["copy"](self)

    @property
    def size(self) -> Any:
        """The number of elements, as in NumPy; called, `x.size()` or `x.size(dim)`, the shape, as in PyTorch."""
        return _Size(super().size)  # type: ignore[misc]
