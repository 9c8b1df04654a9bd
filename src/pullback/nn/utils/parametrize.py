"""Parameters that are computed from others: a module's tensor as a function of what is learnt instead of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from pullback.nn.containers import ModuleDict, ModuleList
from pullback.nn.module import Module
from pullback.nn.parameter import Parameter
from pullback.tape.node import Handle
from pullback.tape.state import no_grad

__all__ = ["ParametrizationList", "cached", "is_parametrized", "register_parametrization", "remove_parametrizations"]

_cache: dict[tuple[int, str], Any] | None = None


@contextmanager
def cached() -> Iterator[None]:
    """Within the block each parametrized tensor is computed once."""
    global _cache
    outer, _cache = _cache, {} if _cache is None else _cache
    try:
        yield
    finally:
        _cache = outer


class ParametrizationList(ModuleList):
    """The functions that compute a tensor, one after another, from `original`; or from `original0`, `original1`, ... if
    the first function's `right_inverse` gives several.

    Raises `ValueError` if they change shape or dtype of the tensor, unless `unsafe`.
    """

    def __init__(self, modules: Sequence[Module], original: Any, unsafe: bool = False) -> None:
        if not modules:
            raise ValueError("ParametrizationList requires one or more modules.")
        super().__init__(modules)
        self.unsafe = unsafe
        shape, dtype = original.shape, original.dtype
        new = self._inverse(original)
        self.is_tensor = isinstance(new, Handle)
        self.ntensors = 1 if self.is_tensor else len(new)
        if self.is_tensor:
            if new.dtype != original.dtype:
                raise ValueError(
                    "When `right_inverse` outputs one tensor, it may not change the dtype.\n"
                    f"original.dtype: {original.dtype}\nright_inverse(original).dtype: {new.dtype}"
                )
            if new is not original:
                original.data = new.detach().clone()  # the optimizer's parameter stays the same
        for name, part in zip(self._names(), [original] if self.is_tensor else new, strict=True):
            if not isinstance(original, Parameter):
                self.register_buffer(name, part)
            elif part is original:
                self.register_parameter(name, part)
            else:
                self.register_parameter(name, Parameter(part.detach().clone(), original.requires_grad))
        if not unsafe:
            computed = self()
            if not isinstance(computed, Handle):
                raise ValueError(f"A parametrization must return a tensor. Got {type(computed).__name__}.")
            for what, before in (("dtype", dtype), ("shape", shape)):
                after = getattr(computed, what)
                if before != after:
                    raise ValueError(
                        f"Registering a parametrization may not change the {what} of the tensor, unless `unsafe` flag "
                        f"is enabled.\nunparametrized {what}: {before}\nparametrized {what}: {after}"
                    )

    def _names(self) -> list[str]:
        return ["original"] if self.is_tensor else [f"original{i}" for i in range(self.ntensors)]

    def _inverse(self, value: Any) -> Any:
        with no_grad():
            for module in reversed(list(self)):
                if hasattr(module, "right_inverse"):
                    with suppress(NotImplementedError):  # then it is taken for the identity
                        value = module.right_inverse(value)
        if not isinstance(value, Handle | list | tuple):
            raise ValueError(
                "'right_inverse' must return a Tensor or a Sequence of tensors (list, tuple...). "
                f"Got {type(value).__name__}"
            )
        return value

    def right_inverse(self, value: Any) -> None:
        """Set the originals to what gives `value`. Raises `RuntimeError` if a function has no inverse."""
        with no_grad():
            for module in reversed(list(self)):
                if not hasattr(module, "right_inverse"):
                    raise RuntimeError(f"parametrization {type(module).__name__} does not implement right_inverse.")
                value = module.right_inverse(value)
            parts = [value] if self.is_tensor else value
            if len(parts) != self.ntensors:
                raise ValueError(
                    f"'right_inverse' must return a sequence of tensors of length {self.ntensors}. Got a sequence of "
                    f"length {len(parts)}."
                )
            for name, part in zip(self._names(), parts, strict=True):
                getattr(self, name).data = part.detach().clone()

    def forward(self) -> Any:
        first, *others = self
        x = first(*(getattr(self, name) for name in self._names()))
        for module in others:
            x = module(x)
        return x


def _computed(name: str) -> property:
    """The attribute of a parametrized tensor."""

    def get(self: Any) -> Any:
        parametrization = self._modules["parametrizations"][name]
        if _cache is None:
            return parametrization()
        key = id(self), name
        if key not in _cache:
            _cache[key] = parametrization()
        return _cache[key]

    def put(self: Any, value: Any) -> None:
        self._modules["parametrizations"][name].right_inverse(value)

    return property(get, put)


def _dress(module: Module) -> None:
    """Give the module a class of its own, with an attribute for each tensor that it computes now; its copies, which had
    its class, keep theirs.
    """
    base = getattr(type(module), "_plain_class", type(module))
    names = list(module._modules["parametrizations"])
    own = {"__module__": base.__module__, "_plain_class": base, **{name: _computed(name) for name in names}}
    module.__class__ = type(f"Parametrized{base.__name__}", (base,), own) if names else base


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether the module computes this tensor, or any."""
    found = module._modules.get("parametrizations")
    return isinstance(found, ModuleDict) and (len(found) > 0 if tensor_name is None else tensor_name in found)


