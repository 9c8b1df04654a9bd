"""The base of all schedulers, and those whose rule is a function of the user"s."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any

import numpy as np

from pullback.optim.optimizer import Optimizer
from pullback.tape.node import Handle
from pullback.tensor.inplace import bump, store

__all__ = [
    "LRScheduler",
    "LambdaLR",
    "MultiplicativeLR",
    "per_group",
    "rate_of",
    "rates_of",
    "require_optimizer",
    "set_rate",
]


def rate_of(value: Any) -> Any:
    """A learning rate as a number, also if a group keeps it in a 0-dim Tensor."""
    return value._value.item() if isinstance(value, Handle) else value


def set_rate(group: dict[str, Any], lr: Any) -> None:
    """Give a group its learning rate; a Tensor keeps its identity and takes the number on."""
    kept = group["lr"]
    if isinstance(kept, Handle):
        store(kept, np.full(kept._value.shape, lr, kept._value.dtype))
        bump(kept)
    else:
        group["lr"] = lr


def rates_of(optimizer: Optimizer, key: str = "lr") -> list[Any]:
    return [rate_of(group[key]) for group in optimizer.param_groups]


def per_group(name: str, optimizer: Optimizer, value: Any) -> list[Any]:
    """One value for each group, from one for all or a sequence.

    Raises `ValueError` for a sequence of another length.
    """
    count = len(optimizer.param_groups)
    if not isinstance(value, list | tuple):
        return [value] * count
    if len(value) != count:
        raise ValueError(
            f"{name} must have the same length as optimizer.param_groups. "
            f"{name} has {len(value)} values, param_groups has {count}."
        )
    return list(value)


def require_optimizer(optimizer: Any) -> None:
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")


class LRScheduler:
    """The base: counts epochs in `last_epoch`, from -1 (before the start) up, and sets the rates that `get_lr` gives.

    A subclass gives `get_lr`, the rates at `last_epoch`, and may give `_get_closed_form_lr`, the same from `base_lrs`
    alone. With `last_epoch` other than -1 a run is resumed: every group must hold its `initial_lr`, else `KeyError` is
    raised.
    """

    _unsaved: tuple[str, ...] = ("optimizer",)
    _is_initial = False

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        require_optimizer(optimizer)
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", rate_of(group["lr"]))
            elif "initial_lr" not in group:
                raise KeyError(
                    f"param 'initial_lr' is not specified in param_groups[{i}] when resuming scheduler with "
                    "last_epoch >= 0: load the optimizer's state first"
                )
        self.base_lrs = rates_of(optimizer, "initial_lr")
        self.last_epoch = last_epoch
        self._initial_step()

    def _initial_step(self) -> None:
        self._step_count = 0
        self._is_initial = True
        try:
            self.step()
        finally:
            self._is_initial = False

    def state_dict(self) -> dict[str, Any]:
        """All of the scheduler but the optimizer and functions."""
        return {key: value for key, value in self.__dict__.items() if key not in self._unsaved}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict()` gave, here or in PyTorch."""
        self.__dict__.update(state_dict)

    def get_last_lr(self) -> list[Any]:
        """The rates that the last step set, one for each group."""
        return self._last_lr

    def get_lr(self) -> list[Any]:
        """The rates at `last_epoch`, one for each group."""
        raise NotImplementedError

    def _get_closed_form_lr(self) -> list[Any]:
        return self.get_lr()

    def step(self, epoch: int | None = None) -> None:
        """Go on to the next epoch, or to `epoch`, and set the rates; warns if the optimizer has not stepped yet."""
        if self._step_count == 1 and not self.optimizer._stepped:
            warnings.warn(
                "Detected call of `lr_scheduler.step()` before `optimizer.step()`: the first value of the schedule is "
                "skipped. Call `optimizer.step()` before `lr_scheduler.step()`.",
                UserWarning,
                stacklevel=2,
            )
        self._step_count += 1
        self._update_lr(epoch)

    def _update_lr(self, epoch: int | None = None) -> None:
        if epoch is None:
            self.last_epoch += 1
            rates = self.get_lr()
        else:
            self.last_epoch = epoch
            rates = self._get_closed_form_lr()
        self._apply(rates)

    def _apply(self, rates: Sequence[Any]) -> None:
        for group, lr in zip(self.optimizer.param_groups, rates, strict=True):
            set_rate(group, lr)
        self._last_lr = rates_of(self.optimizer)


class WithFunctions(LRScheduler):
    """A scheduler with a function for each group; saved are the attributes of those that are callable objects."""

    _unsaved = ("optimizer", "lr_lambdas")

    def __init__(self, optimizer: Optimizer, lr_lambda: Any, last_epoch: int = -1) -> None:
        require_optimizer(optimizer)
        count = len(optimizer.param_groups)
        self.lr_lambdas: list[Callable[[int], float]]
        if isinstance(lr_lambda, list | tuple):
            if len(lr_lambda) != count:
                raise ValueError(f"Expected {count} lr_lambdas, but got {len(lr_lambda)}")
            self.lr_lambdas = list(lr_lambda)
        else:
            self.lr_lambdas = [lr_lambda] * count
        for function in self.lr_lambdas:
            if not callable(function):
                raise TypeError(f"lr_lambda should be a function, but got {type(function).__name__}")
        super().__init__(optimizer, last_epoch)

    def state_dict(self) -> dict[str, Any]:
        saved = [None if isinstance(f, FunctionType) else vars(f).copy() for f in self.lr_lambdas]
        return {**super().state_dict(), "lr_lambdas": saved}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict({key: value for key, value in state_dict.items() if key != "lr_lambdas"})
        for function, saved in zip(self.lr_lambdas, state_dict["lr_lambdas"], strict=True):
            if saved is not None:
                vars(function).update(saved)


class LambdaLR(WithFunctions):
    """base_lr · lr_lambda(epoch); `lr_lambda` is a function, or a list of one for each group."""

    def get_lr(self) -> list[Any]:
        return [lr * f(self.last_epoch) for lr, f in zip(self.base_lrs, self.lr_lambdas, strict=True)]


class MultiplicativeLR(WithFunctions):
    """lr · lr_lambda(epoch), from epoch 1 on; `lr_lambda` is a function, or a list of one for each group."""

    def get_lr(self) -> list[Any]:
        rates = rates_of(self.optimizer)
        if self._is_initial:
            return rates
        return [lr * f(self.last_epoch) for lr, f in zip(rates, self.lr_lambdas, strict=True)]
