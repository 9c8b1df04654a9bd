"""Parameters and buffers: tensors that a module registers when they are assigned to it."""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.io.files import set_parameter_type
from pullback.tape.node import make_leaf
from pullback.tensor.core import Tensor
from pullback.tensor.dispatch import as_handle, is_raw, materialize
from pullback.values.dtype import default_dtype

__all__ = ["Buffer", "Parameter"]


def _payload(data: Any) -> Any:
    """The array of `data`, shared; an empty one for None."""
    if data is None:
        return np.empty(0, default_dtype())
    handle = as_handle(data)
    return materialize(handle) if is_raw(handle) else handle._value


class Parameter(Tensor):
    """A tensor that is learnt: a leaf that requires a gradient, listed by `Module.parameters()` of the module it is
    assigned to. Shares the memory of `data`.

    >>> import pullback as pb
    >>> pb.nn.Parameter(pb.tensor([1.0, 2.0]))
    Parameter containing:
    tensor([1., 2.], requires_grad=True)
    """

    _is_parameter = True

    def __new__(cls, data: Any = None, requires_grad: bool = True) -> Parameter:
        self = object.__new__(cls)
        self._value = _payload(data)
        if requires_grad:
            if self._value.dtype.kind not in "fc":
                raise RuntimeError("Only Tensors of floating point and complex dtype can require gradients")
            make_leaf(self)
        return self

    def __init__(self, data: Any = None, requires_grad: bool = True) -> None:
        pass

    def __deepcopy__(self, memo: dict[int, Any]) -> Parameter:
        if id(self) not in memo:
            memo[id(self)] = type(self)(self._value.copy(), self.requires_grad)
        return memo[id(self)]  # type: ignore[no-any-return]

    def __reduce_ex__(self, protocol: Any) -> Any:
        return type(self), (np.array(self._value), self.requires_grad)


class Buffer(Tensor):
    """A tensor that belongs to a module's state and is not learnt; `persistent` ones are in its `state_dict`."""

    persistent: bool

    def __new__(cls, data: Any = None, *, persistent: bool = True) -> Buffer:
        self = object.__new__(cls)
        self._value = _payload(data)
        self.persistent = persistent
        return self

    def __init__(self, data: Any = None, *, persistent: bool = True) -> None:
        pass

    def __deepcopy__(self, memo: dict[int, Any]) -> Buffer:
        if id(self) not in memo:
            memo[id(self)] = type(self)(self._value.copy(), persistent=self.persistent)
        return memo[id(self)]  # type: ignore[no-any-return]

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _rebuild_buffer, (type(self), np.array(self._value), self.persistent)


def _rebuild_buffer(kind: type[Buffer], data: Any, persistent: bool) -> Buffer:
    return kind(data, persistent=persistent)


set_parameter_type(Parameter)  # files hold parameters, but the room that reads them stands below this one