def register_parametrization(
    module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False
) -> Module:
    """Have `module` compute its parameter or buffer `tensor_name` by `parametrization`, at every use.

    What is learnt is `module.parametrizations.<name>.original`; it begins as the `right_inverse` of the present tensor,
    if the parametrization has that method. Several parametrizations of a tensor are applied one after another. Raises
    `ValueError` if the module has no such tensor, or if its shape or dtype would change, unless `unsafe`.

    >>> import pullback as pb
    >>> from pullback import nn
    >>> class Symmetric(nn.Module):
    ...     def forward(self, x):
    ...         return x.triu() + x.triu(1).transpose(0, 1)
    >>> layer = nn.utils.parametrize.register_parametrization(nn.Linear(3, 3), "weight", Symmetric())
    >>> bool((layer.weight == layer.weight.transpose(0, 1)).all())
    True
    """
    if is_parametrized(module, tensor_name):
        present = module._modules["parametrizations"][tensor_name]
        if not unsafe:
            before = getattr(module, tensor_name)
            after = parametrization(before)
            for what in ("dtype", "shape"):
                if getattr(after, what) != getattr(before, what):
                    raise ValueError(
                        f"Registering a parametrization may not change the {what} of the tensor, unless the `unsafe` "
                        f"flag is enabled.\nmodule.{tensor_name}.{what}: {getattr(before, what)}\n"
                        f"parametrization(module.{tensor_name}).{what}: {getattr(after, what)}"
                    )
        if hasattr(parametrization, "right_inverse"):
            with no_grad():
                present.right_inverse(parametrization.right_inverse(getattr(module, tensor_name)))
        present.append(parametrization)
        present.unsafe |= unsafe
        return module
    kind = "_parameters" if tensor_name in module._parameters else "_buffers"
    if getattr(module, kind).get(tensor_name) is None:
        raise ValueError(
            f"Module '{module}' does not have a parameter, a buffer, or a parametrized element with name "
            f"'{tensor_name}'"
        )
    original = getattr(module, kind)[tensor_name]
    found = ParametrizationList([parametrization], original, unsafe=unsafe)
    del getattr(module, kind)[tensor_name]
    if not is_parametrized(module):
        module.add_module("parametrizations", ModuleDict())
    module._modules["parametrizations"][tensor_name] = found
    _dress(module)
    return module


def remove_parametrizations(module: Module, tensor_name: str, leave_parametrized: bool = True) -> Module:
    """Make `tensor_name` a parameter again: with its present value, or with the original's if not `leave_parametrized`.

    Raises `ValueError` if it is not parametrized, or if there are several originals to leave.
    """
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"Module {module} does not have a parametrization on {tensor_name}")
    all_of_them = module._modules["parametrizations"]
    found = all_of_them[tensor_name]
    if not leave_parametrized and not found.is_tensor:
        raise ValueError(
            "Cannot leave unparametrized (`leave_parametrized=False`) a tensor that is parametrized in terms of a "
            "sequence of tensors."
        )
    name = found._names()[0]
    learnt = name in found._parameters
    original = getattr(found, name)
    with no_grad():
        value = getattr(module, tensor_name).detach().clone()
    del all_of_them[tensor_name]
    _dress(module)
    if found.is_tensor:
        if leave_parametrized:
            original.data = value
    else:
        original = Parameter(value, original.requires_grad) if learnt else value
    if learnt:
        module.register_parameter(tensor_name, original)
    else:
        module.register_buffer(tensor_name, original)
    if not len(all_of_them):
        del module._modules["parametrizations"]
    return module
