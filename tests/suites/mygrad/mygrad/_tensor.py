"""MyGrad's Tensor over pullback's: a NumPy array, its place on pullback's tape, and MyGrad's graph around it.

What MyGrad means is kept here: integers are constants, `backward` starts from ones and clears the graph, gradients are
plain arrays that do not accumulate, a view's gradient is a view of its base's, arrays in a graph are read-only, and an
in-place write makes a new value while what was computed from the old one keeps it. The derivatives, views and writes
themselves are pullback's.
"""

from __future__ import annotations

import functools
from typing import ClassVar
from weakref import WeakSet, WeakValueDictionary, ref

import numpy as np

import pullback as pb
from pullback.tape.state import numpy_promotion

CONSTANT_ONLY_DTYPES = (np.integer, np.bool_)


class InvalidBackprop(Exception):
    """The graph behind a tensor was cleared."""


class InvalidGradient(Exception):
    """A gradient of the wrong kind."""


class DisconnectedView(Warning):
    """A view whose base has left the graph."""


class _NoValueType:
    """What stands for an argument that is not given."""

    def __repr__(self):
        return "<no value>"

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self


_NoValue = _NoValueType()


# Modes


class _State:
    TRACK_GRAPH = True
    MEM_GUARD = True


class _Switch:
    """A context manager, and a decorator, that holds a flag at a value."""

    def __init__(self, flag, value):
        self._flag, self._value, self._before = flag, value, []

    def __enter__(self):
        self._before.append(getattr(_State, self._flag))
        setattr(_State, self._flag, self._value)

    def __exit__(self, *_):
        setattr(_State, self._flag, self._before.pop())

    def __call__(self, function, to_numpy=False):
        @functools.wraps(function)
        def run(*args, **kwargs):
            with self:
                out = function(*args, **kwargs)
            return np.asarray(out) if to_numpy else out

        return run


no_autodiff = _Switch("TRACK_GRAPH", False)
mem_guard_off = _Switch("MEM_GUARD", False)
mem_guard_on = _Switch("MEM_GUARD", True)


# Arrays in a graph are read-only


class Locks:
    """How many operations hold an array, and which arrays they made read-only."""

    counter: ClassVar[dict[int, int]] = {}
    tracker: ClassVar[dict[int, np.ndarray]] = {}
    waiting: ClassVar[dict[int, np.ndarray]] = {}

    @classmethod
    def lock(cls, array):
        held = id(array) in cls.counter
        if not held and not array.flags.writeable and id(array.base) not in cls.counter:
            return False  # the user's own doing
        cls.counter[id(array)] = cls.counter.get(id(array), 0) + 1
        cls.tracker[id(array)] = array
        array.flags.writeable = False
        return True

    @classmethod
    def release(cls, array):
        left = cls.counter.get(id(array), 0) - 1
        if left > 0:
            cls.counter[id(array)] = left
        elif left == 0:
            del cls.counter[id(array)], cls.tracker[id(array)]
            cls._restore(array)
            for other in list(cls.waiting.values()):
                if other.base is array:
                    del cls.waiting[id(other)]
                    cls._restore(other)

    @classmethod
    def _restore(cls, array):
        if array.base is None or getattr(array.base.flags, "writeable", True):
            array.flags.writeable = True
        else:  # its base is held still
            cls.waiting[id(array)] = array


class Operation:
    """An operation that was run: its operands, as they were."""

    can_return_view = True
    variables: tuple = ()

    def record(self, operands, out):
        self.variables = tuple(operands)
        self.stamps = [t._stamp for t in operands]
        self.out = ref(out)
        self.locked = []
        for t in operands:
            t._ops.add(self)
        if _State.MEM_GUARD:
            arrays = []
            for t in (*operands, out):
                arrays += [t.data] if t._base is None else [t._base.data, t.data]
            self.locked = [array for array in arrays if Locks.lock(array)]
        return self

    def release(self):
        for array in self.locked:
            Locks.release(array)
        self.locked = []

    def __del__(self):
        if getattr(self, "locked", None):
            self.release()


_operations: dict[str, type[Operation]] = {}


def operation(name):
    """The class of the operations that a function makes."""
    if name not in _operations:
        _operations[name] = type(name, (Operation,), {"function": None})
    return _operations[name]


# Tensors


