"""The base of all optimizers: parameter groups, state, and the loop over parameters that applies an update formula."""

from __future__ import annotations

import functools
import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pullback.optim.formula import ARRAYS, PURE
from pullback.tape.hooks import HookHandle
from pullback.tape.node import Handle, LeafMark, new_handle
from pullback.tape.state import TRACING, enable_grad, modes, set_grad_enabled
from pullback.tensor.core import Tensor
from pullback.tensor.dispatch import is_raw
from pullback.tensor.inplace import bump, check_writable, move, store
from pullback.values.dtype import default_dtype

__all__ = ["Optimizer", "check", "counter", "required", "zeros_like"]


class _Required:
    """Stands for an option that every parameter group must give."""

    def __repr__(self) -> str:
        return "<required parameter>"


required = _Required()


def check(**options: Any) -> None:
    """Raise `ValueError`, worded as PyTorch's, for the options that can't be meant."""
    for name, value in options.items():
        if name == "betas":
            for i, beta in enumerate(value):
                if not 0.0 <= beta < 1.0:
                    raise ValueError(f"Invalid beta parameter at index {i}: {beta}")
            continue
        if isinstance(value, Handle):
            if value._value.size != 1:
                raise ValueError(f"Tensor {name} must be 1-element")
            if not is_raw(value):
                continue
            value = value._value.item()
        if not value >= 0.0 or (name == "rho" and value > 1.0):
            words = {"lr": "learning rate", "eps": "epsilon value"}.get(name, f"{name} value")
            raise ValueError(f"Invalid {words}: {value}")


def zeros_like(p: Any, value: float = 0.0) -> Any:
    """A Tensor of zeros (or of `value`, in both parts of a complex number) for the state of a parameter."""
    fill = complex(value, value) if p._value.dtype.kind == "c" else value
    if type(p._value) is np.ndarray:
        return new_handle(np.full_like(p._value, fill))
    return new_handle(np.full(p._value.shape, fill, p._value.dtype))


def counter(value: float = 0.0) -> Any:
    """A 0-dim Tensor that counts steps, of the default dtype, as PyTorch's."""
    return new_handle(default_dtype().type(value))


