"""Optimizers and learning-rate schedulers, with PyTorch's names, options, numbers and saved states."""

from pullback.optim import lr_scheduler
from pullback.optim.adam import Adam, Adamax, AdamW, NAdam, RAdam
from pullback.optim.adaptive import Adadelta, Adagrad, RMSprop
from pullback.optim.lbfgs import LBFGS
from pullback.optim.optimizer import Optimizer
from pullback.optim.rprop import ASGD, Rprop
from pullback.optim.sgd import SGD

__all__ = [
    "ASGD",
    "LBFGS",
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "Rprop",
    "lr_scheduler",
]