def _native(array):
    """An array as pullback takes it: of the machine's byte order."""
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def raw(x):
    """Tensors as arrays, in lists and tuples too."""
    if isinstance(x, Tensor):
        return x.data
    if isinstance(x, list | tuple):
        return type(x)(map(raw, x))
    return x


def _handles(x):
    if isinstance(x, Tensor):
        return x._handle
    if isinstance(x, list | tuple):
        return type(x)(map(_handles, x))
    return x


def tensors_in(items):
    found = []
    for x in items:
        if isinstance(x, Tensor):
            found.append(x)
        elif isinstance(x, list | tuple):
            found += tensors_in(x)
    return found


def check_constant(constant, dtype):
    if constant is not None and not isinstance(constant, bool):
        raise TypeError(f"constant is a bool, or None, not {constant!r}")
    only = issubclass(dtype.type, CONSTANT_ONLY_DTYPES)
    if only and constant is False:
        raise ValueError(f"tensors of {dtype} are constants")
    return only


class Tensor:
    """A node of MyGrad's graph; see the module."""

    __array_priority__ = 15.0

    def __init__(self, x, *, dtype=None, constant=None, copy=True, ndmin=0, _creator=None, _base=None):
        if not isinstance(ndmin, int | np.integer):
            raise TypeError("ndmin is an integer")
        array = np.array(raw(x), dtype=dtype, copy=bool(copy) or None, ndmin=ndmin)
        if ndmin and array.base is not None and array.base is not raw(x):
            array = array.copy()
        if array.dtype.kind not in ("fiub" if _State.TRACK_GRAPH else "fiubc"):
            raise TypeError(f"a tensor holds real numbers, not {array.dtype}")
        only = check_constant(constant, array.dtype) or array.dtype.kind == "c"
        self._fill(array, only if constant is None else constant, _creator)

    def _fill(self, array, constant, creator=None, handle=None):
        self.data = array
        self._constant = constant
        self._grad = None
        self._creator = creator
        self._ops = WeakSet()
        self._base = self._replay = None
        self._views = self._view_children = WeakValueDictionary()
        self._stamp = 0
        self._place = handle

    @classmethod
    def _made(cls, array, constant, handle=None):
        made = Tensor.__new__(Tensor)
        made._fill(array, constant, handle=handle)
        return made

    @property
    def _handle(self):
        """Its place on the tape; a new leaf if it has none."""
        if self._place is None:
            array = _native(self.data)
            self._place = pb.asarray(array if array.flags.writeable else array.copy())
            if not self._constant:
                self._place.requires_grad_()
        return self._place

    # The graph

    def _join(self):
        """Take part in an operation: what an earlier graph left is dropped."""
        self._leave()
        self._grad = None

    def _leave(self):
        """A view whose graph was cleared, or whose base's was, is one no more."""
        creator = self._creator
        if self._base is None or (creator is not None and creator.stamps == [t._stamp for t in creator.variables]):
            return
        self._base._views.pop(id(self), None)
        self._base = self._replay = None
        if creator is None:
            self._place = None

    def _behind(self):
        """All tensors that this one was computed from, itself first."""
        seen, stack = {id(self): self}, [self]
        while stack:
            creator = stack.pop()._creator
            if creator is None or not hasattr(creator, "stamps"):
                continue
            for t, stamp in zip(creator.variables, creator.stamps, strict=True):
                if t._stamp != stamp:
                    raise InvalidBackprop("a part of the graph behind this tensor was cleared")
                if id(t) not in seen:
                    seen[id(t)] = t
                    stack.append(t)
        return list(seen.values())

    def backward(self, grad=None):
        """Gradients of all tensors behind this one; clears the graph."""
        if not _State.TRACK_GRAPH:
            return
        if self._constant:
            self.clear_graph()
            return
        g = np.ones_like(self.data) if grad is None else np.array(raw(grad)).astype(self.dtype, casting="same_kind")
        if grad is not None:
            if np.broadcast_shapes(g.shape, self.shape) != self.shape:
                raise ValueError(f"a gradient of shape {g.shape} for a tensor of shape {self.shape}")
            g = np.broadcast_to(g, self.shape).copy()
        behind = self._behind()
        if self._base is not None and self._creator is None:
            self._base._views.pop(id(self), None)
            if self._base._grad is None or self._base._creator is None:
                self._base._set_part(self, g)
        wanted = [t for t in behind if t is not self and not t._constant]
        if wanted and self._handle.requires_grad:
            gradients = pb.autograd.grad(
                self._handle, [t._handle for t in wanted], pb.asarray(_native(g)), allow_unused=True
            )
            for t, found in zip(wanted, gradients, strict=True):
                t._grad = None if found is None else np.array(found.numpy(), dtype=t.dtype)
        self._grad = g
        self._clear(behind)

    def _set_part(self, view, g):
        """The gradient of a base from that of one of its views."""
        whole = np.zeros_like(self.data)
        view._replay(whole)[...] = g
        self._grad = whole

    def clear_graph(self):
        """Forget how this tensor, and those behind it, came about."""
        try:
            self._clear(self._behind())
        except InvalidBackprop:
            self._clear([self])

    @staticmethod
    def _clear(tensors):
        for t in tensors:
            creators = [t._creator, *t._ops]
            t._creator, t._place = None, None
            t._stamp += 1
            t._ops.clear()
            for creator in creators:
                if hasattr(creator, "locked"):
                    creator.release()

    def _grad_now(self):
        if self._base is None:
            return self._grad
        whole = self._base._grad
        return None if whole is None or self._constant else self._replay(whole)

    @property
    def grad(self):
        return self._grad_now()

    def null_grad(self, *, _clear_view_info=False):
        self._grad = None
        return self

    def null_gradients(self, clear_graph=True):
        import warnings

        warnings.warn("gradients are cleared by themselves", FutureWarning, stacklevel=2)

    @property
    def creator(self):
        return self._creator

    @property
    def constant(self):
        return self._constant

    @property
    def base(self):
        return self._base

    # Writes

    def _assign(self, key, value, name):
        """Write into the array: a new value of the base, and of all its views."""
        array = self.data
        if not array.flags.writeable and id(array) not in Locks.counter and id(array.base) not in Locks.counter:
            raise ValueError("assignment destination is read-only")
        if not _State.TRACK_GRAPH:
            if not array.flags.writeable:
                raise ValueError("assignment destination is read-only")
            array[raw(key)] = raw(value)
            self._place = None
            return
        trial = array.copy()
        trial[raw(key)] = raw(value)  # NumPy's errors
        operands = tensors_in([value])
        self._leave()
        base = self if self._base is None else self._base
        old = Tensor._made(base.data, base._constant, base._handle)
        old._creator, old._stamp = base._creator, base._stamp
        for user in list(base._ops):
            user.variables = tuple(old if t is base else t for t in user.variables)
            old._ops.add(user)
        base._ops.clear()
        base._grad = None
        whole = old._handle.clone()
        part = whole if self is base else self._replay(whole)
        with pb.set_grad_enabled(not base._constant), numpy_promotion(True):
            self._write(part, key, value)
        if base._constant:
            whole = whole.detach()
        elif not whole.requires_grad:
            whole.requires_grad_()
        base._move(whole, operation(name)().record, [old, *operands])
        for view in list(base._views.values()):
            view._move(view._replay(whole), operation("Replay")().record, [base], base.data)

    def _write(self, part, key, value):
        if part.dtype != self._handle.dtype:
            raise TypeError("the type of a tensor stays")
        value = _handles(value)
        if isinstance(value, pb.Tensor):
            value = value.to(part.dtype)
        else:
            value = pb.asarray(np.array(value, self.dtype.newbyteorder("=")))
        key = tuple(map(raw, key)) if isinstance(key, tuple) else raw(key)
        part[key] = value

    def _move(self, handle, record, operands, base=None):
        """Take a new value."""
        self._place = handle
        self.data = np.asarray(handle.detach().numpy()) if base is None else self._replay(base)
        self._creator = record(operands, self)
        self._grad = None

    def __setitem__(self, key, value):
        self._assign(key, value, "SetItem")

    # What NumPy's arrays have

    @property
    def shape(self):
        return self.data.shape

    @shape.setter
    def shape(self, shape):
        self.data = self.data.reshape(shape)
        self._place = None if self._creator is None else self._handle.reshape(shape)

    @property
    def ndim(self):
        return self.data.ndim

    @property
    def size(self):
        return self.data.size

    @property
    def dtype(self):
        return self.data.dtype

    def item(self):
        if self.size > 1:
            raise ValueError("only a tensor of one element is a number")
        return self.data.item()

    def __float__(self):
        if self.size > 1:
            raise TypeError("only a tensor of one element is a number")
        return float(self.data.item())

    def __int__(self):
        if self.size > 1:
            raise TypeError("only a tensor of one element is a number")
        return int(self.data.item())

    def __index__(self):
        return self.data.__index__()

    def __bool__(self):
        return bool(self.data)

    def __len__(self):
        return len(self.data)

    def __contains__(self, item):
        return self.data.__contains__(raw(item))

    def __hash__(self):
        return id(self)

    def __array__(self, dtype=None, copy=None):
        return np.array(self.data, dtype=dtype) if copy or dtype not in (None, self.dtype) else self.data

    def __repr__(self):
        return repr(self.data).replace("array", "Tensor").replace("\n", "\n ")

    def __iter__(self):
        if not self.ndim:
            raise TypeError("iteration over a tensor of no dimensions")
        return (self[i] for i in range(len(self)))

    def __copy__(self):
        return self.copy()

    def __deepcopy__(self, memo):
        return self.copy()

    def copy(self, *, constant=None):
        twin = type(self)(self.data, constant=self._constant if constant is None else constant)
        twin._grad = None if self.grad is None else self.grad.copy()
        return twin

    def astype(self, dtype, order="K", casting="unsafe", *, copy=True, constant=None):
        array = self.data.astype(dtype, order=order, casting=casting, copy=copy)
        if array is self.data and constant in (None, self._constant):
            return self
        only = check_constant(constant, array.dtype)
        return Tensor(array, copy=False, constant=(only or self._constant or None) if constant is None else constant)

    @classmethod
    def _op(cls, op, *operands, op_args=(), op_kwargs=None, constant=None, out=None):
        return op.function(*operands, *op_args, **(op_kwargs or {}), constant=constant)