class Optimizer:
    """Changes parameters by their gradients.

    `params` are Tensors, `(name, Tensor)` pairs, or dicts ("parameter groups") with the key `params` and options that
    stand in for `defaults`. A subclass gives the formula of one step (`update`), the names of the state that it reads
    (`slots`) and how that state begins (`begin`); or a `step` of its own.

    Raises `TypeError` or `ValueError` for what is not a parameter, as PyTorch does.

    >>> import pullback as pb
    >>> w = pb.tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = pb.optim.SGD([w], lr=0.5)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([0., 0.], requires_grad=True)
    """

    scratch = 2
    """How many scratch arrays of a parameter's shape `update` is given."""
    _stepped = False
    _hooks: tuple[dict[int, Any], dict[int, Any]] | None = None

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        if isinstance(params, Handle):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, "
                f"but got {type(params).__name__}: put it in a list"
            )
        self.defaults = defaults
        self.state: defaultdict[Any, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        self._forget()
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """A `step` of a subclass's own is watched, so that a scheduler can tell whether it was called."""
        super().__init_subclass__(**kwargs)
        step = cls.__dict__.get("step")
        if step is not None:

            @functools.wraps(step)
            def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
                self._stepped = True
                return step(self, *args, **kwargs)

            cls.step = watched  # type: ignore[method-assign]

    def _forget(self) -> None:
        """Drop the scratch arrays: `_work[p]` is p's array and its scratch, cut from `_pool[dtype]` which all share."""
        self._work: dict[Any, tuple[Any, tuple[Any, ...]]] = {}
        self._pool: dict[np.dtype[Any], Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"defaults": self.defaults, "state": self.state, "param_groups": self.param_groups}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def __repr__(self) -> str:
        text = f"{type(self).__name__} ("
        for i, group in enumerate(self.param_groups):
            options = "".join(f"    {key}: {group[key]}\n" for key in sorted(group) if key != "params")
            text += f"\nParameter Group {i}\n{options}"
        return text + ")"

    # Groups

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a dict with the key `params` and options to `param_groups`; the defaults fill in the rest.

        Raises `TypeError` for what is no dict of Tensors in a definite order, `ValueError` for a Tensor that is no leaf
        or is in a group already, or a missing option that is required.
        """
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        params = param_group["params"]
        if isinstance(params, set):
            raise TypeError(
                "optimizer parameters need to be organized in ordered collections, but "
                "the ordering of tensors in sets will change between runs. Please use a list instead."
            )
        entries = [params] if isinstance(params, Handle) else list(params)
        names = [entry[0] for entry in entries if isinstance(entry, tuple)]
        if names and len(names) != len(entries):
            raise ValueError("all optimizer params should be with/without names. Some param names are missing")
        param_group["params"] = params = [entry[1] if isinstance(entry, tuple) else entry for entry in entries]
        if names:
            param_group["param_names"] = names
        for p in params:
            if not isinstance(p, Tensor):
                raise TypeError(f"optimizer can only optimize Tensors, but one of the params is {type(p).__name__}")
            if not (self.defaults.get("differentiable") or p.is_leaf or p.retains_grad):
                raise ValueError("can't optimize a non-leaf Tensor")
        for name, default in self.defaults.items():
            if default is required and name not in param_group:
                raise ValueError(f"parameter group didn't specify a value of required optimization parameter {name}")
            param_group.setdefault(name, default)
        own = {id(p) for p in params}
        if len(own) < len(params):
            warnings.warn(
                "optimizer contains a parameter group with duplicate parameters; each is updated as often as it occurs",
                stacklevel=3,
            )
        for group in self.param_groups:
            if ("param_names" in group) != bool(names):
                raise ValueError(
                    "all optimizer param groups should be with/without names. "
                    f"cannot add param group {'with' if names else 'without'} names to the optimizer"
                )
            if any(id(p) in own for p in group["params"]):
                raise ValueError("some parameters appear in more than one parameter group")
        self.param_groups.append(param_group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of all parameters, or set them to zero in place."""
        for group in self.param_groups:
            for p in group["params"]:
                if TRACING and modes.tracer is not None:
                    (modes.tracer.clears_grad if set_to_none else modes.tracer.reads_grad)(p)
                grad = p._grad
                if set_to_none:
                    p._grad = None
                elif grad is not None and is_raw(grad):
                    grad._node = None
                    store(grad, np.zeros_like(grad._value))
                    bump(grad)
                elif grad is not None:
                    p._grad = zeros_like(grad)

    # The step

    def slots(self, group: dict[str, Any]) -> Sequence[str]:
        """The names of the state that `update` reads and returns, in order."""
        return ()

    def begin(self, p: Any, group: dict[str, Any]) -> dict[str, Any]:
        """The state of a parameter before its first step: Tensors (or None, then `update` gives the first) by name."""
        return {name: counter() if name == "step" else zeros_like(p) for name in self.slots(group)}

    def update(
        self, m: Any, p: Any, g: Any, state: Sequence[Any], group: dict[str, Any], scratch: Sequence[Any]
    ) -> tuple[Any, Sequence[Any]]:
        """The parameter and its state after a step, from both before it and the gradient; see `formula` for `m`."""
        raise NotImplementedError

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Change every parameter that has a gradient; `closure`, if given, is called first and its result returned.

        Parameters change in place: whatever shares their memory sees it.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        self._stepped = True
        work, update, array = self._work, self.update, np.ndarray
        tracer = modes.tracer
        for group in self.param_groups:
            if tracer is not None:
                group = tracer.options(group)
            names = self.slots(group)
            lr = group.get("lr")
            fast = not isinstance(lr, Handle) or (is_raw(lr) and lr._node is None)
            if group.get("differentiable") or tracer is not None:
                fast = False
            for p in group["params"]:
                if tracer is not None:
                    tracer.reads_grad(p)
                grad = p._grad
                if grad is None:
                    continue
                value, g = p._value, grad._value
                if not fast or type(value) is not array or type(g) is not array or value.dtype.kind == "c":
                    self._general(p, grad, group, names)
                    continue
                found = work.get(p)
                if found is None or found[0] is not value:
                    found = self._prepare(p)
                if names:
                    state = self.state[p]
                    try:
                        before = [state[name]._value for name in names]
                    except (KeyError, AttributeError):
                        before = self._values(p, state, group, names)
                    _, after = update(ARRAYS, value, g, before, group, found[1])
                    for name, old, new in zip(names, before, after):
                        if new is not old:
                            _put(state, name, new)
                else:
                    update(ARRAYS, value, g, (), group, found[1])
                bump(p)
        return loss

    def register_step_pre_hook(self, hook: Callable[..., Any]) -> HookHandle:
        """Call `hook(optimizer, args, kwargs)` before each step; a pair that it returns takes the arguments' place."""
        return HookHandle(self._hooked()[0], hook)

    def register_step_post_hook(self, hook: Callable[..., Any]) -> HookHandle:
        """Call `hook(optimizer, args, kwargs)` after each step."""
        return HookHandle(self._hooked()[1], hook)

    def _hooked(self) -> tuple[dict[int, Any], dict[int, Any]]:
        """The hooks before and after a step. An optimizer that has had any has a `step` of its own that calls them."""
        if self._hooks is None:
            before: dict[int, Any] = {}
            after: dict[int, Any] = {}
            self._hooks = before, after

            def step(*args: Any, **kwargs: Any) -> Any:
                for hook in list(before.values()):
                    changed = hook(self, args, kwargs)
                    if changed is not None:
                        if not isinstance(changed, tuple) or len(changed) != 2:
                            raise RuntimeError(
                                f"a step pre-hook must return None or a tuple of (new_args, new_kwargs), not {changed}"
                            )
                        args, kwargs = changed
                result = type(self).step(self, *args, **kwargs)
                for hook in list(after.values()):
                    hook(self, args, kwargs)
                return result

            self.__dict__["step"] = step
        return self._hooks

    def _values(self, p: Any, state: dict[str, Any], group: dict[str, Any], names: Sequence[str]) -> list[Any]:
        """The values of a parameter's state, begun where it is missing; None where `update` is to give the first."""
        if any(name not in state for name in names):
            if modes.tracer is not None and isinstance(group["lr"], Handle):
                group = {**group, "lr": modes.tracer.known(group["lr"])}
            for name, value in self.begin(p, group).items():
                if modes.tracer is not None and name not in state:
                    modes.tracer.adopt(value)
                state.setdefault(name, value)
        return [None if state[name] is None else state[name]._value for name in names]

    def _prepare(self, p: Any) -> tuple[Any, tuple[Any, ...]]:
        """Scratch arrays for `p`, of its shape and memory order. All parameters of a dtype share them, in turn."""
        value = p._value
        pool = self._pool.get(value.dtype)
        if pool is None or pool.shape[1] < value.size:
            self._work.clear()
            self._pool[value.dtype] = pool = np.empty((self.scratch, value.size), value.dtype)
        order: Any = "F" if value.flags.f_contiguous and not value.flags.c_contiguous else "C"
        rows = tuple(row[: value.size].reshape(value.shape, order=order) for row in pool)
        self._work[p] = value, rows
        return value, rows

    def _general(self, p: Any, grad: Any, group: dict[str, Any], names: Sequence[str]) -> None:
        """The step of a parameter that is not in an array, or whose gradient, state or learning rate is traced.

        With the option `differentiable`, the step is recorded on the tape.
        """
        state = self.state[p] if names else {}
        self._values(p, state, group, names)
        lr = group["lr"]
        tracked = bool(group.get("differentiable"))
        operands = [p, grad, lr, *(state[name] for name in names)]
        held = [is_raw(x) for x in operands if isinstance(x, Handle)]  # of each: a tracer lifts it there
        raw = not tracked and all(held)

        def take(handle: Any) -> Any:
            if raw or handle is None:
                return handle if handle is None else handle._value
            if not tracked:
                return new_handle(handle._value)
            # The parameter's memory is written below, after the formula may have saved it.
            value = handle._value.copy() if handle is p and is_raw(p) else handle._value
            return handle if isinstance(handle._node, LeafMark) else new_handle(value, handle._node)

        with set_grad_enabled(tracked):
            if tracked:
                check_writable(p)
            before = take(p), take(grad), [take(state[name]) for name in names]
            if raw and p._value.dtype.kind == "c":
                new, after = self._update_complex(*before, group)
            else:
                new, after = self.update(PURE, *before, group, (None,) * self.scratch)
            if raw:
                store(p, np.asarray(new))
                bump(p)
            else:
                move(p, new)
        for name, value in zip(names, after, strict=True):
            _put(state, name, value)

    def _update_complex(self, p: Any, g: Any, state: Sequence[Any], group: dict[str, Any]) -> tuple[Any, Sequence[Any]]:
        """A step of complex numbers: real and imaginary parts are parameters of their own, as in PyTorch."""

        def parts(x: Any) -> Any:
            if x is None or x.dtype.kind != "c":
                return x
            return np.ascontiguousarray(x).reshape(*x.shape, 1).view(x.real.dtype)

        def whole(x: Any) -> Any:
            return x.view(p.dtype).reshape(p.shape) if x.ndim else x

        new, after = self.update(PURE, parts(p), parts(g), list(map(parts, state)), group, (None,) * self.scratch)
        return whole(new), list(map(whole, after))

    # Saving

    def state_dict(self) -> dict[str, Any]:
        """State and options in PyTorch's layout, parameters being numbered in the order of the groups.

        `state` maps a parameter's number to its state by name, `param_groups` lists the groups with numbers for
        `params`. The Tensors are the live ones, not copies.
        """
        numbers: dict[Any, int] = {}
        groups = []
        for group in self.param_groups:
            for p in group["params"]:
                numbers.setdefault(p, len(numbers))
            packed = {key: value for key, value in group.items() if key != "params"}
            groups.append({**packed, "params": [numbers[p] for p in group["params"]]})
        state = {numbers.get(p, p) if isinstance(p, Handle) else p: value for p, value in self.state.items()}
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a copy of what `state_dict()` gave, here or in PyTorch.

        Floating-point state takes its parameter's dtype, except for `step`. Raises `ValueError` if the groups differ in
        number or size.
        """
        groups = state_dict["param_groups"]
        if len(groups) != len(self.param_groups):
            raise ValueError("loaded state dict has a different number of parameter groups")
        if any(len(a["params"]) != len(b["params"]) for a, b in zip(self.param_groups, groups, strict=True)):
            raise ValueError(
                "loaded state dict contains a parameter group that doesn't match the size of optimizer's group"
            )
        by_number: dict[Any, Any] = {}
        loaded = []
        for own, saved in zip(self.param_groups, groups, strict=True):
            by_number.update(zip(saved["params"], own["params"], strict=True))
            group = {key: _adopt(value, None) for key, value in saved.items() if key != "params"}
            if "param_names" in own:
                group.setdefault("param_names", own["param_names"])
            loaded.append({**self.defaults, **group, "params": own["params"]})
        state: defaultdict[Any, dict[str, Any]] = defaultdict(dict)
        for number, value in state_dict["state"].items():
            p = by_number.get(number)
            state[number if p is None else p] = _adopt(value, p)
        self.__setstate__({"state": state, "param_groups": loaded})


def _put(state: dict[str, Any], name: str, new: Any) -> None:
    """Make `new` the value of a parameter's state."""
    handle = state[name]
    value, node = (new._value, new._node) if isinstance(new, Handle) else (new, None)
    if handle is None:
        state[name] = new_handle(np.asarray(value) if isinstance(value, np.generic) else value, node)
    elif type(handle._value) is np.ndarray and isinstance(value, np.generic):
        store(handle, value)
    else:
        handle._value, handle._node = value, node


def _adopt(value: Any, p: Any, key: Any = None) -> Any:
    """A copy of saved state for the parameter `p`: containers as they are, Tensors of any framework as ours."""
    if isinstance(value, dict):
        return {k: _adopt(v, p, k) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)([_adopt(v, p) for v in value])
    if isinstance(value, Handle) and not is_raw(value):
        return new_handle(value._value)
    if not isinstance(value, Handle) and not (hasattr(value, "__array__") and hasattr(value, "dtype")):
        return value
    array = np.array(value._value) if isinstance(value, Handle) else np.array(np.asarray(value))
    if p is not None and key != "step" and p._value.dtype.kind in "fc":
        array = array.astype(p._value.dtype, copy=False)
    return new_handle(array)
