"""Modules of NumPy and SciPy as autograd presents them: on arrays they are the originals, on Tensors pullback's."""

import sys
from types import ModuleType

import numpy as np

from pullback.scipy.entries.distribution import Distribution
from pullback.scipy.entries.multivariate import Multivariate
from pullback.scipy.table import FUNCTIONS as SCIPY
from pullback.tensor.numpy_api.table import implementation
from pullback.transforms.program import holds_tensor
from pullback.transforms.program.stand_ins import numpy_stand_in

_DISTRIBUTIONS = Distribution | Multivariate


def _mixed(original, entry):
    def function(*args, **kwargs):
        if holds_tensor(args) or holds_tensor(kwargs.values()):
            return entry(*args, **kwargs)
        return original(*args, **kwargs)

    function.__name__ = getattr(original, "__name__", "function")
    return function


def _make_diagonal(d, offset=0, axis1=-1, axis2=-2):
    """The diagonal matrices of vectors; along the last two axes, as in autograd."""
    return np.expand_dims(d, -1) * np.eye(np.shape(d)[-1])


def _where(condition, x=None, y=None):
    return np.where(condition) if x is None else np.where(condition, x, y)


OWN = {"make_diagonal": _make_diagonal, "where": _where}  # autograd has, or spells, these by itself


class Presented(ModuleType):
    """A module, or a distribution, under autograd's name."""

    def __init__(self, name, original, entry=None, **own):
        super().__init__(name)
        self.__path__ = []
        self._original, self._entry, self._own = original, entry, own
        sys.modules[name] = self

    def __getattr__(self, name):
        found = self._found(name)
        setattr(self, name, found)
        return found

    def _found(self, name):
        if name in self._own:
            return self._own[name]
        original = getattr(self._original, name)
        if isinstance(original, ModuleType):
            return Presented(f"{self.__name__}.{name}", original)
        if original is np.r_ or original is np.c_:
            return numpy_stand_in(original)
        if not callable(original) or isinstance(original, type):
            return original
        if self._entry is not None:
            entry = getattr(self._entry, name, None)
        elif self._original.__name__.startswith("scipy."):
            entry = SCIPY.get(f"{self._original.__name__.removeprefix('scipy.')}.{name}")
            if isinstance(entry, _DISTRIBUTIONS):
                return Presented(f"{self.__name__}.{name}", original, entry)
        else:
            entry = implementation(original)
        return original if entry is None else _mixed(original, entry)
