"""Weights computed anew before every call of a module, under PyTorch's older names; see `parametrizations`."""

from __future__ import annotations

import warnings
from typing import Any

from pullback.nn import functional as F
from pullback.nn.module import Module
from pullback.nn.parameter import Parameter
from pullback.nn.utils.parametrizations import norm_except_dim
from pullback.tape.node import new_handle
from pullback.tape.state import no_grad
from pullback.tensor.dispatch import is_raw
from pullback.tensor.linear import matmul
from pullback.tensor.random import source

__all__ = ["remove_spectral_norm", "remove_weight_norm", "spectral_norm", "weight_norm"]


class _Computed:
    """A pre-forward hook that sets the attribute `name` of a module."""

    def __init__(self, name: str) -> None:
        self.name = name

    def weight(self, module: Module) -> Any:
        raise NotImplementedError

    def own(self) -> list[str]:
        """The names of the parameters and buffers that stand for the weight."""
        raise NotImplementedError

    def __call__(self, module: Module, args: Any) -> None:
        module.__dict__[self.name] = self.weight(module)

    def attach(self, module: Module) -> Module:
        for hook, _ in module._all_hooks().before.values():
            if type(hook) is type(self) and hook.name == self.name:
                raise RuntimeError(f"Cannot register two {_title(type(self))} hooks on the same parameter {self.name}")
        self.begin(module)
        self(module, ())
        module.register_forward_pre_hook(self)
        return module

    def begin(self, module: Module) -> None:
        raise NotImplementedError

    @classmethod
    def detach(cls, module: Module, name: str) -> Module:
        hooks = module._all_hooks().before
        for key, (hook, _) in list(hooks.items()):
            if isinstance(hook, cls) and hook.name == name:
                with no_grad():
                    value = hook.weight(module).detach().clone()
                del hooks[key]
                module.__dict__.pop(name, None)
                for member in hook.own():
                    delattr(module, member)
                module.register_parameter(name, Parameter(value))
                return module
        raise ValueError(f"{_title(cls)} of '{name}' not found in {module}")


def _title(cls: type) -> str:
    return "weight_norm" if cls is _WeightNorm else "spectral_norm"


class _WeightNorm(_Computed):
    def __init__(self, name: str, dim: int | None) -> None:
        super().__init__(name)
        self.dim = -1 if dim is None else dim

    def own(self) -> list[str]:
        return [self.name + "_g", self.name + "_v"]

    def begin(self, module: Module) -> None:
        weight = module._parameters.pop(self.name)
        with no_grad():
            module.register_parameter(self.name + "_g", Parameter(norm_except_dim(weight, self.dim).detach()))
            module.register_parameter(self.name + "_v", Parameter(weight.detach()))

    def weight(self, module: Module) -> Any:
        g, v = (getattr(module, name) for name in self.own())
        return v * (g / norm_except_dim(v, self.dim))


class _SpectralNorm(_Computed):
    def __init__(self, name: str, n_power_iterations: int, dim: int, eps: float) -> None:
        super().__init__(name)
        if n_power_iterations <= 0:
            raise ValueError(
                f"Expected n_power_iterations to be positive, but got n_power_iterations={n_power_iterations}"
            )
        self.n_power_iterations = n_power_iterations
        self.dim = dim
        self.eps = eps

    def own(self) -> list[str]:
        return [self.name + end for end in ("_orig", "_u", "_v")]

    def _matrix(self, weight: Any) -> Any:
        return weight.movedim(self.dim, 0).flatten(1)

    def begin(self, module: Module) -> None:
        weight = module._parameters.pop(self.name)
        module.register_parameter(self.name + "_orig", weight)
        for end, size in zip(("_u", "_v"), self._matrix(weight).shape, strict=True):
            drawn = new_handle(source().standard_normal(size).astype(weight._value.dtype))
            module.register_buffer(self.name + end, F.normalize(drawn, dim=0, eps=self.eps))

    def weight(self, module: Module) -> Any:
        weight, u, v = (getattr(module, name) for name in self.own())
        matrix = self._matrix(weight)
        if module.training and is_raw(matrix):
            with no_grad():
                for _ in range(self.n_power_iterations):
                    v.data = F.normalize(matmul(matrix.mT, u), dim=0, eps=self.eps).detach()
                    u.data = F.normalize(matmul(matrix, v), dim=0, eps=self.eps).detach()
        return weight / (u.clone() * matmul(matrix, v.clone())).sum()


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Learn length and direction of a weight apart, as `<name>_g` and `<name>_v`; deprecated for
    `parametrizations.weight_norm`.
    """
    warnings.warn(
        "`torch.nn.utils.weight_norm` is deprecated in favor of `torch.nn.utils.parametrizations.weight_norm`.",
        FutureWarning,
        stacklevel=2,
    )
    return _WeightNorm(name, dim).attach(module)


def remove_weight_norm(module: Module, name: str = "weight") -> Module:
    """Make the weight a parameter again, with its present value. Raises `ValueError` if it is not normalised."""
    return _WeightNorm.detach(module, name)


def spectral_norm(
    module: Module, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> Module:
    """Divide a weight by its largest singular value; what is learnt is `<name>_orig`."""
    if dim is None:
        dim = int(type(module).__name__.startswith("ConvTranspose"))
    return _SpectralNorm(name, n_power_iterations, dim, eps).attach(module)


def remove_spectral_norm(module: Module, name: str = "weight") -> Module:
    """Make the weight a parameter again, with its present value. Raises `ValueError` if it is not normalised."""
    return _SpectralNorm.detach(module, name)
