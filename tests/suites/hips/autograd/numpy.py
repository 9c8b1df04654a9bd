"""`autograd.numpy`: this module replaces itself by NumPy as autograd presents it."""

import numpy

from autograd._names import OWN, Presented

Presented(__name__, numpy, **OWN)
for _module in (numpy.linalg, numpy.fft, numpy.random):
    Presented(f"{__name__}.{_module.__name__.removeprefix('numpy.')}", _module)
