"""`Variable` and `constant`, as TensorFlow has them.

A Variable is on the tape only while a `GradientTape` is open in the thread: reading it then gives it the place of a
`ReadVariable` node, whose edge is the Variable itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from pullback.ops.control import identity
from pullback.tape.node import Handle, Node, new_handle, wrap
from pullback.tape.state import modes
from pullback.tensor.core import Tensor
from pullback.tensor.dispatch import is_raw
from pullback.values.dtype import as_dtype

__all__ = ["ReadVariable", "Variable", "constant"]

_RAW = (np.ndarray, np.generic)


def _as_array(value: Any, dtype: Any = None) -> Any:
    """An array of its own: Python floats are float32 and integers int32, as in TensorFlow; arrays keep their dtype."""
    if isinstance(value, Handle):
        if not is_raw(value):
            raise TypeError("a Variable holds numbers: it can't take a value from inside vmap, jvp or a trace")
        value = value._value
    if dtype is not None:
        return np.array(value, as_dtype(dtype).dtype)
    array = np.array(value)
    if not isinstance(value, _RAW) and _is_python(value):
        if array.dtype == np.float64:
            return array.astype(np.float32)
        if array.dtype == np.int64:
            return array.astype(np.int32)
    return array


def _is_python(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_python, value))
    return not isinstance(value, _RAW)


def constant(value: Any, dtype: Any = None, shape: Sequence[int] | None = None, name: str | None = None) -> Any:
    """A Tensor with TensorFlow's default dtypes: float32 for Python floats, int32 for integers, an array's own.

    With `shape`, one number fills it, or as many values as it has elements.

    >>> import pullback as pb
    >>> pb.constant([1.0, 2.0]).dtype, pb.constant(3).dtype
    (torch.float32, torch.int32)
    """
    array = _as_array(value, dtype)
    if shape is not None:
        array = np.full(shape, array) if array.size == 1 else array.reshape(tuple(shape))
    return new_handle(array)


class ReadVariable(Node):
    """The reading of a Variable: passes its cotangent on to the Variable."""

    __slots__ = ()

    def __init__(self, variable: Variable, level: int) -> None:
        super().__init__(identity, (variable,), (None, None), None, level=level)

    def name(self) -> str:
        return "ReadVariable"

    def pull(self, g: Any, lift: bool, create_graph: bool, gated: bool = False) -> Any:
        return (g,)


def _no_operator(sign: str, instead: str = "") -> Callable[[Any, Any], Any]:
    def method(self: Any, other: Any) -> Any:
        raise RuntimeError(
            f"`var {sign}= value` with Variables is not supported. Use `var.assign(var {sign} value)`{instead} to "
            f"modify the variable, or `out = var {sign} value` if you need to get a new output Tensor."
        )

    return method


class Variable(Tensor):
    """A tensor whose value is replaced with `assign`; every open `GradientTape` watches it, if it is trainable.

    Python floats become float32, integers int32; arrays keep their dtype. Outside of a tape nothing done with it is
    recorded.

    >>> import pullback as pb
    >>> v = pb.Variable(3.0)
    >>> with pb.GradientTape() as tape:
    ...     y = v * v
    >>> v.assign_sub(0.5 * tape.gradient(y, v))
    <tf.Variable 'Variable:0' shape=() dtype=float32, numpy=0.0>
    """

    rebinds: ClassVar[bool] = True

    def __init__(
        self,
        initial_value: Any,
        trainable: bool = True,
        validate_shape: bool = True,
        caching_device: None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        self._value = _as_array(initial_value() if callable(initial_value) else initial_value, dtype)
        self.trainable = bool(trainable)
        self.name = f"{name or 'Variable'}:0"

    def __new__(cls, *args: Any, **kwargs: Any) -> Variable:
        return object.__new__(cls)

    @property  # type: ignore[override]
    def _node(self) -> Node | None:
        session = modes.session
        return session.read(self) if session is not None and modes.grad else None

    @_node.setter
    def _node(self, place: Any) -> None:
        if place is not None:
            raise RuntimeError(
                f"{self.name}: a Variable is changed with assign(), assign_add() or assign_sub(), and watched by a "
                "GradientTape; for requires_grad and in-place operations use pb.tensor"
            )

    @property
    def is_leaf(self) -> bool:
        return True

    def assign(
        self, value: Any, use_locking: bool = False, name: str | None = None, read_value: bool = True
    ) -> Variable:
        """Give it another value of its shape, cast to its dtype; what was read before keeps the old one.

        Raises `ValueError` if the shape is another.
        """
        array = _as_array(value, self._value.dtype)
        if array.shape != self._value.shape:
            raise ValueError(
                f"Cannot assign value to variable '{self.name}': Shape mismatch. The variable shape "
                f"{self._value.shape}, and the assigned value shape {array.shape} are incompatible."
            )
        self._value = array
        return self

    def assign_add(
        self, delta: Any, use_locking: bool = False, name: str | None = None, read_value: bool = True
    ) -> Variable:
        """Add `delta` to its value."""
        return self.assign(self._value + _as_array(delta, self._value.dtype))

    def assign_sub(
        self, delta: Any, use_locking: bool = False, name: str | None = None, read_value: bool = True
    ) -> Variable:
        """Subtract `delta` from its value."""
        return self.assign(self._value - _as_array(delta, self._value.dtype))

    def value(self) -> Any:
        """Its value as a Tensor, read now."""
        return wrap(identity(self))

    read_value = value

    def numpy(self, *, force: bool = False) -> Any:
        """Its value as a new array, a NumPy scalar if it has no dimensions."""
        return self._value.copy()[()]

    __iadd__ = _no_operator("+", " or `var.assign_add(value)`")
    __isub__ = _no_operator("-", " or `var.assign_sub(value)`")
    __imul__, __itruediv__, __ipow__ = _no_operator("*"), _no_operator("/"), _no_operator("**")

    def __setitem__(self, index: Any, value: Any) -> None:
        raise TypeError("'Variable' object does not support item assignment; use assign() with the whole new value")

    def __repr__(self) -> str:
        text = repr(self._value)
        if self._value.ndim == 0:
            text = repr(self._value.item())
        elif "\n" in text:
            text = "\n" + text
        return f"<tf.Variable '{self.name}' shape={self._value.shape} dtype={self._value.dtype}, numpy={text}>"

    def __deepcopy__(self, memo: dict[int, Any]) -> Variable:
        memo[id(self)] = copy = _rebuild_variable(self._value, self.trainable, self.name.removesuffix(":0"))
        return copy

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _rebuild_variable, (self._value, self.trainable, self.name.removesuffix(":0"))


def _rebuild_variable(value: Any, trainable: bool, name: str) -> Variable:
    return Variable(value, trainable=trainable, name=name)
