"""PyTorch programs on pullback's tape: the names are the same, so each is looked up under pullback's root.

Tensors that a program finds in its globals or closure are constants, in float64; Modules run their own `forward`, which
is Python, with the functional names in it replaced; of a `torch.autograd.Function` only the forward is run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from pullback.check.adapters.names import Namespace, dotted, root
from pullback.check.adapters.torch import ADAPTER, Context, forward_of
from pullback.tape.node import new_handle
from pullback.transforms.program import as_program, copied

__all__ = ["Layer", "stand_in"]


def stand_in(value: Any) -> Any:
    """What a program on the tape sees of an object of PyTorch's."""
    import torch

    if isinstance(value, ModuleType):
        return Namespace(value, value.__name__.partition(".")[2], {}, _named)
    if isinstance(value, torch.Tensor):
        array = ADAPTER.array(value)
        return new_handle(array.astype(np.result_type(array, np.float64)) if array.dtype.kind in "fc" else array)
    if isinstance(value, torch.dtype):
        return dotted(root(), str(value).partition(".")[2])
    if isinstance(value, torch.nn.Module):
        return Layer(value)
    if isinstance(value, type):
        if issubclass(value, torch.autograd.Function):
            return Rule(value)
        return _type(value)
    if isinstance(value, FunctionType) or callable(value):
        return _function(value)
    return NotImplemented


def _named(path: str, value: Any) -> Any:
    """What stands for `torch.<path>`."""
    import torch

    if isinstance(value, torch.dtype | torch.Tensor):
        return stand_in(value)
    return dotted(root(), path)


def _type(kind: type) -> Any:
    module = kind.__module__
    if module.startswith("torch.nn.modules"):
        return dotted(root(), f"nn.{kind.__name__}")
    return getattr(root(), kind.__name__, NotImplemented) if module.startswith("torch") else NotImplemented


def _function(value: Any) -> Any:
    """What stands for a function that was imported by its own name."""
    name = getattr(value, "__name__", None)
    module = getattr(value, "__module__", None) or "torch"
    owner = getattr(value, "__self__", None)
    if isinstance(owner, type) and name == "apply":
        found = stand_in(owner)
        return NotImplemented if found is NotImplemented else found.apply
    if name is None or not module.startswith("torch"):
        return NotImplemented
    path = module.partition(".")[2]
    for place in (path, "", "nn.functional", "linalg", "special", "fft"):
        try:
            return dotted(root(), f"{place}.{name}".lstrip("."))
        except AttributeError:
            continue
    return NotImplemented


class Rule:
    """In place of a `torch.autograd.Function`: its forward, differentiated by the tape."""

    def __init__(self, kind: Any) -> None:
        self._kind = kind

    def apply(self, *args: Any) -> Any:
        return forward_of(self._kind, Context([True] * len(args)), args, as_program(self._kind.forward))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kind, name)


class Layer:
    """In place of a Module: its own `forward`, as a program. `weights` are what its parameters are, by dotted name."""

    def __init__(self, module: Any, weights: Mapping[str, Any] | None = None, path: str = "") -> None:
        self._module, self._weights, self._path = module, weights or {}, path

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        forward: Callable[..., Any] = copied(type(self._module).forward)
        return forward(self, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        path = f"{self._path}{name}"
        if path in self._weights:
            return self._weights[path]
        found = getattr(type(self._module), name, None)
        if isinstance(found, FunctionType):
            return copied(found).__get__(self)
        return self._seen(getattr(self._module, name), path)

    def _seen(self, value: Any, path: str) -> Any:
        import torch

        return Layer(value, self._weights, f"{path}.") if isinstance(value, torch.nn.Module) else as_program(value)

    def __iter__(self) -> Iterator[Any]:
        return (Layer(part, self._weights, f"{self._path}{i}.") for i, part in enumerate(self._module))

    def __getitem__(self, i: Any) -> Any:
        return list(self)[i] if isinstance(i, int | slice) else self._seen(self._module[i], f"{self._path}{i}")

    def __len__(self) -> int:
        return len(self._module)
