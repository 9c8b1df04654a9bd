"""`Module`: layers and models as trees of parameters, buffers and submodules."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Self

import numpy as np

from pullback.nn.parameter import Buffer, Parameter
from pullback.tape.node import Handle
from pullback.tape.state import TRACING, modes, no_grad
from pullback.tensor.dispatch import as_handle, materialize
from pullback.transforms.function import Function
from pullback.transforms.tree import register
from pullback.values.dtype import DType, as_dtype

__all__ = ["Module", "RemovableHandle"]


class _IncompatibleKeys(NamedTuple):
    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"_IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"


_hook_number = itertools.count().__next__


class RemovableHandle:
    """A registered hook; `remove()` takes it off. As a context manager, it is removed at the end of the block."""

    def __init__(self, hooks: dict[int, Any], hook: Any, prepend: bool) -> None:
        self._hooks = hooks
        self.id = _hook_number()
        others = dict(hooks) if prepend else {}
        if prepend:
            hooks.clear()
        hooks[self.id] = hook
        hooks.update(others)

    def remove(self) -> None:
        self._hooks.pop(self.id, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()


class _Hooks:
    """The hooks of a module; a module without any has none of these."""

    def __init__(self) -> None:
        self.before: dict[int, tuple[Any, bool]] = {}
        self.after: dict[int, tuple[Any, bool, bool]] = {}
        self.backward: dict[int, Any] = {}


class _Gate(Function):
    """The identity on tensors; backward hands their gradients to `meet` and sends on what that returns."""

    @staticmethod
    def forward(ctx: Any, meet: Callable[[tuple[Any, ...]], tuple[Any, ...]], *tensors: Any) -> tuple[Any, ...]:
        ctx.meet = meet
        return tuple(x.view_as(x) for x in tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Any, ...]:
        return None, *ctx.meet(gradients)


class _BackwardHooks:
    """One call of a module with backward hooks, between two gates: its tensor arguments and its tensor results."""

    def __init__(self, module: Module, hooks: tuple[Any, ...]) -> None:
        self.module = module
        self.hooks = hooks
        self.inputs = 0
        self.reaches_inputs = False
        self.grad_output: tuple[Any, ...] = ()

    def enter(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """`args`, the tensors among them through the first gate."""
        tensors = [x for x in args if isinstance(x, Handle)]
        self.inputs = len(tensors)
        self.reaches_inputs = any(x._node is not None for x in tensors)
        if not self.reaches_inputs:
            return args
        passed = iter(_Gate.apply(self._meet_inputs, *tensors))
        return tuple(next(passed) if isinstance(x, Handle) else x for x in args)

    def leave(self, result: Any) -> Any:
        """`result`, a tensor or a tuple with some, through the second gate."""
        parts = result if isinstance(result, tuple) else (result,)
        tensors = [x for x in parts if isinstance(x, Handle)]
        if not any(x._node is not None for x in tensors):
            return result
        passed = iter(_Gate.apply(self._meet_results, *tensors))
        parts = tuple(next(passed) if isinstance(x, Handle) else x for x in parts)
        return parts if isinstance(result, tuple) else parts[0]

    def _meet_results(self, gradients: tuple[Any, ...]) -> tuple[Any, ...]:
        self.grad_output = gradients
        if not self.reaches_inputs:
            self._run((None,) * self.inputs)
        return gradients

    def _meet_inputs(self, gradients: tuple[Any, ...]) -> tuple[Any, ...]:
        return self._run(gradients)

    def _run(self, gradients: tuple[Any, ...]) -> tuple[Any, ...]:
        for hook in self.hooks:
            changed = hook(self.module, gradients, self.grad_output)
            if changed is not None:
                gradients = changed if isinstance(changed, tuple) else (changed,)
                if len(gradients) != self.inputs:
                    raise RuntimeError(
                        f"Backward hook returned an invalid number of grad_input, got {len(gradients)}, "
                        f"but expected {self.inputs}"
                    )
        return gradients


class Module:
    """The base of every layer and model, as `torch.nn.Module`.

    A subclass calls `super().__init__()`, assigns parameters, buffers and submodules to attributes, and defines
    `forward`; calling the module runs it. Modules are containers to the transforms: `pb.grad(loss)(model)` is a module
    whose parameters are the gradients.

    >>> import pullback as pb
    >>> from pullback import nn
    >>> class Net(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.hidden = nn.Linear(4, 2)
    ...
    ...     def forward(self, x):
    ...         return pb.relu(self.hidden(x))
    >>> Net()
    Net(
      (hidden): Linear(in_features=4, out_features=2, bias=True)
    )
    """

    training: bool
    _parameters: dict[str, Any]
    _buffers: dict[str, Any]
    _modules: dict[str, Any]
    _non_persistent: frozenset[str]
    _hooks: _Hooks | None = None

    def __init__(self) -> None:
        state = self.__dict__
        state["training"] = True
        state["_parameters"] = {}
        state["_buffers"] = {}
        state["_modules"] = {}
        state["_non_persistent"] = frozenset()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; every subclass defines it."""
        raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if TRACING and modes.tracer is not None:
            modes.tracer.reads_name(self.__dict__, "training", self.training)
            for kind in ("_parameters", "_buffers", "_modules"):
                for name, member in self.__dict__[kind].items():
                    modes.tracer.reads_name(self.__dict__[kind], name, member)
        if self._hooks is None:
            return self.forward(*args, **kwargs)
        return self._call_with_hooks(self._hooks, args, kwargs)

    def _call_with_hooks(self, hooks: _Hooks, args: Any, kwargs: Any) -> Any:
        for hook, with_kwargs in list(hooks.before.values()):
            if with_kwargs:
                changed = hook(self, args, kwargs)
                if changed is not None:
                    if not isinstance(changed, tuple) or len(changed) != 2:
                        raise RuntimeError("forward pre-hook must return None or a tuple of (new_args, new_kwargs)")
                    args, kwargs = changed
            else:
                changed = hook(self, args)
                if changed is not None:
                    args = changed if isinstance(changed, tuple) else (changed,)
        ran: set[int] = set()
        watch = _BackwardHooks(self, tuple(hooks.backward.values())) if hooks.backward and modes.grad else None
        if watch is not None:
            args = watch.enter(args)
        try:
            result = self.forward(*args, **kwargs)
            for key, (hook, with_kwargs, _) in list(hooks.after.items()):
                ran.add(key)
                changed = hook(self, args, kwargs, result) if with_kwargs else hook(self, args, result)
                if changed is not None:
                    result = changed
        except Exception:
            for key, (hook, with_kwargs, always) in list(hooks.after.items()):
                if always and key not in ran:
                    hook(self, args, kwargs, None) if with_kwargs else hook(self, args, None)
            raise
        return result if watch is None else watch.leave(result)

    def _all_hooks(self) -> _Hooks:
        hooks = self._hooks
        if hooks is None:
            self.__dict__["_hooks"] = hooks = _Hooks()
        return hooks

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, args)` before `forward`; what it returns, if anything, takes their place."""
        return RemovableHandle(self._all_hooks().before, (hook, with_kwargs), prepend)

    def register_forward_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False, always_call: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, args, result)` after `forward`; what it returns, if anything, takes the result's place."""
        return RemovableHandle(self._all_hooks().after, (hook, with_kwargs, always_call), prepend)

    def register_full_backward_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(module, grad_input, grad_output)` when backward has the gradients of the positional tensor
        arguments of a call (None for those that need none) and of its results, a tensor or a tuple of some. What it
        returns, if anything, takes the place of `grad_input`.
        """
        return RemovableHandle(self._all_hooks().backward, hook, prepend)

    # Attributes: parameters, buffers and modules are kept apart from the others.

    def __getattr__(self, name: str) -> Any:
        state = self.__dict__
        for kind in ("_parameters", "_buffers", "_modules"):
            members = state.get(kind)
            if members is not None and name in members:
                if TRACING and modes.tracer is not None:
                    modes.tracer.reads_name(members, name, members[name])
                return members[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        state = self.__dict__
        if TRACING and modes.tracer is not None:
            for names in (state, *(state.get(kind, {}) for kind in ("_parameters", "_buffers", "_modules"))):
                modes.tracer.watches(names)
        if isinstance(value, Parameter):
            self._need_init("parameters")
            self._forget(name)
            self.register_parameter(name, value)
        elif isinstance(value, Module):
            self._need_init("module")
            self._forget(name, keep="_modules")
            state["_modules"][name] = value
        elif isinstance(value, Buffer):
            self._need_init("buffers")
            self._forget(name, keep="_buffers")
            self.register_buffer(name, value, value.persistent)
        elif name in state.get("_parameters", ()):
            self._replace("_parameters", name, value, value is None, "parameter", "torch.nn.Parameter or None")
        elif name in state.get("_modules", ()):
            self._replace("_modules", name, value, value is None, "child module", "torch.nn.Module or None")
        elif name in state.get("_buffers", ()):
            fits = value is None or isinstance(value, Handle)
            self._replace("_buffers", name, value, fits, "buffer", "torch.nn.Buffer, torch.Tensor or None")
        else:
            object.__setattr__(self, name, value)

    def _need_init(self, what: str) -> None:
        if "_parameters" not in self.__dict__:
            raise AttributeError(f"cannot assign {what} before Module.__init__() call")

    def _replace(self, kind: str, name: str, value: Any, fits: bool, what: str, expected: str) -> None:
        if not fits:
            raise TypeError(f"cannot assign '{type(value).__qualname__}' as {what} '{name}' ({expected} expected)")
        self.__dict__[kind][name] = value

    def _forget(self, name: str, keep: str = "") -> None:
        self.__dict__.pop(name, None)
        for kind in ("_parameters", "_buffers", "_modules"):
            if kind != keep:
                self.__dict__[kind].pop(name, None)

    def __delattr__(self, name: str) -> None:
        for kind in ("_parameters", "_buffers", "_modules"):
            if name in self.__dict__[kind]:
                del self.__dict__[kind][name]
                self.__dict__["_non_persistent"] = self._non_persistent - {name}
                return
        object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        names = {*object.__dir__(self), *self._parameters, *self._modules, *self._buffers}
        return sorted(name for name in names if not name[:1].isdigit())

    def _check_name(self, kind: str, name: str) -> None:
        self._need_init(kind)
        if not isinstance(name, str):
            raise TypeError(f"{kind} name should be a string. Got {type(name).__name__}")
        if "." in name:
            raise KeyError(f'{kind} name can\'t contain "."')
        if not name:
            raise KeyError(f'{kind} name can\'t be empty string ""')

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter, or reserve its name with None.

        Raises `KeyError` for a name in use or one with a dot, `TypeError` or `ValueError` for what is no parameter.
        """
        self._check_name("parameter", name)
        if hasattr(self, name) and name not in self._parameters:
            raise KeyError(f"attribute '{name}' already exists")
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(
                f"cannot assign '{type(param).__name__}' object to parameter '{name}' "
                "(torch.nn.Parameter or None required)"
            )
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Any, persistent: bool = True) -> None:
        """Add a tensor that is state but not learnt, or reserve its name with None; `persistent`: in the state_dict."""
        self._check_name("buffer", name)
        if hasattr(self, name) and name not in self._buffers:
            raise KeyError(f"attribute '{name}' already exists")
        if tensor is not None and not isinstance(tensor, Handle):
            raise TypeError(
                f"cannot assign '{type(tensor).__name__}' object to buffer '{name}' (torch Tensor or None required)"
            )
        self._buffers[name] = tensor
        rest = self._non_persistent - {name}
        self.__dict__["_non_persistent"] = rest if persistent else rest | {name}

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a submodule under a name that need not be an identifier."""
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"{type(module).__name__} is not a Module subclass")
        self._check_name("module", name)
        if hasattr(self, name) and name not in self._modules:
            raise KeyError(f"attribute '{name}' already exists")
        self._modules[name] = module

    register_module = add_module

    # Walking the tree. What is shared is listed once, under its first name.

    def named_modules(
        self, memo: set[Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """This module and all below it, with their dotted names."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                yield from module.named_modules(memo, f"{prefix}.{name}" if prefix else name, remove_duplicate)

    def modules(self) -> Iterator[Module]:
        """This module and all below it."""
        for _, module in self.named_modules():
            yield module

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules directly below, with their names."""
        seen = set()
        for name, module in self._modules.items():
            if module is not None and module not in seen:
                seen.add(module)
                yield name, module

    def children(self) -> Iterator[Module]:
        """The modules directly below."""
        for _, module in self.named_children():
            yield module

    def _named_members(self, kind: str, prefix: str, recurse: bool, unique: bool) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        modules = self.named_modules(prefix=prefix, remove_duplicate=unique) if recurse else [(prefix, self)]
        for path, module in modules:
            for name, member in module.__dict__[kind].items():
                if member is None or id(member) in seen:
                    continue
                if unique:
                    seen.add(id(member))
                yield f"{path}.{name}" if path else name, member

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """The parameters with their dotted names, of this module and (`recurse`) those below."""
        return self._named_members("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """The parameters: what an optimizer takes."""
        for _, parameter in self.named_parameters(recurse=recurse):
            yield parameter

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Any]]:
        """The buffers with their dotted names."""
        return self._named_members("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Any]:
        """The buffers."""
        for _, buffer in self.named_buffers(recurse=recurse):
            yield buffer

    def get_submodule(self, target: str) -> Module:
        """The module with a dotted name. Raises `AttributeError` if there is none."""
        module = self
        for name in target.split(".") if target else ():
            found = getattr(module, name, None)
            if not isinstance(found, Module):
                raise AttributeError(f"{type(module).__name__} has no module `{name}`")
            module = found
        return module

    def _get_member(self, target: str, kind: str, described: str) -> Any:
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        if not hasattr(module, name):
            raise AttributeError(f"{type(module).__name__} has no attribute `{name}`")
        member = module.__dict__[kind].get(name)
        if member is None:
            raise AttributeError(f"`{name}` is not {described}")
        return member

    def get_parameter(self, target: str) -> Parameter:
        """The parameter with a dotted name. Raises `AttributeError` if there is none."""
        return self._get_member(target, "_parameters", "an nn.Parameter")  # type: ignore[no-any-return]

    def get_buffer(self, target: str) -> Any:
        """The buffer with a dotted name. Raises `AttributeError` if there is none."""
        return self._get_member(target, "_buffers", "a buffer")

    def apply(self, fn: Callable[[Module], Any]) -> Self:
        """Call `fn` on every module below and then on this one: to initialise, say. Returns self."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    # Modes and conversions

    def train(self, mode: bool = True) -> Self:
        """Set training mode here and below: dropout drops, batch norm uses the batch. Returns self."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Leave training mode; see `train`."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Have all parameters require a gradient, or none. Returns self."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of all parameters, or (`set_to_none=False`) fill them with 0."""
        for parameter in self.parameters():
            if set_to_none:
                if TRACING and modes.tracer is not None:
                    modes.tracer.clears_grad(parameter)
                parameter._grad = None
            elif parameter._grad is not None:
                parameter._grad._node = None
                parameter.grad.zero_()

    def _converted(self, dtype: np.dtype[Any]) -> Self:
        for tensor in itertools.chain(self.parameters(), self.buffers()):
            for handle in (tensor, tensor._grad):
                if handle is not None and handle._value.dtype.kind in "fc":
                    handle._value = materialize(handle).astype(dtype)
        return self

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Convert float parameters and buffers to a dtype, in place; the only device is the CPU. Returns self."""
        for wanted in (*args, *kwargs.values()):
            if isinstance(wanted, bool) or wanted is None:
                continue
            if isinstance(wanted, str):
                if wanted.split(":")[0] != "cpu":
                    raise RuntimeError(f"pullback computes on the CPU; there is no device {wanted!r}")
                continue
            if isinstance(wanted, Handle | DType | type | np.dtype):
                dtype = wanted.dtype.dtype if isinstance(wanted, Handle) else as_dtype(wanted).dtype
                if dtype.kind not in "fc":
                    raise TypeError(f"nn.Module.to only accepts floating point or complex dtypes, but got {dtype}")
                self._converted(dtype)
        return self

    def float(self) -> Self:
        """Convert to float32 in place. Returns self."""
        return self._converted(np.dtype(np.float32))

    def double(self) -> Self:
        """Convert to float64 in place. Returns self."""
        return self._converted(np.dtype(np.float64))

    def half(self) -> Self:
        """Convert to float16 in place. Returns self."""
        return self._converted(np.dtype(np.float16))

    def cpu(self) -> Self:
        """Self: everything is on the CPU."""
        return self

    # State

    def state_dict(
        self, destination: dict[str, Any] | None = None, prefix: str = "", keep_vars: bool = False
    ) -> dict[str, Any]:
        """Parameters and persistent buffers by dotted name, on the module's own memory.

        `keep_vars` gives the parameters themselves and not detached tensors.
        """
        state: dict[str, Any] = OrderedDict() if destination is None else destination
        for name, member in self._own_state():
            state[prefix + name] = member if keep_vars else member.detach()
        for name, module in self._modules.items():
            if module is not None:
                module.state_dict(state, f"{prefix}{name}.", keep_vars)
        return state

    def _own_state(self) -> Iterator[tuple[str, Any]]:
        for name, member in itertools.chain(self._parameters.items(), self._buffers.items()):
            if member is not None and name not in self._non_persistent:
                yield name, member

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Copy parameters and buffers from `state_dict` (`assign`: take its tensors over, dtype and all).

        Returns the missing and the unexpected keys. With `strict`, either raises `RuntimeError`, which lists
        them all, as do wrong shapes in any case; nothing is loaded then.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        missing: list[str] = []
        errors: list[str] = []
        matched: list[tuple[Module, str, Any]] = []
        known = set()
        for path, module in self.named_modules(remove_duplicate=False):
            for name, member in module._own_state():
                key = f"{path}.{name}" if path else name
                known.add(key)
                if key not in state_dict:
                    missing.append(key)
                    continue
                value = state_dict[key]
                if not isinstance(value, Handle | np.ndarray | np.generic):
                    errors.append(
                        f'While copying the parameter named "{key}", expected torch.Tensor or Tensor-like object from '
                        f"checkpoint but received {type(value)}"
                    )
                    continue
                value = as_handle(value)
                if tuple(value.shape) != tuple(member.shape):
                    errors.append(
                        f"size mismatch for {key}: copying a param with shape {value.shape} from checkpoint, "
                        f"the shape in current model is {member.shape}."
                    )
                    continue
                matched.append((module, name, value))
        unexpected = [key for key in state_dict if key not in known]
        if strict:
            if missing:
                errors.insert(0, "Missing key(s) in state_dict: {}. ".format(", ".join(f'"{k}"' for k in missing)))
            if unexpected:
                keys = ", ".join(f'"{k}"' for k in unexpected)
                errors.insert(1 if missing else 0, f"Unexpected key(s) in state_dict: {keys}. ")
        if errors:
            raise RuntimeError(f"Error(s) in loading state_dict for {type(self).__name__}:\n\t" + "\n\t".join(errors))
        with no_grad():
            for module, name, value in matched:
                module._load(name, value, assign)
        return _IncompatibleKeys(missing, unexpected)

    def _load(self, name: str, value: Any, assign: bool) -> None:
        old = self._parameters.get(name)
        if not assign:
            target = self._buffers[name] if old is None else old
            target.copy_(value)
        elif old is None:
            self._buffers[name] = value
        elif isinstance(value, Parameter):
            self._parameters[name] = value
        else:
            self._parameters[name] = Parameter(value, old.requires_grad)

    # Text

    def extra_repr(self) -> str:
        """What `repr` shows of a module besides its submodules: its options."""
        return ""

    def _get_name(self) -> str:
        return type(self).__name__

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = [f"({name}): " + _indented(repr(module)) for name, module in self._modules.items()]
        if extra:
            if not lines and "\n" not in extra:
                return f"{self._get_name()}({extra})"
            lines = [*extra.split("\n"), *lines]
        return f"{self._get_name()}(" + "".join(f"\n  {line}" for line in lines) + ("\n)" if lines else ")")


def _indented(text: str) -> str:
    return text.replace("\n", "\n  ")


# A module as a container of its parameters


def replaced(module: Module, new: Mapping[int, Any]) -> Module:
    """A copy of a tree of modules in which the parameters and buffers with the ids in `new` are replaced.

    Sharing is kept; what is not replaced, and everything that is not a module, is the original's.
    """
    done: dict[int, Module] = {}

    def copy(module: Module) -> Module:
        if id(module) not in done:
            done[id(module)] = twin = object.__new__(type(module))
            twin.__dict__.update(module.__dict__)
            for kind in ("_parameters", "_buffers"):
                twin.__dict__[kind] = {name: new.get(id(x), x) for name, x in module.__dict__[kind].items()}
            twin.__dict__["_modules"] = {
                name: None if child is None else copy(child) for name, child in module._modules.items()
            }
        return done[id(module)]

    return copy(module)


def _flatten(module: Module) -> tuple[list[Any], Module]:
    return list(module.parameters()), module


def _rebuild(module: Module, children: list[Any]) -> Module:
    return replaced(module, {id(p): child for p, child in zip(module.parameters(), children, strict=True)})


register(Module, _flatten, _rebuild)
