"""Schedulers: rules that set the learning rates of an optimizer's groups, step by step.

Call `scheduler.step()` once after each epoch (or batch) of `optimizer.step()`s. Most rules are *chainable*: they
multiply the rate that the group has now, so that several may act on one optimizer and a rate set by hand is kept; the
closed form of the same rule gives the rate at any epoch. Names, options, numbers and saved states are PyTorch's.
"""

from pullback.optim.lr_scheduler.base import LambdaLR, LRScheduler, MultiplicativeLR
from pullback.optim.lr_scheduler.composite import ChainedScheduler, SequentialLR
from pullback.optim.lr_scheduler.cycle import CyclicLR, OneCycleLR
from pullback.optim.lr_scheduler.decay import (
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    ExponentialLR,
    LinearLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)
from pullback.optim.lr_scheduler.plateau import ReduceLROnPlateau

__all__ = [
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
]
