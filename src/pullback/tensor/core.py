"""The `Tensor`: PyTorch's tensor over NumPy arrays."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from operator import attrgetter
from typing import Any

from pullback.tape.hooks import HookHandle
from pullback.tape.node import Handle, LeafMark, Node, Projection, make_leaf, new_handle
from pullback.tape.state import TRACING, modes
from pullback.tensor import autograd
from pullback.tensor.arithmetic import ArithmeticMethods
from pullback.tensor.calculus import CalculusMethods
from pullback.tensor.comparison import ComparisonMethods
from pullback.tensor.conversion import ConversionMethods
from pullback.tensor.creation import CreationMethods, legacy_array
from pullback.tensor.device import check_device
from pullback.tensor.dispatch import is_raw, materialize
from pullback.tensor.formatting import format_tensor
from pullback.tensor.indexing import IndexMethods
from pullback.tensor.inplace_names import NamedInplaceMethods
from pullback.tensor.layout import LayoutMethods
from pullback.tensor.linalg_legacy import FactorMethods
from pullback.tensor.linear import LinearMethods
from pullback.tensor.mutation import InplaceMethods
from pullback.tensor.numpy_protocol import NumpyMethods
from pullback.tensor.random import RandomMethods
from pullback.tensor.rearranging import RearrangeMethods
from pullback.tensor.reduction import ReductionMethods
from pullback.tensor.scanning import ScanMethods
from pullback.tensor.scattering import ScatterMethods
from pullback.tensor.shaping import ShapeMethods
from pullback.tensor.short_time import ShortTimeMethods
from pullback.tensor.sorting import SortMethods
from pullback.tensor.special import SpecialMethods
from pullback.tensor.strided import StridedMethods
from pullback.values.dtype import DType, as_dtype
from pullback.values.shape import Size

__all__ = ["Tensor"]


class Tensor(
    NumpyMethods,
    ArithmeticMethods,
    ComparisonMethods,
    InplaceMethods,
    NamedInplaceMethods,
    ReductionMethods,
    ScanMethods,
    SortMethods,
    ShapeMethods,
    RandomMethods,
    RearrangeMethods,
    IndexMethods,
    ScatterMethods,
    ShortTimeMethods,
    StridedMethods,
    LinearMethods,
    FactorMethods,
    SpecialMethods,
    CalculusMethods,
    ConversionMethods,
    CreationMethods,
    LayoutMethods,
    Handle,
):
    """An array that remembers how it was computed.

    Made by `pb.tensor`, the creation functions, or operations on other tensors; `Tensor(...)` itself gives a float32
    copy of its argument, as in PyTorch. Arithmetic follows PyTorch's dtype rules; NumPy's functions applied to a Tensor
    follow NumPy's.

    >>> import pullback as pb
    >>> x = pb.tensor([1.0, 2.0], requires_grad=True)
    >>> y = (x * x).sum()
    >>> y.backward()
    >>> x.grad
    tensor([2., 4.])
    """

    def __init__(self, *data: Any, device: Any = None) -> None:
        check_device(device)
        self._value = legacy_array("Tensor", data)

    # What it is

    @property
    def shape(self) -> Any:
        return Size(self._value.shape)

    @property
    def dtype(self) -> DType:
        return as_dtype(self._value.dtype)

    # Its place on the tape

    @property
    def requires_grad(self) -> bool:
        """Whether gradients flow to or through this tensor."""
        return self._node is not None

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.requires_grad_(value)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Ask for a gradient, or no longer; only for leaves, and only for float or complex dtypes. Returns self."""
        if isinstance(self._node, Node):
            if not requires_grad:
                raise RuntimeError(
                    "you can only change requires_grad flags of leaf variables. If you want to use a computed variable "
                    "in a subgraph that doesn't require differentiation use var_no_grad = var.detach()."
                )
            return self
        if requires_grad:
            if self._value.dtype.kind not in "fc":
                raise RuntimeError(
                    "only Tensors of floating point dtype can require gradients: "
                    f"this one is {self._value.dtype}; make it with dtype=pb.float32, or call .float()"
                )
            if self._node is None:
                make_leaf(self)
        else:
            self._node = None
        return self

    @property
    def is_leaf(self) -> bool:
        """Whether no recorded operation made it."""
        return not isinstance(self._node, Node)

    @property
    def grad_fn(self) -> Node | None:
        """The node of the operation that made it, None for a leaf."""
        node = self._node
        if isinstance(node, Projection):
            return node.edges[0]  # type: ignore[return-value]
        return node if isinstance(node, Node) else None

    def _set_grad(self, value: Tensor | None) -> None:
        if value is not None:
            if not isinstance(value, Tensor):
                raise TypeError(f"assigned grad expected to be a Tensor or None but got {type(value).__name__}")
            if value.shape != self.shape:
                raise RuntimeError(
                    f"assigned grad has data of a different size: {tuple(value.shape)}, not {tuple(self.shape)}"
                )
        if TRACING and modes.tracer is not None:
            modes.tracer.clears_grad(self)
        self._grad = value

    # Read on every step of a descent: `attrgetter` spares it a Python call; see `watch_gradients`.
    grad = property(attrgetter("_grad"), _set_grad, doc="The gradient that `backward()` has accumulated, or None.")

    def backward(
        self,
        gradient: Any = None,
        retain_graph: bool | None = None,
        create_graph: bool = False,
        inputs: Any = None,
    ) -> None:
        """Add the gradient of this tensor to the `.grad` of the leaves it depends on; see `autograd.backward`."""
        autograd.backward(self, gradient, retain_graph, create_graph, inputs)

    def register_hook(self, hook: Callable[[Any], Any]) -> HookHandle:
        """Call `hook(gradient)` whenever this tensor's gradient is computed; a result takes its place."""
        node = self._node
        if node is None:
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
        if isinstance(node, Node):
            return node.register_hook(hook)
        if self._hooks is None:
            self._hooks = {}
        return HookHandle(self._hooks, hook)

    def register_post_accumulate_grad_hook(self, hook: Callable[[Any], Any]) -> HookHandle:
        """Call `hook(tensor)` when `backward()` has added to the `.grad` of this leaf."""
        if type(self._node) is not LeafMark:
            raise RuntimeError("post accumulate grad hooks cannot be registered on non-leaf tensors")
        if self._after is None:
            self._after = {}
        return HookHandle(self._after, hook)

    def retain_grad(self) -> None:
        """Have `backward()` fill `.grad` of this tensor too, though it is not a leaf."""
        node = self._node
        if node is None:
            raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
        if isinstance(node, LeafMark) or self.__dict__.get("_retains"):
            return
        self._retains = True
        owner = weakref.ref(self)

        def keep(g: Any) -> None:
            tensor = owner()
            if tensor is not None:
                tensor._grad = g.detach().clone() if tensor._grad is None else tensor._grad + g

        self.register_hook(keep)

    @property
    def retains_grad(self) -> bool:
        return bool(self.__dict__.get("_retains"))

    @property
    def _version_count(self) -> int:
        return self._version if self._base is None else self._base._version

    def detach(self) -> Tensor:
        """A tensor on the same memory that is not tracked. Writes to either are counted for both."""
        result: Tensor = new_handle(materialize(self) if is_raw(self) else self._value)
        result._base = self if self._base is None else self._base
        return result

    @property
    def data(self) -> Tensor:
        """A tensor on the same memory that is not tracked, whose writes are not counted. Prefer `detach()`."""
        return new_handle(materialize(self))  # type: ignore[no-any-return]

    @data.setter
    def data(self, value: Tensor) -> None:
        if not isinstance(value, Handle):
            raise TypeError(f"Variable data has to be a tensor, but got {type(value).__name__}")
        if self._node is not None and value._value.dtype.kind not in "fc":
            raise RuntimeError("data set to a tensor that requires gradients must be floating point or complex dtype")
        self._value = value._value

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return format_tensor(self)


Handle.maker = Tensor


def _watched_grad(tensor: Tensor) -> Any:
    if TRACING and modes.tracer is not None:
        modes.tracer.reads_grad(tensor)
    return tensor._grad


def watch_gradients() -> None:
    """From now on a tracer is told when `.grad` is read. For good, since changing a class has a price each time."""
    plain = Tensor.grad
    if plain.fget is not _watched_grad:
        Tensor.grad = property(_watched_grad, plain.fset, doc=plain.__doc__)
