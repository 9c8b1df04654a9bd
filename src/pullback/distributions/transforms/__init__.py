"""Invertible maps, under PyTorch's names; `identity_transform` is the one that does nothing."""

from pullback.distributions.transforms.arrays import *
from pullback.distributions.transforms.numbers import *
from pullback.distributions.transforms.parts import *
