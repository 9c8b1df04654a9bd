"""PyTorch: tensors, modules, and hand-written `torch.autograd.Function`s."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np

from pullback.check.adapters import Own, Written, is_inexact, referenced
from pullback.transforms.tree import flatten

__all__ = ["ADAPTER", "Context"]


class Context:
    """The `ctx` of a `torch.autograd.Function` that is run without PyTorch's engine."""

    def __init__(self, needs_input_grad: Sequence[bool] = ()) -> None:
        self.needs_input_grad = tuple(needs_input_grad)
        self.saved_tensors: tuple[Any, ...] = ()
        self.materialize_grads = True

    def save_for_backward(self, *tensors: Any) -> None:
        self.saved_tensors = tensors

    def save_for_forward(self, *tensors: Any) -> None:
        """What forward mode would need."""

    def mark_dirty(self, *tensors: Any) -> None:
        """What is written in place, which the engine has to know."""

    def mark_non_differentiable(self, *tensors: Any) -> None:
        """Results that have no gradient."""

    def set_materialize_grads(self, value: bool) -> None:
        self.materialize_grads = value


def forward_of(kind: Any, ctx: Any, args: Sequence[Any], forward: Callable[..., Any] | None = None) -> Any:
    """What a Function's forward returns for `args`, in either of the two ways in which one is written."""
    import torch

    forward = kind.forward if forward is None else forward
    if kind.setup_context is torch.autograd.Function.setup_context:
        return forward(ctx, *args)
    result = forward(*args)
    kind.setup_context(ctx, tuple(args), result)
    return result


def _function_class(f: Any) -> Any:
    """The `torch.autograd.Function` that `f` is, or is the `apply` of; None if it is neither."""
    import torch

    kind = getattr(f, "__self__", None) if getattr(f, "__name__", "") == "apply" else f
    return kind if isinstance(kind, type) and issubclass(kind, torch.autograd.Function) else None


def _signature(kind: Any) -> inspect.Signature:
    """The parameters of a Function's forward, without its ctx."""
    import torch

    signature = inspect.signature(kind.forward)
    if kind.setup_context is torch.autograd.Function.setup_context:
        signature = signature.replace(parameters=list(signature.parameters.values())[1:])
    return signature


class _Adapter:
    name = "torch"
    conjugates = False

    def array(self, value: Any) -> np.ndarray[Any, Any]:
        import torch

        if isinstance(value, torch.dtype | torch.device):
            return np.array(value, object)
        tensor = value.detach()
        tensor = (
            (tensor.to_dense() if tensor.layout is not torch.strided else tensor).cpu().resolve_conj().resolve_neg()
        )
        if tensor.dtype is torch.bfloat16:
            tensor = tensor.float()
        return np.array(tensor.numpy())

    def like(self, value: Any, array: np.ndarray[Any, Any]) -> Any:
        import torch

        tensor = torch.from_numpy(np.array(array.reshape(tuple(value.shape)), order="C"))
        return tensor.bfloat16() if value.dtype is torch.bfloat16 and array.dtype == np.float32 else tensor

    def make(self, array: np.ndarray[Any, Any]) -> Any:
        import torch

        return torch.from_numpy(np.array(array))

    def double(self) -> Any:
        return nullcontext()

    def owns(self, f: Any) -> bool:
        import torch

        return isinstance(f, torch.nn.Module) or _function_class(f) is not None

    def own(self, f: Any, args: Sequence[Any]) -> Own:
        """Autograd as the claim. The parameters of a Module are its first argument, as a dict."""
        import torch

        from pullback.check.adapters.torch_names import Layer as as_layer
        from pullback.check.adapters.torch_names import Rule as as_rule

        if isinstance(f, torch.nn.Module):
            module = f
            weights = {name: p.detach() for name, p in module.named_parameters()}
            if weights:

                def call(parameters: Any, *xs: Any) -> Any:
                    return torch.func.functional_call(module, parameters, xs)

                call.__name__ = type(module).__name__
                call.on_tape = lambda parameters, *xs: as_layer(module, parameters)(*xs)  # type: ignore[attr-defined]
                return Own(call, (weights, *args), self.vjp(call))
        kind = _function_class(f)
        if kind is not None:

            def apply(*xs: Any) -> Any:
                return kind.apply(*xs)

            apply.__name__ = kind.__name__
            apply.__wrapped__ = kind  # type: ignore[attr-defined]
            apply.__signature__ = _signature(kind)  # type: ignore[attr-defined]
            apply.on_tape = lambda *xs: as_rule(kind).apply(*xs)  # type: ignore[attr-defined]
            return Own(apply, tuple(args), self.vjp(apply))
        return Own(f, tuple(args), self.vjp(f))

    def vjp(self, f: Callable[..., Any]) -> Callable[..., Any]:
        import torch

        def autograd(cotangent: Any, *args: Any) -> tuple[Any, ...]:
            leaves, tree = flatten(args)
            tracked = {i: x.detach().requires_grad_() for i, x in enumerate(leaves) if _is_tracked(x)}
            # a clone, so that what is written in place is no leaf of the graph
            with torch.enable_grad():
                result = f(*tree.unflatten([tracked[i].clone() if i in tracked else x for i, x in enumerate(leaves)]))
            outs, cotangents = flatten(result)[0], flatten(cotangent)[0]
            pairs = [
                (y, g.to(y.dtype)) for y, g in zip(outs, cotangents, strict=True) if _is_tracked(y) and y.requires_grad
            ]
            found: Any = [None] * len(tracked)
            if pairs:
                ys, gs = zip(*pairs, strict=True)
                found = torch.autograd.grad(ys, list(tracked.values()), gs, allow_unused=True)
            grads = dict(zip(tracked, found, strict=True))
            for i, x in tracked.items():
                grads[i] = torch.zeros_like(x) if grads[i] is None else grads[i]
            return tree.unflatten([grads.get(i) for i in range(len(leaves))])  # type: ignore[no-any-return]

        return autograd

    def written(self, f: Any) -> Written | None:
        """The forward and backward of the Function that f is, or of the first one that it refers to."""
        candidates = [f, getattr(f, "__wrapped__", None), *referenced(f)]
        kind = next((k for k in map(_function_class, candidates) if k is not None), None)
        if kind is None:
            return None

        def run(cotangent: Any, *args: Any) -> Any:
            ctx = Context([_is_tracked(x) for x in flatten(args)[0]])
            forward_of(kind, ctx, args)
            return kind.backward(ctx, *(cotangent if isinstance(cotangent, tuple) else (cotangent,)))

        return Written(
            kind.__name__, kind.forward, kind.backward, run, whole=_function_class(candidates[1] or f) is kind
        )

    def stand_in(self, value: Any) -> Any:
        from pullback.check.adapters.torch_names import stand_in

        return stand_in(value)


def _is_tracked(x: Any) -> bool:
    return type(x).__module__.partition(".")[0] == "torch" and hasattr(x, "requires_grad_") and is_inexact(x)


ADAPTER = _Adapter()