def run(name, function, args, kwargs, constant=None):
    """`function`, of NumPy or of pullback, with Tensors among its operands. The result shares memory where NumPy's
    result does.
    """
    if constant is not None and not isinstance(constant, bool):
        raise TypeError(f"constant is a bool, or None, not {constant!r}")
    operands = tensors_in([*args, *kwargs.values()])
    view = _as_view(function, args, kwargs) if operands and operands[0] is args[0] else None
    if _State.TRACK_GRAPH:
        for t in operands:
            if view is None or t._base is not None:
                t._join()
    with pb.set_grad_enabled(_State.TRACK_GRAPH), numpy_promotion(True):
        out = function(*map(_handles, args), **{key: _handles(x) for key, x in kwargs.items()})
    handle = out if isinstance(out, pb.Tensor) else pb.asarray(_native(np.asarray(out)))
    array = view if view is not None else np.asarray(handle.detach().numpy())
    if array.dtype.kind not in "fiub" and operands:
        raise TypeError(f"{name} gives {array.dtype}")
    only = check_constant(constant, array.dtype)
    inferred = only or all(t._constant for t in operands)
    result = Tensor._made(array, inferred if constant is None else constant)
    if not _State.TRACK_GRAPH:
        if view is not None and constant is None:
            result._constant = only
        return result
    if result._constant:
        handle = handle.detach()
    elif not handle.requires_grad:
        handle = handle.detach().requires_grad_()
    result._place = handle
    if view is not None:
        source = operands[0]
        rest, named = args[1:], dict(kwargs)
        step = lambda array: function(array, *map(raw, rest), **named)  # noqa: E731
        before = source._replay
        result._base = source if source._base is None else source._base
        result._replay = step if before is None else lambda array: step(before(array))
        result._base._views[id(result)] = result
    result._creator = operation(_class_name(name))().record(operands, result)
    return result


def _class_name(name):
    return "".join(part.capitalize() for part in name.split("_"))


def _as_view(function, args, kwargs):
    """What the function gives on the array, if that is a view of it."""
    array = args[0].data
    if not getattr(function, "views", False):
        return None
    try:
        found = function(array, *map(raw, args[1:]), **kwargs)
    except Exception:
        return None
    if found is array:
        return array[...]
    base = getattr(found, "base", None)
    return found if base is not None and (base is array or base is array.base) else None
