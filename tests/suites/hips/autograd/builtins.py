"""Containers need no wrappers in pullback: the built-in ones are seen through."""

import builtins

import numpy

from pullback.transforms.program.stand_ins import array_type

dict, list, tuple = builtins.dict, builtins.list, builtins.tuple


def isinstance(x, kinds):
    """`isinstance`, a Tensor counting as an array."""
    kinds = kinds if builtins.isinstance(kinds, builtins.tuple) else (kinds,)
    return builtins.isinstance(x, builtins.tuple(array_type if kind is numpy.ndarray else kind for kind in kinds))
